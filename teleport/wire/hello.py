"""The first bytes of a connection: which protocol a client speaks, and to whom it wants to speak.

Recognises a PROXY header (versions 1 and 2), a TLS ClientHello (server name and ALPN, RFC 8446 section 4.1.2,
RFC 6066 section 3, RFC 7301) and an SSH banner (RFC 4253 section 4.2). Looks only; nothing is consumed.
"""

import ipaddress
import re
import struct
from dataclasses import dataclass
from typing import Final

__all__ = [
    "ClientHello",
    "Hello",
    "Incomplete",
    "ProxyHeader",
    "SshBanner",
    "Unknown",
    "recognise",
    "recognise_proxy_header",
]

MAX_HELLO: Final = 16 * 1024 + 5
"""Bytes of one TLS record, the most that is looked at."""
_V1_LIMIT: Final = 107
_V2_MAGIC: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_LIMIT: Final = 536
_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}")


@dataclass(frozen=True)
class Incomplete:
    """More bytes are needed: at least `need` in all."""

    need: int


@dataclass(frozen=True)
class Unknown:
    """None of the protocols we speak."""


@dataclass(frozen=True)
class ClientHello:
    """A TLS client. `server_name` is empty where the client named none."""

    server_name: str
    alpn: tuple[str, ...]


@dataclass(frozen=True)
class SshBanner:
    """An SSH client."""


@dataclass(frozen=True)
class ProxyHeader:
    """A load balancer's word on where the client is: `source` is None for its own health checks."""

    length: int
    source: str | None
    port: int = 0


Hello = ClientHello | SshBanner | Incomplete | Unknown


def recognise(data: bytes) -> Hello:
    """What the first bytes are. Feed the same bytes again, and more, after Incomplete."""
    if not data:
        return Incomplete(1)
    if data[0] == 0x16:
        return _tls(data)
    if data[: len(b"SSH-")] == b"SSH-"[: len(data)]:
        return SshBanner() if len(data) >= 4 else Incomplete(4)
    return Unknown()


def recognise_proxy_header(data: bytes) -> ProxyHeader | Incomplete | Unknown:
    """A PROXY header at the start of the bytes; Unknown if there is none or it is malformed."""
    if not data:
        return Incomplete(1)
    if data[: len(_V2_MAGIC)] == _V2_MAGIC[: len(data)]:
        return _v2(data)
    if data[:6] == b"PROXY "[: len(data)]:
        return _v1(data)
    return Unknown()


def _v1(data: bytes) -> ProxyHeader | Incomplete | Unknown:
    end = data.find(b"\r\n")
    if end < 0:
        return Incomplete(len(data) + 1) if len(data) < _V1_LIMIT else Unknown()
    if end + 2 > _V1_LIMIT:
        return Unknown()
    words = data[:end].split(b" ")
    if len(words) >= 2 and words[1] == b"UNKNOWN":
        return ProxyHeader(end + 2, None)
    try:
        family, source, _, port, _ = (word.decode("ascii") for word in words[1:])
        if not _PORT.fullmatch(port) or "%" in source:
            return Unknown()
        address = {"TCP4": ipaddress.IPv4Address, "TCP6": ipaddress.IPv6Address}[family](source)
    except (ValueError, KeyError):
        return Unknown()
    return ProxyHeader(end + 2, str(address), int(port)) if int(port) <= 65535 else Unknown()


def _v2(data: bytes) -> ProxyHeader | Incomplete | Unknown:
    if len(data) < 16:
        return Incomplete(16)
    version_command, family, length = struct.unpack_from(">BBH", data, 12)
    if version_command >> 4 != 2 or version_command & 0xF > 1 or length > _V2_LIMIT:
        return Unknown()
    if len(data) < 16 + length:
        return Incomplete(16 + length)
    if version_command & 0xF == 0:
        return ProxyHeader(16 + length, None)
    size = {0x11: 4, 0x21: 16}.get(family)
    if size is None:
        return ProxyHeader(16 + length, None)
    if length < 2 * size + 4:
        return Unknown()
    source = ipaddress.ip_address(data[16 : 16 + size])
    (port,) = struct.unpack_from(">H", data, 16 + 2 * size)
    return ProxyHeader(16 + length, str(source), port)


class _Malformed(Exception):
    """Not a ClientHello."""


class _Reader:
    """Takes fields off the front of bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise _Malformed
        taken, self._at = self._data[self._at : end], end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> "_Reader":
        """A field that starts with its length in `size` bytes."""
        return _Reader(self.take(self.number(size)))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    @property
    def empty(self) -> bool:
        return self._at >= len(self._data)


def _tls(data: bytes) -> Hello:
    """The ClientHello, which has to be whole within the first record."""
    if len(data) < 5:
        return Incomplete(5)
    major, length = data[1], int.from_bytes(data[3:5], "big")
    if major != 3 or not 4 <= length <= MAX_HELLO - 5:
        return Unknown()
    if len(data) < 5 + length:
        return Incomplete(5 + length)
    try:
        return _client_hello(_Reader(data[5 : 5 + length]))
    except _Malformed:
        return Unknown()


def _client_hello(record: _Reader) -> ClientHello:
    if record.number(1) != 1:
        raise _Malformed
    body = record.vector(3)
    body.take(2 + 32)
    body.vector(1)
    body.vector(2)
    body.vector(1)
    name = ""
    protocols: tuple[str, ...] = ()
    if not body.empty:
        extensions = body.vector(2)
        while not extensions.empty:
            kind, content = extensions.number(2), extensions.vector(2)
            if kind == 0:
                name = _server_name(content)
            elif kind == 16:
                protocols = _alpn(content)
    return ClientHello(name, protocols)


def _server_name(content: _Reader) -> str:
    names = content.vector(2)
    while not names.empty:
        kind, value = names.number(1), names.vector(2)
        if kind == 0:
            return _opaque(value)
    return ""


def _alpn(content: _Reader) -> tuple[str, ...]:
    found, names = [], content.vector(2)
    while not names.empty:
        name = names.vector(1)
        found.append(_opaque(name))
    return tuple(found)


def _opaque(field: _Reader) -> str:
    """A name as the client wrote it, each byte a character: GREASE (RFC 8701) puts any byte into protocol names."""
    return field.rest().decode("latin-1")
