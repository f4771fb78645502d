"""Many agents that lose their proxy at once: all come back, and not all at once."""

import asyncio
import time
from functools import partial

import pytest

from teleport.agents.tunnel import ProxyAddress, Tunnel
from teleport.api.dialback import Dial
from teleport.core.aio import SystemClock, cancel_and_wait
from teleport.net.lines import LineConnection
from tests.net.sockets import wait_until
from tests.proxy.badges import CLUSTER
from tests.proxy.edge import Edge, edge

AGENTS = 60


async def serve_nobody(_connection: LineConnection, _assignment: Dial) -> None:
    return


def tunnel(made: Edge, number: int) -> Tunnel:
    badge = made.authorities.host(f"a-{number}", "Node")
    address = ProxyAddress("127.0.0.1", made.port, f"proxy.{CLUSTER}")
    return Tunnel(
        address, badge.identity.uid, lambda protocol: badge.client(protocol), made.authorities.verify, serve_nobody,
        clock=SystemClock(),
    )  # fmt: skip


async def test_agents_that_lose_their_proxy_at_once_come_back_one_after_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("teleport.agents.tunnel._STABLE", 0.0)
    async with edge() as made:
        tunnels = [tunnel(made, number) for number in range(AGENTS)]
        running = [asyncio.create_task(one.run()) for one in tunnels]
        await wait_until(lambda: made.tunnels.agents == AGENTS, within=20)
        for one in tunnels:
            one._spread = 2.0
        back: list[float] = []

        def noted(one: Tunnel) -> None:
            if one.connected.is_set():
                back.append(time.monotonic())

        for one in tunnels:
            one.changed = partial(noted, one)
        for control in tuple(made.tunnels._agents.values()):
            control.connection.abort()
        await wait_until(lambda: len(back) == AGENTS, within=20)

        busiest = max(sum(start <= moment < start + 0.2 for moment in back) for start in back)
        assert busiest < AGENTS / 2
        await cancel_and_wait(*running)
