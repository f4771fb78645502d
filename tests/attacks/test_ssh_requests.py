"""Attacks on a host's SSH server by who has logged in: channels and requests that are not served, or are nonsense.

Beside the attacker there are bystanders: a session on the same connection, and one on another. They go on working.
"""

import asyncio
import gc
from pathlib import Path

import pytest
from asyncssh.packet import Boolean, String, UInt32

from teleport.agents.ssh.channel import SessionChannel
from tests.attacks.host import LOGIN, host, pty, scene
from tests.net.sockets import wait_until
from tests.sessions.policies import role, user


async def test_hundreds_of_channels_are_bounded_and_harm_nobody(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channels = [at.eve.request_channel() for _ in range(150)]
        await asyncio.wait_for(asyncio.gather(*(channel.answered for channel in channels)), 20)

        opened = [channel for channel in channels if channel.opened]
        assert len(opened) == 100
        assert await at.bystander_is_fine()
        for channel in opened[:10]:
            channel.close()
        await asyncio.gather(*(channel.closed for channel in opened[:10]))
        assert await at.fine()


async def test_channels_opened_and_closed_over_and_over_leave_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        before = _channels_in_memory()
        for _ in range(100):
            channel = await at.eve.open()
            channel.close()
            await asyncio.wait_for(channel.closed, 20)

        assert await at.fine()
        assert _channels_in_memory() - before < 10


def _channels_in_memory() -> int:
    gc.collect()
    return sum(isinstance(one, SessionChannel) for one in gc.get_objects())


async def test_no_more_sessions_at_once_than_the_roles_permit(tmp_path: Path) -> None:
    limited = role("dev", logins=LOGIN, options={"max_sessions": 2})
    async with host(tmp_path, limited, user("ann")) as made:
        ann = await made.connect(made.authorities.user())

        opened = [(await ann.open()).opened for _ in range(4)]

        assert opened == [True, True, False, False]
        await ann.close()


_OTHER_CHANNELS = [
    (b"direct-streamlocal@openssh.com", String(b"/run/teleport/admin.sock") + String(b"") + UInt32(0)),
    (b"direct-streamlocal@openssh.com", String(b"/var/run/docker.sock") + String(b"") + UInt32(0)),
    (b"tun@openssh.com", UInt32(1) + UInt32(0)),
    (b"x11", String(b"127.0.0.1") + UInt32(6000)),
    (b"auth-agent@openssh.com", b""),
    (b"forwarded-tcpip", String(b"127.0.0.1") + UInt32(1) + String(b"x") + UInt32(1)),
    (b"unknown@example.com", b"\xff" * 1000),
]


async def test_every_other_kind_of_channel_is_refused_and_ends_nothing_else(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        opened = [kind for kind, rest in _OTHER_CHANNELS if (await at.eve.open(kind, rest=rest)).opened]

        assert opened == []
        assert await at.fine()


@pytest.mark.parametrize(
    ("kind", "rest"),
    [(b"session", b"more than belongs here"), (b"direct-tcpip", String(b"\xff") + UInt32(70_000)), (b"\xff", b"")],
)
async def test_a_nonsensical_request_for_a_channel_ends_at_most_the_attackers_own_connection(
    tmp_path: Path, kind: bytes, rest: bytes
) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open(kind, rest=rest)

        assert not channel.opened
        assert await at.bystander_is_fine()


_OF_THE_CONNECTION = [
    (b"tcpip-forward", (b"\xff",)),
    (b"streamlocal-forward@openssh.com", (String(b"/nowhere/teleport-attack.sock"),)),
    (b"cancel-tcpip-forward", (String(b"0.0.0.0"), UInt32(22))),
    (b"cancel-streamlocal-forward@openssh.com", (String(b"/tmp/teleport-attack.sock"),)),
    (b"hostkeys-prove-00@openssh.com", (String(b"nonsense"),)),
    (b"unknown@example.com", (b"\xff" * 100,)),
    (b"\xff", ()),
]


async def test_requests_that_concern_the_connection_are_refused_and_end_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        granted = [name for name, parts in _OF_THE_CONNECTION if await at.eve.global_request(name, *parts)]

        assert granted == []
        assert await at.eve.global_request(b"keepalive@openssh.com")
        assert await at.fine()


_NOT_SERVED = [
    (b"x11-req", (Boolean(False), String(b"MIT-MAGIC-COOKIE-1"), String(b"00" * 16), UInt32(0))),
    (b"x11-req", (Boolean(False), String(b"x"), String(b"no hex"), UInt32(0))),
    (b"auth-agent-req@openssh.com", ()),
    (b"subsystem", (String(b"shell"),)),
    (b"subsystem", (String(b"SFTP"),)),
    (b"subsystem", (String(b"../../bin/sh"),)),
    (b"subsystem", (String(b"\xff"),)),
    (b"exec", (String(b"echo \x00; id"),)),
    (b"exec", (String(b"x" * 200_000),)),
    (b"unknown@example.com", (b"\xff" * 100,)),
    (b"break", (UInt32(2**32 - 1),)),
]


async def test_requests_that_are_not_served_are_refused_and_end_nothing_else(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        granted = [name for name, parts in _NOT_SERVED if await (await at.eve.open()).grants(name, *parts)]

        assert granted == []
        assert await at.fine()


async def test_a_subsystem_that_was_asked_for_is_written_down(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        await channel.grants(b"subsystem", String(b"sftp\x1b[31m"))

        await wait_until(lambda: at.host.events("subsystem"))

        (event,) = at.host.events("subsystem")
        assert event["name"] == "sftp[31m"


# -- environment, terminals, windows


async def test_thousands_of_variables_are_bounded_and_only_the_listed_ones_arrive(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        for number in range(1000):
            channel.tell(b"env", String(f"LC_{number}".encode()), String(b"x"))
        for name in (b"LD_PRELOAD", b"PATH", b"BASH_ENV", b"HOME", b"SSH_TELEPORT_USER", b"lc_x", b"LANGUAGE"):
            channel.tell(b"env", String(name), String(b"evil"))
        assert await channel.grants(b"exec", String(b"env; echo done"))

        await channel.prints(b"done")

        assert 0 < channel.output.count(b"LC_") <= 64
        assert b"evil" not in channel.output
        assert await at.fine()


_VARIABLES = [
    (b"LANG", b"x" * 100_000), (b"LANG", b"a\x00b"), (b"LANG", b"\xff\xfe"), (b"LC_\x00", b"x"), (b"LC_=x", b"y"),
    (b"", b"x"), (b"L" * 100_000, b"x"), (b"LC_\xff", b"x"),
]  # fmt: skip


async def test_a_variable_that_is_none_keeps_no_program_from_starting(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        for name, value in _VARIABLES:
            channel = await at.eve.open()
            channel.tell(b"env", String(name), String(value))
            await channel.grants(b"exec", String(b"echo started"))

            await channel.prints(b"started")

        assert await at.bystander_is_fine()


_MODES = [
    b"", b"\x00", b"\x01\x00\x00\x00\x03", b"\xff" * 50, bytes(range(1, 128)) * 20 + b"\x00",
    b"".join(bytes([code]) + b"\xff\xff\xff\xff" for code in range(1, 128)) + b"\x00",
]  # fmt: skip


async def test_strange_terminal_modes_still_give_a_terminal(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        for modes in _MODES:
            channel = await at.eve.open()
            assert await channel.grants(b"pty-req", *pty(modes=modes))
            assert await channel.grants(b"exec", String(b"tty"))

            await channel.prints(b"/dev/pts/")

        assert await at.bystander_is_fine()


async def test_terminal_modes_that_are_cut_off_end_at_most_the_attackers_own_connection(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        channel.ask(b"pty-req", *pty(modes=b"\x01\x00"))

        assert await at.bystander_is_fine()


async def test_a_strange_kind_of_terminal_reaches_the_program_harmless(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        for term in (b"", b"\x1b]0;evil\x07", b"x" * 30_000, b"../../etc", b"a\x00b"):
            channel = await at.eve.open()
            assert await channel.grants(b"pty-req", *pty(term))
            assert await channel.grants(b"exec", String(b'printf "<%s>" "$TERM"'))

            await channel.prints(b">")

            shown = bytes(channel.output).split(b"<")[1].split(b">")[0]
            assert shown.decode().isprintable()
            assert 0 < len(shown) <= 64
        assert await at.bystander_is_fine()


async def test_windows_of_any_size_are_taken(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        assert await channel.grants(b"pty-req", *pty(columns=2**32 - 1, rows=2**32 - 1))
        assert await channel.grants(b"exec", String(b"read go; stty size"))
        for size in (2**32 - 1, 0, 1, 65536):
            channel.tell(b"window-change", UInt32(size), UInt32(size), UInt32(size), UInt32(size))
        channel.tell(b"window-change", UInt32(11), UInt32(22), UInt32(0), UInt32(0))
        channel.data(b"go\n")

        await channel.prints(b"22 11")

        assert await at.fine()


async def test_signals_that_are_none_are_ignored(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        assert await channel.grants(b"exec", String(b"echo up; read go; echo survived"))
        await channel.prints(b"up")

        for name in (b"KILLALL", b"\xff", b"", b"SIGKILL", b"9", b"x" * 30_000):
            channel.tell(b"signal", String(name))
        channel.data(b"go\n")

        await channel.prints(b"survived")
        assert await at.fine()


# -- requests at the wrong time


async def test_a_second_program_on_a_channel_is_refused(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        assert await channel.grants(b"exec", String(b"cat"))

        assert not await channel.grants(b"exec", String(b"echo second"))
        assert not await channel.grants(b"shell")
        channel.data(b"still the first\n")

        await channel.prints(b"still the first")
        assert await at.fine()


async def test_requests_on_a_closed_channel_end_at_most_the_attackers_own_connection(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        channel.close()
        await asyncio.wait_for(channel.closed, 20)

        for _ in range(50):
            channel.tell(b"exec", String(b"id"))
        channel.data(b"x")
        channel.adjust(5)

        assert await at.bystander_is_fine()


async def test_a_flood_of_requests_on_one_channel_is_bounded(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        for _ in range(1000):
            channel.tell(b"x11-req", Boolean(False), String(b"x"), String(b"00"), UInt32(0))
            channel.tell(b"signal", String(b"TERM"))

        assert await at.bystander_is_fine()


async def test_a_flood_of_global_requests_harms_nobody(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        for _ in range(1000):
            at.eve.send(80, String(b"tcpip-forward"), Boolean(False), String(b"127.0.0.1"), UInt32(0))

        assert await at.fine()
