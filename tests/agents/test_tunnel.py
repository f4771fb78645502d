"""An agent's way to the proxy: whom it obeys, what it comes back for, and that it keeps trying."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from teleport.agents.tunnel import ProxyAddress, Tunnel
from teleport.api.dialback import PULSE, Dial, Pulse
from teleport.core.aio import Clock, cancel_and_wait
from teleport.core.errors import TeleportError
from teleport.net import alpn
from teleport.net.lines import LineConnection
from tests.builders import FakeClock
from tests.net.sockets import wait_until
from tests.proxy.badges import CLUSTER, Authorities, Badge

SESSION = "01234567-89ab-cdef-0123-456789abcdef"


@dataclass
class Proxy:
    """A proxy's port, whose connections a test answers itself."""

    authorities: Authorities
    badge: Badge
    agent: Badge
    controls: "asyncio.Queue[LineConnection]" = field(default_factory=asyncio.Queue)
    backs: "asyncio.Queue[LineConnection]" = field(default_factory=asyncio.Queue)
    served: list[Dial] = field(default_factory=list)
    accepted: list[LineConnection] = field(default_factory=list)
    serve: Callable[[LineConnection, Dial], Awaitable[None]] | None = None

    async def start(self) -> None:
        context = self.authorities.server(self.badge, alpn.CONTROL, alpn.DIALBACK)
        self.server = await asyncio.get_running_loop().create_server(
            lambda: _Accepted(self), "127.0.0.1", 0, ssl=context
        )
        self.port: int = self.server.sockets[0].getsockname()[1]

    def tunnel(self, clock: Clock, pulse: Pulse = PULSE, *, to: ProxyAddress | None = None) -> Tunnel:
        async def serve(connection: LineConnection, assignment: Dial) -> None:
            self.served.append(assignment)
            if self.serve is not None:
                await self.serve(connection, assignment)

        def contexts(protocol: str) -> ssl.SSLContext:
            return self.agent.client(protocol)

        address = to or ProxyAddress("127.0.0.1", self.port, f"proxy.{CLUSTER}")
        return Tunnel(
            address, self.agent.identity.uid, contexts, self.authorities.verify, serve, clock=clock, pulse=pulse
        )

    async def control(self) -> LineConnection:
        """The agent's control connection, greeted."""
        connection = await asyncio.wait_for(self.controls.get(), 2)
        hello = await connection.receive(timeout=2)
        assert hello["hello"] == "agent"
        await connection.send({"welcome": "agent", "proxy_id": self.badge.identity.uid})
        return connection

    def dial(self, **fields: object) -> dict[str, Any]:
        """An assignment for this agent from this proxy, but for what a test names."""
        return {
            "dial": "ssh", "ticket": "t" * 32, "session": SESSION, "proxy_id": self.badge.identity.uid,
            "host_id": self.agent.identity.uid, "client_address": "192.0.2.1", "client_port": 1, "user": "ann",
            "user_uid": "u-ann", "cluster": CLUSTER, "scope": None, "target": "db-1", **fields,
        }  # fmt: skip

    async def back(self) -> tuple[LineConnection, str]:
        """The connection that the agent makes for a session, and the ticket that it shows."""
        connection = await asyncio.wait_for(self.backs.get(), 2)
        shown = await connection.receive(timeout=2)
        return connection, shown["ticket"]


class _Accepted(LineConnection):
    def __init__(self, proxy: Proxy) -> None:
        super().__init__()
        self._proxy = proxy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._proxy.accepted.append(self)
        protocol = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        (self._proxy.controls if protocol == alpn.CONTROL else self._proxy.backs).put_nowait(self)


@dataclass
class World:
    proxy: Proxy
    tunnel: Tunnel
    clock: FakeClock


@asynccontextmanager
async def world(*roles: str, agent: Badge | None = None, pulse: Pulse = PULSE) -> AsyncIterator[World]:
    """An agent that runs, and the proxy that it connects to; the proxy's certificate has the given roles."""
    authorities, clock = Authorities(), FakeClock()
    badge = authorities.host("edge", *(roles or ("Proxy",)))
    proxy = Proxy(authorities, badge, agent or authorities.host("db-1", "Node"))
    await proxy.start()
    tunnel = proxy.tunnel(clock, pulse)
    running = asyncio.create_task(tunnel.run())
    try:
        yield World(proxy, tunnel, clock)
    finally:
        await cancel_and_wait(running)
        await tunnel.drain(timeout=0)
        for connection in proxy.accepted:
            connection.abort()
        proxy.server.close()
        await asyncio.sleep(0.01)


# -- whom it obeys


async def test_it_introduces_itself_and_is_connected_once_it_is_welcome() -> None:
    async with world() as made:
        assert not made.tunnel.connected.is_set()

        await made.proxy.control()

        await asyncio.wait_for(made.tunnel.connected.wait(), 2)


@pytest.mark.parametrize("roles", [("Node", "Proxy-ish"), ("Auth",), ("proxy",)])
async def test_a_peer_that_is_no_proxy_is_not_talked_to(roles: tuple[str, ...]) -> None:
    authorities = Authorities()
    badge = authorities.host("edge", "Proxy")
    wrong = authorities.host("edge", *roles)
    proxy = Proxy(authorities, badge, authorities.host("db-1", "Node"))
    await proxy.start()
    tunnel = proxy.tunnel(FakeClock())
    tunnel._verify = lambda _: wrong.identity  # the name in the certificate fits, the role within does not
    running = asyncio.create_task(tunnel.run())

    connection = await asyncio.wait_for(proxy.controls.get(), 2)

    await asyncio.wait_for(connection.lost, 2)
    assert not tunnel.connected.is_set()
    await cancel_and_wait(running)
    proxy.server.close()


async def test_a_peer_without_the_proxys_name_gets_no_handshake() -> None:
    async with world("Node") as made:
        await asyncio.sleep(0.1)

        assert not made.tunnel.connected.is_set()
        assert all(connection.lost.done() for connection in made.proxy.accepted)


async def test_a_proxy_of_another_authority_gets_no_handshake() -> None:
    stranger = Authorities().host("db-1", "Node")
    async with world(agent=stranger) as made:
        await asyncio.sleep(0.1)

        assert not made.tunnel.connected.is_set()


@pytest.mark.parametrize(
    "fields",
    [{"host_id": "h-other"}, {"host_id": ""}, {"proxy_id": "h-other"}, {"proxy_id": ""}],
)
async def test_an_assignment_of_another_host_or_proxy_is_not_taken(fields: dict[str, str]) -> None:
    async with world() as made:
        control = await made.proxy.control()

        await control.send(made.proxy.dial(**fields))
        await control.send(made.proxy.dial(ticket="good"))
        _, ticket = await made.proxy.back()

        assert ticket == "good"
        assert made.proxy.backs.empty()


@pytest.mark.parametrize(
    "message",
    [
        {"dial": "ssh"}, {"dial": "tcp", "host": "127.0.0.1"}, {"dial": None},
        {"dial": "ssh", "extra_destination": "127.0.0.1:22"},
    ],
)  # fmt: skip
async def test_an_assignment_in_other_words_is_not_taken(message: dict[str, object]) -> None:
    async with world() as made:
        control = await made.proxy.control()

        await control.send({**made.proxy.dial(), **message} if "extra_destination" in message else message)

        await asyncio.wait_for(control.lost, 2)
        assert made.proxy.backs.empty()


@pytest.mark.parametrize("session", ["", "../../etc", "x" * 36, SESSION.upper(), SESSION + "\n"])
async def test_a_session_id_that_is_no_uuid_is_not_taken(session: str) -> None:
    async with world() as made:
        control = await made.proxy.control()

        await control.send(made.proxy.dial(session=session))

        await asyncio.wait_for(control.lost, 2)
        assert made.proxy.backs.empty()


async def test_messages_of_another_kind_are_passed_over() -> None:
    async with world() as made:
        control = await made.proxy.control()
        for message in ({"ping": 1}, {}, {"hello": "agent"}, {"unknown": [1, 2]}):
            await control.send(message)

        await control.send(made.proxy.dial())

        assert (await made.proxy.back())[1] == "t" * 32


# -- the way back


async def test_the_session_starts_when_the_ticket_is_accepted() -> None:
    async with world() as made:
        control = await made.proxy.control()
        await control.send(made.proxy.dial())
        back, _ = await made.proxy.back()
        assert made.proxy.served == []

        await back.send({"ok": True})
        await wait_until(lambda: made.proxy.served)

        assert made.proxy.served[0].user == "ann"


async def test_without_the_proxys_word_there_is_no_session() -> None:
    async with world() as made:
        control = await made.proxy.control()
        for answer in ({"error": {"code": "access_denied", "message": "used"}}, {"ok": False}, {}, {"ok": "true"}):
            await control.send(made.proxy.dial())
            back, _ = await made.proxy.back()
            await back.send(answer)
            await asyncio.wait_for(back.lost, 2)

        assert made.proxy.served == []


async def test_a_proxy_that_did_not_ask_gets_no_ticket(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as made:
        control = await made.proxy.control()
        other = made.proxy.authorities.host("edge-2", "Proxy").identity
        made.tunnel._verify = lambda _: other

        await control.send(made.proxy.dial())
        back = await asyncio.wait_for(made.proxy.backs.get(), 2)

        with pytest.raises(TeleportError):
            await back.receive(timeout=2)
        assert made.proxy.served == []


async def test_a_session_that_fails_harms_neither_another_nor_the_control_connection() -> None:
    failing = "11111111-1111-1111-1111-111111111111"

    async def serve(connection: LineConnection, assignment: Dial) -> None:
        if assignment.session == failing:
            raise ZeroDivisionError
        await connection.lost

    async with world() as made:
        made.proxy.serve = serve
        control = await made.proxy.control()
        await control.send(made.proxy.dial())
        good, _ = await made.proxy.back()
        await good.send({"ok": True})

        await control.send(made.proxy.dial(session=failing))
        bad, _ = await made.proxy.back()
        await bad.send({"ok": True})
        await asyncio.wait_for(bad.lost, 2)

        assert not good.lost.done()
        assert not control.lost.done()


async def test_too_many_sessions_are_declined_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleport.agents.tunnel._MAX_SESSIONS", 1)
    async with world() as made:
        control = await made.proxy.control()
        await control.send(made.proxy.dial())
        await made.proxy.back()

        await control.send(made.proxy.dial(ticket="second"))
        answer = await control.receive(timeout=2)

        assert answer["ticket"] == "second"
        assert answer["error"]["code"] == "unavailable"


# -- keeping on


async def test_sessions_outlive_the_control_connection() -> None:
    async def serve(connection: LineConnection, assignment: Dial) -> None:
        await connection.lost

    async with world() as made:
        made.proxy.serve = serve
        control = await made.proxy.control()
        await control.send(made.proxy.dial())
        back, _ = await made.proxy.back()
        await back.send({"ok": True})

        control.abort()
        await wait_until(lambda: not made.tunnel.connected.is_set())

        assert not back.lost.done()


async def test_a_lost_connection_is_made_again() -> None:
    async with world() as made:
        first = await made.proxy.control()
        made.clock.advance(11)

        first.abort()
        await wait_until(lambda: not made.tunnel.connected.is_set())
        await asyncio.sleep(0.01)
        made.clock.advance(1)

        await made.proxy.control()
        await asyncio.wait_for(made.tunnel.connected.wait(), 2)


async def test_a_proxy_that_drops_everybody_is_asked_less_and_less_often() -> None:
    async with world() as made:
        attempts = 0
        for _ in range(30):
            while not made.proxy.controls.empty():
                made.proxy.controls.get_nowait().abort()
                attempts += 1
            await asyncio.sleep(0.005)
            made.clock.advance(0.5)

        assert 2 <= attempts <= 8


async def test_draining_ends_what_does_not_end_by_itself() -> None:
    async def serve(connection: LineConnection, assignment: Dial) -> None:
        await connection.lost

    async with world() as made:
        made.proxy.serve = serve
        control = await made.proxy.control()
        await control.send(made.proxy.dial())
        back, _ = await made.proxy.back()
        await back.send({"ok": True})
        await wait_until(lambda: made.proxy.served)

        await made.tunnel.drain(timeout=0.05)

        await asyncio.wait_for(back.lost, 2)


async def test_a_proxy_that_has_fallen_silent_is_left_and_looked_for_again() -> None:
    async with world(pulse=Pulse(silence=0.2)) as at:
        await at.proxy.control()
        await asyncio.wait_for(at.tunnel.connected.wait(), 2)

        await wait_until(lambda: not at.tunnel.connected.is_set())
        at.clock.advance(60)

        await at.proxy.control()


async def test_the_connections_of_sessions_are_watched() -> None:
    async with world() as at:
        over = asyncio.Event()

        async def serve(connection: LineConnection, _: Dial) -> None:
            await connection.lost
            over.set()

        at.proxy.serve = serve
        control = await at.proxy.control()
        await control.send(at.proxy.dial())
        back, _ = await at.proxy.back()
        await back.send({"ok": True})
        await wait_until(lambda: at.tunnel._vigil._watched)

        back.close()

        await asyncio.wait_for(over.wait(), 2)
        await wait_until(lambda: not at.tunnel._vigil._watched)


# -- half-open, asleep, elsewhere


async def test_a_connection_that_is_doubted_and_does_not_answer_is_given_up_long_before_silence_would_tell() -> None:
    async with world() as at:
        control = await at.proxy.control()
        await asyncio.wait_for(at.tunnel.connected.wait(), 2)

        at.tunnel.doubt()
        assert "ping" in await control.receive(timeout=2)
        await asyncio.sleep(0.05)
        at.clock.advance(PULSE.doubt)
        await wait_until(lambda: not at.tunnel.connected.is_set())
        await asyncio.sleep(0.05)
        at.clock.advance(1)

        await at.proxy.control()


async def test_who_waits_to_try_again_tries_at_once_when_the_network_has_changed() -> None:
    async with world() as at:
        for _ in range(3):
            (await asyncio.wait_for(at.proxy.controls.get(), 2)).abort()
            await asyncio.sleep(0.05)
            at.tunnel.doubt()

        await at.proxy.control()


async def test_agents_of_a_big_proxy_spread_their_return_as_it_said() -> None:
    async with world() as at:
        connection = await asyncio.wait_for(at.proxy.controls.get(), 2)
        await connection.receive(timeout=2)
        await connection.send({"welcome": "agent", "proxy_id": at.proxy.badge.identity.uid, "spread": 30.0})
        await asyncio.wait_for(at.tunnel.connected.wait(), 2)

        assert at.tunnel._spread == 30.0


async def test_why_a_proxy_is_not_reached_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async with world() as at:
        for _ in range(5):
            (await asyncio.wait_for(at.proxy.controls.get(), 2)).abort()
            await asyncio.sleep(0.05)
            at.clock.advance(60)

        said = [one for one in caplog.records if "is not reached" in one.getMessage() and one.levelname == "WARNING"]
        assert len(said) == 1
