"""The ends of what is forwarded, held by a child that runs as the login's user: see `forwarder`.

Only pipes lead there and back; no descriptor ever comes from the child, whose user may be up to anything. What it
says is bounded, and nonsense ends it.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from teleport.agents.ssh.process import Account, Program
from teleport.core.errors import Unavailable

__all__ = ["Accepted", "Endpoints", "Listening", "Pipes"]

_FORWARDER: Final = Path(__file__).with_name("forwarder.py")
_START_SECONDS: Final = 20.0
_GOODBYE_SECONDS: Final = 1.0
_MESSAGE: Final = 16 * 1024
_SOCKETS: Final = 1 << 20
"""Bytes of orders that may wait for the child."""


@dataclass(frozen=True)
class Pipes:
    """The agent's ends: `output` is read, `input` written. `number` names the connection to the child."""

    number: int
    input: int
    output: int

    def close(self) -> None:
        for descriptor in (self.input, self.output):
            os.close(descriptor)


@dataclass(frozen=True)
class Listening:
    """Something that listens: a port of the loopback, or a path."""

    number: int
    port: int
    path: str


@dataclass(frozen=True)
class Accepted:
    """A connection that waits to be taken or refused."""

    number: int
    host: str
    port: int


@dataclass(frozen=True)
class _Answer:
    port: int
    path: str


class Endpoints:
    """The child of one connection. `lost` is called once when it is gone, however that came about."""

    def __init__(self, program: Program, control: socket.socket, lost: Callable[[], None]) -> None:
        self._program, self._control, self._lost = program, control, lost
        self._loop = asyncio.get_running_loop()
        self._asked: dict[int, asyncio.Future[_Answer]] = {}
        self._callers: dict[int, Callable[[Accepted], None]] = {}
        self._count = 0
        self.gone = False
        control.setblocking(False)
        self._loop.add_reader(control.fileno(), self._read)

    @classmethod
    async def start(cls, who: Account, *, lost: Callable[[], None]) -> "Endpoints":
        """Start a child. Raises Unavailable."""
        starting = asyncio.ensure_future(asyncio.to_thread(_start, who))
        try:
            program, control = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_undo)
            raise
        endpoints = cls(program, control, lost)
        ready = endpoints._expect(0)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await ready
        except (TimeoutError, OSError, asyncio.CancelledError) as error:
            await endpoints.close()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise Unavailable(f"nothing can be forwarded: {str(error) or 'the child does not answer'}") from None
        return endpoints

    # -- what forwarding wants

    async def connect(self, target: Mapping[str, str | int]) -> Pipes:
        """To a `host` and `port`, or a `path`. Raises OSError, whose text says why not."""
        return await self._with_pipes({"do": "connect", **target})

    async def listen(self, where: Mapping[str, str | int], accepted: Callable[[Accepted], None]) -> Listening:
        """At a `port` of the loopback, at a `path`, or, with neither, in a new folder. Raises OSError."""
        number = self._next()
        self._callers[number] = accepted
        try:
            answer = await self._question(number, {"do": "listen", **where})
        except BaseException:
            self.unlisten(number)
            raise
        return Listening(number, answer.port, answer.path)

    def unlisten(self, number: int) -> None:
        if self._callers.pop(number, None) is not None:
            self.drop(number)

    async def take(self, accepted: Accepted) -> Pipes:
        """Raises OSError."""
        return await self._with_pipes({"do": "take", "accepted": accepted.number})

    def refuse(self, accepted: Accepted) -> None:
        with contextlib.suppress(OSError):
            self._send({"do": "refuse", "id": 0, "accepted": accepted.number})

    def drop(self, number: int) -> None:
        """End a connection or a listener at once."""
        with contextlib.suppress(OSError):
            self._send({"do": "close", "id": number})

    async def close(self) -> None:
        """Let the child tidy up and end, or else kill it."""
        self._hang_up()
        program = self._program
        if program.process.returncode is not None:
            return
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await program.wait()
        except TimeoutError:
            program.process.kill()
            await asyncio.to_thread(program.process.wait)

    # -- ours

    def _next(self) -> int:
        self._count += 1
        return self._count

    async def _with_pipes(self, order: Mapping[str, Any]) -> Pipes:
        number = self._next()
        up_out, up_in = os.pipe()
        down_out, down_in = os.pipe()
        for descriptor in (up_in, down_out):
            os.set_blocking(descriptor, False)
        pipes = Pipes(number, up_in, down_out)
        try:
            try:
                asked = self._question(number, order, (up_out, down_in))
            finally:
                os.close(up_out)
                os.close(down_in)
            await asked
        except BaseException:
            pipes.close()
            self.drop(number)
            raise
        return pipes

    def _question(
        self, number: int, order: Mapping[str, Any], pipes: tuple[int, ...] = ()
    ) -> "asyncio.Future[_Answer]":
        """Send an order; its answer, which is an OSError where there is an error in it."""
        answered = self._expect(number)
        try:
            self._send({"id": number, **order}, pipes)
        except OSError:
            answered.cancel()
            raise
        return answered

    def _expect(self, number: int) -> "asyncio.Future[_Answer]":
        answered = self._asked[number] = self._loop.create_future()
        answered.add_done_callback(lambda _: self._asked.pop(number, None))
        return answered

    def _send(self, order: Mapping[str, Any], pipes: tuple[int, ...] = ()) -> None:
        if self.gone:
            raise OSError("the login's child is gone")
        try:
            socket.send_fds(self._control, [json.dumps(order).encode()], list(pipes))
        except BlockingIOError:
            raise OSError("the login's child does not listen") from None

    def _read(self) -> None:
        try:
            data = self._control.recv(_MESSAGE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up()
            return
        try:
            self._take_message(json.loads(data))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self._hang_up()

    def _take_message(self, message: Mapping[str, Any]) -> None:
        if "accepted" in message:
            host, port = [*message["peer"], "", 0][:2]
            accepted = Accepted(int(message["accepted"]), _printable(str(host)), int(port) & 0xFFFF)
            caller = self._callers.get(message["listener"])
            caller(accepted) if caller is not None else self.refuse(accepted)
            return
        answered = self._asked.get(message.get("id", 0))
        if answered is not None and not answered.done():
            error, path = str(message.get("error", "")), str(message.get("path", ""))
            port = int(message.get("port", 0)) & 0xFFFF
            if error:
                answered.set_exception(OSError(_printable(error)))
            else:
                answered.set_result(_Answer(port, path))

    def _hang_up(self) -> None:
        if self.gone:
            return
        self.gone = True
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        for answered in tuple(self._asked.values()):
            if not answered.done():
                answered.set_exception(OSError("the login's child is gone"))
        self._lost()


def _start(who: Account) -> tuple[Program, socket.socket]:
    """Raises Unavailable."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with theirs:
            identity = {"uid": who.entry.pw_uid, "gid": who.entry.pw_gid, "groups": list(who.groups)}
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKETS)
            ours.send(json.dumps(identity).encode())
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_FORWARDER), str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),), start_new_session=True, env={}, cwd="/",
            )  # fmt: skip
    except OSError as error:
        ours.close()
        raise Unavailable(f"nothing can be forwarded: {error.strerror or error}") from error
    return Program(process, -1, -1, -1), ours


def _undo(starting: "asyncio.Future[tuple[Program, socket.socket]]") -> None:
    """Nobody wants the child any more."""
    if not starting.cancelled() and starting.exception() is None:
        program, control = starting.result()
        control.close()
        program.process.kill()
        program.process.wait()


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:256])
