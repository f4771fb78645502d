"""Attacks on a host's SSH server, before and after the client has said who it is.

Beside each attacker there are bystanders: a session on the same connection, where the attacker has one, and one on
another connection. They go on working.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest
from asyncssh.packet import Boolean, String, UInt32

from tests.attacks.host import LOGIN, Client, HostUnderAttack, host, pty
from tests.net.sockets import wait_until
from tests.sessions.policies import lock, role, user


@dataclass
class Scene:
    """A host, an attacker with a certificate of her own, and a bystander on another connection."""

    host: HostUnderAttack
    eve: Client
    bystander: Client

    async def fine(self) -> bool:
        """Whether honest sessions go on, on both connections."""
        return await self.eve.works() and await self.bystander.works()

    async def bystander_is_fine(self) -> bool:
        return await self.bystander.works()


@asynccontextmanager
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with host(tmp_path) as made:
        eve = await made.connect(made.authorities.user("ann"))
        bystander = await made.connect(made.authorities.user("bob"))
        try:
            yield Scene(made, eve, bystander)
        finally:
            await eve.close()
            await bystander.close()


# -- before authentication


@pytest.mark.parametrize(
    "said",
    [b"", b"SSH-2.0-x", b"GET / HTTP/1.1\r\n\r\n", b"SSH-1.5-old\r\n", b"\x00" * 64, b"SSH-2.0-\xff\xff\r\n",
     b"SSH-2.0-x\r\n",
     b"SSH-2.0-x\r\n\xff\xff\xff\xff" + b"x" * 64, b"SSH-2.0-x\r\n\x00\x00\x00\x0c\x0a\x14" + b"x" * 10],
    ids=["nothing", "half a banner", "http", "ssh1", "zeros", "no text", "banner only", "huge packet", "bad kexinit"],
)  # fmt: skip
async def test_a_peer_that_gets_nowhere_is_hung_up_on_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr("teleport.agents.ssh.server.LOGIN_SECONDS", 0.3)
    async with host(tmp_path) as made:
        peer = await made.raw(made.authorities.user())
        await peer.send(said)

        await peer.wait_end()
        await asyncio.wait_for(asyncio.gather(*made.serving), 2)

        peer.close()
        assert tuple(made.gate.live) == ()


async def test_a_banner_without_an_end_is_not_collected_for_ever(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        peer = await made.raw(made.authorities.user())

        async def babble() -> None:
            for _ in range(1000):
                await peer.send(b"x" * 10_000)
                await asyncio.sleep(0)

        with pytest.raises(OSError):
            await babble()
        peer.close()


async def test_a_flood_before_the_keys_are_exchanged_does_not_keep_others_waiting(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        bystander = await made.connect(made.authorities.user("bob"))
        peer = await made.raw(made.authorities.user())
        await peer.send(b"SSH-2.0-x\r\n")
        ignored = b"\x00\x00\x00\x0c\x06\x02" + bytes(10)
        flooding = asyncio.create_task(peer.send(ignored * 500_000))

        started = time.monotonic()
        for _ in range(3):
            assert await bystander.works()

        assert time.monotonic() - started < 3
        flooding.cancel()
        await asyncio.wait([flooding])
        peer.close()
        await bystander.close()


async def test_every_refused_key_is_written_down_but_not_without_end(tmp_path: Path) -> None:
    """Offers cost the client nothing; here each would cost an event on disk."""
    async with host(tmp_path) as made:
        expired = made.authorities.user(expires_in=-5)
        key = asyncssh.import_private_key(expired.ssh_key)
        certificate = asyncssh.import_certificate(expired.ssh_certificate)
        peer = await made.raw(expired)

        with pytest.raises((asyncssh.Error, OSError)):
            await asyncssh.connect(
                sock=peer.sock, username=LOGIN, known_hosts=None, config=[], agent_path=None,
                client_keys=[(key, certificate)] * 300, login_timeout=5,
            )  # fmt: skip

        assert 1 <= len(made.events("auth")) <= 20
        peer.close()


# -- whose certificate


async def refused(made: HostUnderAttack, badge: object, **more: object) -> None:
    """An attempt to log in that must fail, and leave no session behind."""
    with pytest.raises((asyncssh.Error, OSError)):
        await made.connect(badge, **more)  # type: ignore[arg-type]
    assert tuple(made.gate.live) == ()


async def test_the_certificate_of_whom_the_proxy_announced_is_good(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        ann = await made.connect(made.authorities.user())

        assert await ann.works()

        await ann.close()


@pytest.mark.parametrize(
    "announced",
    [{"user": "bob"}, {"user_uid": "u-other"}, {"cluster": "elsewhere.org"}, {"scope": ("dev",)}, {"scope": ()}],
)
async def test_the_certificate_of_another_than_the_proxy_announced_is_refused(
    tmp_path: Path, announced: dict[str, object]
) -> None:
    async with host(tmp_path) as made:
        await refused(made, made.authorities.user(), **announced)


async def test_somebody_elses_certificate_is_refused_on_a_connection_that_was_routed(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        await refused(made, made.authorities.user("bob"), shows=made.authorities.user("ann"))


async def test_a_wider_certificate_than_the_one_that_was_routed_is_refused(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        narrow, wide = made.authorities.user(requested_roles=()), made.authorities.user()

        await refused(made, narrow, shows=wide)


@pytest.mark.parametrize("address", ["192.0.2.8", "", "nonsense", "::1", "192.0.2.70"])
async def test_a_pinned_certificate_is_refused_from_another_address(tmp_path: Path, address: str) -> None:
    async with host(tmp_path) as made:
        await refused(made, made.authorities.user(pinned_ip="192.0.2.7"), client_address=address)


async def test_a_pinned_certificate_is_good_from_its_own_address_whoever_the_sockets_peer_is(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        ann = await made.connect(made.authorities.user(pinned_ip="192.0.2.7"), client_address="192.0.2.7")

        assert await ann.works()
        await ann.close()


async def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        ann, bob = made.authorities.user("ann"), made.authorities.user("bob")
        stolen = type(ann)(**{**vars(ann), "ssh_key": bob.ssh_key})

        with pytest.raises(ValueError):
            await made.connect(stolen)  # asyncssh itself will not pair them
        peer = await made.raw(ann)
        key = asyncssh.import_private_key(bob.ssh_key)
        pair = asyncssh.load_keypairs([key])[0]
        pair.public_data = asyncssh.import_certificate(ann.ssh_certificate).public_data
        pair.algorithm = b"ssh-ed25519-cert-v01@openssh.com"
        pair.sig_algorithms = (b"ssh-ed25519-cert-v01@openssh.com",)
        with pytest.raises((asyncssh.Error, OSError)):
            await asyncssh.connect(
                sock=peer.sock, username=LOGIN, known_hosts=None, config=[], agent_path=None, client_keys=[pair],
                login_timeout=5,
            )  # fmt: skip
        peer.close()
        assert tuple(made.gate.live) == ()


async def test_passwords_are_not_asked_for(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        peer = await made.raw(made.authorities.user())

        with pytest.raises(asyncssh.PermissionDenied):
            await asyncssh.connect(
                sock=peer.sock, username=LOGIN, password="x", known_hosts=None, config=[], agent_path=None,
                client_keys=None, preferred_auth="password,keyboard-interactive,hostbased,none",
            )  # fmt: skip
        peer.close()


@pytest.mark.parametrize("login", ["-oProxyCommand=id", "x" * 900, "a\nb", "../root", "no-such-login", "röot"])
async def test_a_login_that_is_none_is_refused(tmp_path: Path, login: str) -> None:
    async with host(tmp_path) as made:
        await refused(made, made.authorities.user(), login=login)


async def test_a_login_of_the_auth_service_is_refused_on_its_own_host(tmp_path: Path) -> None:
    import os

    async with host(tmp_path) as made:
        made.server.host.forbidden_uid = os.geteuid()

        await refused(made, made.authorities.user())

        (event,) = made.events("session.rejected")
        assert "the user that the auth service runs as" in event["reason"]


# -- an authenticated client: channels


async def test_hundreds_of_channels_are_bounded_and_harm_nobody(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channels = [at.eve.request_channel() for _ in range(400)]
        await asyncio.wait_for(asyncio.gather(*(channel.answered for channel in channels)), 10)

        opened = [channel for channel in channels if channel.opened]
        assert len(opened) == 100
        assert await at.bystander_is_fine()
        for channel in opened[:10]:
            channel.close()
        await asyncio.gather(*(channel.closed for channel in opened[:10]))
        assert await at.fine()


async def test_channels_opened_and_closed_over_and_over_leave_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        for _ in range(300):
            channel = await at.eve.open()
            channel.close()
            await asyncio.wait_for(channel.closed, 5)

        assert await at.fine()
        import gc

        from teleport.agents.ssh.channel import SessionChannel

        gc.collect()
        assert sum(isinstance(one, SessionChannel) for one in gc.get_objects()) < 20


async def test_no_more_sessions_at_once_than_the_roles_permit(tmp_path: Path) -> None:
    limited = role("dev", logins=LOGIN, options={"max_sessions": 2})
    async with host(tmp_path, limited, user("ann")) as made:
        ann = await made.connect(made.authorities.user())

        opened = [(await ann.open()).opened for _ in range(4)]

        assert opened == [True, True, False, False]
        await ann.close()


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        (b"direct-tcpip", String(b"127.0.0.1") + UInt32(3080) + String(b"127.0.0.1") + UInt32(1)),
        (b"direct-tcpip", String(b"localhost") + UInt32(22) + String(b"x") + UInt32(1)),
        (b"direct-tcpip", String(b"169.254.169.254") + UInt32(80) + String(b"x") + UInt32(1)),
        (b"direct-tcpip", String(b"\xff") + UInt32(70_000) + String(b"") + UInt32(1)),
        (b"direct-streamlocal@openssh.com", String(b"/run/teleport/admin.sock") + String(b"") + UInt32(0)),
        (b"direct-streamlocal@openssh.com", String(b"/var/run/docker.sock") + String(b"") + UInt32(0)),
        (b"tun@openssh.com", UInt32(1) + UInt32(0)),
        (b"x11", String(b"127.0.0.1") + UInt32(6000)),
        (b"auth-agent@openssh.com", b""),
        (b"forwarded-tcpip", String(b"127.0.0.1") + UInt32(1) + String(b"x") + UInt32(1)),
        (b"unknown@example.com", b"\xff" * 1000),
        (b"session", b"more than belongs here"),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) and value.isascii() and len(value) < 40 else "",
)  # fmt: skip
async def test_every_other_kind_of_channel_is_refused(tmp_path: Path, kind: bytes, rest: bytes) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open(kind, rest=rest)

        assert not channel.opened
        assert await at.bystander_is_fine()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (b"tcpip-forward", (String(b"0.0.0.0"), UInt32(0))),
        (b"tcpip-forward", (String(b""), UInt32(22))),
        (b"streamlocal-forward@openssh.com", (String(b"/tmp/teleport-attack.sock"),)),
        (b"cancel-tcpip-forward", (String(b"0.0.0.0"), UInt32(22))),
        (b"unknown@example.com", (b"\xff" * 100,)),
    ],
)
async def test_forwarding_to_the_client_is_refused(tmp_path: Path, name: bytes, parts: tuple[bytes, ...]) -> None:
    async with scene(tmp_path) as at:
        assert not await at.eve.global_request(name, *parts)
        assert await at.fine()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (b"x11-req", (Boolean(False), String(b"MIT-MAGIC-COOKIE-1"), String(b"00" * 16), UInt32(0))),
        (b"x11-req", (Boolean(False), String(b"x"), String(b"no hex"), UInt32(0))),
        (b"auth-agent-req@openssh.com", ()),
        (b"subsystem", (String(b"sftp"),)),
        (b"subsystem", (String(b"../../bin/sh"),)),
        (b"subsystem", (String(b"\xff"),)),
        (b"exec", (String(b"\xff\xfe"),)),
        (b"exec", (String(b"echo \x00; id"),)),
        (b"exec", (String(b"x" * 200_000),)),
        (b"unknown@example.com", (b"\xff" * 100,)),
        (b"break", (UInt32(2**32 - 1),)),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else "",
)  # fmt: skip
async def test_requests_that_are_not_served_are_refused_and_end_nothing_else(
    tmp_path: Path, name: bytes, parts: tuple[bytes, ...]
) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()

        assert not await channel.grants(name, *parts)
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
        for number in range(5000):
            channel.tell(b"env", String(f"LC_{number}".encode()), String(b"x"))
        for name in (b"LD_PRELOAD", b"PATH", b"BASH_ENV", b"HOME", b"SSH_TELEPORT_USER", b"lc_x", b"LANGUAGE"):
            channel.tell(b"env", String(name), String(b"evil"))
        assert await channel.grants(b"exec", String(b"env; echo done"))

        await channel.prints(b"done")

        assert 0 < channel.output.count(b"LC_") <= 64
        assert b"evil" not in channel.output
        assert await at.fine()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"LANG", b"x" * 100_000), (b"LANG", b"a\x00b"), (b"LANG", b"\xff\xfe"), (b"LC_\x00", b"x"), (b"LC_=x", b"y"),
        (b"", b"x"), (b"L" * 100_000, b"x"), (b"LC_\xff", b"x"),
    ],
    ids=range(8),
)  # fmt: skip
async def test_a_variable_that_is_none_is_left_out(tmp_path: Path, name: bytes, value: bytes) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        channel.tell(b"env", String(name), String(value))
        await channel.grants(b"exec", String(b"echo started; env | wc -c"))

        await channel.prints(b"started")

        assert await at.fine()


@pytest.mark.parametrize(
    "modes",
    [b"", b"\x00", b"\x01\x00\x00\x00\x03", b"\xff" * 50, bytes(range(1, 128)) * 20 + b"\x00",
     b"".join(bytes([code]) + b"\xff\xff\xff\xff" for code in range(1, 128)) + b"\x00"],
    ids=["empty", "end", "one", "reserved", "numbers", "all set"],
)  # fmt: skip
async def test_strange_terminal_modes_still_give_a_terminal(tmp_path: Path, modes: bytes) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        assert await channel.grants(b"pty-req", *pty(modes=modes))
        assert await channel.grants(b"exec", String(b"tty; echo done"))

        await channel.prints(b"one")

        assert b"/dev/pts/" in channel.output
        assert await at.fine()


async def test_terminal_modes_that_are_cut_off_end_at_most_the_attackers_own_connection(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        channel.ask(b"pty-req", *pty(modes=b"\x01\x00"))

        assert await at.bystander_is_fine()


@pytest.mark.parametrize("term", [b"", b"\x1b]0;evil\x07", b"x" * 30_000, b"../../etc", b"a\x00b"])
async def test_a_strange_kind_of_terminal_reaches_the_program_harmless(tmp_path: Path, term: bytes) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        assert await channel.grants(b"pty-req", *pty(term))
        assert await channel.grants(b"exec", String(b'printf "<%s>" "$TERM"'))

        await channel.prints(b">")

        shown = bytes(channel.output).split(b"<")[1].split(b">")[0]
        assert shown.decode().isprintable()
        assert 0 < len(shown) <= 64
        assert await at.fine()


async def test_windows_of_any_size_are_taken(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        assert await channel.grants(b"pty-req", *pty(columns=2**32 - 1, rows=2**32 - 1))
        assert await channel.grants(b"exec", String(b"sleep 0.2; stty size"))
        for size in (2**32 - 1, 0, 1, 65536):
            channel.tell(b"window-change", UInt32(size), UInt32(size), UInt32(size), UInt32(size))
        channel.tell(b"window-change", UInt32(11), UInt32(22), UInt32(0), UInt32(0))

        await channel.prints(b"22 11")

        assert await at.fine()


@pytest.mark.parametrize("name", [b"KILLALL", b"\xff", b"", b"SIGKILL", b"9", b"x" * 30_000])
async def test_signals_that_are_none_are_ignored(tmp_path: Path, name: bytes) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        assert await channel.grants(b"exec", String(b"sleep 0.1; echo survived"))

        channel.tell(b"signal", String(name))

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
        await asyncio.wait_for(channel.closed, 5)

        for _ in range(50):
            channel.tell(b"exec", String(b"id"))
        channel.data(b"x")
        channel.adjust(5)

        assert await at.bystander_is_fine()


async def test_a_flood_of_requests_on_one_channel_is_bounded(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        for _ in range(3000):
            channel.tell(b"x11-req", Boolean(False), String(b"x"), String(b"00"), UInt32(0))
            channel.tell(b"signal", String(b"TERM"))

        assert await at.bystander_is_fine()


async def test_a_flood_of_global_requests_harms_nobody(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        for _ in range(3000):
            at.eve.send(80, String(b"tcpip-forward"), Boolean(False), String(b"127.0.0.1"), UInt32(0))

        assert await at.fine()


# -- amounts


async def test_who_reads_nothing_has_no_memory_filled_whatever_window_is_offered(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open(window=2**32 - 1)
        for _ in range(5):
            channel.adjust(2**32 - 1)
        assert await channel.grants(b"exec", String(b"cat /dev/zero"))
        at.eve.connection._transport.pause_reading()  # type: ignore[union-attr]
        (session,) = [one for one in at.host.gate.live if one.user == "ann"]
        transports = list(at.host.serving)
        assert transports
        largest = 0
        for _ in range(50):
            await asyncio.sleep(0.01)
            largest = max(largest, *(_buffered(at.host)))

        assert largest < 4 << 20
        assert session.ended == ""
        assert await at.bystander_is_fine()


def _buffered(made: HostUnderAttack) -> list[int]:
    """Bytes that wait to be sent, for each connection that is served."""
    import gc

    from teleport.agents.ssh.asyncssh_seams import Connection

    return [
        one._transport.get_write_buffer_size()
        for one in gc.get_objects()
        if isinstance(one, Connection) and one._transport is not None
    ]


@pytest.mark.parametrize("size", [1, 16])
async def test_tiny_packets_do_not_keep_others_waiting(tmp_path: Path, size: int) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open(window=2**31, size=size)
        if channel.opened:
            await channel.grants(b"exec", String(b"cat /dev/zero"))

        started = time.monotonic()
        for _ in range(3):
            assert await at.bystander_is_fine()

        assert time.monotonic() - started < 3


async def test_input_that_the_program_does_not_read_is_left_with_the_client(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        assert await channel.grants(b"exec", String(b"sleep 5"))

        for _ in range(62):
            channel.data(b"x" * 32_000)
        await asyncio.sleep(0.1)

        assert await at.fine()


async def test_more_input_than_the_window_allows_ends_at_most_the_attackers_own_connection(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        assert await channel.grants(b"exec", String(b"sleep 5"))

        for _ in range(400):
            channel.data(b"x" * 32_000)

        assert await at.bystander_is_fine()


async def test_a_flood_of_tiny_messages_does_not_keep_others_waiting(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        assert await channel.grants(b"exec", String(b"cat > /dev/null"))

        async def flood() -> None:
            while True:
                for _ in range(500):
                    at.eve.send(2, String(b""))
                await asyncio.sleep(0)

        flooding = asyncio.create_task(flood())
        started = time.monotonic()
        assert await at.bystander_is_fine()
        assert time.monotonic() - started < 3
        flooding.cancel()


async def test_a_session_that_fails_inside_the_server_ends_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(tmp_path) as at:
        sibling = await at.eve.open()
        assert await sibling.grants(b"exec", String(b"cat"))
        monkeypatch.setattr("teleport.agents.ssh.channel.start", lambda *_, **__: 1 / 0)
        channel = await at.eve.open()
        await channel.grants(b"exec", String(b"echo never"))
        await asyncio.wait_for(channel.closed, 5)
        monkeypatch.undo()

        sibling.data(b"still here\n")

        await sibling.prints(b"still here")
        assert b"an internal error ended this session" in channel.output
        assert await at.fine()


# -- ends


async def test_a_withdrawn_right_ends_a_session_that_ignores_everything(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open(window=2**31)
        trapped = b"trap '' HUP TERM INT; echo trapped; while :; do :; done"
        assert await channel.grants(b"exec", String(trapped))
        await channel.prints(b"trapped")
        started = time.monotonic()

        await at.host.live.write(lock(user="ann", message="gone fishing"))
        await asyncio.wait_for(at.eve.connection.wait_closed(), 5)

        assert time.monotonic() - started < 3
        assert b"gone fishing" in channel.output
        assert await at.bystander_is_fine()


async def test_a_client_that_vanishes_leaves_no_session(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        assert await channel.grants(b"exec", String(b"cat"))
        at.eve.connection._transport.abort()  # type: ignore[union-attr]

        await wait_until(lambda: [one.user for one in at.host.gate.live] == ["bob"])
        await wait_until(lambda: at.host.events("session.end"))

        assert await at.bystander_is_fine()
