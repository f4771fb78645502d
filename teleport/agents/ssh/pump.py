"""Bytes between non-blocking descriptors and callbacks, driven by the loop's readiness, with back-pressure."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable
from typing import Final

__all__ = ["Brake", "Reader", "Writer", "wide_pipe"]

_CHUNK: Final = 128 * 1024
_WIDE: Final = 256 * 1024
_HIGH: Final = 256 * 1024
_LOW: Final = 64 * 1024


def wide_pipe() -> tuple[int, int]:
    """A pipe for bulk: it takes more at once than the usual 64 KiB. Only root's; other users have few pages for all."""
    reading, writing = os.pipe()
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _WIDE)
    return reading, writing


class Brake:
    """Stops a source for as long as anybody has a reason to."""

    def __init__(self, *, stop: Callable[[], None], go: Callable[[], None]) -> None:
        self._stop, self._go = stop, go
        self._reasons: set[str] = set()

    @property
    def held(self) -> bool:
        return bool(self._reasons)

    def hold(self, reason: str, wanted: bool) -> None:
        """Put in or take back one reason; either may be said again."""
        held = self.held
        (self._reasons.add if wanted else self._reasons.discard)(reason)
        if held != self.held:
            (self._go if held else self._stop)()


class Reader:
    """Reads a descriptor as long as it is not paused; closes it at its end.

    `ended` raises what kept a piece from being handed on, for want of memory say: nothing is read after a gap.
    """

    def __init__(self, descriptor: int, data: Callable[[bytes], None], *, close: bool = True) -> None:
        self._descriptor, self._data, self._close = descriptor, data, close
        self._loop = asyncio.get_running_loop()
        self._paused = False
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(descriptor, self._ready)

    def pause(self) -> None:
        if not self._paused and not self.ended.done():
            self._paused = True
            self._loop.remove_reader(self._descriptor)

    def resume(self) -> None:
        if self._paused and not self.ended.done():
            self._paused = False
            self._loop.add_reader(self._descriptor, self._ready)

    def _ready(self) -> None:
        try:
            chunk = os.read(self._descriptor, _CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            chunk = b""  # a terminal whose programs are gone answers EIO
        except MemoryError as error:
            self.stop(error)
            return
        if not chunk:
            self.stop()
            return
        try:
            self._data(chunk)
        except Exception as error:
            self.stop(error)

    def stop(self, error: Exception | None = None) -> None:
        """Read no more."""
        if self.ended.done():
            return
        self._loop.remove_reader(self._descriptor)
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
        if self._close:
            os.close(self._descriptor)


class Writer:
    """Writes to a descriptor what it is given; asks to be given less when it cannot keep up."""

    def __init__(
        self, descriptor: int, *, full: Callable[[], None], drained: Callable[[], None], close: bool = True
    ) -> None:
        self._descriptor, self._full, self._drained, self._close = descriptor, full, drained, close
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._waiting = self._choked = self._ending = self.closed = False
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def write(self, data: bytes) -> None:
        if self.closed or self._ending:
            return
        if not self._buffer:
            data = self._pass(data)
        self._buffer += data
        self._settle()

    def end(self) -> None:
        """Close after what is buffered is written."""
        self._ending = True
        if not self._buffer:
            self.stop()

    def _flush(self) -> None:
        piece = bytes(memoryview(self._buffer)[:_CHUNK])
        del self._buffer[: len(piece) - len(self._pass(piece))]
        self._settle()

    def _pass(self, data: bytes) -> bytes:
        """What the descriptor does not take now."""
        try:
            return data[os.write(self._descriptor, data) :]
        except (BlockingIOError, InterruptedError):
            return data
        except OSError:
            self.stop()  # the program closed its input
            return b""

    def _settle(self) -> None:
        if self._buffer and not self._waiting:
            self._waiting = True
            self._loop.add_writer(self._descriptor, self._flush)
        elif not self._buffer and self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._descriptor)
        if not self._choked and len(self._buffer) > _HIGH:
            self._choked = True
            self._full()
        elif self._choked and len(self._buffer) < _LOW:
            self._choked = False
            self._drained()
        if self._ending and not self._buffer:
            self.stop()

    def stop(self) -> None:
        """Write no more; what is buffered is dropped."""
        if self.closed:
            return
        self.closed = True
        self.ended.set_result(None)
        self._buffer.clear()
        if self._waiting:
            self._loop.remove_writer(self._descriptor)
        if self._choked:
            self._choked = False
            self._drained()
        if self._close:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
