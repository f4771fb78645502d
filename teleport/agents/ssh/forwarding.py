"""Forwarding on one connection: what the roles permit now, opened by the login's own child, counted and written down.

Each thing that is forwarded rests on its condition: when the roles no longer permit it, it ends at once and the
session goes on. Nothing is forwarded of which no event could be written.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import asyncssh
from asyncssh.packet import String, UInt32

from teleport.agents.ssh import x11
from teleport.agents.ssh.carried import Carried
from teleport.agents.ssh.endpoints import Accepted, Endpoints, Listening, Pipes
from teleport.agents.ssh.forward_records import Party, another
from teleport.agents.ssh.process import Account
from teleport.audit.events import Forwarded, PortForwarded, X11Forwarded
from teleport.core.errors import AccessDenied, TeleportError
from teleport.net.asyncssh_seams import Connection, ForwardChannel
from teleport.sessions import conditions
from teleport.sessions.session import Still
from teleport.wire.ssh_forwarding import (
    CANCELS,
    LISTENS,
    TcpAddress,
    Where,
    cancelled,
    destination,
    listener,
)  # fmt: skip

__all__ = ["Ends", "Forwarding", "Ground", "LocalGround"]

log = logging.getLogger(__name__)

_MAX_CONNECTIONS: Final = 256
"""Forwarded connections at a time; each may hold a window of the client's in memory."""
_MAX_LISTENERS: Final = 64


@dataclass(eq=False)
class _Listener:
    """Something that listens on the host for the client."""

    at: Listening
    gone: "asyncio.Future[str]"
    addr: str

    def end(self, reason: str) -> None:
        if not self.gone.done():
            self.gone.set_result(reason)


_Open = Callable[[Accepted], tuple[bytes, tuple[bytes, ...]]]
"""Kind and fields of the channel that a connection to a listener is offered on."""

_Terms = tuple[Still, Forwarded, _Open]


class Ends(Protocol):
    """The host's ends of what is forwarded; see `endpoints.Endpoints`."""

    @property
    def gone(self) -> bool: ...
    async def connect(self, target: Mapping[str, str | int]) -> Pipes: ...
    async def listen(self, where: Mapping[str, str | int], accepted: Callable[[Accepted], None]) -> Listening: ...
    def unlisten(self, number: int) -> None: ...
    async def take(self, accepted: Accepted) -> Pipes: ...
    def refuse(self, accepted: Accepted) -> None: ...
    def drop(self, number: int) -> None: ...
    async def close(self) -> None: ...


class Ground(Protocol):
    """Where the host's ends are."""

    async def ends(self, *, lost: Callable[[], None]) -> Ends:
        """Raises TeleportError. `lost` is called once when they are gone."""
        ...

    def display_order(self) -> Mapping[str, str | int]:
        """What `Ends.listen` is told for a display."""
        ...

    async def lead_to_display(self, cookie: x11.Cookie, at: Listening) -> str:
        """Make a display usable for programs; what they find it by. Raises OSError and TeleportError."""
        ...


@dataclass(frozen=True)
class LocalGround:
    """This host, as the login's user."""

    account: Account

    async def ends(self, *, lost: Callable[[], None]) -> Ends:
        return await Endpoints.start(self.account, lost=lost)

    def display_order(self) -> Mapping[str, str | int]:
        return {"port": x11.FIRST_PORT, "ports": x11.PORTS}

    async def lead_to_display(self, cookie: x11.Cookie, at: Listening) -> str:
        await x11.authorise(self.account, cookie, at.port)
        return f"localhost:{cookie.display(at.port)}"


class Forwarding:
    """See `asyncssh_seams.Forwards`. `close` ends everything."""

    def __init__(self, party: Party, connection: Connection, ground: Ground) -> None:
        self._party, self._connection, self._ground = party, connection, ground
        self._endpoints: asyncio.Future[Ends] | None = None
        self._ending: set[asyncio.Future[None]] = set()
        self._carried: set[Carried] = set()
        self._connections = 0
        self._listeners: dict[object, _Listener] = {}
        self._listening: set[object] = set()
        self._one_agent = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    # -- connections from the client's side

    async def open(self, kind: bytes, body: bytes) -> Carried:
        try:
            where = destination(kind, body)
        except ValueError as error:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, str(error)) from None
        event = PortForwarded(**self._party.about(), kind="local", addr=str(where))
        opened: asyncio.Future[Carried] = asyncio.get_running_loop().create_future()
        self._run(self._serve_local(where, event, opened))
        return await opened

    async def _serve_local(self, where: Where, event: Forwarded, opened: "asyncio.Future[Carried]") -> None:
        async def connect() -> Carried:
            endpoints = await self._child()
            return Carried(await endpoints.connect(where.order()), touched=self._party.touched)

        try:
            async with self._held(conditions.local_forwarding, event, connect) as carried:
                if not opened.done():
                    opened.set_result(carried)
                else:
                    carried.end("the client disconnected")
                await carried.done
        except AccessDenied as error:
            _refuse(opened, asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, error.message)
        except (OSError, TeleportError) as error:
            _refuse(opened, asyncssh.OPEN_CONNECT_FAILED, str(error))
        except BaseException:
            _refuse(opened, asyncssh.OPEN_CONNECT_FAILED, "an internal error")
            raise

    @asynccontextmanager
    async def _held(
        self, still: Still, event: Forwarded, connect: Callable[[], Awaitable[Carried]]
    ) -> AsyncIterator[Carried]:
        """A connection with its events, for as long as it is permitted. Raises OSError and TeleportError."""
        withdrawn: list[str] = []
        carried: Carried | None = None

        def end(reason: str) -> None:
            withdrawn.append(reason)
            if carried is not None:
                self._end_now(carried, reason)

        async with AsyncExitStack() as stack:
            try:
                stack.enter_context(self._party.session.hold(still, end))
                stack.enter_context(self._counted())
                carried = await connect()
                self._carried.add(carried)
                stack.callback(self._let_go, carried)
                await self._party.write(event)
                if withdrawn or self._closed:
                    raise AccessDenied(withdrawn[0] if withdrawn else "the connection ended")
            except (OSError, TeleportError) as error:
                await self._party.write_refusal(event, error)
                raise
            try:
                yield carried
            finally:
                self._let_go(carried)
                counted = replace(event, tx=carried.sent, rx=carried.received)
                await self._party.write_end(counted, carried.done.result())

    @contextlib.contextmanager
    def _counted(self) -> Any:
        if self._connections >= _MAX_CONNECTIONS:
            raise OSError(f"{_MAX_CONNECTIONS} connections are forwarded already")
        self._connections += 1
        try:
            yield
        finally:
            self._connections -= 1

    def _end_now(self, carried: Carried, reason: str) -> None:
        carried.end(reason)
        endpoints = self._living()
        if endpoints is not None:
            endpoints.drop(carried.number)

    def _let_go(self, carried: Carried) -> None:
        self._carried.discard(carried)
        if not carried.done.done():
            self._end_now(carried, "the connection ended")

    # -- connections from the host's side

    async def asked(self, name: bytes, body: bytes) -> bool | bytes:
        try:
            if name in CANCELS:
                return self._cancel(cancelled(name, body))
            if name in LISTENS:
                return await self._listen_for(listener(name, body))
        except ValueError as error:
            self.say(str(error))
        return False

    def _cancel(self, where: Where) -> bool:
        found = self._listeners.get(where)
        if found is not None:
            found.end("")
        return found is not None

    async def _listen_for(self, where: Where) -> bool | bytes:
        """Whatever address was asked for, ports listen on the loopback alone, as under GatewayPorts no."""
        if isinstance(where, TcpAddress):
            order: Mapping[str, str | int] = {"port": where.port}
        else:
            order = where.order()

        def offer(accepted: Accepted) -> tuple[bytes, tuple[bytes, ...]]:
            if isinstance(where, TcpAddress):
                bound = UInt32(where.port or found.at.port)
                return b"forwarded-tcpip", (String(where.host), bound, String(accepted.host), UInt32(accepted.port))
            return b"forwarded-streamlocal@openssh.com", (String(where.path), String(b""))

        event = PortForwarded(**self._party.about(), kind="remote", addr=str(where))
        try:
            found = await self._listen(where, order, (conditions.remote_forwarding, event, offer))
        except (OSError, TeleportError) as error:
            self.say(str(error))
            return False
        if isinstance(where, TcpAddress) and not where.port:
            self._listeners[TcpAddress(where.host, found.at.port)] = self._listeners.pop(where)
            return bytes(UInt32(found.at.port))
        return True

    async def agent(self) -> Mapping[str, str]:
        """Variables by which programs find the client's agent; one socket a connection.

        Raises OSError and TeleportError.
        """
        async with self._one_agent:
            found = self._listeners.get("agent")
            if found is None:
                event = PortForwarded(**self._party.about(), kind="agent", addr="")
                terms: _Terms = (conditions.agent_forwarding, event, lambda _: (b"auth-agent@openssh.com", ()))
                found = await self._listen("agent", {}, terms)
        return {"SSH_AUTH_SOCK": found.at.path}

    async def display(self, owner: object, body: bytes) -> Mapping[str, str]:
        """Variables by which programs find the client's display, until `release`. Raises OSError, TeleportError."""
        try:
            cookie = x11.cookie(body)
        except ValueError as error:
            raise OSError(str(error)) from None
        event = X11Forwarded(**self._party.about(), kind="display", addr="")
        terms = (conditions.x11_forwarding, event, _offer_display)
        found = await self._listen(owner, self._ground.display_order(), terms)
        try:
            display = await self._ground.lead_to_display(cookie, found.at)
        except (OSError, TeleportError) as error:
            found.end(str(error))
            raise
        return {"DISPLAY": display}

    def release(self, owner: object) -> None:
        """Nobody is left who would use what listens for this owner."""
        found = self._listeners.get(owner)
        if found is not None:
            found.end("")

    async def _listen(self, key: object, order: Mapping[str, str | int], terms: _Terms) -> _Listener:
        """Raises OSError and TeleportError."""
        if key in self._listening or key in self._listeners:
            raise OSError("that is forwarded already")
        if len(self._listening) + len(self._listeners) >= _MAX_LISTENERS:
            raise OSError(f"{_MAX_LISTENERS} addresses are forwarded already")
        started: asyncio.Future[_Listener] = asyncio.get_running_loop().create_future()
        self._listening.add(key)
        try:
            self._run(self._serve_listener(key, order, terms, started))
            return await started
        finally:
            self._listening.discard(key)

    async def _serve_listener(
        self, key: object, order: Mapping[str, str | int], terms: _Terms,
        started: "asyncio.Future[_Listener]",
    ) -> None:  # fmt: skip
        still, event, _ = terms
        gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def accept(accepted: Accepted) -> None:
            self._run(self._serve_accepted(accepted, terms))

        endpoints: Ends | None = None
        at: Listening | None = None

        def end(reason: str) -> None:
            if not gone.done():
                gone.set_result(reason)

        try:
            with self._party.session.hold(still, end):
                endpoints = await self._child()
                at = await endpoints.listen(order, accept)
                event = replace(event, addr=_address(at))
                await self._party.write(event)
                found = _Listener(at, gone, event.addr)
                if gone.done() or self._closed or started.done():
                    raise AccessDenied(gone.result() if gone.done() else "the connection ended")
                self._listeners[key] = found
                started.set_result(found)
                reason = await gone
        except (OSError, TeleportError) as error:
            await self._party.write_refusal(event, error)
            if not started.done():
                started.set_exception(error)
            return
        finally:
            if endpoints is not None and at is not None:
                endpoints.unlisten(at.number)
            for known in [known for known, one in self._listeners.items() if one.gone is gone]:
                del self._listeners[known]
            if not started.done():
                started.cancel()
        await self._party.write_end(event, reason)

    async def _serve_accepted(self, accepted: Accepted, terms: _Terms) -> None:
        still, event, offer = terms
        endpoints = self._living()
        if endpoints is None:
            return
        peer = str(TcpAddress(accepted.host, accepted.port)) if accepted.host else event.addr
        told = another(event, kind=f"{event.kind}-connection", addr=peer)
        taken = False

        async def take() -> Carried:
            nonlocal taken
            taken = True
            return Carried(await endpoints.take(accepted), touched=self._party.touched)

        try:
            async with self._held(still, told, take) as carried:
                kind, parts = offer(accepted)
                await ForwardChannel(self._connection).open(carried, kind, *parts)
                await carried.done
        except (OSError, TeleportError, asyncssh.Error) as error:
            log.debug("a connection to a forwarded address was not carried: %s", error)
        finally:
            if not taken:
                endpoints.refuse(accepted)

    # -- the child

    def _child(self) -> "asyncio.Future[Ends]":
        """The login's child, started if there is none. Raises Unavailable."""
        if self._endpoints is None or (self._endpoints.done() and self._living() is None):
            self._endpoints = asyncio.ensure_future(self._ground.ends(lost=self._lost))
        return asyncio.shield(self._endpoints)

    def _living(self) -> Ends | None:
        started = self._endpoints
        if started is None or not started.done() or started.cancelled() or started.exception() is not None:
            return None
        return None if started.result().gone else started.result()

    def _lost(self) -> None:
        """Without the child there is nothing to forward to."""
        for carried in tuple(self._carried):
            carried.end("the login's child is gone")
        for found in tuple(self._listeners.values()):
            found.end("the login's child is gone")
        started = self._endpoints
        if not self._closed and started is not None and started.done() and not started.cancelled():
            closing = asyncio.ensure_future(started.result().close())
            self._ending.add(closing)
            closing.add_done_callback(self._ending.discard)

    # -- ends

    def end(self, reason: str) -> None:
        """End everything that is forwarded now; nothing more is."""
        self._closed = True
        for carried in tuple(self._carried):
            self._end_now(carried, reason)
        for found in tuple(self._listeners.values()):
            found.end(reason)

    async def close(self) -> None:
        """End everything, and wait until nothing of it is left."""
        self._closed = True
        started = self._endpoints
        if started is not None:
            started.cancel()  # which does nothing to a child that has started
            await asyncio.wait([started])
            if not started.cancelled() and started.exception() is None:
                await started.result().close()
        self._lost()
        if self._tasks:
            _, stuck = await asyncio.wait(self._tasks, timeout=5)
            for task in stuck:
                task.cancel()
        if self._ending:
            await asyncio.wait(self._ending)

    def _run(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ran)

    def _ran(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("forwarding for %s failed", self._party.session.user, exc_info=error)

    def say(self, text: str) -> None:
        """Requests of the whole connection are refused without a word; clients show this when asked to be verbose."""
        with contextlib.suppress(OSError, asyncssh.Error):
            self._connection.send_debug(text)


def _address(at: Listening) -> str:
    return at.path or str(TcpAddress("localhost", at.port))


def _offer_display(accepted: Accepted) -> tuple[bytes, tuple[bytes, ...]]:
    return b"x11", (String(accepted.host), UInt32(accepted.port))


def _refuse(opened: "asyncio.Future[Carried]", code: int, text: str) -> None:
    if not opened.done():
        opened.set_exception(asyncssh.ChannelOpenError(code, text))
