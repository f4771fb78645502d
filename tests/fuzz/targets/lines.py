"""Lines of JSON: those that open a connection between services, and streamed answers of the API."""

import asyncio
import atexit
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from teleport.api import dialback
from teleport.api.feed import read_commit, read_listing
from teleport.api.models import Message
from teleport.api.ndjson import Objects
from teleport.core.errors import BadInput, TeleportError, Unavailable, from_wire
from teleport.net.lines import MAX_LINE, LineConnection, parse_line
from teleport.store.base import Change, Commit, Record
from tests.fuzz.target import Target, pieces
from tests.net.test_lines import Pretend, Recorder

__all__ = ["LINES", "NDJSON"]

_KINDS: Final[tuple[type[Message], ...]] = (
    dialback.Hello, dialback.Welcome, dialback.Dial, dialback.Ping, dialback.TicketShown, dialback.Route,
    dialback.Accepted,
)  # fmt: skip
_LOOP: Final = asyncio.new_event_loop()
atexit.register(_LOOP.close)


def check_lines(data: bytes) -> None:
    expected, rest = _by_splitting(data)

    got, handed_over = _LOOP.run_until_complete(_received(data))

    assert got == expected
    assert isinstance(expected[-1], str) or handed_over == rest
    for message in got:
        if isinstance(message, dict):
            _message_is_understood_or_refused(message)


def _by_splitting(data: bytes) -> tuple[list[dict[str, Any] | str], bytes]:
    """The messages in order, and how reading ends: a plainer way to say what a LineConnection does."""
    found: list[dict[str, Any] | str] = []
    while True:
        line, end, after = data.partition(b"\n")
        if len(line) > MAX_LINE:
            return [*found, "BadInput"], b""
        if not end:
            return [*found, "Unavailable"], data
        try:
            found.append(parse_line(line))
        except BadInput:
            return [*found, "BadInput"], b""
        data = after


async def _received(data: bytes) -> tuple[list[dict[str, Any] | str], bytes]:
    connection, found = LineConnection(), list[dict[str, Any] | str]()
    connection.connection_made(Pretend())
    for piece in pieces(data):
        connection.data_received(piece)
    connection.eof_received()
    try:
        while True:
            found.append(await connection.receive())
    except (BadInput, Unavailable) as error:
        found.append(type(error).__name__)
    successor = Recorder()
    connection.become(successor)
    return found, successor.data


def _message_is_understood_or_refused(message: dict[str, Any]) -> None:
    error = from_wire(message)
    assert type(from_wire(error.to_wire())) is type(error)
    for kind in _KINDS:
        try:
            understood = dialback.parse(kind, message)
        except TeleportError:
            continue
        written = json.loads(understood.model_dump_json())
        assert dialback.parse(kind, written) == understood


def check_ndjson(data: bytes) -> None:
    whole, cut = list(_objects([data])), list(_objects(pieces(data)))

    assert cut == whole
    for body in whole:
        if isinstance(body, dict):
            _policy_is_read_or_refused(body)


def _objects(parts: Iterable[bytes]) -> Iterator[dict[str, Any] | str]:
    objects = Objects(limit=2048)
    try:
        for part in parts:
            yield from objects.feed(part)
            assert objects.waiting <= 2048
    except BadInput as error:
        yield error.message


def _policy_is_read_or_refused(body: dict[str, Any]) -> None:
    with suppress(Unavailable):
        read_listing(body, "")
    try:
        commit = read_commit(body)
    except Unavailable:
        return
    assert isinstance(commit, Commit)
    for change in commit.changes:
        assert isinstance(change, Change)
        assert isinstance(change.key, str)
        assert change.record is None or isinstance(change.record, Record)


_MESSAGES: Final = (
    b'{"hello":"agent","version":"1","services":["ssh"]}\n', b'{"welcome":"agent","proxy_id":"p-1"}\n',
    b'{"ping":1}\n', b'{"ticket":"AAAA"}\n', b'{"host":"db-1","login":"root","cluster":"acme"}\n',
    b'{"ok":true,"host_id":"h-1"}\nSSH-2.0-x\r\n', b'{"ok":false}\n',
    b'{"error":{"code":"access_denied","message":"no","hint":"ask","details":{"role":"x"}}}\n',
    b'{"error":{"code":"invalid","message":"","details":{"problems":[{"file":"f","line":1,"column":2}]}}}\n',
    b'{"dial":"ssh","ticket":"t","session":"01234567-89ab-cdef-0123-456789abcdef","proxy_id":"p","host_id":"h",'
    b'"client_address":"127.0.0.1","client_port":1,"user":"ann","user_uid":"u","cluster":"c","scope":["dev"]}\n',
)  # fmt: skip
_RECORD: Final = b'{"key":"role/dev","value":"e30=","revision":3,"expires":null}'
_STREAM: Final = (
    b'{"listing":{"revision":3,"records":[' + _RECORD + b"]}}\n",
    b'{"commit":{"revision":4,"changes":[{"key":"role/dev","record":' + _RECORD + b"}]}}\n",
    b'{"commit":{"revision":4,"changes":[{"key":"role/dev","record":null}]}}\n',
    b'{"commit":{"revision":4,"changes":[]}}\n{"compacted":true}\n',
)
_WORDS: Final = (b"null", b"true", b"1e9", b"NaN", b"[]", b"{}", b'"\\ud800"', b'""', b"\n", b"-1", b'"error":')

LINES: Final = Target(
    "lines", "`net/lines`, `api/dialback`: what agents, proxies and clients ask and answer",
    "messages or `BadInput`, `Unavailable`; the same however cut; what follows is handed over whole; round trips",
    check_lines, lambda: (*_MESSAGES, b"".join(_MESSAGES)), 100_000, _WORDS,
)  # fmt: skip
NDJSON: Final = Target(
    "streamed answers", "`api/ndjson`, `api/feed`: the policy as services follow it",
    "objects or `BadInput`, commits or `Unavailable`; the same however cut; bounded memory",
    check_ndjson, lambda: (*_STREAM, b"".join(_STREAM)), 100_000, _WORDS,
)  # fmt: skip
