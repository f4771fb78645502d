"""What all endpoints share: the parts of the auth service, who acts, and what that caller may."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from teleport.access.decide import place_of
from teleport.access.rules import may
from teleport.api import history as h
from teleport.api import models as m
from teleport.api.server import Caller
from teleport.audit.events import Actor, CertificateCreated, actor_of
from teleport.audit.log import AuditLog
from teleport.auth.approvals import Approvals
from teleport.auth.authorities import AuthoritySet
from teleport.auth.clusters import Leaves
from teleport.auth.credentials import Credentials
from teleport.auth.emergency import Emergencies
from teleport.auth.enlisted import Enlisted
from teleport.auth.hosts import Presence
from teleport.auth.issue import Issuer
from teleport.auth.join import JoinService
from teleport.auth.live import LiveTable
from teleport.auth.openssh import PlainHosts
from teleport.auth.policy import PolicyWriter
from teleport.auth.recordings import RecordingStore
from teleport.core.aio import Clock, utc
from teleport.resources.kinds import AnyResource
from teleport.resources.node import Node
from teleport.sessions.policy import LiveFleet, LivePolicy
from teleport.store.base import Store

__all__ = ["Governed", "Parts", "PolicyHistory", "Surroundings", "address_of"]


class Governed(Protocol):
    """A source of policy, as the auth service steers it."""

    @property
    def suspended(self) -> str:
        """Why it is suspended, or nothing."""
        ...

    def declares(self, kind: str, name: str) -> bool:
        """Whether it did when it was read last."""
        ...

    async def suspend(self, reason: str) -> None: ...

    def resume(self) -> None: ...

    def poke(self) -> None: ...

    async def told(self, delivery: m.WebhookDelivery) -> m.WebhookAnswer:
        """Take what a server of repositories sent. Raises AccessDenied unless it proves that it may tell."""
        ...


class Fed(Protocol):
    """A source whose manifests an operator brings."""

    @property
    def namespace(self) -> str:
        """`*` for all that none is named after; then what is fed is named SOURCE/NAMESPACE."""
        ...

    async def feed(self, request: m.FeedRequest) -> m.FeedAnswer:
        """Take everything that the source declares now, and tell what becomes of it."""
        ...


class PolicyHistory(Protocol):
    """What a source that has commits tells of its past. `beside` is what other sources declare now."""

    async def changes(self, query: h.ObjectQuery, beside: Sequence[AnyResource]) -> h.ObjectHistory: ...
    async def since(
        self, asked: h.SinceQuestion, hosts: Sequence[Node], beside: Sequence[AnyResource]
    ) -> h.SinceAnswer: ...
    async def people(self, asked: h.PeopleQuery, hosts: Sequence[Node], beside: Sequence[AnyResource]) -> h.People: ...
    async def text(self, place: h.RulePlace) -> tuple[h.RuleText, AnyResource | None]:
        """The text, and what it declares: only who may read that may read the text."""
        ...


@dataclass
class Surroundings:
    """What the auth service cannot know by itself and tells in its answers; kept current by the process."""

    proxy_address: str = ""
    """Where people reach the proxy; empty where proxies are elsewhere and tell by themselves."""
    demo: bool = False
    sources: Mapping[str, m.SourceStatus] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    rollbacks: Mapping[str, Callable[[str], Awaitable[str]]] = field(default_factory=dict)
    """By source: lets it follow a commit that it refuses as a way back, and tells the commit's full name."""
    governed: Mapping[str, Governed] = field(default_factory=dict)
    """The sources of policy of this process, by name."""
    fed: Mapping[str, Fed] = field(default_factory=dict)
    """Those of them that operators feed."""
    again: Mapping[str, tuple[Callable[[], None], ...]] = field(default_factory=dict)
    """By source: has it look at once at what it declares."""
    histories: Mapping[str, PolicyHistory] = field(default_factory=dict)
    """By source, of those that have commits."""
    trust: Mapping[str, m.TrustStatus] = field(default_factory=dict)
    """By cluster that is trusted: how far that has come."""
    commits: Mapping[str, Callable[[str, str], Awaitable[str]]] = field(default_factory=dict)
    """By source: the full name of the first commit if the second one contains it, else nothing."""


@dataclass
class Parts:
    """The parts, and the questions that several endpoints ask of them."""

    store: Store
    audit: AuditLog
    authorities: AuthoritySet
    policy: LivePolicy
    fleet: LiveFleet
    writer: PolicyWriter
    approvals: Approvals
    emergencies: Emergencies
    credentials: Credentials
    issuer: Issuer
    enlisted: Enlisted
    joining: JoinService
    leaves: Leaves
    plain: PlainHosts
    presence: Presence
    live: LiveTable
    recordings: RecordingStore
    surroundings: Surroundings
    audit_key: str
    audit_directory: Path
    clock: Clock

    @property
    def proxy_address(self) -> str:
        """Where people reach the cluster."""
        return self.surroundings.proxy_address or self.presence.proxy_address()

    def may(self, caller: Caller, verb: str, subject: AnyResource) -> bool:
        """Whether the admin rules permit a verb on this very resource, their conditions included."""
        return may(
            self.policy.current, caller.known, verb, subject.kind, now=self.clock.time(), subject=subject
        ).allowed

    def may_on(self, caller: Caller, verb: str, noun: str, attributes: Mapping[str, str | tuple[str, ...]]) -> bool:
        """The same for what is no resource: an event, a session, described by its attributes."""
        return may(self.policy.current, caller.known, verb, noun, now=self.clock.time(), attributes=attributes).allowed

    def actor(self, caller: Caller) -> Actor:
        """Who acts, as the audit log names them."""
        user = self.policy.current.user(caller.known.name) if caller.known.is_user else None
        return actor_of(caller.known, user.role_names if user is not None else caller.known.requested_roles or ())

    async def hand_out(self, certificates: m.Certificates, address: str, *, issued_by: str = "") -> m.Certificates:
        """A certificate leaves only once its event is on disk."""
        about = {
            "user": certificates.user, "roles": list(certificates.roles), "logins": list(certificates.logins),
            "expires": utc(certificates.expires),
        }  # fmt: skip
        await self.audit.append(
            CertificateCreated(
                user=issued_by or certificates.user, user_kind=1, user_roles=() if issued_by else certificates.roles,
                identity=about, addr__remote=address, impersonator=issued_by, **self._basis(certificates),
            )
        )  # fmt: skip
        return certificates

    def _basis(self, certificates: m.Certificates) -> dict[str, Any]:
        """Where the user and the roles of a certificate are declared."""
        snapshot = self.policy.current
        user, roles = snapshot.users.get(certificates.user), snapshot.roles
        grants = tuple(
            {
                "role": name,
                **{key: value for key, value in place_of(origin, ("spec", "allow", "logins")).items() if value},
            }
            for name in certificates.roles
            if (origin := roles[name].origin if name in roles else None) is not None
        )
        return {**(place_of(user.origin, ("spec", "roles")) if user is not None else {}), "grants": grants}


def address_of(caller: Caller, told: str) -> str:
    """The client's address: as a proxy tells it, otherwise as the connection shows it."""
    if caller.identity is not None and caller.identity.has_role("Proxy"):
        return told or caller.address
    return caller.address
