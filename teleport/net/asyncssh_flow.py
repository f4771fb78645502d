"""What bounds and paces SSH connections and channels, a client's to us and ours to a host alike. Touches internals.

What comes in is worked off in portions, so that a flood of tiny packets leaves time for other connections; what goes
out waits when the transport is full, whatever window the peer offers. See `asyncssh_seams`, which says why.
"""

import time
from typing import Any, Final

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.constants import MSG_CHANNEL_REQUEST, MSG_IGNORE
from asyncssh.packet import SSHPacket

from teleport.net.asyncssh_bulk import BulkConnection
from teleport.net.coalesce import CoalescingTransport

__all__ = ["MIN_PACKET", "BoundedChannel", "PacedConnection"]

_MAX_REQUESTS: Final = 64
MIN_PACKET: Final = 256
"""Bytes that a client must be willing to take in one packet; RFC 4254 suggests 32,768."""
_PORTION: Final = 32 * 1024
_TURN: Final = 0.002
"""Seconds that a connection may work on what came before others have their turn."""
_FULL: Final = 512 * 1024
"""Bytes waiting to be sent at which programs are made to wait."""


class BoundedChannel(SSHChannel[bytes]):
    """What bounds every channel."""

    def process_open(self, send_chan: int, send_window: int, send_pktsize: int, session: Any) -> None:
        if send_pktsize < MIN_PACKET:
            channel: Any = self._recv_chan  # None for a channel of our own alone; this one is the client's
            self._connection.remove_channel(channel)
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "packets as small as that are not sent")
        super().process_open(send_chan, send_window, send_pktsize, session)

    def _flush_send_buf(self) -> None:
        connection = self._connection
        if connection is not None and connection.full:
            self._pause_resume_writing()
            return
        if connection is not None:
            self._send_what_fits(connection)
        super()._flush_send_buf()  # says what is left to say when all has been sent

    def _send_what_fits(self, connection: "PacedConnection") -> None:
        """As asyncssh does it, but for the way that data takes."""
        while self._send_buf and self._send_window:
            waiting, datatype = self._send_buf[0]
            data = waiting[: min(self._send_window, self._send_pktsize)]
            if len(data) < len(waiting):
                del waiting[: len(data)]
            else:
                del self._send_buf[0]
            self._send_buf_len -= len(data)
            self._send_window -= len(data)
            assert self._send_chan is not None
            connection.send_data(self._send_chan, datatype, data)

    def _process_request(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        if len(self._request_queue) >= _MAX_REQUESTS:
            raise asyncssh.ProtocolError("too many requests are waiting on a channel")
        super()._process_request(pkttype, pktid, packet)

    @property
    def _connection(self) -> Any:
        return self._conn

    _packet_handlers = {**SSHChannel._packet_handlers, MSG_CHANNEL_REQUEST: _process_request}  # noqa: RUF012


class PacedConnection(BulkConnection):
    """What a connection reads and writes, in portions."""

    full = False
    """Whether the transport takes no more for now."""
    _unread = b""
    _held = False
    """Whether nothing is read for now."""

    # -- what comes in

    def connection_made(self, transport: Any) -> None:
        transport.set_write_buffer_limits(_FULL)
        self._together = CoalescingTransport(transport, self._loop)
        super().connection_made(self._together)  # type: ignore[arg-type]

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        self._unread += data
        if not self._held:
            self._work_off()

    def eof_received(self) -> None:
        self._work_off(later=False)
        super().eof_received()

    def _work_off(self, *, later: bool = True) -> None:
        """Take what came, a packet or a portion at a time; when the turn is over, the rest after others had theirs."""
        over, at, unread, whole = time.monotonic() + _TURN, 0, memoryview(self._unread), True
        while whole and at < len(unread) and not (at and later and time.monotonic() > over):
            taken = self.take(unread[at:])
            if taken is None:
                taken = self._take_portion(bytes(unread[at : at + _PORTION]))
            whole = taken > 0
            at += taken
            if self._transport is None or self._transport.is_closing():
                self._unread = b""
                return
        self._unread = self._unread[at:]
        if at:
            self._reset_keepalive_timer()
        self._read_on(later=whole and bool(self._unread))

    def _take_portion(self, portion: bytes) -> int:
        if self._may_say(len(portion)):
            super().data_received(portion)
        return len(portion)

    def _read_on(self, *, later: bool) -> None:
        transport = self._transport
        assert transport is not None
        if later:
            self._loop.call_soon(self._work_off)
        if later != self._held:
            self._held = later
            (transport.pause_reading if later else transport.resume_reading)()

    def _may_say(self, count: int) -> bool:
        """Whether the peer may say so much more."""
        return True

    # -- what goes out

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        if pkttype != MSG_IGNORE:
            super().send_packet(pkttype, *args, handler=handler)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        for channel in tuple(self._channels.values()):
            channel._flush_send_buf()
