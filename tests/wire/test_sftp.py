"""SFTP watched: what is told of a conversation, however the network cut it and whoever wrote it."""

import struct
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.wire.sftp import MAX_PACKET, Operation, Unfollowable, Watch

READ, WRITE, CREATE = 1, 2, 8
OK = 0


def text(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def number(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "big")


def packet(kind: int, *parts: bytes) -> bytes:
    return text(bytes([kind]) + b"".join(parts))


def request(kind: int, identity: int, *parts: bytes) -> bytes:
    return packet(kind, number(identity), *parts)


def status(identity: int, code: int = OK) -> bytes:
    return packet(101, number(identity), number(code), text(b"words"), text(b"en"))


def handle(identity: int, value: bytes = b"h") -> bytes:
    return packet(102, number(identity), text(value))


def data(identity: int, content: bytes) -> bytes:
    return packet(103, number(identity), text(content))


def opens(identity: int, path: bytes, flags: int = READ) -> bytes:
    return request(3, identity, text(path), number(flags), number(0))


def reads(identity: int, of: bytes = b"h") -> bytes:
    return request(5, identity, text(of), number(0, 8), number(32768))


def writes(identity: int, content: bytes, to: bytes = b"h") -> bytes:
    return request(6, identity, text(to), number(0, 8), text(content))


def closes(identity: int, what: bytes = b"h") -> bytes:
    return request(4, identity, text(what))


def told(*turns: tuple[bytes, bytes]) -> list[Operation]:
    """What is told of a conversation in turns: what the client says, what the server answers."""
    watch, found = Watch(), []
    for asked, answered in turns:
        watch.client(asked)
        found += watch.server(answered)
    return found


# -- what is told


def test_an_open_is_told_once_it_is_answered_with_its_path_and_flags() -> None:
    watch = Watch()
    watch.client(opens(1, b"/etc/motd", WRITE | CREATE))

    before, after = watch.server(b""), watch.server(handle(1))

    assert before == []
    assert after == [Operation("open", b"/etc/motd", flags=WRITE | CREATE)]


@pytest.mark.parametrize(("code", "error"), [(2, "no such file"), (3, "permission denied"), (99, "status 99")])
def test_what_the_server_refuses_is_told_with_the_reason(code: int, error: str) -> None:
    assert told((opens(1, b"x"), status(1, code))) == [Operation("open", b"x", flags=READ, error=error)]


def test_a_close_tells_how_much_was_read_and_written() -> None:
    *_, closed = told(
        (opens(1, b"x"), handle(1)),
        (reads(2) + reads(3) + reads(4), data(2, b"12345") + data(3, b"67") + status(4, 1)),
        (writes(5, b"abc") + writes(6, b"de"), status(5) + status(6, 4)),
        (closes(7), status(7)),
    )

    assert closed == Operation("close", b"x", read=7, written=3)


def test_two_files_are_counted_apart_and_a_handle_may_be_used_again() -> None:
    operations = told(
        (opens(1, b"a") + opens(2, b"b"), handle(1, b"0") + handle(2, b"1")),
        (writes(3, b"xx", b"0") + writes(4, b"yyy", b"1"), status(3) + status(4)),
        (closes(5, b"0") + opens(6, b"c"), status(5) + handle(6, b"0")),
        (writes(7, b"z", b"0") + closes(8, b"0") + closes(9, b"1"), status(7) + status(8) + status(9)),
    )

    closed = [(one.path, one.written) for one in operations if one.action == "close"]
    assert closed == [(b"a", 2), (b"c", 1), (b"b", 3)]


def test_a_handle_that_is_guessed_before_it_is_given_is_counted_all_the_same() -> None:
    asked = opens(1, b"x") + writes(2, b"abc") + closes(3)

    operations = told((asked, handle(1) + status(2) + status(3)))

    assert operations[-1] == Operation("close", b"x", written=3)


_SET = number(0x8000000F) + number(7, 8) + number(1) + number(2) + number(0o644) + number(5) + number(6) + number(0)
_ATTRIBUTES = {"size": 7, "uid": 1, "gid": 2, "permissions": 0o644, "atime": 5, "mtime": 6}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request(9, 1, text(b"a"), _SET), Operation("setstat", b"a", attributes=_ATTRIBUTES)),
        (request(11, 1, text(b"d")), Operation("opendir", b"d")),
        (request(13, 1, text(b"a")), Operation("remove", b"a")),
        (request(14, 1, text(b"d"), number(0)), Operation("mkdir", b"d")),
        (request(15, 1, text(b"d")), Operation("rmdir", b"d")),
        (request(18, 1, text(b"a"), text(b"b")), Operation("rename", b"a", b"b")),
        (request(20, 1, text(b"../t"), text(b"link")), Operation("symlink", b"link", b"../t")),
        (request(200, 1, text(b"posix-rename@openssh.com"), text(b"a"), text(b"b")), Operation("rename", b"a", b"b")),
        (request(200, 1, text(b"hardlink@openssh.com"), text(b"a"), text(b"b")), Operation("link", b"b", b"a")),
        (request(200, 1, text(b"lsetstat@openssh.com"), text(b"a"), number(0)), Operation("setstat", b"a")),
    ],
)
def test_every_request_that_changes_files_is_told(asked: bytes, expected: Operation) -> None:
    assert told((asked, status(1))) == [expected]


def test_what_is_done_to_an_open_file_is_told_by_its_path() -> None:
    operations = told(
        (opens(1, b"a") + opens(2, b"b"), handle(1, b"0") + handle(2, b"1")),
        (request(10, 3, text(b"0"), number(4), number(0o600)), status(3)),
        (request(200, 4, text(b"copy-data"), text(b"0"), bytes(16), text(b"1"), bytes(8)), status(4)),
    )  # fmt: skip

    assert operations[2:] == [
        Operation("fsetstat", b"a", attributes={"permissions": 0o600}), Operation("copy", b"a", b"b"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [7, 8, 12, 16, 17, 19])
def test_questions_are_not_told(kind: int) -> None:
    assert told((request(kind, 1, text(b"x")), status(1, 2))) == []


def test_a_folder_that_was_listed_is_told_once_and_not_closed() -> None:
    operations = told(
        (request(11, 1, text(b"d")), handle(1)),
        (request(12, 2, text(b"h")), packet(104, number(2), number(0))),
        (closes(3), status(3)),
    )

    assert operations == [Operation("opendir", b"d")]


def test_an_unknown_extension_and_the_greeting_are_passed_over() -> None:
    assert told((packet(1, number(3)), packet(2, number(3)))) == []
    assert told((request(200, 1, text(b"statvfs@openssh.com"), text(b"/")), packet(201, number(1), bytes(88)))) == []


def test_at_the_end_what_was_not_answered_is_told_as_that_and_what_was_left_open_is_closed() -> None:
    watch = Watch()
    watch.client(opens(1, b"x", WRITE))
    watch.server(handle(1))
    watch.client(writes(2, b"abc"))
    watch.server(status(2))
    watch.client(request(13, 3, text(b"gone")) + writes(4, b"more") + closes(5))

    left = watch.end()

    assert left == [Operation("remove", b"gone", answered=False), Operation("close", b"x", written=3)]
    assert watch.end() == []


# -- any cut


PATHS = st.binary(min_size=1, max_size=40)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, bytes, list[Operation]]:
    """What a client says, what the server answers, and what should be told."""
    asked, answered, expected = b"", b"", list[Operation]()
    for identity in range(0, draw(st.integers(1, 6)) * 4, 4):
        path, content, own = draw(PATHS), draw(st.binary(max_size=2000)), b"%d" % identity
        asked += opens(identity, path) + writes(identity + 1, content, own) + closes(identity + 2, own)
        asked += request(13, identity + 3, text(path))
        answered += handle(identity, own) + status(identity + 1) + status(identity + 2) + status(identity + 3, 3)
        expected += [
            Operation("open", path, flags=READ), Operation("close", path, written=len(content)),
            Operation("remove", path, error="permission denied"),
        ]  # fmt: skip
    return asked, answered, expected


def pieces(whole: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The bytes cut into pieces of these sizes, over and over."""
    found, at, turn = [], 0, 0
    while at < len(whole):
        size = sizes[turn % len(sizes)]
        found.append(whole[at : at + size])
        at, turn = at + size, turn + 1
    return found


@given(conversations(), st.lists(st.integers(1, 700), min_size=1), st.lists(st.integers(1, 50), min_size=1))
def test_any_cut_of_the_bytes_tells_the_same(
    said: tuple[bytes, bytes, list[Operation]], ours: list[int], theirs: list[int]
) -> None:
    asked, answered, expected = said
    watch = Watch()

    for piece in pieces(asked, ours):
        watch.client(piece)
    found = [one for piece in pieces(answered, theirs) for one in watch.server(piece)]

    assert found == expected
    assert watch.end() == []


# -- hostile peers


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_followed_or_refused(noise: bytes, from_server: bool) -> None:
    watch = Watch()
    watch.client(opens(0, b"x"))

    with suppress(Unfollowable):
        watch.server(noise) if from_server else watch.client(noise)

    assert Operation("open", b"x", flags=READ, answered=False) in watch.end() or from_server


@given(st.sampled_from(range(256)), st.binary(max_size=200), st.integers(0, 3))
def test_any_packet_is_followed_or_refused(kind: int, body: bytes, identity: int) -> None:
    watch = Watch()
    watch.client(opens(1, b"x"))
    watch.server(handle(1))

    with suppress(Unfollowable):
        watch.client(request(kind, identity, body))
        watch.server(request(kind, identity, body))

    assert not watch.congested


@pytest.mark.parametrize("length", [0, 4, MAX_PACKET + 1, 2**31, 2**32 - 1])
def test_a_packet_of_impossible_length_is_refused_before_anything_of_it_is_kept(length: int) -> None:
    with pytest.raises(Unfollowable, match=f"a packet of {length} bytes"):
        Watch().client(number(length) + b"\x03")


@pytest.mark.parametrize(
    "body",
    [
        number(5) + b"abc",
        number(2**32 - 1) + b"abc",
        text(b"path"),
        text(b"x" * 20_000) + number(1) + number(0),
    ],
    ids=["beyond the packet", "beyond everything", "flags are missing", "longer than any path"],
)
def test_an_open_whose_fields_do_not_fit_is_refused_with_its_last_byte(body: bytes) -> None:
    """OpenSSH's server reads a field on into the next packet, and acts, before it finds that out."""
    whole, watch = request(3, 1, body), Watch()
    watch.client(whole[:-1])

    with pytest.raises(Unfollowable):
        watch.client(whole[-1:])


def test_a_write_that_claims_more_data_than_its_packet_has_is_refused() -> None:
    with pytest.raises(Unfollowable, match="longer than its packet"):
        Watch().client(request(6, 1, text(b"h"), number(0, 8), number(100), b"short"))


def test_an_id_that_is_used_again_before_its_answer_is_refused() -> None:
    watch = Watch()
    watch.client(request(17, 1, text(b"harmless")))

    with pytest.raises(Unfollowable, match="asked again"):
        watch.client(request(13, 1, text(b"hidden behind the other's answer")))


@pytest.mark.parametrize("kind", [0, 2, 21, 99, 101, 102, 103, 199, 201, 255])
def test_a_request_that_version_3_does_not_have_is_refused(kind: int) -> None:
    with pytest.raises(Unfollowable, match="unknown type"):
        Watch().client(request(kind, 1, text(b"x")))


def test_a_server_of_a_later_version_is_not_followed() -> None:
    watch = Watch()
    watch.client(packet(1, number(6)))

    with pytest.raises(Unfollowable, match="later version"):
        watch.server(packet(2, number(6)))


def test_what_was_completed_before_nonsense_in_the_same_bytes_is_told() -> None:
    watch = Watch()
    watch.client(request(13, 1, text(b"gone")) + request(13, 2, text(b"too")))

    with pytest.raises(Unfollowable) as refusal:
        watch.server(status(1) + packet(7) + status(2))

    assert refusal.value.told == (Operation("remove", b"gone"),)


def test_a_server_that_claims_to_have_sent_more_than_it_did_is_not_followed() -> None:
    watch = Watch()
    watch.client(opens(1, b"x"))
    watch.server(handle(1))
    watch.client(reads(2))

    with pytest.raises(Unfollowable, match="longer than its packet"):
        watch.server(packet(103, number(2), number(2**31) + b"short"))


def test_answers_to_nothing_are_passed_over() -> None:
    assert told((b"", status(7) + handle(8) + data(9, b"x"))) == []


def test_closing_what_nobody_opened_is_not_told() -> None:
    assert told((closes(1, b"none"), status(1, 4))) == []


def test_thousands_of_unanswered_requests_are_a_reason_to_wait_until_they_are_answered() -> None:
    watch = Watch()
    for identity in range(5000):
        watch.client(reads(identity))
    congested = watch.congested

    for identity in range(5000):
        watch.server(status(identity))

    assert congested
    assert not watch.congested


def test_a_megabyte_of_unanswered_names_is_a_reason_to_wait() -> None:
    watch = Watch()
    for identity in range(100):
        watch.client(request(13, identity, text(b"x" * 12_000)))

    assert watch.congested


def test_more_open_files_than_any_system_allows_are_not_followed() -> None:
    watch = Watch()
    for identity in range(4096):
        watch.client(opens(identity, b"x"))
        watch.server(handle(identity, b"%d" % identity))
    watch.client(opens(5000, b"x"))

    with pytest.raises(Unfollowable, match="files are open"):
        watch.server(handle(5000, b"one more"))


def test_of_a_packet_with_data_next_to_nothing_is_kept() -> None:
    watch = Watch()
    whole = writes(1, bytes(200_000))

    for at in range(0, len(whole) - 1, 10_000):
        watch.client(whole[at : at + 10_000][: len(whole) - 1 - at])

    assert len(watch._requests._head) < 1024
