"""Attacks by way of copying files: requests that hide from the audit log, names that lie, floods, and forbidden copies.

Whatever the server of the host does to files must be told, or must not happen.
"""

import asyncio
import contextlib
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from asyncssh.packet import String

from teleport.agents.ssh.files import sftp_server
from teleport.agents.ssh.process import account
from teleport.core.errors import TeleportError
from tests.attacks.host import LOGIN, HostUnderAttack, RawChannel, Scene, host, pty, scene
from tests.net.sockets import wait_until
from tests.sessions.policies import role, user
from tests.wire.test_sftp import closes, number, opens, packet, request, text, writes


def _has_server() -> bool:
    with contextlib.suppress(TeleportError):
        return bool(sftp_server(account(LOGIN, forbidden_uid=None)))
    return False


pytestmark = pytest.mark.skipif(not _has_server(), reason="not installed: sftp-server")
HELLO = packet(1, number(3))
WRITE = 2 | 8


async def sftp(at: Scene) -> RawChannel:
    channel = await at.eve.open(window=1 << 30)
    assert await channel.grants(b"subsystem", String(b"sftp"))
    channel.data(HELLO)
    return channel


def told(made: HostUnderAttack) -> list[tuple[str, str]]:
    return [(event["action"], event["path"]) for event in made.events("sftp")]


async def ended(made: HostUnderAttack, reason: str) -> dict[str, Any]:
    """The end of a session, which says why."""
    await wait_until(lambda: made.events("session.end"), within=20)
    event = made.events("session.end")[-1]
    assert reason in event["reason"]
    return event


# -- hiding from the log


def beyond(path: Path) -> bytes:
    """A removal that says it is shorter than the name in it: OpenSSH's server reads on, removes, and then complains."""
    name = os.fsencode(path)
    return number(9) + b"\x0d" + number(1) + number(len(name)) + name


def twice(path: Path) -> bytes:
    """Two requests under one number, so that the answer to one could be taken for the other's."""
    return request(17, 1, text(b"/none")) + request(13, 1, text(os.fsencode(path)))


def unknown(path: Path) -> bytes:
    """A kind of request that nobody knows, with a removal behind it."""
    return request(99, 1, text(b"x")) + request(13, 2, text(os.fsencode(path)))


@pytest.mark.parametrize("attack", [beyond, twice, unknown])
async def test_a_request_that_cannot_be_followed_is_not_carried_out_and_ends_the_session(
    tmp_path: Path, attack: Any
) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    async with scene(tmp_path) as at:
        channel = await sftp(at)

        channel.data(attack(victim))

        await asyncio.wait_for(channel.closed, 20)
        await ended(at.host, "no SFTP that can be followed")
        assert victim.exists()
        assert b"no SFTP that can be followed" in channel.output
        assert await at.fine()


@pytest.mark.parametrize("length", [0, 4, 256 * 1024 + 1, 2**32 - 1])
async def test_a_packet_of_an_impossible_length_ends_the_session_and_fills_no_memory(
    tmp_path: Path, length: int
) -> None:
    async with scene(tmp_path) as at:
        channel = await sftp(at)

        channel.data(number(length) + b"\x03" + bytes(1000))

        await asyncio.wait_for(channel.closed, 20)
        await ended(at.host, f"a packet of {length} bytes")
        assert await at.fine()


async def test_what_is_asked_before_vanishing_is_told(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await sftp(at)
        channel.data(opens(1, os.fsencode(tmp_path / "left"), WRITE))
        await wait_until(lambda: (tmp_path / "left").exists())
        channel.data(b"".join(request(13, 2 + n, text(os.fsencode(tmp_path / f"gone-{n}"))) for n in range(50)))

        at.eve.vanish()

        await ended(at.host, "the client disconnected")
        asked = [path for action, path in told(at.host) if action == "remove"]
        seen = len(asked)
        assert asked == [str(tmp_path / f"gone-{n}") for n in range(seen)]
        assert ("close", str(tmp_path / "left")) in told(at.host)


# -- names


async def test_names_are_told_as_they_are_and_drive_nothing(tmp_path: Path) -> None:
    names = [
        b"\x1b]0;owned\x07",
        b'new\nline {"event":"user.login"}',
        b"\xff\xfe",
        b"../../" * 3 + b"x",
        b"\xe2\x80\xae",
    ]
    async with scene(tmp_path) as at:
        channel = await sftp(at)

        channel.data(b"".join(request(13, n, text(name)) for n, name in enumerate(names)))

        await wait_until(lambda: len(told(at.host)) == len(names), within=20)
        assert [path for _, path in told(at.host)] == [name.decode("utf-8", "backslashreplace") for name in names]
        raw = (at.host.spool.directory / "events.jsonl").read_bytes()
        assert b"\x1b" not in raw
        assert raw.isascii()


async def test_a_name_of_any_length_gives_an_event_of_bounded_length(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await sftp(at)

        channel.data(request(13, 1, text(b"\xff" * 15_000)))

        await wait_until(lambda: told(at.host), within=20)
        assert len(told(at.host)[0][1]) < 5000


# -- amounts


async def test_requests_by_the_thousand_are_all_told_in_order_and_keep_nobody_waiting(tmp_path: Path) -> None:
    count = 3000
    async with scene(tmp_path) as at:
        channel = await sftp(at)
        for n in range(count):
            channel.data(request(13, n, text(b"/none/%d" % n)))

        assert await at.bystander_is_fine()

        paths: list[str] = []
        async with asyncio.timeout(20):
            while len(paths) < count:
                paths += taken(at.host)
                await asyncio.sleep(0.005)
        assert paths == [f"/none/{n}" for n in range(count)]


def taken(made: HostUnderAttack) -> list[str]:
    """The paths of the next batch of events, taken out of the spool as the uplink does."""
    events, position = made.spool.unsent()
    if position:
        made.spool.mark_sent(position)
    return [event["path"] for event in events if event["event"] == "sftp"]


async def test_more_questions_at_once_than_are_kept_track_of_wait_and_are_answered(tmp_path: Path) -> None:
    count = 10_000
    async with scene(tmp_path) as at:
        channel = await sftp(at)

        for first in range(0, count, 1000):
            channel.data(b"".join(request(17, n, text(b"/none")) for n in range(first, first + 1000)))

        await channel.prints(b"\x65" + number(count - 1) + number(2))
        assert await at.fine()


async def test_a_client_that_reads_no_answers_is_not_read_from_without_end(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open(window=1000)
        assert await channel.grants(b"subsystem", String(b"sftp"))
        channel.data(HELLO)

        sent = await flood(channel, b"".join(request(17, n, text(b"/")) for n in range(1000)), unique=True)

        assert sent < 16 << 20
        assert await at.bystander_is_fine()


async def test_input_for_a_program_that_never_reads_is_bounded_though_it_came_before_the_program(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        granted = channel.ask(b"exec", String(b"sleep 60"))

        sent = await flood(channel, b"x" * 32_000)

        assert await granted
        assert sent < 8 << 20
        assert await at.fine()


async def flood(channel: RawChannel, data: bytes, *, unique: bool = False) -> int:
    """Send as much as the host lets in; how much that was. `unique` requests count their numbers on."""
    window, sent, most, turn = 2 << 20, 0, 32 << 20, 0
    while sent < most:
        step, turn = _renumbered(data, turn) if unique else data, turn + 1
        with contextlib.suppress(TimeoutError):
            await wait_until(partial(_has_room, channel, sent + len(step) - window), within=0.5)
        if not _has_room(channel, sent + len(step) - window):
            break
        for at in range(0, len(step), 32_000):
            channel.data(step[at : at + 32_000])
        sent += len(step)
    return sent


def _has_room(channel: RawChannel, beyond_first: int) -> bool:
    return channel.granted >= beyond_first


def _renumbered(data: bytes, turn: int) -> bytes:
    return b"".join(request(17, turn * 1000 + n, text(b"/")) for n in range(1000)) if turn else data


# -- what roles say


@pytest.mark.parametrize(
    "command",
    [
        b"scp -t .", b"scp -r -p -f /etc", b"/usr/bin/scp -tr x", b"rsync --server --sender -l . /etc",
        b"sudo scp -t x", b"rsync --server -logDtpre.iLsfxC . x",
        b"/usr/lib/openssh/sftp-server", b"cd /; scp -f x", b"exec scp -t x",
        b"LC_ALL=C scp -t x", b"scp -t 'unbalanced", b"scp -t \xff\n",
    ],
)  # fmt: skip
async def test_no_ordinary_spelling_of_a_copy_gets_past_a_role_without_copies(tmp_path: Path, command: bytes) -> None:
    still = role("dev", logins=LOGIN, options={"ssh_file_copy": False})
    async with host(tmp_path, still, user("ann")) as made:
        ann = await made.connect(made.authorities.user("ann"))
        channel = await ann.open()

        assert await channel.grants(b"exec", String(command))

        await asyncio.wait_for(channel.closed, 20)
        assert b"the roles do not permit copying files" in channel.output
        assert made.events("session.start") == []
        assert await ann.works()
        await ann.close()


async def test_a_host_that_lets_no_files_be_copied_does_so_whatever_roles_permit(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        at.host.server.host.file_copy = False
        ann = await at.host.connect(at.host.authorities.user("ann"))
        channel = await ann.open()

        assert await channel.grants(b"subsystem", String(b"sftp"))

        await channel.prints(b"this host does not permit copying files")
        await wait_until(lambda: at.host.events("sftp"))
        assert [event["action"] for event in at.host.events("sftp")] == ["disallowed"]
        await ann.close()


async def test_a_host_without_the_program_says_so_and_ends_the_session_properly(tmp_path: Path) -> None:
    nowhere = partial(sftp_server, places=())
    async with scene(tmp_path) as at:
        with mock.patch("teleport.agents.ssh.running.sftp_server", nowhere):
            channel = await at.eve.open()
            assert await channel.grants(b"subsystem", String(b"sftp"))

            await channel.prints(b"this host has no sftp-server program")
            await asyncio.wait_for(channel.closed, 20)

        await ended(at.host, "this host has no sftp-server program")
        assert await at.fine()


async def test_after_a_withdrawal_nothing_more_of_a_file_is_written(tmp_path: Path) -> None:
    async with host(tmp_path, role("dev", logins=LOGIN), user("ann")) as made:
        ann = await made.connect(made.authorities.user("ann"))
        channel = await ann.open()
        assert await channel.grants(b"subsystem", String(b"sftp"))
        channel.data(HELLO + opens(1, os.fsencode(tmp_path / "file"), WRITE) + writes(2, b"before", b"\0\0\0\0"))
        await wait_until(lambda: (tmp_path / "file").exists() and (tmp_path / "file").read_bytes() == b"before")

        await made.live.write(role("dev", logins=LOGIN, options={"ssh_file_copy": False}), user("ann"))
        await channel.prints(b"access withdrawn: the roles do not permit copying files")
        channel.data(writes(3, b"after", b"\0\0\0\0") + closes(4, b"\0\0\0\0"))

        await asyncio.wait_for(channel.closed, 20)
        assert (tmp_path / "file").read_bytes() == b"before"
        assert await ann.works()
        await ann.close()


@pytest.mark.skipif(shutil.which("scp") is None, reason="not installed: scp")
async def test_who_calls_something_else_scp_is_recorded_all_the_same(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.eve.run("scp -f /none </dev/null; echo evil")
        await at.eve.run("PATH=. scp -f /none </dev/null || echo evil")

        on_a_terminal = await at.eve.open()
        assert await on_a_terminal.grants(b"pty-req", *pty())
        assert await on_a_terminal.grants(b"exec", String(b"scp -f /none"))
        on_a_terminal.data(b"echo evil\n\x04")

        await wait_until(lambda: len(at.host.events("session.end")) == 3, within=20)

        outputs = [path.read_bytes() for path in at.host.spool.recordings.glob("*/output")]
        assert [b"evil" in output for output in outputs] == [True, True, True]
