"""Serves `ssh -J`: one SSH connection of a user, on which each channel leads to a host, by the relay's own door.

The user is let in by certificate, and watched over by a gate of its own: who is locked or deleted is hung up on. What
a channel may reach is the relay's decision, made and watched over for each.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import asyncssh

from teleport.access.decide import AccessRequest, Decision, Target, conditions_of, lock_on, place_of, standing
from teleport.access.locks import lock_text
from teleport.access.snapshot import Snapshot
from teleport.api.dialback import Route
from teleport.audit.events import AuthFailed
from teleport.audit.sink import EventSink
from teleport.core.aio import Clock
from teleport.core.errors import AccessDenied, TeleportError, Unauthenticated
from teleport.core.identity import Identity
from teleport.net.asyncssh_seams import Connection, new_connection, server_options
from teleport.pki.credentials import SSHUser
from teleport.pki.ssh_login import SSHLogin, read_ssh_login, refusal_text
from teleport.proxy.listener import Arrival
from teleport.proxy.relay import Relay
from teleport.proxy.ssh.way import Way
from teleport.sessions.gate import AccessWithdrawn, Gate, Session
from teleport.sessions.policy import LivePolicy
from teleport.wire.ssh_forwarding import TcpAddress, destination

__all__ = ["JumpServer"]

log = logging.getLogger(__name__)

LOGIN_SECONDS: Final = 30
_PORTS: Final = (22, 3022)
"""The port that `ssh` puts behind a host's name, and the one that others are used to."""
_MAX_CONNECTIONS: Final = 256
"""For one user: more than the forks of any playbook."""
_MAX_WAYS: Final = 256
"""Hosts at a time on one connection; each may hold a window of the client's in memory."""
_LAST_WORDS_SECONDS: Final = 1.5
"""For the hosts' own reasons to pass, when the user is hung up on: longer than the relay gives them."""
_GOODBYE_SECONDS: Final = 1.0
_BY_APPLICATION: Final = 11


class JumpServer:
    """The SSH side of a proxy. `serve` is a handler of the listener's."""

    def __init__(
        self, relay: Relay, policy: LivePolicy, gate: Gate, events: EventSink, *, clock: Clock, cluster: str,
        address: Callable[[], str], host_key: str, host_certificate: str,
    ) -> None:  # fmt: skip
        self.relay, self.policy, self.gate, self._events, self.clock = relay, policy, gate, events, clock
        self.cluster, self._address = cluster, address
        self.admitted: set[asyncio.Task[Any]] = set()
        """What serves those who are logged in."""
        self.use_certificate(host_key, host_certificate)

    def use_certificate(self, host_key: str, host_certificate: str) -> None:
        """Present this to connections from now on."""
        self.options = server_options(
            host_key, host_certificate, login_timeout=LOGIN_SECONDS, keepalive_interval=0, rekey_bytes="1G"
        )

    async def serve(self, sock: socket.socket, arrival: Arrival) -> None:
        """One connection, from its first SSH byte to its last."""
        await _Served(self, arrival).run(sock)

    async def drain(self, reason: str, *, timeout: float) -> None:
        """Hang up on everybody who is logged in, with a reason."""
        for session in self.gate.live:
            session.end(reason)
        if self.admitted:
            await asyncio.wait(tuple(self.admitted), timeout=timeout)

    def judge(self, snapshot: Snapshot, request: AccessRequest, now: float) -> Decision:
        """Whether somebody may be connected here at all, wherever they want to go from here.

        The roles' `max_connections` is about connections to hosts, which the relay counts.
        """
        identity = request.identity
        user = snapshot.user(identity.name)
        obstacle = standing(snapshot, identity, now)
        if obstacle or user is None:
            return Decision(False, (obstacle,), revision=snapshot.revision)
        lock = lock_on(snapshot, user, now=now)
        if lock is not None:
            place = place_of(lock.origin, ("spec", "target"))
            return Decision(False, (lock_text(lock),), revision=snapshot.revision, **place)
        conditions = replace(conditions_of(snapshot, user, identity.requested_roles), max_connections=0)
        return Decision(True, ("the user may log in",), conditions=conditions, revision=snapshot.revision)

    def check_count(self, user: str) -> None:
        """Raises AccessDenied for somebody who is connected often enough."""
        if sum(session.user == user for session in self.gate.live) >= _MAX_CONNECTIONS:
            raise AccessDenied(f"{user} is connected to this proxy {_MAX_CONNECTIONS} times already")

    async def write_refusal(self, identity: Identity, address: str, error: TeleportError) -> None:
        roles = self.policy.roles_of(identity.name)
        try:
            await self._events.emit(
                AuthFailed(user=identity.name, user_kind=1, user_roles=roles, addr__remote=address, error=error.message)
            )
        except TeleportError as failure:
            log.error("an audit event could not be kept: %s", failure)

    @property
    def advice(self) -> str:
        """What somebody needs who took the proxy for a host."""
        return f"ssh -J {self._address()} LOGIN@HOST"


class _Served(asyncssh.SSHServer):
    """The state of one connection; asyncssh's view of it, and who leads its channels on."""

    def __init__(self, server: JumpServer, arrival: Arrival) -> None:
        self._server, self._arrival = server, arrival
        self._login = SSHLogin(self._read, refused=self._note, tell=self._tell)
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection: Connection
        self._session: Session | None = None
        self._ways: dict[Way, asyncio.Task[None]] = {}
        self._turns = asyncio.Lock()

    # -- what asyncssh calls

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def session_requested(self) -> Any:
        text = (
            f"this is the proxy of {self._server.cluster}, which runs nothing; reach a host with: {self._server.advice}"
        )
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, text)

    def connection_lost(self, exc: Exception | None) -> None:
        for way in tuple(self._ways):
            way.connection_lost(exc)
        if not self._lost.done():
            self._lost.set_result(None)

    # -- the connection

    async def run(self, sock: socket.socket) -> None:
        client = (self._arrival.address, self._arrival.port)
        self._connection = new_connection(self._server.options, self, check=self._login.check, client=client)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: self._connection, sock)
        try:
            either: list[asyncio.Future[Any]] = [self._login.proved, self._lost]
            await asyncio.wait(either, timeout=LOGIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if self._login.proved.done():
                await self._admit(self._login.proved.result()[0].identity)
            if self._session is None:
                self._login.decide("the connection ended")
                await asyncio.wait([self._lost], timeout=LOGIN_SECONDS)
        finally:
            self._login.decide("the connection ended")
            self._connection.abort()
            await asyncio.shield(asyncio.ensure_future(self._end_ways()))

    def _read(self, line: bytes) -> SSHUser:
        server = self._server
        return read_ssh_login(
            line, server.policy.authorities, cluster=server.cluster, address=self._arrival.address,
            now=server.clock.time(),
        )  # fmt: skip

    async def _note(self, _login: str, error: Unauthenticated) -> None:
        """Of strangers the log speaks, not the audit log: anybody could fill it."""
        log.info("a connection from %s was refused: %s", self._arrival.address, error)
        self._tell(error.message)

    def _tell(self, text: str) -> None:
        self._connection.send_auth_banner(f"{text}\r\n")

    async def _admit(self, identity: Identity) -> None:
        """Let the user in, until the connection ends or the right to it does."""
        server, address = self._server, self._arrival.address
        request = AccessRequest(identity, Target("proxy", server.cluster, "", {}), "")
        try:
            server.check_count(identity.name)
            async with server.gate.admit(request, client_address=address, judge=server.judge) as session:
                self._enter(session)
                network = server.policy.current.network
                self._connection.set_keepalive(network.keep_alive_interval, network.keep_alive_count_max)
                await asyncio.wait([self._lost])
        except AccessWithdrawn as end:
            await self._say_goodbye(str(end))
        except TeleportError as error:
            if self._login.verdict.done():
                raise
            await server.write_refusal(identity, address, error)
            self._login.decide(refusal_text(error))

    def _enter(self, session: Session) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._server.admitted.add(task)
        task.add_done_callback(self._server.admitted.discard)
        self._session = session
        self._connection.forwards = self
        self._arrival.admitted()
        self._login.decide("")

    async def _say_goodbye(self, reason: str) -> None:
        """Hosts say first why they end what they serve."""
        self._connection.forwards = None
        if self._ways:
            await asyncio.wait(tuple(self._ways.values()), timeout=_LAST_WORDS_SECONDS)
        if not self._lost.done():
            self._connection.say_disconnect(_BY_APPLICATION, reason)
        await asyncio.wait([self._lost], timeout=_GOODBYE_SECONDS)

    async def _end_ways(self) -> None:
        if self._ways:
            _, stuck = await asyncio.wait(tuple(self._ways.values()), timeout=_GOODBYE_SECONDS)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)

    # -- channels: see `asyncssh_seams.Forwards`

    async def asked(self, name: bytes, body: bytes) -> bool | bytes:
        self._connection.send_debug(f"the proxy listens for nobody; forward from a host: {self._server.advice} -R ...")
        return False

    async def open(self, kind: bytes, body: bytes) -> "asyncssh.SSHTCPSession[bytes]":
        if len(self._ways) >= _MAX_WAYS:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_RESOURCE_SHORTAGE, f"{_MAX_WAYS} hosts are reached by this connection already"
            )
        try:
            wanted = self._wanted(kind, body)
        except ValueError as error:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, str(error)) from None
        way, refused = Way(), asyncio.get_running_loop().create_future()
        self._ways[way] = asyncio.create_task(self._lead(way, wanted, refused))
        self._ways[way].add_done_callback(lambda _: self._ways.pop(way))
        await asyncio.wait([way.taken, refused], return_when=asyncio.FIRST_COMPLETED)
        if refused.done():
            raise refused.result()
        return way.session

    def _wanted(self, kind: bytes, body: bytes) -> Route:
        """The host that a channel should lead to. Raises ValueError; a ValidationError is one."""
        where = destination(kind, body)
        if not isinstance(where, TcpAddress):
            raise ValueError(f"the proxy has no sockets; reach one on a host with: {self._server.advice}")
        if where.port not in _PORTS:
            raise ValueError(
                f"the proxy leads to the SSH of hosts alone, not to port {where.port};"
                f" forward it from the host: {self._server.advice} -L ..."
            )
        return Route(host=where.host)

    async def _lead(self, way: Way, wanted: Route, refused: "asyncio.Future[Exception]") -> None:
        assert self._session is not None
        identity, arrival = self._session.request.identity, self._arrival
        try:
            async with self._turns:  # one a turn of the loop: hundreds asked for at once leave time for other people
                await asyncio.sleep(0)
            if self._server.clock.time() >= identity.expires:
                raise AccessDenied("the certificate has expired", hint="log in again: tsh login")
            await self._server.relay.connect(way, identity, wanted, address=arrival.address, port=arrival.port)
        except TeleportError as error:
            if not refused.done():
                refused.set_result(_refusal(error))
        except Exception:
            log.exception("a way of %s to %s failed", identity.name, wanted.host)
        finally:
            way.close()
            if not (refused.done() or way.taken.done()):
                refused.set_result(asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "an internal error"))


def _refusal(error: TeleportError) -> asyncssh.ChannelOpenError:
    denied = isinstance(error, AccessDenied)
    code = asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED if denied else asyncssh.OPEN_CONNECT_FAILED
    return asyncssh.ChannelOpenError(code, f"{error.message}; {error.hint}" if error.hint else error.message)
