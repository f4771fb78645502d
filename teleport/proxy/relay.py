"""Takes clients to hosts: handshake, one question, admission, dial-back, and then bytes in both directions.

The proxy judges that the identity reaches the host with some login, watches over that as long as the connection
lives, and cuts it when it is lost, whatever the agent does.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from teleport.access.decide import AccessRequest, Decision, Target, conditions_of, lock_on, place_of, standing
from teleport.access.joining import LiveSession, decide_join
from teleport.access.roles import BoundRole
from teleport.access.snapshot import Snapshot
from teleport.api.dialback import Accepted, Dial, Route, parse, refusal
from teleport.api.models import LiveFacts
from teleport.audit.events import SessionConnected, SessionRejected
from teleport.audit.sink import EventSink
from teleport.core.aio import Clock
from teleport.core.errors import AccessDenied, BadInput, NotFound, TeleportError, Unavailable
from teleport.core.identity import Identity
from teleport.core.joining import Wish, wish_in
from teleport.net.join import Leg, as_stream, join
from teleport.net.keepalive import Vigil
from teleport.net.lines import LineConnection
from teleport.net.splice import Pipes
from teleport.proxy.tunnels import Tunnels
from teleport.sessions.gate import AccessWithdrawn, Denied, Gate, Judge, Session
from teleport.sessions.joining import check_served, refused, unknown
from teleport.sessions.policy import LiveFleet, LivePolicy

__all__ = ["Elsewhere", "FactsOf", "Relay", "ServePlain", "say", "unless_gone"]

log = logging.getLogger(__name__)

_QUESTION_SECONDS = 10.0
_LAST_WORDS_SECONDS = 0.5
"""How long an agent may still tell a client why it was cut off."""

Elsewhere = Callable[[Leg, Identity, Route, tuple[str, int]], Awaitable[None]]
"""Takes a client from an address to a host of another cluster, as `Relay.connect` does."""

FactsOf = Callable[[str], Awaitable[LiveFacts]]
"""Whose a live session is. Raises NotFound."""


ServePlain = Callable[[Callable[[], Awaitable[LineConnection]], Dial], Awaitable[None]]
"""Serves a client of a host without an agent, who is taken over once that is possible. Raises TeleportError before."""


class Relay:
    """Serves clients that come with a certificate and want to reach a host."""

    def __init__(
        self, policy: LivePolicy, fleet: LiveFleet, gate: Gate, tunnels: Tunnels, events: EventSink, *, clock: Clock,
        live: FactsOf, vigil: Vigil | None = None, elsewhere: Elsewhere | None = None, plain: ServePlain | None = None,
    ) -> None:  # fmt: skip
        self._policy, self._fleet, self._gate, self._tunnels = policy, fleet, gate, tunnels
        self._events, self._clock, self._live, self._elsewhere = events, clock, live, elsewhere
        self._pipes, self._vigil, self._plain = Pipes(), vigil or Vigil(), plain
        fleet.subscribe(gate.rejudge)

    async def serve(self, client: Leg, identity: Identity, *, address: str, port: int) -> None:
        """One client, from its question to the end of its connection."""
        try:
            wanted: Route = parse(Route, await client.receive(timeout=_QUESTION_SECONDS))
            await self.connect(client, identity, wanted, address=address, port=port)
        except TeleportError as error:
            await say(client, error)
        finally:
            client.close()

    async def connect(self, client: Leg, identity: Identity, wanted: Route, *, address: str, port: int) -> None:
        """Take one client to its host, and return when the connection is over. Raises TeleportError.

        What it hands the connection over for is the host's; until then the caller tells the client what is raised.
        """
        if not identity.is_user:
            raise AccessDenied("only users have sessions")
        if identity.pinned_ip and identity.pinned_ip != address:
            raise AccessDenied("the certificate is pinned to another address", hint="log in again: tsh login")
        if wanted.cluster not in ("", identity.cluster):
            if self._elsewhere is None or identity.passage is not None:
                raise NotFound(f"cluster {wanted.cluster} not found")
            await self._elsewhere(client, identity, wanted, (address, port))
            return
        wish = wish_in(wanted.login)
        judge: Judge = self._judge
        if wish is None:
            target = self._route(identity, wanted.host)
        else:
            target, judge = await self._to_be_joined(wish, wanted.host.removesuffix(f".{identity.cluster}"))
        request = AccessRequest(identity, target, wanted.login)
        try:
            async with self._gate.admit(request, client_address=address, judge=judge) as session:
                if self._plain is not None and target.uid in self._fleet.plain:
                    await self._terminate(client, session, self._plain, (address, port))
                else:
                    await self._join(client, session, address=address, port=port)
        except AccessWithdrawn as end:
            log.info("%s was cut off from %s: %s", identity.name, target.name, end)
            if not client.handed_over:
                raise AccessDenied(str(end)) from None
        except AccessDenied as error:
            rule = error.decision.rule if isinstance(error, Denied) else {}
            await self._events.emit(
                SessionRejected(
                    user=identity.name, user_kind=1, user_roles=self._policy.roles_held(identity),
                    reason=error.message, server_hostname=target.name, login=wanted.login, addr__remote=address,
                    policy_revision=self._policy.current.revision, **rule,
                )
            )  # fmt: skip
            if wish is not None:
                raise refused(error, identity.name, wish) from None
            if error.details.get("hidden"):
                raise NotFound(f"node {wanted.host} not found") from None
            raise

    async def _join(self, client: Leg, session: Session, *, address: str, port: int) -> None:
        identity, target = session.request.identity, session.request.target
        dialling = self._tunnels.dial(
            target.uid, session=session.id, identity=identity, address=address, port=port, target=target.name,
            timeout=self._policy.current.network.ssh_dial_timeout,
        )  # fmt: skip
        host = await unless_gone(client, asyncio.ensure_future(dialling))
        try:
            await self._events.emit(_connected(session, address))
            await client.hand_over(Accepted(host_id=target.uid, session=session.id).model_dump())
            with self._vigil.over(client.descriptor, host.descriptor):
                await _carry(client, host, self._pipes)
        except BaseException:
            host.abort()
            raise

    async def _terminate(self, client: Leg, session: Session, serve: ServePlain, come_from: tuple[str, int]) -> None:
        """SSH ends here: the host has no agent that could be spoken to from end to end."""
        identity, target = session.request.identity, session.request.target

        async def taken() -> LineConnection:
            await self._events.emit(_connected(session, come_from[0], sub_kind="openssh"))
            await client.hand_over(Accepted(host_id=target.uid, session=session.id).model_dump())
            stream = await as_stream(client)
            watched.enter_context(self._vigil.over(stream.descriptor))
            return stream

        assignment = Dial(
            ticket="", session=session.id, proxy_id=self._tunnels.proxy_id, host_id=target.uid,
            client_address=come_from[0], client_port=come_from[1], user=identity.name, user_uid=identity.uid,
            cluster=identity.cluster, scope=identity.requested_roles, target=target.name,
            passage=identity.passage.certificate if identity.passage is not None else "",
        )  # fmt: skip
        with ExitStack() as watched:
            await _see_out(asyncio.ensure_future(serve(taken, assignment)))

    def _route(self, identity: Identity, host: str) -> Target:
        """The host that is meant. Raises NotFound, or BadInput where a name is not enough."""
        fleet = self._fleet.fleet
        found = fleet.get(host)
        if found is not None:
            return found
        name = host.removesuffix(f".{identity.cluster}")
        judged = [(one, self._judge_target(identity, one)) for one in fleet.named(name)]
        reachable = [one for one, decision in judged if decision.allowed]
        known = [one for one, decision in judged if not decision.hidden]
        if not reachable and not known:
            raise NotFound(f"node {host} not found")
        if not reachable:
            return known[0]  # the gate refuses it, and says why
        if len(reachable) > 1 and self._policy.current.network.routing_strategy == "unambiguous_match":
            uids = ", ".join(one.uid for one in reachable)
            raise BadInput(f"several hosts are called {name}", hint=f"name one by its id: {uids}")
        return reachable[-1]

    async def _to_be_joined(self, wish: Wish, host: str) -> tuple[Target, Judge]:
        """The host of a live session, and who decides about those who want to join it. Raises NotFound.

        Where the session is says the host that reported it; the name that the client gives must agree.
        """
        check_served(wish)
        try:
            facts = await self._live(wish.sid)
        except NotFound:
            raise unknown(wish) from None
        fleet = self._fleet.fleet
        target = fleet.get(facts.server_id)
        if target is None or host not in (target.uid, target.name):
            raise unknown(wish)

        def judge(snapshot: Snapshot, request: AccessRequest, now: float) -> Decision:
            session = LiveSession(
                sid=facts.sid, owner=facts.user, owner_uid=facts.user_uid, login=facts.login,
                target=self._fleet.fleet.get(facts.server_id) or target, participants=facts.observers,
            )  # fmt: skip
            return decide_join(snapshot, request.identity, session, wish.mode, now=now)

        return target, judge

    def _judge_target(self, identity: Identity, target: Target) -> Decision:
        request = AccessRequest(identity, target, "")
        return self._judge(self._policy.current, request, self._clock.time())

    def _judge(self, snapshot: Snapshot, request: AccessRequest, now: float) -> Decision:
        """Whether the identity reaches the host, by its present labels, with some login."""
        current = self._fleet.fleet.get(request.target.uid)
        if current is None:
            current = request.target
        return reaches(snapshot, request.identity, current, now=now)


def reaches(snapshot: Snapshot, identity: Identity, target: Target, *, now: float) -> Decision:
    """Whether some login on a host is open to an identity; without the reasons that only its agent may give."""
    user = snapshot.holder(identity)
    obstacle = standing(snapshot, identity, now)
    if obstacle or user is None:
        return Decision(False, (obstacle,), revision=snapshot.revision)
    hidden = not any(role.allow.selector(target.kind).allows(target.labels) for role in user.roles)
    denied = partial(Decision, False, hidden=hidden, revision=snapshot.revision)
    allowed = identity.allowed_resources
    if allowed is not None and target.uid not in allowed and target.name not in allowed:
        return denied(("the certificate is restricted to other resources",), hidden=True)
    lock = lock_on(snapshot, user, target=target, now=now)
    if lock is not None:
        because = f"lock/{lock.name} is in force: {lock.spec.message}".rstrip(": ")
        return denied((because,), **place_of(lock.origin, ("spec", "target")))
    for role in user.roles:
        selector = role.deny.selector(target.kind)
        if selector.denies(target.labels):
            because = f"role/{role.name} denies {selector.explain(target.labels)}"
            return denied((because,), role=role.name, **_place(role, "deny", target.kind))
    for role in user.scoped(identity.requested_roles):
        logins = [login for login in role.allow.logins if not any(one.deny.names_login(login) for one in user.roles)]
        if logins and role.allow.selector(target.kind).allows(target.labels):
            conditions = conditions_of(snapshot, user, identity.requested_roles)
            return Decision(
                True, (f"role/{role.name} allows some login",), role=role.name, conditions=conditions,
                revision=snapshot.revision, **_place(role, "allow", target.kind),
            )  # fmt: skip
    return denied(("no role allows any login there",), hidden=True)


def _place(role: BoundRole, side: str, kind: str) -> dict[str, Any]:
    """Where a role says which targets it means."""
    written = getattr(role, side).selector(kind).written
    return place_of(role.role.origin, ("spec", side, f"{kind}_labels{'' if written else '_expression'}"))


async def unless_gone(client: Leg, dialling: "asyncio.Future[Leg]") -> Leg:
    """The connection that is being dialled; given up when the client leaves. Whoever stops waiting leaves nothing."""
    either: list[asyncio.Future[Any]] = [dialling, client.lost]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not dialling.done():
            raise Unavailable("the client left before its host was reached")
        return dialling.result()
    except BaseException:
        dialling.cancel()
        await asyncio.gather(dialling, return_exceptions=True)
        if not dialling.cancelled() and dialling.exception() is None:
            dialling.result().abort()
        raise


async def _carry(client: Leg, host: Leg, pipes: Pipes) -> None:
    """Join the two. Cut off by the policy, the agent has a moment to tell the client why; then the pair is cut."""
    await _see_out(asyncio.ensure_future(join(client, host, pipes)))


async def _see_out(serving: "asyncio.Future[Any]") -> None:
    """Until it is over, and a moment longer when that is cut off."""
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        await asyncio.wait([serving], timeout=_LAST_WORDS_SECONDS)
        raise
    finally:
        serving.cancel()


def _connected(session: Session, address: str, *, sub_kind: str = "") -> SessionConnected:
    request = session.request
    return SessionConnected(
        user=session.user, user_kind=1, user_roles=session.user_roles, sid=session.id, server_id=request.target.uid,
        server_hostname=request.target.name, server_sub_kind=sub_kind, login=session.login, addr__remote=address,
        policy_revision=session.decision.revision, connection=session.connection, **session.decision.rule,
    )  # fmt: skip


async def say(client: Leg, error: TeleportError) -> None:
    try:
        async with asyncio.timeout(5):
            await client.send(refusal(error))
    except (TeleportError, TimeoutError):
        pass
