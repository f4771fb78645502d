"""A connection that starts with lines of JSON and then becomes something else.

`LineConnection` is an asyncio protocol: read bounded lines, answer, then hand the transport to another protocol with
whatever was received beyond the last line. Transports may be TLS or plain.
"""

import asyncio
import json
from typing import Any, Final, Protocol

from teleport.core.errors import BadInput, Unavailable

__all__ = ["MAX_LINE", "LineConnection", "Lines", "parse_line"]

MAX_LINE: Final = 64 * 1024
"""Bytes in one line of the exchange that opens a connection."""


def parse_line(line: bytes) -> dict[str, Any]:
    """The message in a line. Raises BadInput."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise BadInput("the peer sent what is not JSON") from None
    if not isinstance(message, dict):
        raise BadInput("the peer sent what is not a message")
    return message


class Lines(Protocol):
    """What says and hears messages."""

    async def receive(self, *, timeout: float | None = None) -> dict[str, Any]: ...
    async def send(self, message: dict[str, Any]) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class LineConnection(asyncio.Protocol):
    """Lines of JSON in both directions, until `become`."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self.handed_over = False
        """Whether the transport is another protocol's by now."""
        self._writable = asyncio.Event()
        self._writable.set()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > 2 * MAX_LINE:
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool | None:
        self._closed = True
        self._wake()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._writable.set()
        self._wake()
        if not self.lost.done():
            self.lost.set_result(None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- ours

    async def receive(self, *, timeout: float | None = None) -> dict[str, Any]:
        """The next message. Raises Unavailable when the peer leaves or stays silent, BadInput for no message."""
        try:
            async with asyncio.timeout(timeout):
                line = await self._line()
        except TimeoutError:
            raise Unavailable("the peer did not answer in time") from None
        return parse_line(line)

    async def _line(self) -> bytes:
        while True:
            end = self._buffer.find(b"\n", 0, MAX_LINE + 1)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                return line
            if len(self._buffer) > MAX_LINE:
                raise BadInput("the peer's message is too long")
            if self._closed:
                raise Unavailable("the peer closed the connection")
            self._waiter = asyncio.get_running_loop().create_future()
            if not self.transport.is_closing():
                self.transport.resume_reading()
            await self._waiter

    async def send(self, message: dict[str, Any]) -> None:
        """Send one message, waiting while the peer is slow. Raises Unavailable if it is gone."""
        if self._closed or self.transport.is_closing():
            raise Unavailable("the peer closed the connection")
        self.transport.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        await self._writable.wait()

    async def hand_over(self, message: dict[str, Any]) -> None:
        """Send the last message; what follows on the connection is others'."""
        await self.send(message)

    def become(self, protocol: asyncio.Protocol) -> None:
        """Hand the transport over; the successor first receives what came after the last line.

        It also learns what it came too late for: that the peer is slow, has said all it had to say, or is gone.
        """
        self.handed_over = True
        rest = bytes(self._buffer)
        self._buffer.clear()
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if not self._writable.is_set():
            protocol.pause_writing()
        if rest:
            protocol.data_received(rest)
        if self.lost.done():
            protocol.connection_lost(None)
        elif self._closed:
            protocol.eof_received()
        elif not self.transport.is_closing():
            self.transport.resume_reading()

    def close(self) -> None:
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()

    @property
    def descriptor(self) -> int:
        """Of the socket, -1 once it is closed."""
        sock = self.transport.get_extra_info("socket")
        return sock.fileno() if sock is not None and not self.lost.done() else -1

    @property
    def peer_certificate(self) -> bytes | None:
        """The DER of the TLS peer's certificate."""
        tls = self.transport.get_extra_info("ssl_object")
        der: bytes | None = tls.getpeercert(binary_form=True) if tls is not None else None
        return der
