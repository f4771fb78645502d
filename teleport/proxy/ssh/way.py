"""A channel that leads to a host, as the relay knows its clients: a connection without lines, open once it is taken.

`asyncssh`'s channel appears as a transport, so that it is joined with a host's connection like any other.
"""

import asyncio
import contextlib
from typing import Any

import asyncssh

from teleport.core.errors import Unavailable
from teleport.net.lines import LineConnection

__all__ = ["Way"]


class Way(LineConnection):
    """The client's side. `session` is asyncssh's view of it."""

    def __init__(self) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        self.taken: asyncio.Future[None] = loop.create_future()
        """Done when the host is there: from then on the channel may be opened."""
        self._opened: asyncio.Future[None] = loop.create_future()
        self.session = _Session(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._opened.done():
            self._opened.set_result(None)

    async def send(self, message: dict[str, Any]) -> None:
        """There is nobody to read it: what is sent here belongs to SSH."""

    async def hand_over(self, message: dict[str, Any]) -> None:
        """Have the channel opened. Raises Unavailable if the client is gone."""
        if not self.taken.done():
            self.taken.set_result(None)
        await asyncio.wait([self._opened, self.lost], return_when=asyncio.FIRST_COMPLETED)
        if self.lost.done():
            raise Unavailable("the client closed the connection")

    def close(self) -> None:
        if self._opened.done():
            super().close()

    def abort(self) -> None:
        if self._opened.done():
            super().abort()


class _Session(asyncssh.SSHTCPSession[bytes]):
    """Passes on to whoever has the transport what asyncssh says of the channel."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._transport: _Transport | None = None

    @property
    def _protocol(self) -> asyncio.Protocol:
        return self._way if self._transport is None else self._transport.get_protocol()

    def connection_made(self, chan: Any) -> None:
        self._transport = _Transport(chan, self._way)
        self._way.connection_made(self._transport)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._protocol.data_received(data)

    def eof_received(self) -> bool:
        """As a loop's transport does: it closes when nobody wants to go on, having sent what waits."""
        if not self._protocol.eof_received() and self._transport is not None:
            self._transport.close()
        return True

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)


class _Transport(asyncio.Transport):
    """A channel."""

    def __init__(self, channel: Any, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._channel, self._protocol = channel, protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.Protocol:
        return self._protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._channel.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return int(self._channel.get_write_buffer_size())

    def write(self, data: Any) -> None:
        with contextlib.suppress(OSError):  # the client has closed it, which the protocol is about to hear
            self._channel.write(bytes(data))

    def pause_reading(self) -> None:
        self._channel.pause_reading()

    def resume_reading(self) -> None:
        self._channel.resume_reading()

    def is_closing(self) -> bool:
        return bool(self._channel.is_closing())

    def close(self) -> None:
        self._channel.close()

    def abort(self) -> None:
        self._channel.abort()
