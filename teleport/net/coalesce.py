"""Writes of one turn of the event loop leave together: one system call for many small messages."""

import asyncio
from typing import Any, Final

__all__ = ["CoalescingTransport"]

_ENOUGH: Final = 256 * 1024
"""Bytes that do not wait for the end of the turn."""


class CoalescingTransport:
    """A transport that keeps what is written until the turn of the loop ends; all else is the transport's own.

    Nothing is reordered or lost: closing, the end of writing and `flush` send what waits first.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._waiting: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= _ENOUGH:
            self.flush()

    def flush(self) -> None:
        """Give what waits to the transport now."""
        waiting, self._waiting, self._size = self._waiting, [], 0
        if waiting and not self._transport.is_closing():
            self._transport.write(b"".join(waiting))

    def get_write_buffer_size(self) -> int:
        return self._size + self._transport.get_write_buffer_size()

    def write_eof(self) -> None:
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
