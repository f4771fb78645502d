"""Tickets: only the host that was asked comes back, once, in time, for the session it was asked for."""

import asyncio
import json
import secrets
from typing import Any

import pytest

from teleport.core.errors import TeleportError, Unavailable
from teleport.core.identity import Identity
from teleport.net import alpn
from teleport.net.join import Leg, as_stream
from teleport.net.lines import LineConnection
from teleport.proxy.tunnels import Tunnels
from tests.builders import FakeClock
from tests.net.sockets import Peer, line_connection, wait_until
from tests.proxy.badges import CLUSTER
from tests.proxy.edge import Agent, Edge, Wire, edge

NODE = Identity("host", "db-1", "h-1", CLUSTER, expires=2e9, system_roles=("Node",))
ANN = Identity("user", "ann", "u-ann", CLUSTER, expires=2e9)
SESSION = "01234567-89ab-cdef-0123-456789abcdef"


async def dialling(made: Edge, agent: Agent) -> "asyncio.Task[Leg]":
    """A session that waits for an agent."""
    identity = made.authorities.user().identity
    return asyncio.create_task(
        made.tunnels.dial(
            agent.badge.identity.uid, session=SESSION, identity=identity, address="192.0.2.1", port=4711,
            target=agent.badge.identity.name, timeout=5,
        )
    )  # fmt: skip


async def unavailable(task: "asyncio.Task[Leg]") -> str:
    with pytest.raises(Unavailable) as caught:
        await asyncio.wait_for(task, 3)
    return caught.value.message


# -- the ticket


async def test_the_assignment_names_everything_that_the_agent_must_hold_the_session_against() -> None:
    async with edge() as made:
        agent = await made.agent()
        task = await dialling(made, agent)

        asked = await agent.asked()

        assert len(bytes.fromhex(asked["ticket"])) == 16
        assert asked["host_id"] == agent.badge.identity.uid
        assert asked["proxy_id"] == made.badge.identity.uid
        assert (asked["user"], asked["user_uid"], asked["cluster"], asked["scope"]) == ("ann", "u-ann", CLUSTER, None)
        assert (asked["client_address"], asked["client_port"], asked["session"]) == ("192.0.2.1", 4711, SESSION)
        task.cancel()


async def test_the_host_that_was_asked_comes_back() -> None:
    async with edge() as made:
        agent = await made.agent()
        task = await dialling(made, agent)

        there = Wire.over(await agent.take())
        here = Wire.over(await as_stream(await task))
        there.write(b"SSH-2.0-agent")

        await here.reads(b"SSH-2.0-agent")


async def test_a_ticket_is_good_once() -> None:
    async with edge() as made:
        agent = await made.agent()
        task = await dialling(made, agent)
        ticket = (await agent.asked())["ticket"]
        first, answer = await agent.dial_back(ticket)
        assert answer["ok"] is True

        second, refusal = await agent.dial_back(ticket)

        assert refusal["error"]["message"] == "the ticket is unknown, used or too old"
        await asyncio.wait_for(second.lost, 2)
        (await task).abort()
        assert not first.lost.done()


async def test_two_at_the_same_moment_with_one_ticket_are_one_too_many() -> None:
    async with edge() as made:
        agent = await made.agent()
        task = await dialling(made, agent)
        ticket = (await agent.asked())["ticket"]

        found = await asyncio.gather(*(agent.dial_back(ticket) for _ in range(10)))

        assert sum("ok" in answer for _, answer in found) == 1
        (await task).abort()


async def test_a_guessed_ticket_is_refused_and_says_nothing_of_the_real_ones() -> None:
    async with edge() as made:
        agent = await made.agent()
        task = await dialling(made, agent)
        ticket = (await agent.asked())["ticket"]

        for guess in (secrets.token_hex(16), ticket[:-1], ticket + "0", ticket.upper() + " ", "", "*", "0" * 200):
            _, refusal = await agent.dial_back(guess)
            assert refusal["error"]["message"] == "the ticket is unknown, used or too old"

        assert not task.done()
        await agent.dial_back(ticket)
        (await task).abort()


async def test_another_hosts_ticket_is_refused_and_still_good_for_its_own() -> None:
    async with edge() as made:
        agent, thief = await made.agent("db-1"), await made.agent("db-2")
        task = await dialling(made, agent)
        ticket = (await agent.asked())["ticket"]

        _, refusal = await thief.dial_back(ticket)
        assert refusal["error"]["message"] == "the ticket is another host's"
        assert not task.done()

        _, answer = await agent.dial_back(ticket)
        assert answer["ok"] is True
        (await task).abort()


async def test_a_host_of_the_same_name_is_another_host() -> None:
    async with edge() as made:
        agent = await made.agent("db-1")
        namesake = made.authorities.host("db-1", "Node", uid="h-other")
        task = await dialling(made, agent)

        _, refusal = await agent.dial_back((await agent.asked())["ticket"], badge=namesake)

        assert "another host's" in refusal["error"]["message"]
        task.cancel()


async def test_the_proxys_own_certificate_shows_no_ticket() -> None:
    async with edge() as made:
        agent = await made.agent("db-1")
        both = made.authorities.host("x", "Proxy", uid=agent.badge.identity.uid)
        task = await dialling(made, agent)

        _, refusal = await agent.dial_back((await agent.asked())["ticket"], badge=both)

        assert "error" in refusal
        task.cancel()


async def test_a_ticket_that_is_too_old_is_refused() -> None:
    clock = FakeClock()
    tunnels = Tunnels("p-1", clock=clock)
    agent, peer = await control(tunnels)
    task = asyncio.create_task(dial(tunnels))
    ticket = (await receive_dial(peer))["ticket"]

    clock.advance(10.1)
    back, far = await line_connection()
    await far.send(b'{"ticket":"%s"}\n' % ticket.encode())
    await tunnels.serve_dialback(back, NODE)

    assert b"too old" in await far.wait_end()
    far.close()
    task.cancel()
    await asyncio.wait([task])
    await gone(agent, peer)


async def test_a_ticket_ends_with_the_session_that_waited_for_it() -> None:
    async with edge() as made:
        agent = await made.agent()
        task = await dialling(made, agent)
        ticket = (await agent.asked())["ticket"]
        task.cancel()
        await asyncio.wait([task])

        _, refusal = await agent.dial_back(ticket)

        assert "unknown" in refusal["error"]["message"]


async def test_an_agent_that_comes_back_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleport.proxy.tunnels.TICKET_SECONDS", 0.1)
    async with edge() as made:
        agent = await made.agent()

        connection = await made.connect(agent.badge, alpn.DIALBACK)

        await asyncio.wait_for(connection.lost, 2)


# -- agents that do not come


async def control(tunnels: Tunnels, identity: Identity = NODE) -> tuple["asyncio.Task[None]", Peer]:
    """A control connection by plain sockets, whose far end a test drives byte by byte."""
    near, peer = await line_connection()
    await peer.send(b'{"hello":"agent","version":"1"}\n')
    serving = asyncio.create_task(tunnels.serve_control(near, identity))
    assert (await receive_message(peer))["proxy_id"] == "p-1"
    await wait_until(lambda: tunnels.connected(identity.uid))
    return serving, peer


async def gone(serving: "asyncio.Task[None]", peer: Peer) -> None:
    peer.close()
    serving.cancel()
    await asyncio.wait([serving])


async def receive_message(peer: Peer) -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n"):
        line += await peer.receive(1)
    found: dict[str, Any] = json.loads(line)
    return found


async def receive_dial(peer: Peer) -> dict[str, str]:
    found = await receive_message(peer)
    assert "dial" in found
    return found


async def dial(tunnels: Tunnels, *, timeout: float = 5, host: str = "h-1") -> Leg:
    return await tunnels.dial(
        host, session=SESSION, identity=ANN, address="192.0.2.1", port=1, target="db-1", timeout=timeout
    )


async def test_a_host_that_is_not_there_is_unavailable_at_once() -> None:
    with pytest.raises(Unavailable, match="not connected to this proxy"):
        await dial(Tunnels("p-1", clock=FakeClock()))


async def test_an_agent_that_never_dials_back_is_given_up() -> None:
    tunnels = Tunnels("p-1", clock=FakeClock())
    agent, peer = await control(tunnels)

    with pytest.raises(Unavailable, match="did not connect back in time"):
        await dial(tunnels, timeout=0.1)

    assert tunnels._pending == {}
    await gone(agent, peer)


async def test_who_waits_for_a_turn_still_has_all_of_the_agents_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleport.proxy.tunnels._AT_ONCE", 1)
    tunnels = Tunnels("p-1", clock=FakeClock())
    serving, agent = await control(tunnels)
    first = asyncio.create_task(dial(tunnels, timeout=60))
    second = asyncio.create_task(dial(tunnels, timeout=0.5))
    await receive_dial(agent)

    done, _ = await asyncio.wait([second], timeout=0.7)
    first.cancel()

    assert not done
    assert (await receive_dial(agent))["ticket"]
    second.cancel()
    await gone(serving, agent)


async def test_who_waits_too_long_for_a_turn_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleport.proxy.tunnels._AT_ONCE", 1)
    monkeypatch.setattr("teleport.proxy.tunnels._QUEUE_SECONDS", 0.05)
    tunnels = Tunnels("p-1", clock=FakeClock())
    serving, agent = await control(tunnels)
    first = asyncio.create_task(dial(tunnels))
    await receive_dial(agent)

    with pytest.raises(Unavailable, match="too many sessions are being opened on that host"):
        await dial(tunnels)

    first.cancel()
    await gone(serving, agent)


async def test_an_agent_that_reads_nothing_holds_nobody() -> None:
    tunnels = Tunnels("p-1", clock=FakeClock())
    agent, peer = await control(tunnels)
    blocked = [asyncio.create_task(dial(tunnels, timeout=0.3)) for _ in range(20)]
    near = tunnels._agents["h-1"].connection
    assert isinstance(near, LineConnection)
    near.transport.write(b" " * 10_000_000)

    blocked += [asyncio.create_task(dial(tunnels, timeout=0.3)) for _ in range(20)]
    done, pending = await asyncio.wait(blocked, timeout=10)

    assert not pending
    assert {type(task.exception()) for task in done} == {Unavailable}
    await gone(agent, peer)


async def test_an_agent_that_cannot_come_back_says_why() -> None:
    async with edge() as made:
        agent = await made.agent()
        task = await dialling(made, agent)
        asked = await agent.asked()

        error = {"code": "unavailable", "message": "the host has too many sessions"}
        await agent.control.send({"error": error, "ticket": asked["ticket"]})

        assert await unavailable(task) == "the host has too many sessions"


async def test_an_agent_cannot_fail_anothers_ticket() -> None:
    async with edge() as made:
        agent, villain = await made.agent("db-1"), await made.agent("db-2")
        task = await dialling(made, agent)
        asked = await agent.asked()

        await villain.control.send({"error": {"message": "ha"}, "ticket": asked["ticket"]})
        await villain.control.send({"ping": 1})
        await asyncio.sleep(0.05)

        assert not task.done()
        task.cancel()


@pytest.mark.parametrize(
    "said",
    [
        b'{"error":null,"ticket":null}\n', b'{"error":[],"ticket":{}}\n', b'{"error":{"code":7},"ticket":"x"}\n',
        b'{"dial":"ssh"}\n', b'{"ping":"x"}\n', b"{}\n", b'{"ticket":"x"}\n',
    ],
)  # fmt: skip
async def test_nonsense_on_the_control_connection_fails_nothing(said: bytes) -> None:
    async with edge() as made:
        agent = await made.agent()
        agent.control.transport.write(said * 100)

        task = await dialling(made, agent)

        (await agent.take()).abort()
        (await task).abort()


async def test_an_agent_that_leaves_is_forgotten() -> None:
    async with edge() as made:
        agent = await made.agent()

        agent.control.abort()
        await wait_until(lambda: not made.tunnels.connected(agent.badge.identity.uid))

        with pytest.raises(TeleportError, match="not connected"):
            await (await dialling(made, agent))


async def test_a_reconnecting_host_takes_the_place_of_its_earlier_connection() -> None:
    async with edge() as made:
        first = await made.agent()
        second = await made.agent(badge=first.badge)

        await asyncio.wait_for(first.control.lost, 2)
        assert made.tunnels.connected(first.badge.identity.uid)
        task = await dialling(made, second)
        (await second.take()).abort()
        (await task).abort()
        assert first.dials.empty()


async def test_the_end_of_a_superseded_connection_does_not_unseat_the_new_one() -> None:
    async with edge() as made:
        first = await made.agent()
        await made.agent(badge=first.badge)
        await asyncio.wait_for(first.control.lost, 2)
        await asyncio.sleep(0.05)

        assert made.tunnels.connected(first.badge.identity.uid)


async def test_a_control_connection_does_not_outlive_its_certificate() -> None:
    clock = FakeClock()
    tunnels = Tunnels("p-1", clock=clock)
    expiring = Identity("host", "db-1", "h-1", CLUSTER, expires=clock.time() + 20, system_roles=("Node",))
    agent, peer = await control(tunnels, expiring)

    clock.advance(15)
    await peer.send(b'{"ping":1}\n')
    assert await receive_message(peer) == {"ping": 1}
    clock.advance(15)
    await peer.send(b'{"ping":2}\n')

    await wait_until(lambda: not tunnels.connected("h-1"))
    await gone(agent, peer)


async def test_a_connection_that_comes_at_the_moment_of_giving_up_is_hung_up_on() -> None:
    tunnels = Tunnels("p-1", clock=FakeClock())
    agent, peer = await control(tunnels)
    task = asyncio.create_task(dial(tunnels))
    ticket = (await receive_dial(peer))["ticket"]
    back, far = await line_connection()

    tunnels._pending[ticket].arrived.set_result(back)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    await far.wait_end()
    far.close()
    assert back.transport.is_closing()
    await gone(agent, peer)


async def test_no_more_sessions_are_opened_at_once_than_can_be_kept_track_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleport.proxy.tunnels._MAX_PENDING", 3)
    async with edge() as made:
        agent = await made.agent()
        waiting = [await dialling(made, agent) for _ in range(3)]
        await asyncio.sleep(0.01)

        assert "too many sessions" in await unavailable(await dialling(made, agent))

        for task in waiting:
            task.cancel()


# -- hosts that lose their right


async def test_a_host_that_is_barred_is_cut_off_at_once_and_the_others_stay() -> None:
    async with edge() as made:
        agent, other = await made.agent("db-1"), await made.agent("db-2")

        made.barred[agent.badge.identity.uid] = "lock/stolen is in force on this host"
        made.tunnels.look()

        assert not made.tunnels.connected(agent.badge.identity.uid)
        await asyncio.wait_for(agent.control.lost, 2)
        assert not other.control.lost.done()


async def test_a_barred_host_is_not_welcome() -> None:
    async with edge() as made:
        badge = made.authorities.host("db-1", "Node")
        made.barred[badge.identity.uid] = "lock/stolen is in force on this host"

        control = await made.connect(badge, alpn.CONTROL)
        await control.send({"hello": "agent", "version": "1"})

        with pytest.raises(TeleportError):
            await control.receive(timeout=2)
        assert made.tunnels.agents == 0


async def test_a_host_that_is_barred_meanwhile_does_not_come_back_with_its_ticket() -> None:
    async with edge() as made:
        agent = await made.agent()
        task = await dialling(made, agent)
        ticket = (await agent.asked())["ticket"]

        made.barred[agent.badge.identity.uid] = "lock/stolen is in force on this host"
        _, refusal = await agent.dial_back(ticket)

        assert "error" in refusal
        task.cancel()


async def test_the_more_agents_there_are_the_longer_they_take_to_return() -> None:
    tunnels = Tunnels("p-1", clock=FakeClock())
    tunnels._agents = {str(number): None for number in range(2000)}  # type: ignore[misc]

    assert tunnels._spread == 10.0


async def test_a_ping_is_given_back() -> None:
    tunnels = Tunnels("p-1", clock=FakeClock())
    agent, peer = await control(tunnels)

    await peer.send(b'{"ping":7}\n')

    assert await receive_message(peer) == {"ping": 7}
    await gone(agent, peer)
