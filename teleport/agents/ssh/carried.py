"""One forwarded connection: bytes between a channel and the pipes of the login's child; each way ends by itself."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import asyncssh

from teleport.agents.ssh.endpoints import Pipes
from teleport.agents.ssh.pump import Reader, Writer

__all__ = ["Carried"]


class Carried(asyncssh.SSHTCPSession[bytes]):
    """Owns the pipes; carries from when asyncssh has opened the channel until either end is done.

    `touched` is called when bytes move. `done` holds why it was ended, empty if it ended by itself.
    """

    def __init__(self, pipes: Pipes, *, touched: Callable[[], None]) -> None:
        self._touched = touched
        self._channel: Any = None
        self.number = pipes.number
        self.sent = self.received = 0
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._writer = Writer(pipes.input, full=self._pause, drained=self._resume)
        self._reader = Reader(pipes.output, self._from_host)
        self._reader.pause()
        for way in (self._writer, self._reader):
            way.ended.add_done_callback(self._one_way_ended)

    # -- what asyncssh calls

    def connection_made(self, chan: Any) -> None:
        self._channel = chan

    def session_started(self) -> None:
        if self.done.done():
            self._close_channel()
        else:
            self._reader.resume()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._touched()
        self.received += len(data)
        self._writer.write(data)

    def eof_received(self) -> bool:
        self._writer.end()
        return True

    def pause_writing(self) -> None:
        self._reader.pause()

    def resume_writing(self) -> None:
        self._reader.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone: what it brought is still delivered, nothing goes back."""
        self._channel = None
        self._writer.ended.add_done_callback(lambda _: self._reader.stop())
        self._writer.end()

    # -- ours

    def end(self, reason: str) -> None:
        """Stop at once, whatever is on its way."""
        if not self.done.done():
            self.done.set_result(reason)
        self._writer.stop()
        self._reader.stop()
        self._close_channel()

    def _from_host(self, data: bytes) -> None:
        self._touched()
        self.sent += len(data)
        if self._channel is not None:
            with contextlib.suppress(OSError):  # the client closes, and has not said so yet
                self._channel.write(data)

    def _pause(self) -> None:
        if self._channel is not None:
            self._channel.pause_reading()

    def _resume(self) -> None:
        if self._channel is not None:
            self._channel.resume_reading()

    def _one_way_ended(self, _: object) -> None:
        if self._reader.ended.done() and self._writer.closed:
            if not self.done.done():
                self.done.set_result("")
            self._close_channel()
        elif self._reader.ended.done() and self._channel is not None:
            self._channel.write_eof()

    def _close_channel(self) -> None:
        if self._channel is not None:
            with contextlib.suppress(OSError, asyncssh.Error):
                self._channel.close()
