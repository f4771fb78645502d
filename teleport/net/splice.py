"""Two plain sockets become one: bytes go from one to the other inside the kernel (splice(2)), and are never looked at.

A pipe is needed only while bytes are between the sockets, so pairs that are idle hold none: pipes come from a shared
stock and go back to it empty.
"""

import asyncio
import fcntl
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

__all__ = ["Pipes", "splice"]

_CHUNK: Final = 1 << 20
_TURNS: Final = 4
"""Chunks that one side may move before the loop turns to others."""
_STOCK: Final = 64
_HALF_OPEN: Final = 120.0
"""Seconds without a byte after which a pair ends of which one side has stopped talking."""
_FAREWELL: Final = 1.0
_FLAGS: Final = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE


class Pipes:
    """A stock of empty pipes, shared by all pairs of a process."""

    def __init__(self) -> None:
        self._idle: list[tuple[int, int]] = []

    def take(self) -> tuple[int, int]:
        """The reading and the writing end of an empty pipe. Raises OSError."""
        if self._idle:
            return self._idle.pop()
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):  # the user's share of pipe buffers is used up: a smaller one works as well
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, _CHUNK)
        return pipe

    def give(self, pipe: tuple[int, int], *, empty: bool) -> None:
        """Put a pipe back; one with bytes in it is never used again."""
        if empty and len(self._idle) < _STOCK:
            self._idle.append(pipe)
        else:
            os.close(pipe[0])
            os.close(pipe[1])

    def close(self) -> None:
        while self._idle:
            self.give(self._idle.pop(), empty=False)


class _Way:
    """One direction: from `source` to `sink`, which are non-blocking."""

    def __init__(self, source: socket.socket, sink: socket.socket, pipes: Pipes) -> None:
        self._source, self._sink, self._pipes = source, sink, pipes
        self._loop = asyncio.get_running_loop()
        self._pipe: tuple[int, int] | None = None
        self._inside = 0
        self._ended = False
        self.carried = 0
        self.done: asyncio.Future[None] = self._loop.create_future()

    @property
    def failed(self) -> bool:
        return self.done.done() and (self.done.cancelled() or self.done.exception() is not None)

    def start(self) -> None:
        self._loop.add_reader(self._source, self._guarded, self._move)

    def stop(self) -> None:
        """Wait for nothing any more; what is inside is lost."""
        self._loop.remove_reader(self._source)
        self._loop.remove_writer(self._sink)
        if self._pipe is not None:
            self._pipes.give(self._pipe, empty=not self._inside)
            self._pipe = None
        if not self.done.done():
            self.done.cancel()
        elif not self.done.cancelled():
            self.done.exception()  # of two that fail at once nobody else asks the second

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            if not self.done.done():
                self.done.set_exception(error)
            self._loop.remove_reader(self._source)
            self._loop.remove_writer(self._sink)

    def _move(self) -> None:
        """The source has something: move it on, as long as the sink takes it."""
        for _ in range(_TURNS):
            if self._pipe is None:
                self._pipe = self._pipes.take()
            try:
                got = os.splice(self._source.fileno(), self._pipe[1], _CHUNK, flags=_FLAGS)
            except BlockingIOError:
                break
            self._inside += got
            self._ended = got == 0
            if not self._empty():
                self._loop.remove_reader(self._source)
                self._loop.add_writer(self._sink, self._guarded, self._resume)
                return
            if self._ended:
                self._finish()
                return
        self._put_back()

    def _empty(self) -> bool:
        """Push what is inside into the sink; whether all of it went."""
        assert self._pipe is not None
        try:
            while self._inside:
                put = os.splice(self._pipe[0], self._sink.fileno(), self._inside, flags=_FLAGS)
                self._inside -= put
                self.carried += put
        except BlockingIOError:
            return False
        return True

    def _resume(self) -> None:
        """The sink takes more."""
        if not self._empty():
            return
        self._loop.remove_writer(self._sink)
        self._put_back()
        if self._ended:
            self._finish()
        else:
            self._loop.add_reader(self._source, self._guarded, self._move)

    def _put_back(self) -> None:
        if self._pipe is not None:
            self._pipes.give(self._pipe, empty=True)
            self._pipe = None

    def _finish(self) -> None:
        """The source has said all it had to say, and the sink has it."""
        self._loop.remove_reader(self._source)
        self._put_back()
        with suppress(OSError):  # it is gone, which its own direction notices
            self._sink.shutdown(socket.SHUT_WR)
        if not self.done.done():
            self.done.set_result(None)


async def splice(left: socket.socket, right: socket.socket, pipes: Pipes) -> tuple[int, int]:
    """Carry bytes both ways until both sides have ended; how many came from the left and from the right.

    A side that only stops talking may go on reading (half-close). When one is reset, the other still gets what was
    under way. Cancelling cuts both at once. When it returns, both are closed.
    """
    there, back = _Way(left, right, pipes), _Way(right, left, pipes)
    try:
        there.start()
        back.start()
        await asyncio.wait([there.done, back.done], return_when=asyncio.FIRST_COMPLETED)
        await _second_end(there, back)
        there.stop()
        back.stop()
        async with asyncio.TaskGroup() as leaving:  # which, cancelled, waits until nobody reads any more
            leaving.create_task(_leave(left))
            leaving.create_task(_leave(right))
    finally:
        there.stop()
        back.stop()
        left.close()
        right.close()
    return there.carried, back.carried


async def _second_end(there: _Way, back: _Way) -> None:
    """After an orderly end of one way the other goes on, but not for ever without a byte."""
    while not (there.failed or back.failed):
        before = there.carried + back.carried
        await asyncio.wait([there.done, back.done], timeout=_HALF_OPEN)
        if (there.done.done() and back.done.done()) or there.carried + back.carried == before:
            return


async def _leave(sock: socket.socket) -> None:
    """Say that nothing follows, and hear the other out: closing with unread bytes would take back what was sent."""
    loop = asyncio.get_running_loop()
    try:
        sock.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_FAREWELL):
            while await loop.sock_recv(sock, 65536):
                pass
    except (OSError, TimeoutError):
        pass
