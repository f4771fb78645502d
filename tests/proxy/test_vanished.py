"""Clients, agents and proxies whose network is gone: nobody says so, and yet nothing of them stays."""

import asyncio
import socket
from dataclasses import dataclass

import pytest

from teleport.api.dialback import Pulse
from teleport.net.keepalive import KeepAlive
from tests.net.cable import Cable, cable
from tests.net.sockets import wait_until
from tests.proxy.edge import Agent, Edge, Patience, Wire, edge

SOON = KeepAlive(idle=1, interval=1, probes=1)


@dataclass
class Near:
    """For whom the cable does not matter."""

    cable: Cable

    def listen(self) -> socket.socket:
        return self.cable.listen()

    def connect(self, port: int) -> socket.socket:
        return self.cable.connect(port, side=Cable.near)


async def session(made: Edge, agent: Agent, *, client: Near | Cable, host: Near | Cable) -> tuple[Wire, Wire]:
    """A client and a host joined; which of them is beyond the cable is the caller's choice."""
    made.network = client
    asked = await made.ask(made.authorities.user(), agent.badge.identity.name)
    made.network = host
    taken = await agent.take()
    assert (await asked.receive(timeout=2))["ok"] is True
    return Wire.over(await made.handed_over(asked)), Wire.over(taken)


@pytest.mark.parametrize("leaving", [False, True], ids=["in TLS", "leaving TLS"])
@pytest.mark.parametrize("busy", [False, True], ids=["quiet", "busy"])
async def test_a_client_whose_network_is_gone_leaves_nothing_behind(leaving: bool, busy: bool) -> None:
    patience = Patience(deaf_after=0.6) if busy else Patience(keepalive=SOON)
    with cable() as line:
        async with edge(network=Near(line), patience=patience) as made:
            made.leaving = leaving
            agent = await made.agent()
            client, host = await session(made, agent, client=line, host=Near(line))
            client.write(b"and so what was sent is acknowledged")
            await host.reads(b"and so what was sent is acknowledged")

            line.cut()
            if busy:
                host.write(b"never acknowledged")

            await host.cut(within=10)
            await wait_until(lambda: not tuple(made.gate.live))


@pytest.mark.parametrize("leaving", [False, True], ids=["in TLS", "leaving TLS"])
async def test_a_host_whose_network_is_gone_does_not_keep_its_client_waiting(leaving: bool) -> None:
    with cable() as line:
        async with edge(network=Near(line), patience=Patience(deaf_after=0.6)) as made:
            made.leaving = leaving
            agent = await made.agent()
            client, _ = await session(made, agent, client=Near(line), host=line)

            line.cut()
            client.write(b"never acknowledged")

            await client.cut(within=10)
            await wait_until(lambda: not tuple(made.gate.live))


async def test_an_agent_whose_network_is_gone_is_away_soon_and_back_as_soon_as_it_comes_back() -> None:
    with cable() as line:
        async with edge(network=line, patience=Patience(pulse=Pulse(ping=0.1, silence=0.5))) as made:
            agent = await made.agent()
            badge = agent.badge

            line.cut()

            await wait_until(lambda: not made.tunnels.connected(badge.identity.uid))
            made.network = Near(line)
            refused = await made.refused(made.authorities.user())
            assert "is not connected" in refused["message"]
            await made.agent(badge=badge)
            assert made.tunnels.connected(badge.identity.uid)


async def test_an_agent_that_shows_signs_of_life_stays() -> None:
    async with edge(patience=Patience(pulse=Pulse(ping=0.05, silence=0.3))) as made:
        agent = await made.agent()

        for _ in range(10):
            await agent.control.send({"ping": 1})
            await asyncio.sleep(0.1)

        assert made.tunnels.connected(agent.badge.identity.uid)
