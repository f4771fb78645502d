"""A host's SSH server as it is, and clients that speak to it honestly or not.

The way through the proxy is left out: a test's connection arrives at the server with the assignment that the proxy
would have sent. Programs really run, as the user who runs the tests, in a home where no dotfiles have a say.
"""

import asyncio
import os
import pwd
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import asyncssh
from asyncssh.packet import Boolean, SSHPacket, String, UInt32

from teleport.agents.ssh.process import Account, account
from teleport.agents.ssh.recorded import RecordingHost
from teleport.agents.ssh.server import Host, SshServer
from teleport.api.dialback import Dial
from teleport.audit.spool import Spool
from teleport.core.aio import SystemClock
from teleport.net.lines import LineConnection
from teleport.pki.credentials import issue_ssh_host
from teleport.pki.keys import new_ssh_key, ssh_private
from teleport.resources.kinds import AnyResource
from teleport.sessions.gate import Gate
from tests.net.sockets import Peer, tcp_pair
from tests.proxy.badges import CLUSTER, Authorities, Badge
from tests.sessions.live import Live, live
from tests.sessions.policies import role, user

LOGIN = pwd.getpwuid(os.geteuid()).pw_name
SUCCESS, FAILURE, OPENED, NOT_OPENED, ADJUST, DATA, EXTENDED, CLOSE = 99, 100, 91, 92, 93, 94, 95, 97
DISCONNECT, GLOBAL_REQUEST = 1, 80


class Nowhere:
    """A destination of records that takes everything."""

    async def send_events(self, events: Sequence[Mapping[str, Any]]) -> None: ...
    async def send_part(self, sid: str, name: str, offset: int, data: bytes) -> None: ...
    async def seal(self, sid: str, meta: Mapping[str, Any]) -> None: ...


@dataclass
class HostUnderAttack:
    """The server, its policy, and the tasks that serve connections."""

    server: SshServer
    gate: Gate
    live: Live
    authorities: Authorities
    spool: Spool
    serving: list["asyncio.Task[None]"] = field(default_factory=list)
    streams: list[LineConnection] = field(default_factory=list)

    def assignment(self, badge: Badge, **fields: Any) -> Dial:
        """What the proxy says of a connection by this person."""
        identity = badge.identity
        body = {
            "ticket": "t" * 32, "session": "01234567-89ab-cdef-0123-456789abcdef", "proxy_id": "p-1",
            "host_id": self.server.host.uid, "client_address": "127.0.0.1", "client_port": 4711,
            "user": identity.name, "user_uid": identity.uid, "cluster": identity.cluster,
            "scope": identity.requested_roles, "target": self.server.host.name, **fields,
        }  # fmt: skip
        return Dial(**body)

    @asynccontextmanager
    async def listening(self, badge: Badge) -> AsyncIterator[int]:
        """A port of loopback on which programs reach the server, all of them announced as this person."""

        def arrive() -> LineConnection:
            stream = _Arriving(lambda: self.server.serve(stream, self.assignment(badge)), self.serving)
            self.streams.append(stream)
            return stream

        listener = await asyncio.get_running_loop().create_server(arrive, "127.0.0.1", 0)
        async with listener:
            yield listener.sockets[0].getsockname()[1]

    async def raw(self, badge: Badge, **fields: Any) -> Peer:
        """A connection on which nothing has been said."""
        near, far = tcp_pair()
        stream = LineConnection()
        await asyncio.get_running_loop().connect_accepted_socket(lambda: stream, near)
        self.streams.append(stream)
        self.serving.append(asyncio.create_task(self.server.serve(stream, self.assignment(badge, **fields))))
        return Peer(far)

    async def connect(self, badge: Badge, *, login: str = LOGIN, shows: Badge | None = None, **fields: Any) -> "Client":
        """An SSH connection; `shows` is whose certificate it shows, if not that of whom the proxy announced."""
        shown = shows or badge
        key = (asyncssh.import_private_key(shown.ssh_key), asyncssh.import_certificate(shown.ssh_certificate))
        return Client(await self.log_in(badge, login=login, client_keys=[key], **fields))

    async def log_in(
        self, badge: Badge, *, login: str = LOGIN, client_keys: Sequence[Any] | None,
        more: Mapping[str, Any] | None = None, said: list[str] | None = None,
        opened: Callable[[asyncssh.SSHClientConnection], None] | None = None, **fields: Any,
    ) -> asyncssh.SSHClientConnection:  # fmt: skip
        """Log in with whatever keys; `login` goes over the wire as it is, though no honest client would send some.

        `said` takes what the host says before it lets anybody in; `opened` is called before anybody says anything.
        """

        class Liar(asyncssh.SSHClient):
            def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
                conn._username = login
                if opened is not None:
                    opened(conn)

            def auth_banner_received(self, msg: str, lang: str) -> None:
                if said is not None:
                    said.append(msg)

        options = asyncssh.SSHClientConnectionOptions(
            client_factory=Liar, username="x", client_keys=client_keys, known_hosts=None, config=[], agent_path=None,
            keepalive_interval=0, login_timeout=5, connect_timeout=5, **(more or {}),
        )  # fmt: skip
        peer = await self.raw(badge, **fields)
        try:
            return await asyncssh.connect(sock=peer.sock, options=options)
        except BaseException:
            peer.close()
            raise

    async def stop(self) -> None:
        """End what is still served. Each is waited for, because only then are its programs gone."""
        for stream in self.streams:
            stream.close()
        if self.serving:
            _, stuck = await asyncio.wait(self.serving, timeout=20)
            assert not stuck
        await self.server.close()

    @property
    def buffered(self) -> int:
        """The most bytes that wait to be sent to any client."""
        return max(stream.transport.get_write_buffer_size() for stream in self.streams)

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.spool.unsent()[0] if event["event"] == kind]


class _Arriving(LineConnection):
    """A connection that is served as soon as it is there."""

    def __init__(self, serve: Callable[[], Coroutine[Any, Any, None]], serving: list["asyncio.Task[None]"]) -> None:
        super().__init__()
        self._serve, self._serving = serve, serving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._serving.append(asyncio.create_task(self._serve()))


@asynccontextmanager
async def host(tmp_path: Path, *resources: AnyResource) -> AsyncIterator[HostUnderAttack]:
    """A host db-1 that ann and bob may enter as the user who runs the tests, unless resources are given."""
    clock, authorities = SystemClock(), Authorities()
    policy = resources or (role("dev", logins=LOGIN), user("ann"), user("bob"))
    async with live(*policy, clock=clock) as seen:
        await seen.trust(authorities.users.public)
        await seen.trust(authorities.hosts.public)
        key, badge = new_ssh_key(), authorities.host("db-1", "Node")
        certificate = issue_ssh_host(
            authorities.hosts, badge.identity, key.public_key(), principals=["db-1"], now=authorities.now
        )
        spool = Spool(tmp_path / f"spool-{secrets.token_hex(4)}", clock=clock)
        records = RecordingHost(
            badge.identity.uid, "db-1", spool, Nowhere(), lambda _: "signed", clock, lambda: 1 << 20
        )
        gate = Gate(seen.policy, clock=clock)
        server = SshServer(
            Host(badge.identity.uid, "db-1", CLUSTER), seen.policy, gate, records, clock=clock,
            host_key=ssh_private(key), host_certificate=certificate,
        )  # fmt: skip
        made = HostUnderAttack(server, gate, seen, authorities, spool)
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        with (
            mock.patch("teleport.agents.ssh.server.account", partial(_account, home)),
            mock.patch("teleport.agents.ssh.process.GRACE", 0.3),
        ):
            try:
                yield made
            finally:
                await made.stop()


def _account(home: Path, login: str, *, forbidden_uid: int | None) -> Account:
    """The real account with a plain shell in an empty home."""
    found = account(login, forbidden_uid=forbidden_uid)
    name, password, uid, gid, gecos, _, _ = found.entry
    return Account(pwd.struct_passwd((name, password, uid, gid, gecos, str(home), "/bin/sh")), found.groups)


class Client:
    """An authenticated connection."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self.connection = connection

    async def run(self, command: str, **more: Any) -> str:
        """What a command prints."""
        async with asyncio.timeout(20):
            result = await self.connection.run(command, **more)
        return str(result.stdout)

    async def works(self) -> bool:
        """Whether an honest session on this connection is served."""
        return await self.run("echo works") == "works\n"

    def send(self, kind: int, *parts: bytes) -> None:
        """A packet as it is."""
        self.connection.send_packet(kind, *parts)

    async def open(self, kind: bytes = b"session", *, window: int = 1 << 20, size: int = 32768, rest: bytes = b"") -> "RawChannel":  # fmt: skip  # noqa: E501
        """Ask for a channel, and wait for the answer."""
        channel = self.request_channel(kind, window=window, size=size, rest=rest)
        await asyncio.wait_for(channel.answered, 20)
        return channel

    def request_channel(
        self, kind: bytes = b"session", *, window: int = 1 << 20, size: int = 32768, rest: bytes = b""
    ) -> "RawChannel":
        channel = RawChannel(self)
        self.send(90, String(kind), UInt32(channel.ours), UInt32(window), UInt32(size), rest)
        return channel

    async def global_request(self, name: bytes, *parts: bytes) -> bool:
        """Whether a request that concerns the whole connection is granted."""
        kind, _ = await asyncio.wait_for(self.connection._make_global_request(name, *parts), 20)
        return bool(kind == 81)

    def watch(self, seen: Callable[[int], None]) -> None:
        """Call back with the type of each packet that concerns the whole connection, before it is worked off."""
        connection: Any = self.connection
        process = connection.process_packet

        def noted(kind: int, number: int, packet: SSHPacket) -> Any:
            seen(kind)
            return process(kind, number, packet)

        connection.process_packet = noted

    def stay_whatever_is_said(self) -> None:
        """Go on when the server says goodbye."""
        self.hear_nothing(DISCONNECT)

    def hear_nothing(self, *kinds: int) -> None:
        """Let packets of these types pass that concern the whole connection."""
        connection: Any = self.connection
        connection._packet_handlers = {**connection._packet_handlers, **dict.fromkeys(kinds, lambda *_: None)}

    def vanish(self) -> None:
        """As when the client's machine fails: nothing is said."""
        transport = self.connection._transport
        assert transport is not None
        transport.abort()

    async def close(self) -> None:
        self.connection.abort()
        await self.connection.wait_closed()


@dataclass
class Scene:
    """A host, an attacker with a certificate of her own, and a bystander on another connection."""

    host: HostUnderAttack
    eve: Client
    bystander: Client

    async def fine(self) -> bool:
        """Whether honest sessions are served, on both connections."""
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


class RawChannel:
    """A channel whose packets tests write themselves. asyncssh hands it what comes in for its number."""

    def __init__(self, client: Client) -> None:
        loop = asyncio.get_running_loop()
        self._client = client
        self.ours = client.connection.add_channel(self)  # type: ignore[arg-type]
        self.answered: asyncio.Future[bool] = loop.create_future()
        self.theirs = -1
        self._replies: list[asyncio.Future[bool]] = []
        self.output = bytearray()
        self.granted = 0
        """Bytes that the host lets in beyond the first window."""
        self.closed = loop.create_future()

    @property
    def opened(self) -> bool:
        return self.answered.done() and self.answered.result()

    # -- what asyncssh calls

    def log_received_packet(self, *_: object) -> None: ...

    def process_open_confirmation(self, theirs: int, window: int, size: int, packet: SSHPacket) -> None:
        self.theirs = theirs
        self.answered.set_result(True)

    def process_open_failure(self, code: int, reason: str, lang: str) -> None:
        self.answered.set_result(False)

    def process_connection_close(self, exc: Exception | None) -> None:
        for waiting in [*self._replies, self.answered]:
            if not waiting.done():
                waiting.set_result(False)
        if not self.closed.done():
            self.closed.set_result(None)

    def process_packet(self, kind: int, _: int, packet: SSHPacket) -> bool:
        if kind in (SUCCESS, FAILURE):
            self._replies.pop(0).set_result(kind == SUCCESS)
        elif kind == DATA:
            self.output += packet.get_string()
        elif kind == EXTENDED:
            packet.get_uint32()
            self.output += packet.get_string()
        elif kind == ADJUST:
            self.granted += packet.get_uint32()
        elif kind == CLOSE and not self.closed.done():
            self.closed.set_result(None)
        return True

    # -- what tests do

    def ask(self, name: bytes, *parts: bytes) -> "asyncio.Future[bool]":
        """A request; the future says whether it was granted."""
        reply: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._replies.append(reply)
        self._client.send(98, UInt32(self.theirs), String(name), Boolean(True), *parts)
        return reply

    async def grants(self, name: bytes, *parts: bytes) -> bool:
        return await asyncio.wait_for(self.ask(name, *parts), 20)

    def tell(self, name: bytes, *parts: bytes) -> None:
        """A request to which no answer is wanted."""
        self._client.send(98, UInt32(self.theirs), String(name), Boolean(False), *parts)

    def data(self, data: bytes) -> None:
        self._client.send(DATA, UInt32(self.theirs), String(data))

    def adjust(self, count: int) -> None:
        self._client.send(93, UInt32(self.theirs), UInt32(count))

    def close(self) -> None:
        self._client.send(CLOSE, UInt32(self.theirs))

    async def prints(self, text: bytes) -> None:
        """Wait until the output holds that."""
        async with asyncio.timeout(20):
            while text not in self.output:
                await asyncio.sleep(0.005)


def pty(term: bytes = b"xterm", columns: int = 80, rows: int = 24, modes: bytes = b"\0") -> tuple[bytes, ...]:
    """The parts of a request for a terminal."""
    return String(term), UInt32(columns), UInt32(rows), UInt32(0), UInt32(0), String(modes)
