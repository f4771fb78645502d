"""An agent's way to the proxy: one control connection, kept up, and a connection back for each session.

Assignments are taken only from a peer whose certificate has the role Proxy; each names a session, a client and
whom the proxy's handshake saw, and the connection back carries nothing else.
"""

import asyncio
import logging
import random
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import teleport
from teleport.api.dialback import PULSE, Accepted, Cut, Dial, Hello, Ping, Pulse, TicketShown, Welcome, parse
from teleport.core.aio import Clock, cancel_and_wait
from teleport.core.errors import AccessDenied, TeleportError, Unavailable
from teleport.core.identity import Identity
from teleport.net import alpn
from teleport.net.join import Leg, as_stream
from teleport.net.keepalive import Vigil
from teleport.net.leaving import LeavingConnection, connected_socket
from teleport.net.lines import LineConnection

__all__ = ["ProxyAddress", "Serve", "Tunnel"]

log = logging.getLogger(__name__)

_MAX_SESSIONS: Final = 10_000
_STABLE: Final = 10.0
"""Seconds after which the end of a connection says nothing about the next attempt."""
_SPREAD: Final = 1.0
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
"""Between attempts: so long may a host be out of reach when its proxy is back."""

Serve = Callable[[LineConnection, Dial], Awaitable[None]]
"""Serves one session on a connection that has become its own."""

Contexts = Callable[[str], ssl.SSLContext]
"""The TLS context with the agent's present credentials for an application protocol."""

Verify = Callable[[Leg], Identity]
"""Who the TLS peer is. Raises Unauthenticated."""


DialProxy = Callable[[str, int], Awaitable[socket.socket]]
"""A non-blocking socket to a proxy's port. Raises OSError."""


@dataclass(frozen=True)
class ProxyAddress:
    host: str
    port: int
    server_name: str
    """The name whose certificate is demanded: that of the role, whatever the address."""


@dataclass
class _Heard:
    """What came from the proxy on one connection."""

    count: int = 0


class Tunnel:
    """Keeps an agent reachable through one proxy. Run `run()` as a task.

    `claim` is told which proxy answered, and says whether this tunnel is to be the one to it; `changed` is called
    whenever the connection is there or lost, and `cut` when the proxy says that a visitor has to go.
    """

    def __init__(
        self, proxy: ProxyAddress, host_id: str, contexts: Contexts, verify: Verify, serve: Serve, *, clock: Clock,
        leaves: Callable[[], bool] = lambda: False, pulse: Pulse = PULSE, vigil: Vigil | None = None,
        dial: DialProxy = connected_socket,
    ) -> None:  # fmt: skip
        self._proxy, self._host_id, self._contexts, self._verify = proxy, host_id, contexts, verify
        self._serve, self._clock, self._leaves, self._pulse = serve, clock, leaves, pulse
        self._vigil, self._dial = vigil or Vigil(), dial
        self._sessions: set[asyncio.Task[None]] = set()
        self._hurry, self._doubt = asyncio.Event(), asyncio.Event()
        self._spread, self._said = _SPREAD, ""
        self.claim: Callable[[str], bool] = lambda _: True
        self.changed: Callable[[], None] = lambda: None
        self.cut: Callable[[Cut], None] = lambda _: None
        self.connected = asyncio.Event()

    @property
    def busy(self) -> bool:
        """Whether it carries sessions."""
        return bool(self._sessions)

    @property
    def proxy(self) -> ProxyAddress:
        return self._proxy

    async def run(self) -> None:
        """Keep the control connection until cancelled; live sessions outlive its loss."""
        pause = _FIRST_PAUSE
        while True:
            stable = await self._was_connected()
            if stable:
                pause = _FIRST_PAUSE
                await self._wait(random.uniform(0, self._spread))  # noqa: S311 - so that not all come back at once
            else:
                await self._wait(pause * random.uniform(0.5, 1.0))  # noqa: S311
                pause = min(_LONGEST_PAUSE, pause * 2)

    def doubt(self) -> None:
        """Something suggests that the connection is dead: ask the proxy at once, and do not wait to try again."""
        self._hurry.set()
        self._doubt.set()

    async def _wait(self, seconds: float) -> None:
        """Until the time has passed, or there is reason to try at once."""
        self._hurry.clear()
        waits = [asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(self._hurry.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(*waits)

    async def _was_connected(self) -> bool:
        """Whether there was a connection worth the name, which has now ended."""
        began = self._clock.monotonic()
        try:
            await self._keep_control()
        except (TeleportError, OSError, ExceptionGroup) as error:
            self._say(_plain(error))
        connected = self.connected.is_set()
        self.connected.clear()
        if connected:
            self.changed()
        return connected and self._clock.monotonic() - began >= _STABLE

    def _say(self, why: str) -> None:
        """Log why there is no connection: once, not with every attempt."""
        level = logging.DEBUG if why == self._said else logging.WARNING
        log.log(level, "the proxy at %s:%d is not reached: %s", self._proxy.host, self._proxy.port, why)
        self._said = why

    async def drain(self, *, timeout: float) -> None:
        """Wait for live sessions to end by themselves, then end them."""
        if self._sessions:
            await asyncio.wait(tuple(self._sessions), timeout=timeout)
        for task in tuple(self._sessions):
            task.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _keep_control(self) -> None:
        connection = await self._connect(alpn.CONTROL)
        try:
            proxy = self._verify(connection)
            if not proxy.has_role("Proxy"):
                raise AccessDenied(f"{proxy.name} is no proxy")
            if not self.claim(proxy.uid):
                raise Unavailable(f"the proxy {proxy.name} answered there, to which there is a connection already")
            await connection.send(Hello(version=teleport.__version__).model_dump())
            welcome: Welcome = parse(Welcome, await connection.receive(timeout=self._pulse.silence))
            self._spread, self._said = welcome.spread, ""
            self._doubt.clear()
            self.connected.set()
            self.changed()
            log.info("connected to the proxy at %s:%d", self._proxy.host, self._proxy.port)
            heard = _Heard()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ping(connection))
                tasks.create_task(self._ask_in_doubt(connection, heard))
                await self._take_assignments(connection, proxy, heard)
        finally:
            connection.abort()  # a proxy that is silent does not answer a goodbye either

    async def _ping(self, connection: LineConnection) -> None:
        number = 0
        while True:
            await self._clock.sleep(self._pulse.ping)
            number += 1
            await connection.send(Ping(ping=number).model_dump())

    async def _ask_in_doubt(self, connection: LineConnection, heard: "_Heard") -> None:
        """Whenever the connection is doubted, the proxy has a moment to say something. Raises Unavailable."""
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            count = heard.count
            await connection.send(Ping(ping=0).model_dump())
            await self._clock.sleep(self._pulse.doubt)
            if heard.count == count:
                raise Unavailable("the connection is dead: the proxy does not answer")

    async def _take_assignments(self, connection: LineConnection, proxy: Identity, heard: "_Heard") -> None:
        while True:
            message = await connection.receive(timeout=self._pulse.silence)
            heard.count += 1
            if "cut" in message:
                self.cut(parse(Cut, message))
            if "dial" not in message:
                continue
            assignment: Dial = parse(Dial, message)
            if assignment.host_id != self._host_id or assignment.proxy_id != proxy.uid:
                log.error("the proxy sent an assignment of %s to %s", assignment.host_id, self._host_id)
                continue
            if len(self._sessions) >= _MAX_SESSIONS:
                error = Unavailable("the host has too many sessions")
                await connection.send({**error.to_wire(), "ticket": assignment.ticket})
                continue
            task = asyncio.create_task(self._session(assignment, proxy), name=f"session {assignment.session}")
            self._sessions.add(task)
            task.add_done_callback(self._sessions.discard)

    async def _session(self, assignment: Dial, proxy: Identity) -> None:
        """Dial back, show the ticket, and serve. Whatever fails here ends this session only."""
        try:
            connection = await self._way_back()
        except (TeleportError, OSError) as error:
            log.warning("session %s: the way back failed: %s", assignment.session, error)
            return
        try:
            peer = self._verify(connection)
            if not peer.has_role("Proxy") or peer.uid != proxy.uid:
                raise AccessDenied("the peer is not the proxy that asked")
            await connection.send(TicketShown(ticket=assignment.ticket).model_dump())
            parse(Accepted, await connection.receive(timeout=10))
            if isinstance(connection, LeavingConnection):
                await connection.leave()
                connection = await as_stream(connection)
            with self._vigil.over(connection.descriptor):
                await self._serve(connection, assignment)
        except (TeleportError, OSError) as error:
            log.warning("session %s: %s", assignment.session, error)
        except Exception:
            log.exception("session %s failed", assignment.session)
        finally:
            connection.close()

    async def _way_back(self) -> Leg:
        """A connection that will leave TLS where the cluster has it so and the proxy knows it already."""
        if self._leaves():
            try:
                return await self._connect_leaving(alpn.DIALBACK_LEAVING)
            except (OSError, Unavailable) as error:
                log.info("the proxy keeps TLS: %s", error)
        return await self._connect(alpn.DIALBACK)

    async def _connect_leaving(self, protocol: str) -> LeavingConnection:
        try:
            async with asyncio.timeout(15):
                sock = await self._dial(self._proxy.host, self._proxy.port)
                return await LeavingConnection.connect(sock, self._contexts(protocol), self._proxy.server_name)
        except TimeoutError:
            raise Unavailable("the proxy does not answer") from None

    async def _connect(self, protocol: str) -> LineConnection:
        loop, connection = asyncio.get_running_loop(), LineConnection()
        try:
            async with asyncio.timeout(15):
                sock = await self._dial(self._proxy.host, self._proxy.port)
                await loop.create_connection(
                    lambda: connection, sock=sock, ssl=self._contexts(protocol),
                    server_hostname=self._proxy.server_name,
                )  # fmt: skip
        except TimeoutError:
            raise Unavailable("the proxy does not answer") from None
        return connection


def _plain(error: BaseException) -> str:
    """Why, in words."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
