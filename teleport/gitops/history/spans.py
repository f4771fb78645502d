"""One question asked of every moment of a branch: may this user log in there, and from which commit to which.

The question is decided again only after commits that changed what it rests on. Pure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from teleport.access.decide import AccessRequest, Decision, decide
from teleport.access.people import host_named, supposed
from teleport.access.snapshot import Snapshot, compile_snapshot
from teleport.gitops.history.steps import Step
from teleport.gitops.history.walk import Moment
from teleport.gitops.order import Ref
from teleport.resources.kinds import AnyResource
from teleport.resources.lock import Lock
from teleport.resources.node import Node
from teleport.resources.role import Role
from teleport.resources.user import User

__all__ = ["Judged", "Question", "Span", "Tables", "follow", "spans_of"]

_FOR_ALL: Final = ("lock", "cluster_auth_preference", "session_recording_config", "cluster_networking_config")
"""Kinds that may concern anybody."""


@dataclass(frozen=True)
class Tables:
    """See `access.snapshot.Tables`."""

    resources: Iterable[AnyResource]
    revision: int = 0
    unreadable: Mapping[str, str] = field(default_factory=dict)

    def of_kind(self, kind: str) -> Mapping[str, AnyResource]:
        return {one.name: one for one in self.resources if one.kind == kind}


@dataclass(frozen=True)
class Question:
    """May a user log in to a host, a second factor shown? `hosts` are those that report themselves."""

    user: str
    login: str
    node: str
    hosts: tuple[Node, ...] = ()

    def decide(self, snapshot: Snapshot, *, now: float) -> Decision:
        """A user or host that does not exist is denied."""
        if self.user not in snapshot.users:
            return Decision(False, (f"user {self.user} does not exist",))
        target = host_named(self.node, snapshot.nodes, self.hosts)
        if target is None:
            return Decision(False, (f"no host {self.node} is declared",))
        return decide(snapshot, AccessRequest(supposed(snapshot, self.user), target, self.login), now=now)

    def needs(self, resources: Mapping[Ref, AnyResource]) -> list[AnyResource]:
        """All that the answer may rest on."""
        user = resources.get((User.kind, self.user))
        roles = user.spec.roles if isinstance(user, User) else ()
        found = [resources[Role.kind, name] for name in dict.fromkeys(roles) if (Role.kind, name) in resources]
        general = [one for one in resources.values() if one.kind in _FOR_ALL or self._means(one)]
        return [*([user] if user is not None else []), *found, *sorted(general, key=lambda one: (one.kind, one.name))]

    def concerns(self, ref: Ref, before: AnyResource | None, after: AnyResource | None, rests: frozenset[Ref]) -> bool:
        """Whether the answer may be another once this object has changed."""
        if ref[0] == Node.kind:
            return self._means(before) or self._means(after)
        return ref[0] in _FOR_ALL or ref == (User.kind, self.user) or ref in rests

    def _means(self, resource: AnyResource | None) -> bool:
        names = {self.node, *(host.hostname for host in self.hosts if self.node in (host.hostname, host.name))}
        return isinstance(resource, Node) and not names.isdisjoint((resource.hostname, resource.name))


@dataclass(frozen=True)
class Judged:
    """The answer once a commit had landed."""

    step: Step
    decision: Decision
    base: bool = False


def follow(moments: Iterable[Moment], question: Question, beside: Sequence[AnyResource] = ()) -> Iterator[Judged]:
    """The answer at each moment, at the time that its commit claims. `beside` counts at all of them."""
    always = {(one.kind, one.name): one for one in beside}
    before: Mapping[Ref, AnyResource] = {}
    needed = question.needs(always)
    snapshot, rests, timed = compile_snapshot(Tables(needed)), _rests_on(needed), any(map(_ends_by_itself, needed))
    decision: Decision | None = None
    for moment in moments:
        now = moment.resources
        stale = any(question.concerns(ref, before.get(ref), now.get(ref), rests) for ref in moment.written)
        if stale:
            needed = question.needs({**always, **now} if always else now)
            snapshot, timed = compile_snapshot(Tables(needed)), any(map(_ends_by_itself, needed))
            rests = _rests_on(needed)
        if stale or timed or decision is None:
            decision = question.decide(snapshot, now=moment.step.when)
        before = now
        yield Judged(moment.step, decision, moment.base)


def _rests_on(needed: Sequence[AnyResource]) -> frozenset[Ref]:
    """The roles that the user names, also those that do not exist."""
    user = next((one for one in needed if isinstance(one, User)), None)
    return frozenset((Role.kind, name) for name in (user.spec.roles if user is not None else ()))


def _ends_by_itself(resource: AnyResource) -> bool:
    if resource.metadata.expires is not None:
        return True
    return isinstance(resource, Lock | User) and resource.spec.expires is not None


@dataclass(frozen=True)
class Span:
    """From a commit on it was allowed; until another, if that is over."""

    since: Judged
    until: Judged | None = None


def spans_of(answers: Iterable[Judged]) -> tuple[Span, ...]:
    """When it was allowed, oldest first. Spans touch nowhere."""
    found: list[Span] = []
    allowed = False
    for one in answers:
        if one.decision.allowed and not allowed:
            found.append(Span(one))
        elif allowed and not one.decision.allowed:
            found[-1] = Span(found[-1].since, one)
        allowed = one.decision.allowed
    return tuple(found)
