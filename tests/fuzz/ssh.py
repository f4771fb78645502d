"""A host's SSH server against who speaks SSH and means harm: before keys are exchanged, before a login, and after.

`Campaign` counts the packets that it sends. Programs run as the user who runs this, so commands and paths are never
made up: what varies is order, kinds, numbers, lengths, and what is missing or too much.
"""

import asyncio
import contextlib
import gc
import logging
import os
import random
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from unittest import mock

import asyncssh
from asyncssh.packet import Boolean, PacketDecodeError, SSHPacket, String, UInt32

from teleport.net.asyncssh_seams import Connection
from tests.attacks.host import CLOSE, DISCONNECT, LOGIN, Client, HostUnderAttack, RawChannel, host, pty
from tests.net.sockets import Peer
from tests.sessions.policies import role, user

__all__ = ["Campaign", "campaign"]

T = TypeVar("T")

_NUMBERS: Final = (0, 1, 2, 3, 4, 255, 256, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_COMMANDS: Final = (b"true", b"cat", b"echo works", b"exit 3", b"head -c 100000 /dev/zero")
_TEXTS: Final = (b"", b"\0", b"x" * 300, b"\xff\xfe", b"session", b"TERM", b"127.0.0.1", b"::1", b"%n%n")
_PER_CONNECTION: Final = 120
_FORESEEN: Final = (asyncssh.Error, PacketDecodeError, UnicodeDecodeError)
"""How asyncssh finds that a packet is none, or that a name is no text, while it works off a packet in a task."""
_GROWTH: Final = 64 << 20
"""Bytes by which the process may grow, however many packets came."""


class _Words:
    """Draws packets."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.chance, self._folder = random.Random(seed), os.fsencode(folder)
        self.channels: list[int] = []
        """What the server calls the channels that are open."""

    def number(self) -> bytes:
        return UInt32(self.chance.choice(_NUMBERS))

    def channel(self) -> bytes:
        """Mostly one that is open: over any other the server hangs up."""
        if self.channels and self.chance.random() < 0.995:
            return UInt32(self.chance.choice(self.channels))
        return self.number()

    def text(self) -> bytes:
        return String(self.chance.choice(_TEXTS))

    def path(self) -> bytes:
        return String(self._folder + self.chance.choice((b"/socket", b"/" + b"x" * 200, b"/\xff", b"/no/such")))

    def damaged(self, body: bytes) -> bytes:
        """The same, cut off, with something behind it, or with one number that is another."""
        how = self.chance.randrange(6)
        if how == 0:
            return body[: self.chance.randint(0, len(body))]
        if how == 1:
            return body + self.chance.randbytes(self.chance.choice((1, 4, 1000)))
        if how == 2 and len(body) >= 4:
            at = self.chance.randint(0, len(body) - 4)
            return body[:at] + self.number() + body[at + 4 :]
        return body

    def kind_of_channel(self) -> tuple[bytes, bytes]:
        kind, rest = self.chance.choice((
            (b"session", b""), (b"session", b""), (b"session", b""),
            (b"direct-tcpip", self.text() + self.number() + self.text() + self.number()),
            (b"direct-streamlocal@openssh.com", self.path() + self.text() + self.number()),
            (b"x11", self.text() + self.number()), (b"auth-agent@openssh.com", b""), (b"other@example.com", b"?"),
        ))  # fmt: skip
        return self.seldom(b"\xff", kind), self.damaged(rest) if self.chance.random() < 0.2 else rest

    def window_and_size(self) -> tuple[int, int]:
        return self.chance.choice((2**21, 0, 2**32 - 1)), self.seldom(0, self.chance.choice((32768, 256, 2**32 - 1)))

    def seldom(self, this: T, that: T) -> T:
        """One of two: the first is what the server hangs up over."""
        return this if self.chance.random() < 0.01 else that

    def request(self) -> tuple[int, bytes]:
        name, rest = self.chance.choice((
            (b"exec", String(self.chance.choice(_COMMANDS))), (b"exec", String(self.chance.choice(_COMMANDS))),
            (b"pty-req", b"".join(pty(modes=self.chance.randbytes(12)))), (b"env", self.text() + self.text()),
            (b"window-change", self.number() * 4), (b"signal", self.text()), (b"break", self.number()),
            (b"subsystem", String(self.chance.choice((b"sftp", b"none", b"")))), (b"xon-xoff", b"\1"),
            (b"auth-agent-req@openssh.com", b""), (b"x11-req", b"\0" + self.text() + self.text() + self.number()),
            (b"exit-status", self.number()), (b"\xff\xfe", self.text()),
        ))  # fmt: skip
        return 98, self.channel() + String(name) + Boolean(self.chance.random() < 0.5) + rest

    def of_connection(self) -> tuple[int, bytes]:
        name, rest = self.chance.choice((
            (b"keepalive@openssh.com", b""), (b"tcpip-forward", String(b"127.0.0.1") + UInt32(0)),
            (b"cancel-tcpip-forward", String(b"127.0.0.1") + self.number()),
            (b"streamlocal-forward@openssh.com", self.path()), (b"no-more-sessions@openssh.com", b""),
            (b"hostkeys-prove-00@openssh.com", self.text()), (b"\xff", self.text()),
        ))  # fmt: skip
        return 80, String(name) + Boolean(self.chance.random() < 0.7) + rest

    def on_channel(self) -> tuple[int, bytes]:
        content = String(self.chance.randbytes(self.chance.choice((0, 1, 30, 5000))))
        kind, rest = self.chance.choice((
            (93, self.number()), (94, content), (94, content), (94, content), (96, b""),
            (97, b""), (93, UInt32(1000)),
        ))  # fmt: skip
        unasked = ((91, self.number() * 3), (92, self.number() + self.text() * 2), (99, b""), (100, b""),
                   (95, self.number() + content))  # fmt: skip
        kind, rest = self.seldom(self.chance.choice(unasked), (kind, rest))
        return kind, self.channel() + rest

    def of_transport(self) -> tuple[int, bytes]:
        return self.chance.choice((
            (2, self.text()), (3, self.number()), (4, b"\1" + self.text() + self.text()), (5, String(b"ssh-userauth")),
            (6, String(b"ssh-userauth")), (7, self.number() + self.text()), (20, self.chance.randbytes(60)), (21, b""),
            (30, String(self.chance.randbytes(32))), (31, self.chance.randbytes(40)), (51, self.text() + b"\0"),
            (53, self.text() * 2), (81, self.number()), (82, b""),
            (50, String(LOGIN.encode()) + String(b"ssh-connection") + String(b"none")),
            (50, self.text() * 3 + b"\1" + self.text() * 2), (self.chance.randrange(256), self.chance.randbytes(30)),
        ))  # fmt: skip

    def packet(self) -> tuple[int, bytes]:
        """Of a client who has logged in."""
        draws = (self.request, self.of_connection, self.on_channel, self.of_transport)
        (draw,) = self.chance.choices(draws, weights=(40, 20, 40, 1))
        kind, body = draw()
        return kind, self.damaged(body) if self.chance.random() < 0.04 else body


@dataclass
class Campaign:
    """What was sent, and what it left behind that should not be."""

    made: HostUnderAttack
    words: _Words
    bystander: Client
    packets: int = 0
    connections: int = 0
    wrong: list[str] = field(default_factory=list)

    async def round(self) -> None:
        """One connection of each sort; then somebody honest is served as ever."""
        for attack in (self.greets, self.logs_in_crookedly, self.is_in):
            self.connections += 1
            with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
                async with asyncio.timeout(20):
                    await attack()
        assert await self.bystander.works()

    async def greets(self) -> None:
        """Nothing is encrypted yet."""
        chance, peer = self.words.chance, await self.made.raw(self.made.authorities.user())
        try:
            await peer.send(chance.choice((b"SSH-2.0-x\r\n",) * 6 + (b"SSH-2.0-" + b"x" * 300 + b"\r\n", b"\r\n", b"")))
            for _ in range(chance.randint(1, 12)):
                kind, body = (20, _offer(chance)) if chance.random() < 0.3 else self.words.of_transport()
                await peer.send(self._framed(kind, self.words.damaged(body)))
            await _drained(peer)
        finally:
            peer.close()

    def _framed(self, kind: int, body: bytes) -> bytes:
        """A packet in the clear; now and then with a padding or a length that is wrong."""
        self.packets += 1
        payload = bytes([kind]) + body
        padding = 4 + -(len(payload) + 9) % 8
        packet = bytes([padding]) + payload + bytes(padding)
        if self.words.chance.random() < 0.1:
            packet = self.words.number()[-1:] + packet[1:]
        length = self.words.number() if self.words.chance.random() < 0.05 else UInt32(len(packet))
        return length + packet

    async def logs_in_crookedly(self) -> None:
        """Keys are exchanged; what follows is damaged, doubled, left out, or has something before it."""

        def crooked(connection: Any) -> None:
            said = connection.send_packet

            def send(kind: int, *parts: bytes, handler: Any = None) -> None:
                fate = self.words.chance.random()
                if fate < 0.2:
                    self._say(said, *self.words.of_transport())
                if fate < 0.9 or kind < 30:
                    body = b"".join(parts)
                    self._say(said, kind, self.words.damaged(body) if kind >= 50 else body)
                if fate > 0.8 and kind >= 50:
                    self._say(said, kind, *parts)

            connection.send_packet = send

        badge = self.made.authorities.user()
        key = (asyncssh.import_private_key(badge.ssh_key), asyncssh.import_certificate(badge.ssh_certificate))
        connection = await self.made.log_in(badge, client_keys=[key], opened=crooked)
        connection.abort()

    async def is_in(self) -> None:
        """Logged in like everybody."""
        client = await self.made.connect(self.made.authorities.user())
        client.hear_nothing(DISCONNECT, 81, 82)
        said, channels = client.connection.send_packet, list[RawChannel]()
        try:
            for turn in range(_PER_CONNECTION):
                if _gone(client.connection):
                    return
                self.words.channels = [one.theirs for one in channels if one.opened]
                if turn < 3 or self.words.chance.random() < 0.1:
                    channels.append(self._asks_for_a_channel(client))
                    await asyncio.wait([channels[-1].answered], timeout=5)
                    continue
                kind, body = self.words.packet()
                if kind == CLOSE:
                    channels = [one for one in channels if not one.opened or UInt32(one.theirs) != body[:4]]
                self._say(said, kind, body)
                await asyncio.sleep(0)
        finally:
            await client.close()

    def _asks_for_a_channel(self, client: Client) -> RawChannel:
        self.packets += 1
        kind, rest = self.words.kind_of_channel()
        window, size = self.words.window_and_size()
        channel = _Deaf(client)
        client.send(90, String(kind), UInt32(channel.ours), UInt32(window), UInt32(size), rest)
        return channel

    def _say(self, said: Callable[..., None], kind: int, *parts: bytes) -> None:
        self.packets += 1
        with contextlib.suppress(Exception):  # the client's own, where it cannot make a packet of this
            said(kind, *parts)


class _Deaf(RawChannel):
    """A channel on which nobody listens."""

    def process_packet(self, kind: int, _: int, packet: SSHPacket) -> bool:
        return True


def _gone(connection: Any) -> bool:
    return connection._transport is None or connection._transport.is_closing()


def _offer(chance: random.Random) -> bytes:
    """An offer of algorithms, more or less."""
    names = (b"curve25519-sha256", b"kex-strict-c-v00@openssh.com", b"ssh-ed25519", b"aes256-gcm@openssh.com", b"none",
             b"hmac-sha2-256-etm@openssh.com", b"ext-info-c", b"", b"\xff", b"," * 40)  # fmt: skip
    lists = (String(b",".join(chance.sample(names, chance.randint(0, 6)))) for _ in range(10))
    return chance.randbytes(16) + b"".join(lists) + b"\0" + UInt32(0)


async def _drained(peer: Peer) -> None:
    """Read what the server says, until it says nothing for a moment."""
    with contextlib.suppress(TimeoutError, OSError):
        while await asyncio.wait_for(peer._loop.sock_recv(peer.sock, 65536), 0.02):
            pass


class _Errors(logging.Handler):
    """What is logged as an error is a defect here."""

    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        self._into.append(self.format(record))


@asynccontextmanager
async def campaign(folder: Path, *, seed: int) -> AsyncIterator[Campaign]:
    """A host with everything permitted, and a campaign against it. Fails at the end if anything went wrong."""
    options = {"forward_agent": True, "permit_x11_forwarding": True}
    policy = (role("dev", logins=LOGIN, options=options), user("ann"), user("bob"))
    async with host(folder, *policy) as made:
        bystander = await made.connect(made.authorities.user("bob"))
        assert await bystander.works()
        running, before = Campaign(made, _Words(seed, folder), bystander), _Held.now()
        with _defects_noted(running.wrong):
            yield running
            await _only_the_first_is_served(made)
            assert await bystander.works()
            assert _Held.now().is_no_more_than(before)
            await bystander.close()
            await made.stop()
        assert tuple(made.gate.live) == ()
        failures = (task.exception() for task in made.serving)
        running.wrong += ["".join(traceback.format_exception(one)) for one in failures if one is not None]
    assert running.wrong == [], "\n".join(running.wrong)


async def _only_the_first_is_served(made: HostUnderAttack) -> None:
    """Whoever attacked is gone, and so is what was begun for them."""
    _, stuck = await asyncio.wait(made.serving[1:], timeout=20)
    assert not stuck


@dataclass(frozen=True)
class _Held:
    """What this process holds on to."""

    memory: int
    descriptors: int
    children: int

    @classmethod
    def now(cls) -> "_Held":
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return cls(pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd")), len(children))

    def is_no_more_than(self, before: "_Held") -> bool:
        """But for what allocators keep."""
        grown = self.memory - before.memory
        return grown < _GROWTH and self.descriptors <= before.descriptors + 4 and self.children <= before.children


@contextlib.contextmanager
def _defects_noted(into: list[str]) -> Iterator[None]:
    """Note what is logged as an error, and exceptions that nobody foresaw, which end the connection they happen on."""
    unforeseen, errors = Connection.internal_error, _Errors(into)

    def noted(self: Connection, exc_info: Any = None, error_logger: Any = None) -> None:
        error = (exc_info or sys.exc_info())[1]
        if not isinstance(error, _FORESEEN):
            into.append("".join(traceback.format_exception(error)))
        unforeseen(self, exc_info, error_logger)

    loggers = [logging.getLogger(name) for name in ("teleport", "asyncio")]
    for one in loggers:
        one.addHandler(errors)
    try:
        with mock.patch.object(Connection, "internal_error", noted):
            yield
    finally:
        for one in loggers:
            one.removeHandler(errors)
