"""A proxy's port with everything behind it, and people and agents who connect to it by real TLS.

The agents are tests' own: they do what a test tells them, also what no agent of ours would.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import asyncssh

from teleport.api.dialback import PULSE, Pulse
from teleport.api.models import LiveFacts
from teleport.audit.events import Event
from teleport.core.aio import Clock, SystemClock, cancel_and_wait
from teleport.core.errors import NotFound, Unavailable
from teleport.core.identity import Identity, ssh_name_of_proxies
from teleport.net import alpn
from teleport.net.join import Leg, as_stream
from teleport.net.keepalive import KEEPALIVE, KeepAlive, Vigil
from teleport.net.leaving import LeavingConnection
from teleport.net.lines import LineConnection
from teleport.net.quiet import QuietConnection
from teleport.proxy.handshake import line_handler
from teleport.proxy.listener import Arrival, Limits, Listener
from teleport.proxy.relay import Relay
from teleport.proxy.ssh.server import JumpServer
from teleport.proxy.tunnels import Tunnels
from teleport.resources.kinds import AnyResource
from teleport.sessions.gate import Gate
from tests.net.sockets import wait_until
from tests.proxy.badges import CLUSTER, Authorities, Badge
from tests.sessions.live import Live, live
from tests.sessions.policies import node, role, user


class Network(Protocol):
    """Where the proxy listens and how it is reached."""

    def listen(self) -> socket.socket: ...
    def connect(self, port: int) -> socket.socket:
        """A non-blocking socket."""
        ...


class Loopback:
    def listen(self) -> socket.socket:
        return socket.create_server(("127.0.0.1", 0), backlog=200)

    def connect(self, port: int) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(False)
        return sock


@dataclass(frozen=True)
class Patience:
    """How long the proxy waits for peers that say nothing."""

    keepalive: KeepAlive = KEEPALIVE
    pulse: Pulse = PULSE
    deaf_after: float = KEEPALIVE.seconds


_BEGIN: dict[str, Any] = {
    alpn.CONTROL: QuietConnection.accept, alpn.PROXY_SSH_LEAVING: LeavingConnection.accept,
    alpn.DIALBACK_LEAVING: LeavingConnection.accept,
}  # fmt: skip
_LEAVING = (alpn.PROXY_SSH_LEAVING, alpn.DIALBACK_LEAVING)


class Events:
    """Keeps events; can be told to fail."""

    def __init__(self) -> None:
        self.kept: list[Event] = []
        self.full = False

    async def emit(self, event: Event) -> None:
        if self.full:
            raise Unavailable("the audit log is full")
        self.kept.append(event)

    def of(self, kind: type[Event]) -> list[Any]:
        return [one for one in self.kept if isinstance(one, kind)]


@dataclass
class Agent:
    """A host's end of its control connection."""

    edge: "Edge"
    badge: Badge
    control: LineConnection
    dials: "asyncio.Queue[dict[str, Any]]" = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            message = await self.control.receive()
            if "dial" in message:
                self.dials.put_nowait(message)

    async def asked(self) -> dict[str, Any]:
        """The next assignment."""
        return await asyncio.wait_for(self.dials.get(), 2)

    async def dial_back(self, ticket: str, *, badge: Badge | None = None) -> tuple[Leg, dict[str, Any]]:
        """Come back with a ticket; the connection and the proxy's answer."""
        protocol = alpn.DIALBACK_LEAVING if self.edge.leaving else alpn.DIALBACK
        connection = await self.edge.connect(badge or self.badge, protocol)
        await connection.send({"ticket": ticket})
        return connection, await connection.receive(timeout=2)

    async def take(self) -> LineConnection:
        """Serve the next assignment properly."""
        connection, answer = await self.dial_back((await self.asked())["ticket"])
        assert answer["ok"] is True
        return await self.edge.handed_over(connection)


class Edge:
    """The proxy under test."""

    leaving = False
    """Whether clients and agents come by the protocols that leave TLS."""
    limits = Limits()
    """What strangers may take up at the port."""

    def __init__(
        self, seen: Live, authorities: Authorities, clock: Clock, *, staleness: float, patience: Patience
    ) -> None:
        self.live, self.authorities = seen, authorities
        self.network: Network = Loopback()
        self._patience = patience
        self.events = Events()
        self.badge = authorities.host("edge", "Proxy")
        self.gate = Gate(seen.policy, clock=clock, staleness=staleness)
        self.barred: dict[str, str] = {}
        """Hosts that may not be here, by id, and why."""
        self.tunnels = Tunnels(
            self.badge.identity.uid, clock=clock, pulse=patience.pulse,
            barred=lambda host: self.barred.get(host.uid, ""),
        )  # fmt: skip
        self.sessions: dict[str, LiveFacts] = {}
        """Those that are live, as auth knows them."""
        self.relay = Relay(
            seen.policy,
            seen.fleet,
            self.gate,
            self.tunnels,
            self.events,
            clock=clock,
            live=self._facts,
            vigil=Vigil(seconds=patience.deaf_after, every=patience.deaf_after / 5),
        )
        key, certificate = authorities.ssh_host(self.badge, ssh_name_of_proxies(CLUSTER))
        self.jump_gate = Gate(seen.policy, clock=clock, staleness=staleness)
        self.jumps = JumpServer(
            self.relay, seen.policy, self.jump_gate, self.events, clock=clock, cluster=CLUSTER,
            address=lambda: "proxy.example.com:3080", host_key=key, host_certificate=certificate,
        )  # fmt: skip
        self.connections: list[Leg] = []
        self.jumpers: list[asyncssh.SSHClientConnection] = []
        self.agents: list[Agent] = []

    async def _facts(self, sid: str) -> LiveFacts:
        if sid not in self.sessions:
            raise NotFound(f"session {sid} not found")
        return self.sessions[sid]

    def listen(self) -> Listener:
        async def relayed(connection: Leg, identity: Identity, arrival: Arrival) -> None:
            await self.relay.serve(connection, identity, address=arrival.address, port=arrival.port)

        async def controlled(connection: QuietConnection, identity: Identity, _: Arrival) -> None:
            await self.tunnels.serve_control(connection, identity)

        async def dialled_back(connection: Leg, identity: Identity, _: Arrival) -> None:
            await self.tunnels.serve_dialback(connection, identity)

        served: dict[str, Any] = {
            alpn.PROXY_SSH: relayed, alpn.CONTROL: controlled, alpn.DIALBACK: dialled_back,
            alpn.PROXY_SSH_LEAVING: relayed, alpn.DIALBACK_LEAVING: dialled_back,
        }  # fmt: skip
        handlers = {
            name: line_handler(
                partial(self.authorities.server, self.badge, name), self.authorities.verify, serve, timeout=2.0,
                begin=_BEGIN.get(name),
            )
            for name, serve in served.items()
        }  # fmt: skip
        handlers[alpn.PLAIN_SSH] = self.jumps.serve
        sock = self.network.listen()
        self.port: int = sock.getsockname()[1]
        return Listener(sock, handlers, limits=self.limits, keepalive=self._patience.keepalive)

    async def connect(self, badge: Badge, protocol: str) -> Any:
        """A TLS connection with somebody's certificate. Raises OSError where the proxy refuses the handshake."""
        sock = await asyncio.to_thread(self.network.connect, self.port)
        if protocol in _LEAVING:
            leaving = await LeavingConnection.connect(sock, badge.client(protocol), f"proxy.{CLUSTER}")
            self.connections.append(leaving)
            return leaving
        connection = LineConnection()
        await asyncio.get_running_loop().create_connection(
            lambda: connection, sock=sock, ssl=badge.client(protocol), server_hostname=f"proxy.{CLUSTER}",
        )  # fmt: skip
        self.connections.append(connection)
        return connection

    async def agent(self, name: str = "db-1", *, badge: Badge | None = None, **labels: str) -> Agent:
        """A host that reports itself and keeps a control connection."""
        badge = badge or self.authorities.host(name, "Node")
        await self.live.report(node(name, uid=badge.identity.uid, **labels))
        control = await self.connect(badge, alpn.CONTROL)
        await control.send({"hello": "agent", "version": "1"})
        await control.receive(timeout=2)
        await wait_until(lambda: self.tunnels.connected(badge.identity.uid))
        agent = Agent(self, badge, control)
        self.agents.append(agent)
        return agent

    async def ask(self, badge: Badge, host: str = "db-1", *, login: str = "root", **more: str) -> Any:
        """A client asks for a host; its answer is still to come."""
        client = await self.connect(badge, alpn.PROXY_SSH_LEAVING if self.leaving else alpn.PROXY_SSH)
        await client.send({"host": host, "login": login, **more})
        return client

    async def refused(self, badge: Badge, host: str = "db-1", **more: str) -> dict[str, Any]:
        """The error that a client gets."""
        client = await self.ask(badge, host, **more)
        answer = await client.receive(timeout=2)
        error: dict[str, Any] = answer["error"]
        return error

    async def session(self, badge: Badge, agent: Agent) -> tuple["Wire", "Wire"]:
        """A client joined with an agent: their two ends."""
        client = await self.ask(badge, agent.badge.identity.name)
        host = await agent.take()
        answer = await client.receive(timeout=2)
        assert answer["ok"] is True
        return Wire.over(await self.handed_over(client)), Wire.over(host)

    async def handed_over(self, connection: Leg) -> LineConnection:
        """A connection after the proxy's last message."""
        if isinstance(connection, LeavingConnection):
            await connection.leave()
        stream = await as_stream(connection)
        self.connections.append(stream)
        return stream


class Wire(asyncio.Protocol):
    """Raw bytes on a connection that has become a session's."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.lost = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    @classmethod
    def over(cls, connection: LineConnection) -> "Wire":
        wire = cls()
        connection.become(wire)
        return wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    async def reads(self, data: bytes) -> None:
        """Wait until exactly that came."""
        await wait_until(lambda: len(self.received) >= len(data))
        assert bytes(self.received) == data
        self.received.clear()

    async def cut(self, *, within: float = 2.0) -> None:
        """Wait until the connection is gone."""
        await asyncio.wait_for(asyncio.shield(self.lost), within)


@asynccontextmanager
async def edge(
    *resources: AnyResource, clock: Clock | None = None, staleness: float = 60.0, network: Network | None = None,
    patience: Patience = Patience(),
) -> AsyncIterator[Edge]:  # fmt: skip
    """A proxy in whose cluster ann and bob reach every host as root, unless resources are given."""
    authorities, clock = Authorities(), clock or SystemClock()
    before = asyncio.all_tasks()
    async with live(*(resources or (role("dev"), user("ann"), user("bob"))), clock=clock) as seen:
        await seen.trust(authorities.users.public)
        made = Edge(seen, authorities, clock, staleness=staleness, patience=patience)
        made.network = network or made.network
        listener = made.listen()
        running = asyncio.create_task(listener.run())
        try:
            yield made
        finally:
            for connection in made.connections:
                connection.abort()
            for jumper in made.jumpers:
                jumper.abort()
                await jumper.wait_closed()
            await cancel_and_wait(running)
            await listener.close()
            await cancel_and_wait(*(agent.reading for agent in made.agents))
    left = asyncio.all_tasks() - before
    await cancel_and_wait(*left)
