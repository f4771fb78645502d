"""The host's ends of what is forwarded, opened and held by its own sshd; see `agents.ssh.endpoints`.

A connection is two of `Carried`, back to back: one on the client's channel, one on the host's.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import asyncssh

from teleport.agents.ssh.carried import Carried
from teleport.agents.ssh.endpoints import Accepted, Listening, Pipes
from teleport.agents.ssh.forwarding import Ends
from teleport.agents.ssh.x11 import Cookie
from teleport.net.asyncssh_host import HostConnection

__all__ = ["RemoteGround"]

_LOOPBACK = "localhost"
_DISPLAY = "display"


class RemoteGround:
    """The host at the other end of a connection; see `forwarding.Ground`."""

    def __init__(self, connection: HostConnection) -> None:
        self._connection = connection

    async def ends(self, *, lost: Callable[[], None]) -> Ends:
        return _RemoteEnds(self._connection, lost)

    def display_order(self) -> Mapping[str, str | int]:
        return {_DISPLAY: 1}

    async def lead_to_display(self, cookie: Cookie, at: Listening) -> str:
        """The host's sshd does that, when the session asks for it; programs there learn it from sshd."""
        return _DISPLAY


@dataclass(eq=False)
class _Waiting:
    """A connection that the host offers."""

    taken: "asyncio.Future[Carried]"


class _RemoteEnds:
    def __init__(self, connection: HostConnection, lost: Callable[[], None]) -> None:
        self._connection, self._lost = connection, lost
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._ends: dict[int, Callable[[], None]] = {}
        self._waiting: dict[int, _Waiting] = {}
        self.gone = False
        connection.lost.add_done_callback(self._hang_up)

    async def connect(self, target: Mapping[str, str | int]) -> Pipes:
        number, (ours, theirs) = self._next(), _pairs()
        far = Carried(theirs, touched=_ignore)
        try:
            await self._open(far, target)
        except asyncssh.ChannelOpenError as error:
            far.end("")
            ours.close()
            raise OSError(_printable(error.reason)) from None
        except BaseException:
            far.end("")
            ours.close()
            raise
        self._ends[number] = lambda: far.end("")
        return Pipes(number, ours.input, ours.output)

    async def _open(self, far: Carried, target: Mapping[str, str | int]) -> None:
        if "path" in target:
            session: Any = far
            await self._connection.create_unix_connection(lambda: session, str(target["path"]), encoding=None)
        else:
            host, port = str(target["host"]), int(target["port"])
            await self._connection.create_connection(lambda: far, host, port, encoding=None)

    async def listen(self, where: Mapping[str, str | int], accepted: Callable[[Accepted], None]) -> Listening:
        """At a port of the host's loopback or a path there; with neither, for its programs' use of the agent."""
        number = self._next()

        async def offered(host: str = "", port: int = 0) -> Carried:
            return await self._offer(accepted, host, port)

        if _DISPLAY in where:
            return self._listen_inside(number, "display", offered)
        if not where:
            return self._listen_inside(number, "agent", offered)
        try:
            if "path" in where:
                unix: Any = offered
                listener: Any = await self._connection.create_unix_server(unix, str(where["path"]), encoding=None)
            else:
                tcp: Any = offered
                listener = await self._connection.create_server(tcp, _LOOPBACK, int(where["port"]), encoding=None)
        except asyncssh.ChannelListenError:
            raise OSError("the host's sshd does not listen there") from None
        self._ends[number] = listener.close
        port = 0 if "path" in where else listener.get_port()
        return Listening(number, port, str(where.get("path", "")))

    def _listen_inside(self, number: int, name: str, offered: Any) -> Listening:
        if getattr(self._connection, name) is not None:
            raise OSError("that is forwarded already")
        setattr(self._connection, name, offered)
        self._ends[number] = lambda: setattr(self._connection, name, None)
        return Listening(number, 0, name)

    async def _offer(self, accepted: Callable[[Accepted], None], host: str, port: int) -> Carried:
        """Until somebody takes it. Raises ChannelOpenError."""
        number = self._next()
        waiting = self._waiting[number] = _Waiting(self._loop.create_future())
        try:
            accepted(Accepted(number, host, port))
            return await waiting.taken
        finally:
            self._waiting.pop(number, None)

    def unlisten(self, number: int) -> None:
        self.drop(number)

    async def take(self, accepted: Accepted) -> Pipes:
        waiting = self._waiting.get(accepted.number)
        if waiting is None or waiting.taken.done():
            raise OSError("whoever connected has left")
        ours, theirs = _pairs()
        far = Carried(theirs, touched=_ignore)
        waiting.taken.set_result(far)
        self._ends[accepted.number] = lambda: far.end("")
        return Pipes(accepted.number, ours.input, ours.output)

    def refuse(self, accepted: Accepted) -> None:
        waiting = self._waiting.get(accepted.number)
        if waiting is not None and not waiting.taken.done():
            error = asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the client does not take it")
            waiting.taken.set_exception(error)

    def drop(self, number: int) -> None:
        end = self._ends.pop(number, None)
        if end is not None and not self.gone:
            with contextlib.suppress(OSError, asyncssh.Error):
                end()

    async def close(self) -> None:
        for number in tuple(self._ends):
            self.drop(number)
        self.gone = True

    def _hang_up(self, _: object) -> None:
        if not self.gone:
            for number in tuple(self._ends):
                self.drop(number)
            self.gone = True
            self._lost()

    def _next(self) -> int:
        self._count += 1
        return self._count


def _pairs() -> tuple[Pipes, Pipes]:
    """Pipes between two that carry: what one writes the other reads."""
    up_out, up_in = os.pipe()
    down_out, down_in = os.pipe()
    for descriptor in (up_out, up_in, down_out, down_in):
        os.set_blocking(descriptor, False)
    return Pipes(0, up_in, down_out), Pipes(0, down_in, up_out)


def _ignore() -> None:
    """The client's side counts what moves."""


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:256])
