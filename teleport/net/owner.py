"""Whose program holds the other end of a connection within this host: the kernel's table knows the user."""

import ipaddress
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["owner_of_peer"]

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED: Final = "01"
"""The one state in which an entry surely belongs to a program: of those that were left, the kernel says root."""


def owner_of_peer(connection: socket.socket, *, tables: tuple[Path, ...] = _TABLES) -> int | None:
    """The uid of who connected to us; None where that is not known, also because they have gone already.

    Raises OSError where the system keeps no such table.
    """
    wanted = (_endpoint(*connection.getpeername()[:2]), _endpoint(*connection.getsockname()[:2]))
    for table in tables:
        for ends, state, uid in _entries(table):
            if ends == wanted and state == _ESTABLISHED:
                return uid
    return None


def _endpoint(address: str, port: int) -> tuple[bytes, int]:
    """An address of either family as the same bytes, however a program spelled it."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        found = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + found.packed)
    return found.packed, port


def _entries(table: Path) -> Iterator[tuple[tuple[tuple[bytes, int], tuple[bytes, int]], str, int]]:
    for line in table.read_text().splitlines()[1:]:
        words = line.split()
        yield (_written(words[1]), _written(words[2])), words[3], int(words[7])


def _written(text: str) -> tuple[bytes, int]:
    """An endpoint as proc(5) writes it: words of four bytes in the machine's own order."""
    address, _, port = text.partition(":")
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return (packed if len(packed) == 16 else b"\0" * 10 + b"\xff\xff" + packed), int(port, 16)
