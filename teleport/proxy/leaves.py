"""The root's side of trust: tunnels that leaves keep to this proxy, and users on their way into one of them.

The proxy judges by the live policy of this cluster whether a user may go, certifies nothing by itself, and cuts when
the right is lost; what a user is over there, the leaf decides.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

from teleport.access.clusters import KIND, labels_of, reaches_cluster
from teleport.access.decide import AccessRequest, Decision, Target
from teleport.access.snapshot import Snapshot
from teleport.api.dialback import Accepted, Checking, Cut, Entry, Listing, Route, Wants, parse
from teleport.api.models import AccessVerdict, PassageRequest
from teleport.audit.events import ClientDisconnected, SessionConnected, SessionRejected, TunnelRefused
from teleport.audit.sink import EventSink
from teleport.core.aio import Clock, cancel_and_wait
from teleport.core.errors import AccessDenied, NotFound, TeleportError, Unavailable
from teleport.core.identity import Identity, Passage
from teleport.net.join import Leg, as_stream, join
from teleport.net.keepalive import Vigil
from teleport.net.lines import LineConnection
from teleport.net.splice import Pipes
from teleport.proxy.host_lists import pass_on
from teleport.proxy.relay import say, unless_gone
from teleport.proxy.tunnels import Tunnels
from teleport.sessions.gate import AccessWithdrawn, Denied, Gate, Session
from teleport.sessions.policy import LivePolicy

__all__ = ["Departures", "Journey", "LeafTunnels", "PassageOf"]

_ANSWER_SECONDS: Final = 45.0
"""How long a leaf may take to reach its host: its own agent has time to dial back."""
_QUESTION_SECONDS: Final = 10.0
_LAST_WORDS_SECONDS: Final = 0.5
"""How long the leaf may still tell a user that the way here was cut."""
_MOST_PROXIES: Final = 64
"""Of one leaf: its authority makes as many as it likes."""
_SETTLE_SECONDS: Final = 0.2
"""How long a proxy that comes has to introduce itself, before it is told that a leaf is here."""

PassageOf = Callable[[PassageRequest], Awaitable[tuple[str, Passage]]]
"""A passage from the auth service, and what it says. Raises what the auth service refuses."""


class LeafTunnels:
    """The tunnels of leaves: a table for each, by the cluster of the authority that signed, so that no leaf can take
    the place of another."""

    def __init__(self, proxy_id: str, events: EventSink, *, clock: Clock) -> None:
        self.proxy_id, self._events, self._clock = proxy_id, events, clock
        self._leaves: dict[str, Tunnels] = {}
        self._pins: Mapping[str, frozenset[str]] = {}
        self._listeners: list[Callable[[], None]] = []

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call back when a leaf comes or goes."""
        self._listeners.append(changed)

    @property
    def online(self) -> tuple[str, ...]:
        """The leaves that have a tunnel here."""
        return tuple(sorted(name for name, tunnels in self._leaves.items() if tunnels.hosts))

    async def serve_control(self, connection: LineConnection, identity: Identity, address: str) -> None:
        """Keep the control connection of a leaf's proxy until it ends."""
        if not identity.has_role("Proxy"):
            reason = f"{identity.name} of {identity.cluster} is no proxy"
            await self._events.emit(
                TunnelRefused(
                    user=identity.name, user_kind=2, name=identity.cluster, reason=reason, addr__remote=address
                )
            )
            raise AccessDenied(reason)
        tunnels = self._leaves.setdefault(identity.cluster, Tunnels(self.proxy_id, clock=self._clock, role="Proxy"))
        if identity.uid not in tunnels.hosts and len(tunnels.hosts) >= _MOST_PROXIES:
            raise Unavailable(f"{len(tunnels.hosts)} proxies of {identity.cluster} are here, more than a cluster has")
        serving = asyncio.ensure_future(tunnels.serve_control(connection, identity))
        try:
            await asyncio.wait([serving], timeout=_SETTLE_SECONDS)
            self._tell()
            await serving
        finally:
            await cancel_and_wait(serving)
            self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    async def serve_dialback(self, connection: Leg, identity: Identity) -> None:
        tunnels = self._leaves.get(identity.cluster)
        if tunnels is None:
            raise AccessDenied("nobody asked for this connection")
        await tunnels.serve_dialback(connection, identity)

    def cut(self, session: Session) -> None:
        """Tell the leaf that a session on the way to it is ended, whichever of its proxies has it."""
        tunnels = self._leaves.get(session.request.target.name)
        if tunnels is not None:
            for host in tunnels.hosts:
                tunnels.tell(host, Cut(cut=session.id, cluster=session.request.identity.cluster))

    def keep(self, leaves: Mapping[str, Collection[str]]) -> None:
        """Hang up on all but these leaves, with the pins of their authorities; and on one whose pins are others now."""
        for name in list(self._leaves):
            if set(self._pins.get(name, ())) - set(leaves.get(name, ())) or name not in leaves:
                self._leaves.pop(name).cut()
        self._pins = {name: frozenset(pins) for name, pins in leaves.items()}

    async def dial(self, session: Session, client: tuple[str, int], *, timeout: float) -> Leg:
        """A connection from a proxy of the leaf that the session is for. Raises Unavailable."""
        leaf = session.request.target.name
        tunnels = self._leaves.get(leaf)
        if tunnels is None or not tunnels.hosts:
            raise Unavailable(f"the cluster {leaf} is not connected to this proxy", hint="tsh clusters")
        return await tunnels.dial(
            tunnels.hosts[-1], session=session.id, identity=session.request.identity, address=client[0],
            port=client[1], target=leaf, timeout=timeout,
        )  # fmt: skip


class Journey:
    """Whether a user may be on the way to a leaf, and still has what the passage says."""

    def __init__(self, policy: LivePolicy, leaf: str) -> None:
        self._policy, self._leaf = policy, leaf
        self.passage: Passage | None = None

    def judge(self, snapshot: Snapshot, request: AccessRequest, now: float) -> Decision:
        if self._leaf not in self._policy.leaves:
            return Decision(False, (f"the cluster {self._leaf} has not joined",), hidden=True)
        decision = reaches_cluster(snapshot, request.identity, self._leaf, now=now)
        user = snapshot.user(request.identity.name)
        if not decision.allowed or self.passage is None or user is None:
            return decision
        if set(user.role_names) != set(self.passage.roles) or dict(user.traits) != dict(self.passage.traits):
            return Decision(False, (f"the roles or traits of {user.name} have changed; connect again",))
        return decision


class Departures:
    """Takes users of this cluster into another one."""

    def __init__(
        self, policy: LivePolicy, gate: Gate, tunnels: LeafTunnels, events: EventSink, passage: PassageOf, *,
        clock: Clock, vigil: Vigil | None = None,
    ) -> None:  # fmt: skip
        self._policy, self._gate, self._tunnels, self._events = policy, gate, tunnels, events
        self._clock = clock
        self._passage, self._pipes, self._vigil = passage, Pipes(), vigil or Vigil()

    async def connect(self, client: Leg, identity: Identity, wanted: Route, address: tuple[str, int]) -> None:
        """See `Relay.connect`."""
        await self._go(client, identity, wanted, address, "way")

    async def answer(self, client: Leg, identity: Identity, address: tuple[str, int]) -> None:
        """Answer a client that wants to see the hosts of a leaf, or to know what one would decide, and hang up."""
        try:
            if not identity.is_user:
                raise AccessDenied("only users go to other clusters")
            if identity.pinned_ip and identity.pinned_ip != address[0]:
                raise AccessDenied("the certificate is pinned to another address", hint="log in again: tsh login")
            message = await client.receive(timeout=_QUESTION_SECONDS)
            if "checks" in message:
                asked: Checking = parse(Checking, message)
                wanted = Route(host=asked.host, login=asked.login, cluster=asked.checks)
                await self._go(client, identity, wanted, address, "verdict")
            else:
                listing: Listing = parse(Listing, message)
                await self._go(client, identity, Route(host="", cluster=listing.lists), address, "hosts")
        except TeleportError as error:
            await say(client, error)
        finally:
            client.close()

    async def _go(
        self, client: Leg, identity: Identity, wanted: Route, address: tuple[str, int], wants: Wants
    ) -> None:  # fmt: skip
        leaf, journey = wanted.cluster, Journey(self._policy, wanted.cluster)
        target = Target(KIND, leaf, leaf, labels_of(self._policy.current, leaf))
        request, about = AccessRequest(identity, target, wanted.login), dict[str, Any]()
        try:
            async with self._gate.admit(request, client_address=address[0], judge=journey.judge) as session:
                about = {"sid": session.id, "user_roles": session.user_roles}
                await self._travel(client, session, journey, wanted, address, wants)
        except AccessWithdrawn as end:
            await self._events.emit(
                ClientDisconnected(**_about(identity, wanted, address), **about, reason=str(end))
            )  # fmt: skip
            if not client.handed_over:
                raise AccessDenied(str(end)) from None
        except Denied as error:
            await self._reject(error, identity, wanted, address)
            if error.details.get("hidden"):
                raise NotFound(f"cluster {leaf} not found") from None
            raise

    async def _travel(
        self, client: Leg, session: Session, journey: Journey, wanted: Route, address: tuple[str, int], wants: Wants
    ) -> None:  # fmt: skip
        host = wanted.host.removesuffix(f".{wanted.cluster}")
        request = PassageRequest(
            cluster=wanted.cluster, host=host, login=wanted.login, session=session.id, client_address=address[0],
            **_shown_by(client),
        )  # fmt: skip
        text, journey.passage = await self._passage(request)
        decision = journey.judge(self._policy.current, session.request, self._clock.time())
        if not decision.allowed:
            raise AccessDenied(decision.because)
        dialling = self._tunnels.dial(session, address, timeout=self._policy.current.network.ssh_dial_timeout)
        leg = await as_stream(await unless_gone(client, asyncio.ensure_future(dialling)))
        try:
            await leg.send(Entry(passage=text, wants=wants).model_dump())
            if wants == "hosts":
                await pass_on(leg, client)
                return
            if wants == "verdict":
                verdict: AccessVerdict = parse(AccessVerdict, await leg.receive(timeout=_ANSWER_SECONDS))
                await client.send(verdict.model_dump(mode="json"))
                return
            accepted: Accepted = parse(Accepted, await leg.receive(timeout=_ANSWER_SECONDS))
            await self._events.emit(
                SessionConnected(
                    **_about(session.request.identity, wanted, address), user_roles=session.user_roles,
                    sid=session.id, server_id=accepted.host_id, policy_revision=session.decision.revision,
                    connection=session.connection, **session.decision.rule,
                )
            )  # fmt: skip
            await client.hand_over(Accepted(host_id=accepted.host_id, session=session.id).model_dump())
            with self._vigil.over(client.descriptor, leg.descriptor):
                await self._carry(client, leg, session)
        finally:
            leg.abort()

    async def _carry(self, client: Leg, leg: Leg, session: Session) -> None:
        """Until it is over. Cut off, the leaf is told, and has a moment to end it with words; then it is cut."""
        carrying = asyncio.ensure_future(join(client, leg, self._pipes))
        try:
            await asyncio.shield(carrying)
        except asyncio.CancelledError:
            if session.ended:
                self._tunnels.cut(session)
                await asyncio.wait([carrying], timeout=_LAST_WORDS_SECONDS)
            raise
        finally:
            carrying.cancel()

    async def _reject(self, error: Denied, identity: Identity, wanted: Route, address: tuple[str, int]) -> None:
        await self._events.emit(
            SessionRejected(
                **_about(identity, wanted, address), user_roles=self._policy.roles_of(identity.name),
                reason=error.message, policy_revision=self._policy.current.revision, **error.decision.rule,
            )
        )  # fmt: skip


def _about(identity: Identity, wanted: Route, address: tuple[str, int]) -> dict[str, Any]:
    return {
        "user": identity.name, "user_kind": 1, "server_hostname": f"{wanted.host}.{wanted.cluster}".lstrip("."),
        "login": wanted.login, "addr__remote": address[0],
    }  # fmt: skip


def _shown_by(client: Leg) -> dict[str, str]:
    """The certificate with which a client came. Raises Unavailable for who came without TLS."""
    der = client.peer_certificate
    if der is None:
        raise Unavailable("other clusters are reached with tsh, or with ssh by `tsh config`, not by a jump")
    return {"tls_certificate": base64.b64encode(der).decode()}
