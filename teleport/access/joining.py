"""Who may see a live session of somebody, and take part in it: own sessions, and those that `join_sessions` names.

A session is judged by its owner's live roles, never by what its host says of them. Deny comes first: the labels of the
host, `join_sessions` and rules on `session_tracker`. A session that the caller may not see does not exist for them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from teleport.access.decide import (
    AccessRequest,
    Binding,
    Decision,
    Target,
    conditions_met,
    decide,
    lock_on,
    place_of,
    standing,
)
from teleport.access.locks import lock_text
from teleport.access.roles import BoundRole
from teleport.access.rules import forbidden, may
from teleport.access.snapshot import BoundUser, Snapshot
from teleport.access.templates import template
from teleport.core.identity import Identity
from teleport.resources.role import JoinSession

__all__ = ["LiveSession", "decide_join", "may_see"]

_NOUN: Final = "session_tracker"
_EVERY: Final = "*"
_JOINED_BY_LOGIN: Final = frozenset({"v3", "v4"})
"""Versions of roles from before `join_sessions`: who could log in could also join."""


@dataclass(frozen=True)
class LiveSession:
    """A session that somebody has on a host."""

    sid: str
    owner: str
    owner_uid: str
    login: str
    target: Target
    participants: tuple[str, ...] = ()
    kind: str = "ssh"

    @property
    def attributes(self) -> Mapping[str, str | tuple[str, ...]]:
        """What conditions of admin rules read, by both names that the format has for it."""
        facts: Mapping[str, str | tuple[str, ...]] = {
            "participants": (self.owner, *self.participants), "user": self.owner, "login": self.login,
            "sid": self.sid, "server_id": self.target.uid, "server_hostname": self.target.name,
        }  # fmt: skip
        named = {f"{noun}.{name}": fact for noun in ("session", "ssh_session") for name, fact in facts.items()}
        return {**named, "session.kind": self.kind}


def decide_join(snapshot: Snapshot, identity: Identity, session: LiveSession, mode: str, *, now: float) -> Decision:
    """May this identity take part in a session in a mode? `hidden` where not even its existence may show.

    An error while evaluating is a denial.
    """
    try:
        return _decide(snapshot, identity, session, mode, now)
    except Exception as error:
        return Decision(
            False, ("the policy could not be evaluated; access is denied until it can",), hidden=True,
            revision=snapshot.revision, defect=f"{type(error).__name__}: {error}",
        )  # fmt: skip


def may_see(snapshot: Snapshot, identity: Identity, session: LiveSession, *, now: float) -> bool:
    """Whether a session is in the list that this identity asks for. Errors are a no."""
    try:
        if not identity.is_user:
            return _may_list(snapshot, identity, session, now)
        user = snapshot.user(identity.name)
        if user is None or standing(snapshot, identity, now) or lock_on(snapshot, user, now=now) is not None:
            return False
        return _is_known(snapshot, identity, user, session, now)
    except Exception:
        return False


def _decide(snapshot: Snapshot, identity: Identity, session: LiveSession, mode: str, now: float) -> Decision:
    user = snapshot.user(identity.name) if identity.is_user else None
    obstacle = standing(snapshot, identity, now) or snapshot.blind_for(session.target.kind)
    if obstacle or user is None:
        return Decision(False, (obstacle,), revision=snapshot.revision)
    known = _is_known(snapshot, identity, user, session, now)
    denied = partial(Decision, False, hidden=not known, revision=snapshot.revision)
    if not _is_within(identity, session.target):
        return denied(("the certificate is restricted to other resources",), hidden=True)
    lock = lock_on(snapshot, user, target=session.target, login=session.login, now=now)
    if lock is not None:
        return denied((lock_text(lock),), **place_of(lock.origin, ("spec", "target")))
    if snapshot.auth.require_session_mfa != "no" and not identity.mfa_verified:
        return denied(("this cluster requires a second factor for each session",), needs={"mfa": "required"})
    for denial in _denials(snapshot, user, session, mode):
        return denied(**denial)
    if _is_own(identity, session) or _joins_by_login(user):
        return _by_login(snapshot, identity, session, now, hidden=not known)
    granting = [role for role in user.scoped(identity.requested_roles) if _policies(snapshot, role, session, mode)]
    if not granting:
        return denied((f"no role of {user.name} lets sessions of {session.owner} be joined as {mode}",))
    return _on_conditions(snapshot, identity, user, session, mode)


def _denials(snapshot: Snapshot, user: BoundUser, session: LiveSession, mode: str) -> Iterator[dict[str, Any]]:
    """What denies, as fields of the decision. Logins do not: who looks on logs in as nobody."""
    target = session.target
    for role in user.roles:
        selector = role.deny.selector(target.kind)
        origin = role.role.origin
        if selector.denies(target.labels):
            path = ("spec", "deny", f"{target.kind}_labels")
            yield _of(role, f"denies {selector.explain(target.labels)}", **place_of(origin, path))
        for policy in _policies(snapshot, role, session, mode, deny=True):
            place = place_of(origin, ("spec", "deny", "join_sessions"))
            yield _of(role, f"denies joining sessions of {session.owner} ({policy.name})", **place)
    for verb in ("list", "read"):
        decision = forbidden(snapshot, user, verb, _NOUN, session.attributes)
        if decision is not None:
            yield {
                "reasons": decision.reasons, "role": decision.role, "file": decision.file, "line": decision.line,
                "column": decision.column, "source": decision.source, "commit": decision.commit,
            }  # fmt: skip


def _of(role: BoundRole, what: str, **place: Any) -> dict[str, Any]:
    return {"reasons": (f"role/{role.name} {what}",), "role": role.name, **place}


def _by_login(snapshot: Snapshot, identity: Identity, session: LiveSession, now: float, *, hidden: bool) -> Decision:
    """Whoever could begin this very session may also look on."""
    decision = decide(snapshot, AccessRequest(identity, session.target, session.login), now=now)
    if decision.allowed:
        return decision
    return replace(decision, hidden=hidden)


def _on_conditions(
    snapshot: Snapshot, identity: Identity, user: BoundUser, session: LiveSession, mode: str
) -> Decision:
    """What some role's `join_sessions` allows, if the identity shows what the roles that match demand."""
    target = session.target
    by_labels = [role for role in user.roles if role.allow.selector(target.kind).allows(target.labels)]
    joining = [role for role in user.roles if _policies(snapshot, role, session, mode)]
    binding = [*joining, *(role for role in by_labels if role not in joining and role.allow.names_login(session.login))]
    conditions = conditions_met(snapshot, identity, user, Binding(target.kind, by_labels, binding))
    if isinstance(conditions, Decision):
        return conditions
    role = next(role for role in user.scoped(identity.requested_roles) if role in joining)
    return Decision(
        True, (f"role/{role.name} allows joining sessions of {session.owner} as {mode}",), role=role.name,
        conditions=conditions, revision=snapshot.revision,
        **place_of(role.role.origin, ("spec", "allow", "join_sessions")),
    )  # fmt: skip


def _policies(
    snapshot: Snapshot, role: BoundRole, session: LiveSession, mode: str, *, deny: bool = False
) -> list[JoinSession]:
    """The entries of a role that speak of this session's owner, kind and mode; `*` asks for any mode.

    Which roles a visitor holds here is not known: to a denial they may be any, to what allows they are none.
    """
    spec = role.role.source.spec
    owner = snapshot.user(session.owner)
    known = owner is not None and owner.uid == session.owner_uid
    theirs = owner.role_names if owner is not None and known else ()
    return [
        policy
        for policy in (spec.deny if deny else spec.allow).join_sessions
        if {session.kind, _EVERY} & set(policy.kinds)
        and (mode == _EVERY or {mode, _EVERY} & set(policy.modes))
        and (_speaks_of(policy, role, theirs) or (deny and not known))
    ]


def _speaks_of(policy: JoinSession, role: BoundRole, names: Sequence[str]) -> bool:
    matchers = [matcher for text in policy.roles for matcher in template(text).matchers(role.traits)]
    return any(matcher.matches(name) for matcher in matchers for name in names)


def _is_known(snapshot: Snapshot, identity: Identity, user: BoundUser, session: LiveSession, now: float) -> bool:
    """Whether a user may know of a session: it is theirs, they could join it somehow, or may list all."""
    if not _is_within(identity, session.target):
        return False
    if forbidden(snapshot, user, "list", _NOUN, session.attributes) is not None:
        return False
    if _is_own(identity, session):
        return True
    if any(_policies(snapshot, role, session, _EVERY) for role in user.scoped(identity.requested_roles)):
        return True
    if _joins_by_login(user):
        decision = decide(snapshot, AccessRequest(identity, session.target, session.login), now=now)
        if decision.allowed or decision.needs:
            return True
    return _may_list(snapshot, identity, session, now)


def _may_list(snapshot: Snapshot, identity: Identity, session: LiveSession, now: float) -> bool:
    return may(snapshot, identity, "list", _NOUN, now=now, attributes=session.attributes).allowed


def _is_own(identity: Identity, session: LiveSession) -> bool:
    return (identity.name, identity.uid) == (session.owner, session.owner_uid)


def _is_within(identity: Identity, target: Target) -> bool:
    allowed = identity.allowed_resources
    return allowed is None or target.uid in allowed or target.name in allowed


def _joins_by_login(user: BoundUser) -> bool:
    """Whether all roles are of versions in which joining needed no more than the login."""
    return bool(user.roles) and all(role.role.source.version in _JOINED_BY_LOGIN for role in user.roles)
