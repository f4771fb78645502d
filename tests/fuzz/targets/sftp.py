"""Conversations between an SFTP client and its server, watched.

An input is a row of turns: who speaks (the lowest bit: the server), whether the bytes are framed as a packet (the
next bit), a length in two bytes, and that many bytes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from teleport.wire.sftp import MAX_PACKET, Operation, Unfollowable, Watch
from tests.fuzz.target import Target, pieces
from tests.wire.test_sftp import closes, data, handle, number, opens, packet, reads, request, status, text, writes

__all__ = ["SFTP"]

_KEPT: Final = 2 * (1 << 20)
"""Bytes beyond which a watch may not remember anything, if its wish to wait is heeded."""


@dataclass
class _Told:
    """What a watch tells of a conversation, and how it ended."""

    operations: list[Operation] = field(default_factory=list)
    refused: str = ""


def check(raw: bytes) -> None:
    turns = list(_turns(raw))
    whole = _follow([(server, [said]) for server, said in turns])
    cut = _follow([(server, list(pieces(said))) for server, said in turns])

    assert cut == whole
    _bytes_are_counted_once(whole, turns)


def _turns(raw: bytes) -> Iterator[tuple[bool, bytes]]:
    at = 0
    while at + 3 <= len(raw):
        size = int.from_bytes(raw[at + 1 : at + 3], "big")
        said = raw[at + 3 : at + 3 + size]
        yield bool(raw[at] & 1), text(said) if raw[at] & 2 else said
        at += 3 + size


def _follow(turns: list[tuple[bool, list[bytes]]]) -> _Told:
    watch, told = Watch(), _Told()
    try:
        for server, parts in turns:
            for part in parts:
                if server:
                    told.operations += watch.server(part)
                else:
                    watch.client(part)
            assert watch._waiting_bytes < _KEPT
    except Unfollowable as error:
        told.operations += error.told
        told.refused = str(error)
    told.operations += watch.end()
    assert watch.end() == []
    return told


def _bytes_are_counted_once(told: _Told, turns: list[tuple[bool, bytes]]) -> None:
    """Nobody can have read or written more than passed."""
    passed = {server: sum(len(said) for who, said in turns if who == server) for server in (False, True)}
    assert sum(one.written for one in told.operations) <= passed[False]
    assert sum(one.read for one in told.operations) <= passed[True]


def turn(said: bytes, *, server: bool = False) -> bytes:
    return bytes([server]) + number(len(said), 2) + said


def framed(said: bytes, *, server: bool = False) -> bytes:
    """A packet whose length fits whatever becomes of it."""
    return bytes([2 | server]) + number(len(said) - 4, 2) + said[4:]


def seeds() -> Iterable[bytes]:
    greeting = turn(packet(1, number(3))) + turn(packet(2, number(3)), server=True)
    yield (
        greeting
        + framed(opens(1, b"/etc/motd"))
        + framed(handle(1), server=True)
        + framed(reads(2))
        + framed(data(2, b"words"), server=True)
        + framed(closes(3))
        + framed(status(3), server=True)
    )
    yield turn(opens(1, b"x", 26) + writes(2, b"abc") + closes(3)) + turn(
        handle(1) + status(2) + status(3), server=True
    )
    for kind, body in (
        (13, text(b"a")), (18, text(b"a") + text(b"b")), (20, text(b"../t") + text(b"link")),
        (9, text(b"a") + number(0x8000000F) + bytes(32)), (11, text(b"d")), (17, text(b"s")), (14, text(b"d")),
        (200, text(b"posix-rename@openssh.com") + text(b"a") + text(b"b")),
        (200, text(b"copy-data") + text(b"h") + bytes(16) + text(b"h") + bytes(8)),
    ):  # fmt: skip
        yield framed(request(kind, 1, body)) + framed(status(1), server=True) + framed(request(kind, 2, body))


SFTP: Final = Target(
    "sftp", "`wire/sftp`: both directions of a conversation",
    "followed or `Unfollowable`; the same is told however cut; no more bytes counted than passed; bounded memory",
    check, seeds, 100_000,
    (text(b"posix-rename@openssh.com"), text(b"hardlink@openssh.com"), text(b"lsetstat@openssh.com"),
     text(b"copy-data"), text(b"h"), number(MAX_PACKET), number(MAX_PACKET + 1)),
)  # fmt: skip
