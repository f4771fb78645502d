"""Two connections become one: what comes in on either goes out on the other, with back-pressure both ways.

Two that have left TLS are joined in the kernel (`splice`), others here. When one side ends, what is under way is
delivered and the other is closed.
"""

import asyncio
from typing import Final

from teleport.net.leaving import LeavingConnection
from teleport.net.lines import LineConnection
from teleport.net.splice import Pipes, splice

__all__ = ["Leg", "as_stream", "join"]

Leg = LineConnection | LeavingConnection
"""One side, after its messages."""

_LINGER: Final = 30.0
"""Seconds for which a side that reads slowly may still fetch what the other said before it left."""


class _Half(asyncio.Protocol):
    """One side of a joined pair; writes go to `peer`."""

    def __init__(self) -> None:
        self.peer: _Half
        self.transport: asyncio.Transport | None = None
        self.carried = 0
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.carried += len(data)
        if self.peer.transport is not None:
            self.peer.transport.write(data)

    def eof_received(self) -> bool | None:
        self.peer.finish()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.peer.finish()
        if not self.lost.done():
            self.lost.set_result(None)

    def pause_writing(self) -> None:
        if self.peer.transport is not None and not self.peer.transport.is_closing():
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer.transport is not None and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def finish(self) -> None:
        """Deliver what is buffered, then close."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()


async def join(left: Leg, right: Leg, pipes: Pipes | None = None) -> tuple[int, int]:
    """Carry bytes until either side ends; how many came from the left and from the right.

    Cancelling cuts both at once. When it returns, both are gone.
    """
    if isinstance(left, LeavingConnection) and isinstance(right, LeavingConnection):
        return await splice(left.plain(), right.plain(), pipes or Pipes())
    return await _join_streams(await as_stream(left), await as_stream(right))


async def as_stream(leg: Leg) -> LineConnection:
    """A connection as a transport of the loop, whether it is in TLS or has left it."""
    if isinstance(leg, LineConnection):
        return leg
    stream, sock = LineConnection(), leg.plain()
    try:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: stream, sock)
    except BaseException:
        sock.close()
        raise
    return stream


async def _join_streams(left: LineConnection, right: LineConnection) -> tuple[int, int]:
    first, second = _Half(), _Half()
    first.peer, second.peer = second, first
    first.transport, second.transport = left.transport, right.transport
    try:
        right.become(second)
        left.become(first)
        await asyncio.wait([first.lost, second.lost], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([first.lost, second.lost], timeout=_LINGER)
    finally:
        left.transport.abort()
        right.transport.abort()
    return first.carried, second.carried
