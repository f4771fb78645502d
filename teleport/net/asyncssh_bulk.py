"""The short way of channel data through asyncssh: with AES-GCM, once the client is in, while no keys are exchanged.

asyncssh builds a cipher for each packet and copies what it carries eleven times. Here a cipher lasts as long as its
key, and data is copied where the kernel or OpenSSL needs it. All else goes asyncssh's own way, and so does whatever
is not exactly as it should be, unread: what is wrong with it is for asyncssh to say. `asyncssh_flow` alone uses this.
"""

import os
import time
from struct import Struct
from typing import Any, Final

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.connection import SSHConnection
from asyncssh.constants import MSG_CHANNEL_DATA, MSG_CHANNEL_EXTENDED_DATA
from asyncssh.crypto.cipher import GCMCipher
from asyncssh.encryption import GCMEncryption
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["BulkConnection"]

_TAG: Final = 16
_BLOCK: Final = 16
_LENGTH: Final = Struct(">I")
_DATA: Final = Struct(">BBII")
"""The length of the padding, the kind of message, the channel, and the length of the data (RFC 4253 and 4254)."""
_EXTENDED: Final = Struct(">BBIII")


class Gcm(GCMCipher):
    """One direction's cipher: its key schedule is made once, its counter is a number (RFC 5647, section 7.1)."""

    def __init__(self, of: GCMCipher) -> None:
        self._aead, self._fixed = AESGCM(of._key), of._iv[:4]
        self._invocation = int.from_bytes(of._iv[4:], "big")

    def advance(self) -> None:
        self._invocation = (self._invocation + 1) & 0xFFFFFFFFFFFFFFFF

    def seal(self, header: bytes, data: bytes) -> bytes:
        """Encrypted, with its tag."""
        sealed = self._aead.encrypt(self._nonce, data, header)
        self.advance()
        return sealed

    def peek(self, header: "bytes | memoryview", sealed: "bytes | memoryview") -> bytes | None:
        """What a packet says, None if it is not the peer's. The packet stays the next one."""
        try:
            return self._aead.decrypt(self._nonce, sealed, header)
        except InvalidTag:
            return None

    @property
    def _nonce(self) -> bytes:
        return self._fixed + self._invocation.to_bytes(8, "big")

    def encrypt_and_sign(self, header: bytes, data: bytes) -> tuple[bytes, bytes]:
        sealed = self.seal(header, data)
        return header + sealed[:-_TAG], sealed[-_TAG:]

    def verify_and_decrypt(self, header: bytes, data: bytes, mac: bytes) -> bytes | None:
        found = self.peek(header, data + mac)
        self.advance()
        return found


def _gcm(encryption: Any) -> Gcm | None:
    """The cipher of a direction, if it is one of these."""
    if not isinstance(encryption, GCMEncryption):
        return None
    if not isinstance(encryption._cipher, Gcm):
        encryption._cipher = Gcm(encryption._cipher)
    return encryption._cipher


class BulkConnection(SSHConnection):
    """A connection that takes the short way where it can."""

    # -- what goes out

    def send_data(self, channel: int, datatype: int | None, data: bytes | bytearray) -> None:
        """Send a packet of a channel's data."""
        cipher = _gcm(self._send_encryption)
        if cipher is None or not self._is_plain_sailing():
            self._send_the_long_way(channel, datatype, data)
            return
        size = (_DATA.size if datatype is None else _EXTENDED.size) + len(data)
        padding = -size % _BLOCK
        padding += _BLOCK if padding < 4 else 0
        if datatype is None:
            start = _DATA.pack(padding, MSG_CHANNEL_DATA, channel, len(data))
        else:
            start = _EXTENDED.pack(padding, MSG_CHANNEL_EXTENDED_DATA, channel, datatype, len(data))
        header = _LENGTH.pack(size + padding)
        self._send(header)
        self._send(cipher.seal(header, b"".join((start, data, os.urandom(padding)))))
        self._send_seq = (self._send_seq + 1) & 0xFFFFFFFF
        self._rekey_bytes_sent += size + padding

    def _is_plain_sailing(self) -> bool:
        """Whether nothing is under way or due but data."""
        due = self._rekey_bytes_sent >= self._rekey_bytes or (
            self._rekey_seconds and time.monotonic() >= self._rekey_time
        )
        return bool(self._auth_complete and self._kex_complete and self._compressor is None and not due)

    def _send_the_long_way(self, channel: int, datatype: int | None, data: bytes | bytearray) -> None:
        body = _LENGTH.pack(len(data)) + data
        if datatype is None:
            self.send_packet(MSG_CHANNEL_DATA, _LENGTH.pack(channel), body)
        else:
            self.send_packet(MSG_CHANNEL_EXTENDED_DATA, _LENGTH.pack(channel), _LENGTH.pack(datatype), body)

    # -- what comes in

    def take(self, unread: memoryview) -> int | None:
        """Serve the first packet; its size, 0 if it is not whole yet, None if asyncssh is to read by itself."""
        cipher = _gcm(self._recv_encryption)
        if cipher is None or not self._auth_complete or self._decompressor is not None:
            return None
        if self._inpbuf or self._recv_handler != self._recv_pkthdr:
            return None  # asyncssh is in the middle of something
        if len(unread) < _LENGTH.size:
            return 0
        size: int = _LENGTH.unpack_from(unread)[0]
        end = _LENGTH.size + size + _TAG
        if not _DATA.size <= size <= self._max_recv_pktlen:
            return None
        if len(unread) < end:
            return 0
        packet = cipher.peek(unread[: _LENGTH.size], unread[_LENGTH.size : end])
        if packet is None or not self._take_packet(packet, cipher):
            super().data_received(bytes(unread[:end]))
        return end

    def _take_packet(self, packet: bytes, cipher: Gcm) -> bool:
        padding, kind, number, size = _DATA.unpack_from(packet)
        channel: Any = self._channels.get(number)
        if (
            kind != MSG_CHANNEL_DATA
            or len(packet) != _DATA.size + size + padding
            or not isinstance(channel, SSHChannel)
            or channel._recv_state != "open"
            or size > channel._recv_window
        ):
            return False
        cipher.advance()
        self._recv_seq = (self._recv_seq + 1) & 0xFFFFFFFF
        try:
            channel._accept_data(packet[_DATA.size : _DATA.size + size])
        except asyncssh.DisconnectError as error:
            self._send_disconnect(error.code, error.reason, error.lang)
            self._force_close(error)
        except Exception:
            self.internal_error()
        return True
