"""Builds a process from its configuration and runs it: the only place where parts meet.

Auth, proxy and agent know each other by the API alone, also here; splitting them over machines changes this
module and no other.
"""

import asyncio
import ipaddress
import logging
import os
import pwd
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from aiohttp import web

import teleport
from teleport.agents.ssh.labels import CommandLabels
from teleport.agents.ssh.recorded import RecordingHost
from teleport.agents.ssh.server import Host, SshServer
from teleport.agents.tunnel import ProxyAddress, Tunnel
from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.api.feed import RemoteFeed
from teleport.api.server import ApiServer, Caller
from teleport.audit.spool import Spool, Uplink
from teleport.auth.join import service_name
from teleport.core.aio import Clock, SystemClock, cancel_and_wait
from teleport.core.errors import BadInput, TeleportError, Unavailable
from teleport.core.identity import Identity
from teleport.gitops.folder import FolderSource
from teleport.gitops.loop import Loop, watch_folder
from teleport.net import alpn
from teleport.net.addresses import ClientAddresses
from teleport.net.http import HttpDoor
from teleport.net.lines import LineConnection
from teleport.net.tls import client_context, pinless_context
from teleport.pki.authority import TrustedAuthority
from teleport.pki.credentials import read_tls
from teleport.proxy.handshake import HANDSHAKE_SECONDS, line_handler
from teleport.proxy.listener import Arrival, Listener, SocketHandler
from teleport.proxy.relay import Relay
from teleport.proxy.tunnels import Tunnels
from teleport.proxy.web import web_application
from teleport.service.auth import AuthService, open_auth
from teleport.service.config import DEFAULT_AUTH_PORT, DEFAULT_PORT, Address, Config
from teleport.service.credentials import HostCredentials, HostKeys, load_or_join
from teleport.service.destination import ApiDestination
from teleport.service.settings import declared_settings
from teleport.sessions.gate import Gate
from teleport.sessions.policy import LiveFleet, LivePolicy, decoders
from teleport.store.replica import Replica

__all__ = ["Process"]

log = logging.getLogger(__name__)

ADMIN_SOCKET = Path("run/admin.sock")
_HEARTBEAT_SECONDS = 10.0
_HEARTBEAT_TTL = 30.0
_STALENESS_CHECK = 1.0


@dataclass
class Process:
    """One running program. `run()` returns when it was told to stop and everything is wound up."""

    config: Config
    clock: Clock = field(default_factory=SystemClock)
    announce: Callable[[str], None] = field(default=lambda line: print(line, flush=True))  # noqa: T201

    def __post_init__(self) -> None:
        self._stack = AsyncExitStack()
        self._stop = asyncio.Event()
        self._addresses = ClientAddresses()
        self._auth: AuthService | None = None
        self._handlers: dict[str, SocketHandler] = {}
        self._tunnels: list[Tunnel] = []
        self._gates: list[Gate] = []
        self._ready_when: list[Callable[[], Awaitable[object]]] = []
        self._cluster = ""
        self._failure: TeleportError | None = None
        self._trusted: tuple[TrustedAuthority, ...] = ()
        self.ready = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        """Start, announce readiness, and run until stopped. Errors at start are TeleportErrors with a hint."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        async with self._stack:
            starting = asyncio.create_task(self._start())
            stopping = asyncio.create_task(self._stop.wait())
            self._stack.push_async_callback(cancel_and_wait, starting, stopping)
            await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                self._announce_ready()
            await stopping
            if self._failure is not None:
                raise self._failure
            log.info("stopping")
            notify_systemd("STOPPING=1")
            await self._drain()

    async def _start(self) -> None:
        config = self.config
        listening = self._bind() if "proxy" in config.roles or "auth" in config.roles else None
        if "auth" in config.roles:
            await self._start_auth()
        else:
            await self._learn_cluster()
        if listening is not None:
            listener = Listener(listening, self._handlers, balancers=self._balancers())
            self._background(listener.run(), "listener")
            self._stack.push_async_callback(listener.close)
        if "proxy" in config.roles:
            await self._start_proxy()
        if "node" in config.roles:
            await self._start_node()
        if self._auth is not None and config.policies is not None:
            self._start_source(self._auth)
        for wait in self._ready_when:
            await wait()

    # -- auth

    async def _start_auth(self) -> None:
        config = self.config
        cluster = config.auth_service.cluster_name or config.nodename
        service = await open_auth(
            config.data_dir, cluster, self._stack, clock=self.clock, retention=config.auth_service.audit_retention
        )
        self._auth, self._cluster, self._trusted = service, cluster, service.authorities.public
        surroundings = service.auth.surroundings
        surroundings.proxy_address, surroundings.demo = self._public_address(), config.demo
        await declared_settings(service, config)
        credentials = self._auth_credentials(service)
        server = ApiServer(
            service.auth.handlers(), r.ROUTES, service.auth.policy, clock=self.clock, local=self._local_user,
            addresses=self._addresses,
        )  # fmt: skip
        runner = web.AppRunner(server.application(), access_log=None)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        protocol = alpn.api(cluster)
        handler = self._http(runner, lambda: credentials.server([protocol, alpn.HTTP], clients="optional"))
        self._handlers[alpn.API_PREFIX] = handler
        if "proxy" not in config.roles:
            self._handlers[alpn.HTTP] = handler
        await self._open_admin_socket(runner)

    def _auth_credentials(self, service: AuthService) -> HostCredentials:
        """The auth service certifies itself, afresh at every start."""
        from teleport.service.credentials import new_keys

        keys = new_keys()
        identity = Identity(
            kind="host", name=self.config.nodename, uid="auth", cluster=service.authorities.cluster,
            system_roles=("Auth",), expires=self.clock.time() + 365 * 86400,
        )  # fmt: skip
        certificates = service.auth.joining.certify(identity, keys.ssh_public, keys.tls_public)
        return HostCredentials(keys, certificates)

    def _local_user(self, uid: int) -> Identity | None:
        """Who may administer at the socket: root, the service's own user, and whom teleport.yaml names."""
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            name = str(uid)
        shown, cluster = f"{name} (uid {uid})", self._cluster
        if uid in (0, os.geteuid()):
            return Identity("admin", shown, f"local:{uid}", cluster, local_uid=uid)
        for mapping in self.config.admins:
            if mapping.uid == uid or (mapping.user and mapping.user == name):
                return Identity("admin", shown, f"local:{uid}", cluster, requested_roles=(mapping.role,), local_uid=uid)
        return None

    async def _open_admin_socket(self, runner: web.AppRunner) -> None:
        path = self.config.data_dir / ADMIN_SOCKET
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.parent.chmod(0o700)
        path.unlink(missing_ok=True)
        old = os.umask(0o177)
        try:
            site = web.UnixSite(runner, str(path))
            await site.start()
        finally:
            os.umask(old)
        if any(mapping.role for mapping in self.config.admins):
            path.parent.chmod(0o711)
            path.chmod(0o666)
        self._stack.callback(path.unlink, missing_ok=True)

    def _start_source(self, service: AuthService) -> None:
        policies = self.config.policies
        assert policies is not None
        path = Path(policies.dir)
        if not path.is_dir():
            raise BadInput(f"the policy folder {path} does not exist")
        loop = Loop(
            FolderSource(path, name=policies.name), service, clock=self.clock, interval=policies.interval,
            changed=service.show_source,
        )  # fmt: skip
        self._ready_when.append(loop.reconcile)
        self._background(loop.run(partial(watch_folder, path)), "policies")

    # -- proxy

    async def _start_proxy(self) -> None:
        config = self.config
        credentials = await self._join("proxy", "Proxy")
        client, _, policy, fleet = await self._follow(credentials, hosts=True)
        gate = self._gate(policy)
        spool = Spool(config.data_dir / "spool" / "proxy", clock=self.clock)
        destination = ApiDestination(client)
        self._background(Uplink(spool, destination, clock=self.clock).run(), "proxy uplink")
        tunnels = Tunnels(credentials.host_id, clock=self.clock)
        assert fleet is not None
        relay = Relay(policy, fleet, gate, tunnels, spool, clock=self.clock)

        def lines(protocol: str, serve: Callable[[LineConnection, Identity, Arrival], Awaitable[None]]) -> None:
            context = partial(credentials.server, [protocol], clients="required")
            self._handlers[protocol] = line_handler(context, partial(self._peer, policy), serve)

        async def relayed(connection: LineConnection, identity: Identity, arrival: Arrival) -> None:
            await relay.serve(connection, identity, address=arrival.address, port=arrival.port)

        async def controlled(connection: LineConnection, identity: Identity, _arrival: Arrival) -> None:
            await tunnels.serve_control(connection, identity)

        async def dialled_back(connection: LineConnection, identity: Identity, _arrival: Arrival) -> None:
            await tunnels.serve_dialback(connection, identity)

        lines(alpn.PROXY_SSH, relayed)
        lines(alpn.CONTROL, controlled)
        lines(alpn.DIALBACK, dialled_back)
        application = web_application(client, cluster=credentials.cluster, addresses=self._addresses)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        self._handlers[alpn.HTTP] = self._http(runner, self._web_contexts(credentials))
        if self._auth is None:
            auth = Address.parse(config.teleport.auth_server or "", DEFAULT_AUTH_PORT)
            self._handlers[alpn.API_PREFIX] = partial(forward, auth)
        self._background(self._beat(client, policy, None), "proxy heartbeat")

    def _web_contexts(self, credentials: HostCredentials) -> Callable[[], ssl.SSLContext]:
        from teleport.service.web_tls import web_context

        return web_context(credentials, self.config.proxy_service.https_keypairs)

    # -- node

    async def _start_node(self) -> None:
        config = self.config
        credentials = await self._join("node", "Node")
        client, _, policy, _ = await self._follow(credentials, hosts=False)
        gate = self._gate(policy)
        forbidden = os.geteuid() if self._auth is not None and not config.demo else None
        static = {**credentials.certificates.suggested_labels, **config.ssh_service.labels}
        host = Host(credentials.host_id, config.nodename, credentials.cluster, static, forbidden)
        changed = asyncio.Event()

        def relabel() -> None:
            host.labels = {**static, **dynamic.values}
            gate.rejudge()
            changed.set()

        dynamic = CommandLabels(config.ssh_service.command_labels(), clock=self.clock, changed=relabel)
        await dynamic.refresh_all()
        host.labels = {**static, **dynamic.values}
        spool = Spool(config.data_dir / "spool" / "node", clock=self.clock)
        destination = ApiDestination(client)
        records = RecordingHost(
            credentials.host_id, config.nodename, spool, destination, credentials.keys.sign, self.clock,
            lambda: policy.current.recording.exec_recording_limit,
        )  # fmt: skip
        await spool.recover(credentials.keys.sign)
        server = SshServer(
            host, policy, gate, records, clock=self.clock, host_key=credentials.keys.ssh_file,
            host_certificate=credentials.certificates.ssh_certificate,
        )  # fmt: skip
        tunnel = Tunnel(
            self._proxy_address(credentials.cluster), credentials.host_id,
            lambda protocol: credentials.client(protocol), partial(self._peer, policy), server.serve, clock=self.clock,
        )  # fmt: skip
        self._tunnels.append(tunnel)
        self._background(Uplink(spool, destination, clock=self.clock).run(), "node uplink")
        if config.ssh_service.commands:
            self._background(dynamic.run(), "labels")
        self._background(tunnel.run(), "tunnel")
        self._background(self._beat(client, policy, host, changed), "node heartbeat")
        self._background(
            credentials.keep_fresh(
                partial(self._renew, client), clock=self.clock,
                renewed=lambda: server.use_certificate(
                    credentials.keys.ssh_file, credentials.certificates.ssh_certificate
                ),
            ),
            "node certificates",
        )  # fmt: skip
        self._ready_when.append(tunnel.connected.wait)

    # -- shared by services

    async def _join(self, name: str, role: str) -> HostCredentials:
        """The identity of a service of this process."""
        path = self.config.data_dir / "hosts" / f"{name}.json"
        current = {one.encode() for one in self._trusted}

        def trusted(kept: HostCredentials) -> bool:
            return kept.cluster == self._cluster and {one.encode() for one in kept.authorities} == current

        return await load_or_join(path, partial(self._ask_to_join, role), trusted=trusted, clock=self.clock)

    async def _ask_to_join(self, role: str, keys: HostKeys) -> m.HostCertificates:
        request = m.JoinRequest(
            token="", ssh_public_key=keys.ssh_public, tls_public_key=keys.tls_public, hostname=self.config.nodename,
            roles=(role,), addresses=self._own_addresses() if role == "Proxy" else (),
        )  # fmt: skip
        if self._auth is not None:
            token = self._auth.auth.joining.memory_token([role])
            return await self._auth.auth.on_join(Caller(None, "local"), request.model_copy(update={"token": token}))
        token = self.config.token
        if not token:
            raise BadInput(
                "this host has not joined the cluster yet and has no join token",
                hint="make one on the auth host with `tctl tokens add --type node`, and set teleport.join_params",
            )
        async with self._anonymous_client() as client:
            return await client.call(r.JOIN, request.model_copy(update={"token": token}))

    def _api_client(self, credentials: HostCredentials) -> ApiClient:
        """The auth service's API, with a service's own certificate."""
        address = self._api_address()
        context = credentials.client(alpn.api(credentials.cluster))
        name = service_name("Auth", credentials.cluster)
        return ApiClient(f"https://{address}", tls=context, server_name=name)

    async def _follow(
        self, credentials: HostCredentials, *, hosts: bool
    ) -> tuple[ApiClient, Replica, LivePolicy, LiveFleet | None]:
        """A client of the API, and the policy as it comes from there. In the auth process itself it is the same one."""
        client = self._api_client(credentials)
        self._stack.push_async_callback(client.close)
        if self._auth is not None:
            auth = self._auth.auth
            return client, self._auth.replica, auth.policy, auth.fleet
        replica = Replica(RemoteFeed(client), decoders(hosts=hosts), clock=self.clock)
        policy = LivePolicy(replica)
        fleet = LiveFleet(replica, policy) if hosts else None
        self._background(replica.run(), "replica")
        await replica.wait_ready()
        return client, replica, policy, fleet

    def _gate(self, policy: LivePolicy) -> Gate:
        gate = Gate(policy, clock=self.clock, staleness=self.config.teleport.staleness_limit)
        self._gates.append(gate)
        self._background(self._watch_staleness(gate), "staleness")
        return gate

    async def _watch_staleness(self, gate: Gate) -> None:
        while True:
            await self.clock.sleep(_STALENESS_CHECK)
            gate.check_staleness()

    async def _beat(
        self, client: ApiClient, policy: LivePolicy, host: Host | None, changed: asyncio.Event | None = None
    ) -> None:
        """Tell auth that this service is alive and which policy it enforces: regularly, and when that changes."""
        news = changed or asyncio.Event()
        policy.subscribe(lambda _: news.set())
        while True:
            news.clear()
            heartbeat = m.Heartbeat(
                revision=policy.current.revision, version=teleport.__version__, hostname=self.config.nodename,
                labels=None if host is None else dict(host.labels), ttl=_HEARTBEAT_TTL,
                problems=tuple(f"{ref}: {why}" for ref, why in policy.current.unreadable.items()),
            )  # fmt: skip
            try:
                await client.call(r.HEARTBEAT, heartbeat)
            except TeleportError as error:
                log.warning("the heartbeat was not taken: %s", error)
            try:
                async with asyncio.timeout(_HEARTBEAT_SECONDS):
                    await news.wait()
                await asyncio.sleep(0.2)
            except TimeoutError:
                continue

    async def _renew(self, client: ApiClient, keys: HostKeys) -> m.HostCertificates:
        request = m.RenewHost(
            ssh_public_key=keys.ssh_public, tls_public_key=keys.tls_public, hostname=self.config.nodename
        )
        return await client.call(r.RENEW_HOST, request)

    # -- connections

    def _peer(self, policy: LivePolicy, connection: LineConnection) -> Identity:
        der = connection.peer_certificate
        assert der is not None
        own = [one for one in policy.authorities if one.cluster == self._cluster]
        return read_tls(der, own, now=self.clock.time())

    def _http(self, runner: web.AppRunner, context: Callable[[], ssl.SSLContext]) -> SocketHandler:
        server = runner.server
        assert server is not None
        door = HttpDoor(server, context)

        async def handler(sock: socket.socket, arrival: Arrival) -> None:
            peer = sock.getpeername()
            self._addresses.note((str(peer[0]), int(peer[1])), (arrival.address, arrival.port))
            await door.enter(sock, arrival.address)

        return handler

    def _bind(self) -> socket.socket:
        config = self.config
        address = config.listen
        if "proxy" not in config.roles:
            address = Address.parse(config.auth_service.listen_addr or "127.0.0.1", DEFAULT_AUTH_PORT)
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address.host, address.port))
        except OSError as error:
            sock.close()
            raise Unavailable(
                f"{address} cannot be listened on: {error.strerror or error}",
                hint="choose another with --listen HOST:PORT",
            ) from None
        sock.listen(1024)
        self._bound = Address(address.host, sock.getsockname()[1])
        return sock

    def _balancers(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        try:
            return [ipaddress.ip_network(text) for text in self.config.proxy_service.trusted_balancers]
        except ValueError as error:
            raise BadInput(f"proxy_service.trusted_balancers: {error}") from None

    def _public_address(self) -> str:
        public = self.config.proxy_service.public_addr
        if public:
            return str(Address.parse(public[0], DEFAULT_PORT))
        host = self._bound.host if self._bound.host not in ("0.0.0.0", "::") else self.config.nodename  # noqa: S104
        return str(Address(host, self._bound.port))

    def _own_addresses(self) -> tuple[str, ...]:
        names = [Address.parse(text, DEFAULT_PORT).host for text in self.config.proxy_service.public_addr]
        return tuple(dict.fromkeys([*names, self._bound.host, "localhost", "127.0.0.1", "::1", self.config.nodename]))

    def _api_address(self) -> Address:
        if self._auth is not None:
            return self._reachable(self._bound)
        config = self.config.teleport
        return Address.parse(config.auth_server or config.proxy_server or "", DEFAULT_PORT)

    def _proxy_address(self, cluster: str) -> ProxyAddress:
        config = self.config.teleport
        if config.proxy_server:
            address = Address.parse(config.proxy_server, DEFAULT_PORT)
        elif "proxy" in self.config.roles:
            address = self._reachable(self._bound)
        else:
            raise BadInput("an agent without a proxy in its process needs teleport.proxy_server")
        return ProxyAddress(address.host, address.port, service_name("Proxy", cluster))

    @staticmethod
    def _reachable(bound: Address) -> Address:
        return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound.host, bound.host), bound.port)  # noqa: S104

    # -- a cluster whose auth service is elsewhere

    async def _learn_cluster(self) -> None:
        """The cluster's authorities, held against the pins; nothing secret is sent before."""
        pins = self.config.teleport.ca_pin
        if not pins:
            raise BadInput("teleport.ca_pin is not set", hint="`tctl status` on the auth host prints it")
        async with ApiClient(f"https://{self._api_address()}", tls=pinless_context([alpn.HTTP])) as client:
            answer = await client.call(r.AUTHORITIES, m.Empty())
        authorities = tuple(TrustedAuthority.decode(text) for text in answer.authorities)
        hosts = [one for one in authorities if one.kind == "host"]
        if not hosts or not set(hosts[0].pins) <= set(pins):
            raise BadInput("the cluster's host authority does not have the pinned key", hint="is this the right proxy?")
        self._cluster, self._trusted = answer.cluster, authorities

    def _anonymous_client(self) -> ApiClient:
        trust = "".join(one.certificates for one in self._trusted if one.kind == "host")
        context = client_context(trust=trust, alpn=[alpn.HTTP])
        role = "Proxy" if self.config.teleport.proxy_server else "Auth"
        return ApiClient(f"https://{self._api_address()}", tls=context, server_name=service_name(role, self._cluster))

    # -- life and death

    def _background(self, work: "Awaitable[None]", name: str) -> None:
        task = asyncio.ensure_future(work)
        task.add_done_callback(partial(self._ended, name))
        self._stack.push_async_callback(cancel_and_wait, task)

    def _ended(self, name: str, task: "asyncio.Future[None]") -> None:
        if task.cancelled() or self._stop.is_set():
            return
        error = task.exception()
        log.critical("%s ended unexpectedly; the process stops", name, exc_info=error)
        self._failure = Unavailable(f"{name} ended unexpectedly", hint="the log says why")
        self._stop.set()

    def _announce_ready(self) -> None:
        if "auth" in self.config.roles and self._auth is not None:
            pins = " ".join(self._auth.authorities.pins)
            demo = (
                " DEMO: sessions of the service's own user can read the certificate authority"
                if self.config.demo
                else ""
            )
            self.announce(f"ready: https://{self._public_address()} cluster {self._cluster} ca-pin {pins}{demo}")
        else:
            self.announce(f"ready: {self.config.nodename} cluster {self._cluster}")
        notify_systemd("READY=1")
        self.ready.set()

    async def _drain(self) -> None:
        """Live sessions may go on for a while; then they are ended with a reason."""
        for gate in self._gates:
            deadline = self.clock.monotonic() + self.config.teleport.shutdown_timeout
            while tuple(gate.live) and self.clock.monotonic() < deadline:  # noqa: ASYNC110 - they end one by one
                await asyncio.sleep(0.1)
            for session in gate.live:
                session.end("the service is stopping")
        for tunnel in self._tunnels:
            await tunnel.drain(timeout=10)


async def forward(address: Address, sock: socket.socket, arrival: Arrival) -> None:
    """Hand a connection on as it is: TLS ends at the auth service, which has cut off by then who shook no hands."""
    from teleport.net.forward import splice_streams

    known = asyncio.get_running_loop().call_later(HANDSHAKE_SECONDS, arrival.admitted)
    try:
        await splice_streams(sock, address.host, address.port)
    finally:
        known.cancel()


def notify_systemd(state: str) -> None:
    """sd_notify(3), where systemd started us."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(f"\0{path[1:]}" if path.startswith("@") else path)
            sock.sendall(state.encode())
        except OSError as error:
            sys.stderr.write(f"teleport: systemd could not be told {state}: {error}\n")
