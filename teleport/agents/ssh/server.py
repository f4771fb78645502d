"""Serves one SSH connection: certificate → identity → gate → session channels, until it ends or loses its right.

The gate is asked once a connection, when the client has proved its key; a refusal goes out as an auth banner. Ended
by policy, every channel reads why, then the connection closes with disconnect 11 and the same text.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import asyncssh

from teleport.access.decide import AccessRequest, Decision, Target, decide
from teleport.access.joining import decide_join
from teleport.access.snapshot import Snapshot
from teleport.agents.ssh.channel import SessionChannel, Surroundings
from teleport.agents.ssh.forward_records import Party
from teleport.agents.ssh.forwarding import Forwarding, Ground, LocalGround
from teleport.agents.ssh.idle import IdleTime
from teleport.agents.ssh.live import LiveSessions, Watched
from teleport.agents.ssh.observer import Looking, ObserverChannel
from teleport.agents.ssh.process import Custody, account
from teleport.agents.ssh.recorded import RecordingHost
from teleport.agents.ssh.running import LocalRunner, Runner
from teleport.api.dialback import Dial
from teleport.audit.events import AuthFailed, ClientDisconnected, Event, SessionRejected
from teleport.core.aio import Clock
from teleport.core.errors import AccessDenied, TeleportError, Unauthenticated
from teleport.core.joining import Wish, wish_in
from teleport.net.asyncssh_seams import Connection, new_connection, server_options
from teleport.net.lines import LineConnection
from teleport.pki.credentials import SSHUser
from teleport.pki.ssh_login import SSHLogin, read_ssh_login, refusal_text
from teleport.sessions.gate import AccessWithdrawn, Denied, Gate, Judge, Session
from teleport.sessions.joining import check_served, refused, unknown
from teleport.sessions.policy import LivePolicy
from teleport.sessions.visitors import Arriving, read_visiting_login

__all__ = ["Entered", "Entering", "Host", "HostServer", "SshServer", "connection_options"]

log = logging.getLogger(__name__)

LOGIN_SECONDS: Final = 30
_HEARD_SECONDS: Final = 0.3
"""How long a client has to hear why: the proxy cuts the pair not much later."""
_GOODBYE_SECONDS: Final = 1.0
"""How long the last words may take to leave."""
_BY_APPLICATION: Final = 11
_MAX_CHANNELS: Final = 100


@dataclass
class Host:
    """The host that an agent guards."""

    uid: str
    name: str
    cluster: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """Static and dynamic labels as the host reports them."""
    forbidden_uid: int | None = None
    """The uid of an auth service in this very process, whose sessions are refused."""
    file_copy: bool = True
    """Whether files may be copied here at all, whatever roles permit."""

    def target(self, snapshot: Snapshot) -> Target:
        """The host as decisions see it: a declared node of its name gives labels that win."""
        declared = snapshot.nodes.get(self.name)
        labels = {**self.labels, **(declared.metadata.labels if declared is not None else {})}
        return Target("node", self.name, self.uid, labels)


@dataclass(frozen=True)
class Entering:
    """A connection whose client was just let in by the gate."""

    session: Session
    login: str
    connection: Connection
    assignment: Dial
    address: str
    """The host's own, as the proxy would find it."""
    touched: Callable[[], None]

    def party(self, records: RecordingHost) -> Party:
        return Party(self.session, records, self.assignment.session, self.touched)


class Entered(Protocol):
    """What a connection stands on, from when its client is in until `close`."""

    @property
    def runner(self) -> Runner: ...
    @property
    def ground(self) -> Ground: ...
    @property
    def lost(self) -> "asyncio.Future[str]":
        """Done, with why, when there is nothing left to stand on."""
        ...

    async def close(self) -> None: ...


class HostServer:
    """The SSH side of whoever guards a host: `serve` takes one connection. How the host is entered differs."""

    def __init__(
        self, host: Host, policy: LivePolicy, gate: Gate, records: RecordingHost, *, clock: Clock,
        live: LiveSessions | None = None,
    ) -> None:  # fmt: skip
        self.host, self._policy, self._gate, self._records, self._clock = host, policy, gate, records, clock
        self.live = live or LiveSessions()

    async def serve(self, stream: LineConnection, assignment: Dial) -> None:
        """One connection, from its first SSH byte to its last."""
        await _Served(self, stream, assignment, await self.options(assignment)).run()

    async def take(self, taken: Callable[[], Awaitable[LineConnection]], assignment: Dial) -> None:
        """The same for a connection that is `taken` once it can be served. Raises TeleportError before that."""
        options = await self.options(assignment)
        await _Served(self, await taken(), assignment, options).run()

    async def options(self, assignment: Dial) -> Any:
        """Of a connection."""
        raise NotImplementedError

    async def enter(self, entering: Entering) -> Entered:
        """Raises AccessDenied where the host cannot serve the login, Unavailable where it cannot be entered."""
        raise NotImplementedError

    def judge(self, snapshot: Snapshot, request: AccessRequest, now: float) -> Decision:
        """Decide by the host's present labels."""
        current = AccessRequest(request.identity, self.host.target(snapshot), request.login)
        return decide(snapshot, current, now=now)

    def judge_joining(self, watched: Watched, wish: Wish) -> Judge:
        """Decide who looks on, by the host's present labels and the owner's present roles."""

        def judge(snapshot: Snapshot, request: AccessRequest, now: float) -> Decision:
            session = watched.as_judged(self.host.target(snapshot))
            return decide_join(snapshot, request.identity, session, wish.mode, now=now)

        return judge

    async def emit(self, event: Event) -> None:
        try:
            await self._records.spool.emit(event)
        except TeleportError as error:
            log.error("an audit event could not be kept: %s", error)


class SshServer(HostServer):
    """The SSH side of an agent, for the host it runs on."""

    def __init__(
        self, host: Host, policy: LivePolicy, gate: Gate, records: RecordingHost, *, clock: Clock,
        host_key: str, host_certificate: str,
    ) -> None:  # fmt: skip
        super().__init__(host, policy, gate, records, clock=clock)
        self._custody = Custody()
        self._options: Any = None
        self.use_certificate(host_key, host_certificate)

    def use_certificate(self, host_key: str, host_certificate: str) -> None:
        """Present this to connections from now on."""
        self._options = connection_options(host_key, host_certificate)

    async def options(self, assignment: Dial) -> Any:
        return self._options

    async def enter(self, entering: Entering) -> Entered:
        who = account(entering.login, forbidden_uid=self.host.forbidden_uid)
        address, port = entering.connection.client
        variables = {
            "SSH_CLIENT": f"{address} {port} 22",
            "SSH_CONNECTION": f"{address} {port} {entering.address} 22",
            "SSH_TELEPORT_USER": entering.session.user,
            "SSH_TELEPORT_CLUSTER_NAME": self.host.cluster,
            "SSH_TELEPORT_HOST_UUID": self._records.host_id,
        }
        return _Here(LocalRunner(who, self._custody, variables), LocalGround(who))

    async def close(self) -> None:
        """No connection is served any more; what was run on one and is still there ends now."""
        await asyncio.to_thread(self._custody.close)


class _Here:
    """This very host."""

    def __init__(self, runner: Runner, ground: Ground) -> None:
        self.runner, self.ground = runner, ground
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """There is nothing to close."""


def connection_options(host_key: str, host_certificate: str) -> Any:
    """How connections are served under a host key."""
    return server_options(
        host_key, host_certificate, login_timeout=LOGIN_SECONDS, keepalive_interval=0, rekey_bytes="1G"
    )


class _Served(asyncssh.SSHServer):
    """The state of one connection; asyncssh's view of it."""

    def __init__(self, server: HostServer, stream: LineConnection, assignment: Dial, options: Any) -> None:
        self._server, self._stream, self._assignment, self._options = server, stream, assignment, options
        self._login = SSHLogin(self._read, refused=self._refuse, tell=self._banner)
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection: Connection
        self._session: Session | None = None
        self._around: Surroundings | None = None
        self._forwarding: Forwarding | None = None
        self._entered: Entered | None = None
        self._channels: set[SessionChannel] = set()
        self._looking: Looking | None = None
        self._observer: ObserverChannel | None = None
        self._idle = IdleTime(self._idle_message)

    # -- what asyncssh calls

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def session_requested(self) -> Any:
        if self._looking is not None and self._observer is None:
            self._observer = ObserverChannel(self._looking)
            return self._connection.open_channel(), self._observer
        limit = self._session.conditions.max_sessions if self._session is not None else 0
        if self._around is None or self._connection.session_count >= min(limit or _MAX_CHANNELS, _MAX_CHANNELS):
            return False
        channel = SessionChannel(self._around, gone=self._channels.discard)
        self._channels.add(channel)
        return self._connection.open_channel(), channel

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._lost.done():
            self._lost.set_result(None)

    # -- ours

    async def run(self) -> None:
        client = (self._assignment.client_address, self._assignment.client_port)
        self._connection = new_connection(self._options, self, check=self._login.check, client=client)
        self._stream.become(self._connection)
        try:
            either: list[asyncio.Future[Any]] = [self._login.proved, self._lost]
            await asyncio.wait(either, timeout=LOGIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if self._login.proved.done():
                user, login = self._login.proved.result()
                await self._admit(user, login)
            if self._session is None:
                await self._hear_refusal()
        finally:
            await asyncio.shield(asyncio.ensure_future(self._wind_up()))

    def _read(self, line: bytes) -> SSHUser:
        """The certificate's holder: of this cluster, at the right address, and the one whom the proxy announced."""
        server, announced = self._server, self._assignment
        address, now = announced.client_address, server._clock.time()
        if announced.passage:
            arriving = Arriving(announced.passage, announced.cluster, server.host.cluster)
            user = read_visiting_login(line, server._policy, arriving, address=address, now=now)
        else:
            own = server._policy.authorities
            user = read_ssh_login(line, own, cluster=server.host.cluster, address=address, now=now)
        identity = user.identity
        routed = (announced.user, announced.user_uid, announced.cluster, announced.scope)
        if (identity.name, identity.uid, identity.cluster, identity.requested_roles) != routed:
            raise Unauthenticated("the SSH certificate is another's than the one that the proxy was shown")
        return user

    async def _admit(self, user: SSHUser, login: str) -> None:
        """Through the gate, and there until the connection ends or the right to it does."""
        server, wish = self._server, wish_in(login)
        target = server.host.target(server._policy.current)
        request, passage = AccessRequest(user.identity, target, login), user.identity.passage
        try:
            if passage is not None and (passage.host not in (target.name, target.uid) or passage.login != login):
                raise AccessDenied(f"the passage is for {passage.login} on {passage.host}")
            watched = self._watched(wish) if wish is not None else None
            judge = server.judge_joining(watched, wish) if watched is not None and wish is not None else server.judge
            async with server._gate.admit(
                request, client_address=self._assignment.client_address, judge=judge,
                called=self._assignment.session,
            ) as session:  # fmt: skip
                if watched is not None:
                    await self._look_on(session, watched)
                else:
                    entered = await self._enter(session, login)
                    await self._stay(session, entered.lost)
                    if entered.lost.done() and not self._lost.done():
                        await self._say_goodbye(entered.lost.result())
        except AccessWithdrawn as end:
            await self._say_goodbye(str(end))
        except TeleportError as error:
            if self._login.verdict.done():
                raise
            await server.emit(self._rejected(login, error))
            told = refused(error, user.identity.name, wish) if wish and isinstance(error, AccessDenied) else error
            self._login.decide(refusal_text(told))

    def _watched(self, wish: Wish) -> Watched:
        """The session that is meant. Raises NotFound, and BadInput for what nobody can ask for yet."""
        check_served(wish)
        watched = self._server.live.find(wish.sid)
        if watched is None:
            raise unknown(wish)
        return watched

    async def _look_on(self, session: Session, watched: Watched) -> None:
        """Until the observer leaves, or the session that is looked at ends. There is no account, and nothing runs."""
        self._session = session
        self._looking = Looking(session, watched, self._server._records, self._idle.touch)
        self._login.decide("")
        await self._stay(session, watched.ended)
        if not self._lost.done():
            await asyncio.wait([self._lost], timeout=_GOODBYE_SECONDS)

    async def _enter(self, session: Session, login: str) -> Entered:
        """Let the client in. Raises AccessDenied and Unavailable where the host does not."""
        server = self._server
        entering = Entering(
            session, login, self._connection, self._assignment, self._own_address(), self._idle.touch
        )  # fmt: skip
        entered = self._entered = await server.enter(entering)
        self._session = session
        party = entering.party(server._records)
        self._connection.forwards = self._forwarding = Forwarding(party, self._connection, entered.ground)
        self._around = Surroundings(
            session=session, runner=entered.runner, records=server._records, touched=self._idle.touch,
            forwarding=self._forwarding, live=server.live, file_copy=server.host.file_copy,
        )  # fmt: skip
        self._login.decide("")
        return entered

    def _own_address(self) -> str:
        """Where the proxy would find this host; programs expect a number, not a name."""
        address: tuple[Any, ...] | None = self._stream.transport.get_extra_info("sockname")
        return str(address[0]) if address else "0.0.0.0"  # noqa: S104 - bound to nothing, shown

    async def _stay(self, session: Session, *ends: "asyncio.Future[Any]") -> None:
        """Until the client leaves, or the session is ended: by the gate, for having been idle, or with what ends it."""
        network = self._server._policy.current.network
        self._connection.set_keepalive(network.keep_alive_interval, network.keep_alive_count_max)
        with self._idle.minded(session):
            await asyncio.wait([self._lost, *ends], return_when=asyncio.FIRST_COMPLETED)

    def _idle_message(self) -> str:
        network = self._server._policy.current.network
        return network.client_idle_timeout_message or network.idle_timeout_message

    async def _say_goodbye(self, reason: str) -> None:
        """Tell every channel, then the client, and hang up; programs have a grace to end in.

        OpenSSH's client drops what it has not shown when the last message comes, so it is given time to.
        """
        self._around = self._looking = self._connection.forwards = None  # who does not leave opens nothing more
        if self._forwarding is not None:
            self._forwarding.end(reason)
        for channel in self._open_channels:
            channel.end(reason)
        await self._server.emit(
            ClientDisconnected(**self._about(self._session.login if self._session else ""), reason=reason)
        )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._connection.wait_heard(), _HEARD_SECONDS)
        self._connection.say_disconnect(_BY_APPLICATION, reason)
        await asyncio.wait([self._lost], timeout=_GOODBYE_SECONDS)

    @property
    def _open_channels(self) -> list[SessionChannel | ObserverChannel]:
        return [*self._channels, *([self._observer] if self._observer is not None else [])]

    async def _hear_refusal(self) -> None:
        """Who was refused reads why, and hangs up in time."""
        self._login.decide("the connection ended")
        await asyncio.wait([self._lost], timeout=LOGIN_SECONDS)

    async def _wind_up(self) -> None:
        """Whatever happened: nothing of this connection stays."""
        self._login.decide("the connection ended")
        self._stream.transport.abort() if self._session is not None else self._stream.close()
        if self._forwarding is not None:
            await self._forwarding.close()
        await asyncio.gather(*(channel.wait_ended() for channel in self._open_channels), return_exceptions=True)
        if self._entered is not None:
            await self._entered.close()

    async def _refuse(self, login: str, error: Unauthenticated) -> None:
        log.info("a connection from %s was refused: %s", self._assignment.client_address, error)
        await self._server.emit(AuthFailed(**self._about(login), error=error.message))
        self._banner(error.message)

    def _banner(self, text: str) -> None:
        self._connection.send_auth_banner(f"{text}\r\n")

    def _about(self, login: str) -> dict[str, Any]:
        return {
            "user": self._assignment.user, "user_kind": 1,
            "user_roles": self._server._policy.roles_of(self._assignment.user), **self._server._records.place,
            "login": login,
            "addr__remote": self._assignment.client_address,
        }  # fmt: skip

    def _rejected(self, login: str, error: TeleportError) -> SessionRejected:
        rule = error.decision.rule if isinstance(error, Denied) else {}
        return SessionRejected(
            **self._about(login), reason=error.message, **rule,
            policy_revision=self._server._policy.current.revision,
        )  # fmt: skip
