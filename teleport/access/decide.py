"""One question, one answer: may this identity reach this target as this login, under which conditions, and why.

The order (SEMANTICS: "Matching"): restriction of the certificate, locks, cluster-wide MFA, every role's deny,
every role's allow, denied. An error while evaluating is a denial.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from teleport.access.options import Conditions, combine, strictest_mfa
from teleport.access.roles import BoundRole
from teleport.access.snapshot import BoundUser, Snapshot
from teleport.core.identity import Identity
from teleport.resources.lock import Lock
from teleport.resources.values import parse_timestamp

__all__ = ["AccessRequest", "Decision", "Target", "conditions_of", "decide", "lock_on", "standing"]


@dataclass(frozen=True)
class Target:
    """What somebody wants to reach."""

    kind: str
    name: str
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AccessRequest:
    """Who wants to reach what, as which login."""

    identity: Identity
    target: Target
    login: str


@dataclass(frozen=True)
class Decision:
    """The answer. It has no truth value: ask `.allowed`."""

    allowed: bool
    reasons: tuple[str, ...]
    role: str | None = None
    file: str = ""
    line: int = 0
    column: int = 0
    source: str = ""
    commit: str = ""
    conditions: Conditions | None = None
    needs: Mapping[str, str] = field(default_factory=dict)
    """What would have to be shown for it to be allowed, such as `mfa: required`."""
    hidden: bool = False
    """The target must not even be admitted to exist: no selector of the caller's roles could match it."""
    revision: int = 0
    defect: str = ""
    """An error inside the decision, for the log; the caller reads only that it is denied."""

    def __bool__(self) -> NoReturn:
        raise TypeError("a Decision has no truth value: ask .allowed")

    @property
    def because(self) -> str:
        return "; ".join(self.reasons)

    def to_dict(self) -> dict[str, Any]:
        """For programs: `{allowed, reasons, role, origin, conditions}`."""
        return {
            "allowed": self.allowed,
            "reasons": list(self.reasons),
            "role": self.role,
            "origin": {"file": self.file, "line": self.line} if self.role is not None else None,
            "conditions": self.conditions.to_dict() if self.conditions is not None else dict(self.needs),
        }


_HOST_KINDS: Final = frozenset({"node"})


def decide(snapshot: Snapshot, request: AccessRequest, *, now: float) -> Decision:
    """Judge one request at a moment, in seconds since the epoch."""
    try:
        return _decide(snapshot, request, now)
    except Exception as error:  # fail closed: whatever it is, nobody gets in by it
        return Decision(
            False,
            ("the policy could not be evaluated; access is denied until it can",),
            revision=snapshot.revision,
            defect=f"{type(error).__name__}: {error}",
        )


def _decide(snapshot: Snapshot, request: AccessRequest, now: float) -> Decision:
    identity, target, login = request.identity, request.target, request.login

    def denied(*reasons: str, **more: Any) -> Decision:
        return Decision(False, reasons, revision=snapshot.revision, **more)

    user = snapshot.user(identity.name) if identity.is_user else None
    obstacle = standing(snapshot, identity, now)
    if obstacle or user is None:
        return denied(obstacle)
    allowed = identity.allowed_resources
    if allowed is not None and target.uid not in allowed and target.name not in allowed:
        return denied("the certificate is restricted to other resources", hidden=True)
    lock = lock_on(snapshot, user, target=target, login=login, now=now)
    if lock is not None:
        return denied(_lock_text(lock))
    if snapshot.auth.require_session_mfa != "no" and not identity.mfa_verified:
        return denied("this cluster requires a second factor for each session", needs={"mfa": "required"})
    for role in user.roles:
        reason, path = _denies(role, target, login)
        if reason:
            return denied(reason, **_origin(role, path), hidden=_is_hidden(user.roles, target))
    scoped = user.scoped(identity.requested_roles)
    allowing = [role for role in scoped if _allows(role, target, login)]
    if not allowing:
        return denied(*_why_not(scoped, user, target, login), hidden=_is_hidden(scoped, target))
    matching = [role.role for role in user.roles if _allows(role, target, login)]
    conditions = combine(
        [role.role for role in scoped],
        [role.role for role in user.roles],
        auth=snapshot.auth, network=snapshot.network, recording=snapshot.recording, matching=matching,
    )  # fmt: skip
    needs, reason = _unmet(conditions, identity, [role.name for role in allowing], snapshot)
    if needs:
        return denied(reason, needs=needs)
    role = allowing[0]
    return Decision(
        True,
        (f"role/{role.name} allows {login} on {_matched(role, target)}",),
        conditions=conditions.with_mfa("verified" if identity.mfa_verified else "no"),
        revision=snapshot.revision,
        **_origin(role, _allow_path(role, login)),
    )


def standing(snapshot: Snapshot, identity: Identity, now: float) -> str:
    """Why this identity has no standing at all, or nothing if it is that of a user who exists."""
    if snapshot.blind:
        return f"the policy holds what this version cannot read: {', '.join(snapshot.blind)}"
    if not identity.is_user:
        return "only users have sessions"
    user = snapshot.user(identity.name)
    if user is None:
        return f"user {identity.name} does not exist"
    if user.uid != identity.uid:
        return f"user {identity.name} was deleted and created again since the certificate was issued"
    if user.unreadable:
        return f"{_listed(user.unreadable, 'role/')} cannot be read by this version"
    declared = snapshot.users[user.name]
    for expires in (declared.metadata.expires, declared.spec.expires):
        if expires is not None and parse_timestamp(expires) <= now:
            return f"user {identity.name} expired at {expires}"
    return ""


def lock_on(
    snapshot: Snapshot, user: BoundUser, *, target: Target | None = None, login: str = "", now: float
) -> Lock | None:
    """The first lock in force on this user, here; without a target and a login only those on the user as such."""
    facts: dict[str, Sequence[str]] = {
        "user": (user.name,),
        "role": user.role_names,
        "login": (login,) if login else (),
        "server_id": (target.uid, target.name) if target and target.kind in _HOST_KINDS else (),
        "windows_desktop": (target.name,) if target and target.kind == "windows_desktop" else (),
    }
    facts["node"] = facts["server_id"]
    for lock in snapshot.locks:
        if lock_in_force(lock, now) and all(
            value in facts.get(name, ()) for name, value in lock.spec.target.set_fields()
        ):
            return lock
    return None


def lock_in_force(lock: Lock, now: float) -> bool:
    """Whether a lock has not expired."""
    ends = [parse_timestamp(text) for text in (lock.spec.expires, lock.metadata.expires) if text is not None]
    return all(end > now for end in ends)


def _lock_text(lock: Lock) -> str:
    whom = ", ".join(f"{name} {value}" for name, value in lock.spec.target.set_fields())
    message = f": {lock.spec.message}" if lock.spec.message else ""
    return f"lock/{lock.name} on {whom}{message}"


def _denies(role: BoundRole, target: Target, login: str) -> tuple[str, tuple[str | int, ...]]:
    """Why a role's deny block denies, and the path of what decided; an empty reason if it does not."""
    side = role.deny
    if side.every_login:
        return f"role/{role.name} denies every login", ("spec", "deny", "logins")
    if login in side.logins:
        return f"role/{role.name} denies login {login}", ("spec", "deny", "logins", side.logins[login])
    selector = side.selector(target.kind)
    if selector.denies(target.labels):
        labels = selector.written and selector.by_labels(target.labels)
        name = f"{target.kind}_labels" if labels else f"{target.kind}_labels_expression"
        what = selector.explain(target.labels) if labels else "by its label expression"
        return f"role/{role.name} denies {what}", ("spec", "deny", name)
    return "", ()


def _allows(role: BoundRole, target: Target, login: str) -> bool:
    return login in role.allow.logins and role.allow.selector(target.kind).allows(target.labels)


def _allow_path(role: BoundRole, login: str) -> tuple[str | int, ...]:
    return ("spec", "allow", "logins", role.allow.logins[login])


def _matched(role: BoundRole, target: Target) -> str:
    return role.allow.selector(target.kind).explain(target.labels)


def _origin(role: BoundRole, path: tuple[str | int, ...]) -> dict[str, Any]:
    origin = role.role.origin
    line, column = origin.at(*path)
    return {
        "role": role.name, "file": origin.file, "line": line, "column": column,
        "source": origin.source, "commit": origin.commit,
    }  # fmt: skip


def _is_hidden(roles: Sequence[BoundRole], target: Target) -> bool:
    """Whether no role selects the target at all, whatever the login."""
    return not any(role.allow.selector(target.kind).allows(target.labels) for role in roles)


def _why_not(scoped: Sequence[BoundRole], user: BoundUser, target: Target, login: str) -> Iterator[str]:
    """For each role that could have allowed it, what was missing."""
    if not user.roles:
        yield f"{user.name} has no roles"
    elif not scoped:
        yield "the certificate is restricted to roles that the user no longer has"
    for name in user.missing:
        yield f"role/{name} does not exist"
    for role in scoped:
        selector = role.allow.selector(target.kind)
        if not selector.allows(target.labels):
            yield f"role/{role.name} allows {selector.describe()}, which does not match {target.name}"
        else:
            logins = ", ".join(role.allow.logins) or "no login"
            yield f"role/{role.name} allows {logins}, not {login}"


def _unmet(
    conditions: Conditions, identity: Identity, roles: Sequence[str], snapshot: Snapshot
) -> tuple[dict[str, str], str]:
    """What the conditions demand and the identity does not show."""
    names = _listed(roles, "role/")
    required = strictest_mfa([conditions.mfa, snapshot.auth.require_session_mfa])
    if required.startswith("hardware_key"):
        return {"mfa": "hardware_key"}, f"{names} demands a hardware key, which this version cannot verify"
    if required != "no" and not identity.mfa_verified:
        return {"mfa": "required"}, f"{names} requires a second factor for each session"
    if conditions.device_trust == "required":
        return {"device_trust": "required"}, f"{names} demands a trusted device, which this version cannot verify"
    return {}, ""


def _listed(names: Sequence[str], prefix: str) -> str:
    return ", ".join(f"{prefix}{name}" for name in names)


def conditions_of(snapshot: Snapshot, user: BoundUser, requested: tuple[str, ...] | None = None) -> Conditions:
    """The conditions that hold for a user whatever the target: what certificates are made from."""
    return combine(
        [role.role for role in user.scoped(requested)],
        [role.role for role in user.roles],
        auth=snapshot.auth, network=snapshot.network, recording=snapshot.recording,
    )  # fmt: skip
