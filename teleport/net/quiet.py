"""Lines of JSON in TLS on connections that say little and of which there are very many.

Like `LineConnection`, but on the bare socket: a transport of the loop keeps buffers for bulk, twice what the rest of
such a connection takes.
"""

import asyncio
import json
import socket
import ssl
from typing import Any, Final

from teleport.core.errors import BadInput, Unavailable
from teleport.net.leaving import shaken
from teleport.net.lines import MAX_LINE, parse_line

__all__ = ["QuietConnection"]

_CHUNK: Final = 4096
_MOST_UNSENT: Final = 1 << 20
"""Bytes that may wait for a peer that reads slowly; it counts as gone beyond."""


class QuietConnection:
    """One end, after `accept` or `connect`."""

    __slots__ = ("_buffer", "_ended", "_loop", "_tls", "_unsent", "_waiter", "_writing", "lost", "peer_certificate")

    def __init__(self, wrapped: ssl.SSLSocket) -> None:
        self._tls, self._loop = wrapped, asyncio.get_running_loop()
        self._buffer, self._unsent = b"", b""
        self._waiter: asyncio.Future[None] | None = None
        self._ended = self._writing = False
        self.peer_certificate: bytes | None = wrapped.getpeercert(binary_form=True)
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(wrapped, self._read)
        self._loop.call_soon(self._read)  # what came with the last of the handshake makes no socket readable

    @classmethod
    async def accept(cls, sock: socket.socket, context: ssl.SSLContext) -> "QuietConnection":
        """Shake hands as the server. Closes the socket on failure. Raises OSError."""
        return cls(await shaken(sock, context, server_side=True))

    async def receive(self, *, timeout: float | None = None) -> dict[str, Any]:
        """The next message. Raises Unavailable when the peer leaves or stays silent, BadInput for no message."""
        try:
            async with asyncio.timeout(timeout):
                return parse_line(await self._line())
        except TimeoutError:
            raise Unavailable("the peer did not answer in time") from None

    async def _line(self) -> bytes:
        while True:
            line, found, rest = self._buffer.partition(b"\n")
            if len(line) > MAX_LINE:
                raise BadInput("the peer's message is too long")
            if found:
                self._buffer = rest
                return line
            if self._ended:
                raise Unavailable("the peer closed the connection")
            self._waiter = self._loop.create_future()
            if len(self._buffer) <= MAX_LINE:
                self._resume()
            await self._waiter

    async def send(self, message: dict[str, Any]) -> None:
        """Send one message. Raises Unavailable if the peer is gone."""
        if self._ended:
            raise Unavailable("the peer closed the connection")
        self._unsent += json.dumps(message, separators=(",", ":")).encode() + b"\n"
        self._write()
        if len(self._unsent) > _MOST_UNSENT:
            self.abort()
            raise Unavailable("the peer does not read what it is sent")

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        if self._tls.fileno() >= 0:
            self._loop.remove_reader(self._tls)
            if self._writing:
                self._loop.remove_writer(self._tls)
            self._tls.close()
        self._end()

    def _resume(self) -> None:
        if self._tls.fileno() >= 0 and not self._ended:
            self._loop.add_reader(self._tls, self._read)
            if self._tls.pending():
                self._loop.call_soon(self._read)

    def _read(self) -> None:
        if self._ended or self._tls.fileno() < 0:
            return
        try:
            while len(self._buffer) <= MAX_LINE:
                chunk = self._tls.recv(_CHUNK)
                if not chunk:
                    self._end()
                    break
                self._buffer += chunk
            else:
                self._loop.remove_reader(self._tls)  # until somebody takes a line
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except (OSError, ValueError):
            self._end()
        self._wake()

    def _write(self) -> None:
        try:
            while self._unsent:
                sent = self._tls.send(self._unsent)
                self._unsent = self._unsent[sent:]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._tls, self._write)
            return
        except (OSError, ValueError):
            self._end()
        if self._writing:
            self._writing = False
            if self._tls.fileno() >= 0:
                self._loop.remove_writer(self._tls)

    def _end(self) -> None:
        """Nothing comes any more, and nobody is told anything."""
        if not self._ended and self._tls.fileno() >= 0:
            self._loop.remove_reader(self._tls)
        self._ended, self._unsent = True, b""
        if not self.lost.done():
            self.lost.set_result(None)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
