"""What clients ask to have forwarded, read from the bytes of their requests (RFC 4254, section 7; OpenSSH's PROTOCOL).

Pure: whether it is permitted, and whether there is anything, others find out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = [
    "CANCELS", "CHANNELS", "LISTENS", "SocketAddress", "TcpAddress", "Where", "cancelled", "destination", "listener",
]  # fmt: skip

_MAX_HOST: Final = 255
_MAX_PATH: Final = 107
"""Bytes of a path that a Unix socket's address holds."""


@dataclass(frozen=True)
class TcpAddress:
    """A host by name or number, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def order(self) -> Mapping[str, str | int]:
        """As the login's child is told it."""
        return {"host": self.host, "port": self.port}


@dataclass(frozen=True)
class SocketAddress:
    """A Unix socket."""

    path: str

    def __str__(self) -> str:
        return self.path

    def order(self) -> Mapping[str, str | int]:
        return {"path": self.path}


Where = TcpAddress | SocketAddress


class _Body:
    """The fields of a request. Raises ValueError for what is none."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self) -> int:
        found = self._take(4)
        return int.from_bytes(found, "big")

    def text(self, limit: int) -> str:
        size = self.number()
        if size > limit:
            raise ValueError("an address that long is none")
        text = self._take(size).decode()
        if not text.isprintable():
            raise ValueError("an address with control characters is none")
        return text

    def port(self) -> int:
        number = self.number()
        if number > 65535:
            raise ValueError(f"{number} is no port")
        return number

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError("there is more in the request than belongs there")

    def _take(self, count: int) -> bytes:
        found = self._data[self._at : self._at + count]
        if len(found) != count:
            raise ValueError("the request is cut off")
        self._at += count
        return found


def _direct_tcpip(body: _Body) -> Where:
    address = TcpAddress(body.text(_MAX_HOST), body.port())
    body.text(_MAX_HOST)  # where the connection came from, as the client says
    body.number()
    if not address.host or not address.port:
        raise ValueError("there is no such address")
    return address


def _direct_streamlocal(body: _Body) -> Where:
    address = _path(body)
    body.text(_MAX_HOST)
    body.number()
    return address


def _tcpip(body: _Body) -> Where:
    return TcpAddress(body.text(_MAX_HOST), body.port())


def _path(body: _Body) -> Where:
    address = SocketAddress(body.text(_MAX_PATH))
    if not address.path.startswith("/") or len(address.path.encode()) > _MAX_PATH:
        raise ValueError("a socket is named by its whole path, of at most 107 bytes")
    return address


CHANNELS: Final[Mapping[bytes, Callable[[_Body], Where]]] = {
    b"direct-tcpip": _direct_tcpip,
    b"direct-streamlocal@openssh.com": _direct_streamlocal,
}
LISTENS: Final[Mapping[bytes, Callable[[_Body], Where]]] = {
    b"tcpip-forward": _tcpip,
    b"streamlocal-forward@openssh.com": _path,
}
CANCELS: Final[Mapping[bytes, Callable[[_Body], Where]]] = {
    b"cancel-tcpip-forward": _tcpip,
    b"cancel-streamlocal-forward@openssh.com": _path,
}


def destination(kind: bytes, data: bytes) -> Where:
    """Where a channel of this kind should lead. Raises ValueError."""
    return _read(CHANNELS[kind], data)


def listener(name: bytes, data: bytes) -> Where:
    """Where a request wants something to listen; port 0 is any. Raises ValueError."""
    return _read(LISTENS[name], data)


def cancelled(name: bytes, data: bytes) -> Where:
    """Where nothing shall listen any more. Raises ValueError."""
    return _read(CANCELS[name], data)


def _read(read: Callable[[_Body], Where], data: bytes) -> Where:
    body = _Body(data)
    found = read(body)
    body.end()
    return found
