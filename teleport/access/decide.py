"""One question, one answer: may this identity reach this target as this login, under which conditions, and why.

The order (SEMANTICS: "Matching"): restriction of the certificate, locks, cluster-wide MFA, every role's deny,
every role's allow, denied. An error while evaluating is a denial.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from teleport.access.locks import lock_in_force, lock_on, lock_text
from teleport.access.options import Conditions, Matching, combine
from teleport.access.roles import NAMED, BoundRole
from teleport.access.snapshot import BoundUser, Snapshot
from teleport.access.target import AccessRequest, Target
from teleport.core.identity import Identity
from teleport.resources.model import Origin
from teleport.resources.values import parse_timestamp

__all__ = [
    "AccessRequest", "Binding", "Decision", "Target", "conditions_met", "conditions_of", "decide", "lock_in_force",
    "lock_on", "place_of", "standing",
]  # fmt: skip

Path = tuple[str | int, ...]

_PLACES: Final[Mapping[str, str]] = {"node": "host", "db": "database", "windows_desktop": "desktop"}
"""What people call a target."""


@dataclass(frozen=True)
class Decision:
    """The answer. It has no truth value: ask `.allowed`.

    `role` is the one whose rule decided, if one did. The place (file, line, column, source, commit) is that of the
    rule, or of the lock.
    """

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

    @property
    def rule(self) -> dict[str, Any]:
        """Which rule decided and where that is written, as audit events tell it."""
        return {
            "role": self.role or "", "source": self.source, "file": self.file, "line": self.line,
            "column": self.column, "commit": self.commit,
        }  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """For programs: `{allowed, reasons, role, origin, conditions}`."""
        return {
            "allowed": self.allowed,
            "reasons": list(self.reasons),
            "role": self.role,
            "origin": {"file": self.file, "line": self.line} if self.file else None,
            "conditions": self.conditions.to_dict() if self.conditions is not None else dict(self.needs),
        }


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
    identity, target = request.identity, request.target
    user = snapshot.holder(identity) if identity.is_user else None
    obstacle = standing(snapshot, identity, now) or snapshot.blind_for(target.kind)
    if obstacle or user is None:
        return Decision(False, (obstacle,), revision=snapshot.revision)
    scoped = user.scoped(identity.requested_roles)
    selecting = [role for role in scoped if _selects(role, target)]

    def denied(*reasons: str, **more: Any) -> Decision:
        return Decision(False, reasons, revision=snapshot.revision, **{"hidden": not selecting, **more})

    allowed = identity.allowed_resources
    if allowed is not None and target.uid not in allowed and target.name not in allowed:
        return denied("the certificate is restricted to other resources", hidden=True)
    lock = lock_on(snapshot, user, target=target, login=request.login, now=now)
    if lock is not None:
        return denied(lock_text(lock), **place_of(lock.origin, ("spec", "target")))
    if snapshot.auth.require_session_mfa != "no" and not identity.mfa_verified:
        return denied("this cluster requires a second factor for each session", needs={"mfa": "required"})
    for role in user.roles:
        reason, path = _denies(role, request)
        if reason:
            return denied(reason, role=role.name, **place_of(role.role.origin, path))
    allowing = [role for role in selecting if _names_all(role, request)]
    if not allowing:
        return denied(*_why_not(scoped, user, request))
    return _on_conditions(snapshot, request, user, allowing)


def _on_conditions(
    snapshot: Snapshot, request: AccessRequest, user: BoundUser, allowing: Sequence[BoundRole]
) -> Decision:
    """What some role allows, if the identity shows what the roles that match demand."""
    identity, target = request.identity, request.target
    by_labels = [role for role in user.roles if _selects(role, target)]
    binding = [role for role in by_labels if _names_all(role, request)]
    conditions = conditions_met(snapshot, identity, user, Binding(target.kind, by_labels, binding))
    if isinstance(conditions, Decision):
        return conditions
    role = allowing[0]
    return Decision(
        True,
        (f"role/{role.name} allows {_asked(request)}on {role.allow.selector(target.kind).explain(target.labels)}",),
        role=role.name,
        conditions=conditions,
        revision=snapshot.revision,
        **place_of(role.role.origin, _allow_path(role, request)),
    )


@dataclass(frozen=True)
class Binding:
    """The roles whose conditions bind: those that match a target by its labels, and of all, those that allow."""

    kind: str
    by_labels: Sequence[BoundRole]
    allowing: Sequence[BoundRole]


def conditions_met(snapshot: Snapshot, identity: Identity, user: BoundUser, binding: Binding) -> Conditions | Decision:
    """The conditions of what some role allows, or the denial where the identity does not show what they demand."""
    conditions = combine(
        [role.role for role in user.scoped(identity.requested_roles)],
        [role.role for role in user.roles],
        auth=snapshot.auth, network=snapshot.network, recording=snapshot.recording,
        matching=Matching(
            binding.kind, [role.role for role in binding.by_labels], [role.role for role in binding.allowing]
        ),
    )  # fmt: skip
    demand = _unmet(conditions, identity)
    if demand is not None:
        return _demanded(snapshot, demand, binding.allowing)
    return conditions.with_mfa("verified" if identity.mfa_verified else "no")


def standing(snapshot: Snapshot, identity: Identity, now: float) -> str:
    """Why this identity has no standing at all, or nothing if it is that of a user who exists."""
    if snapshot.blind:
        return f"the policy holds what this version cannot read: {', '.join(snapshot.blind)}"
    if not identity.is_user:
        return "only users have sessions"
    if identity.passage is not None:
        return _visiting(snapshot, identity)
    user = snapshot.user(identity.name)
    if user is None:
        return f"user {identity.name} does not exist"
    if user.uid != identity.uid:
        return f"user {identity.name} was deleted and created again since the certificate was issued"
    if user.unreadable:
        return f"{_listed(user.unreadable)} cannot be read by this version"
    declared = snapshot.users[user.name]
    for expires in (declared.metadata.expires, declared.spec.expires):
        if expires is not None and parse_timestamp(expires) <= now:
            return f"user {identity.name} expired at {expires}"
    return ""


def _visiting(snapshot: Snapshot, identity: Identity) -> str:
    """Why somebody from another cluster has no standing here, or nothing."""
    user = snapshot.visitor(identity)
    if user is None:
        return f"the cluster {identity.cluster} is not trusted"
    if not user.role_names:
        return f"no role of {user.name} in {identity.cluster} is a role here"
    if user.unreadable:
        return f"{_listed(user.unreadable)} cannot be read by this version"
    if user.blinded:
        return f"{_listed(user.blinded)} reads traits that may not pass from {identity.cluster}"
    return ""


def _denies(role: BoundRole, request: AccessRequest) -> tuple[str, Path]:
    """Why a role's deny block denies, and the path of what decided; an empty reason if it does not.

    Greedy: a name denies on every target, a label denies for every name.
    """
    side, target = role.deny, request.target
    for name, wanted in request.wants:
        names = side.names[name]
        entry = names.entry(wanted)
        if entry is not None:
            what = f"every {NAMED[name]}" if entry == names.every else f"{NAMED[name]} {wanted}"
            return f"role/{role.name} denies {what}", ("spec", "deny", name, entry)
    selector = side.selector(target.kind)
    if not selector.denies(target.labels):
        return "", ()
    if selector.written and selector.by_labels(target.labels):
        return f"role/{role.name} denies {selector.explain(target.labels)}", ("spec", "deny", f"{target.kind}_labels")
    reason = f"role/{role.name} denies what its label expression matches"
    return reason, ("spec", "deny", f"{target.kind}_labels_expression")


def _selects(role: BoundRole, target: Target) -> bool:
    return role.allow.selector(target.kind).allows(target.labels)


def _names_all(role: BoundRole, request: AccessRequest) -> bool:
    """Whether this one role names everything that is asked for."""
    return all(role.allow.names[name].entry(wanted) is not None for name, wanted in request.wants)


def _allow_path(role: BoundRole, request: AccessRequest) -> Path:
    """The entry that names what is asked for; where nothing is, the selector."""
    for name, wanted in request.wants:
        entry = role.allow.names[name].entry(wanted)
        assert entry is not None
        return "spec", "allow", name, entry
    written = role.allow.selector(request.target.kind).written
    return "spec", "allow", f"{request.target.kind}_labels{'' if written else '_expression'}"


def _asked(request: AccessRequest) -> str:
    """What is asked for by name, as in `root `; nothing at targets without names."""
    return "".join(f"{wanted} " for _, wanted in request.wants)


def place_of(origin: Origin, path: Path) -> dict[str, Any]:
    """Where a rule stands, as fields of a decision."""
    line, column = origin.at(*path)
    return {
        "file": origin.file, "line": line, "column": column, "source": origin.source, "commit": origin.commit,
    }  # fmt: skip


def _why_not(scoped: Sequence[BoundRole], user: BoundUser, request: AccessRequest) -> Iterator[str]:
    """For each role that could have allowed it, what was missing."""
    target = request.target
    if not user.role_names:
        yield f"{user.name} has no roles"
    elif user.roles and not scoped:
        yield "the certificate is restricted to roles that the user no longer has"
    for name in user.missing:
        yield f"role/{name} does not exist"
    for role in scoped:
        selector = role.allow.selector(target.kind)
        if selector.empty:
            yield f"role/{role.name} allows no {_PLACES.get(target.kind, target.kind)}"
            continue
        if not selector.allows(target.labels):
            yield f"role/{role.name} allows {selector.describe()}, which does not match {target.name}"
            continue
        for name, wanted in request.wants:
            if role.allow.names[name].entry(wanted) is None:
                named = ", ".join(role.allow.names[name].entries) or f"no {NAMED[name]}"
                yield f"role/{role.name} allows {named}, not {wanted}"


@dataclass(frozen=True)
class _Demand:
    """What the conditions demand and the identity does not show: the option, and its value."""

    option: str
    value: str
    words: str
    needs: Mapping[str, str]


_MFA: Final = "require_session_mfa"
_DEVICE: Final = "device_trust_mode"


def _unmet(conditions: Conditions, identity: Identity) -> _Demand | None:
    mfa = conditions.mfa
    if mfa.startswith("hardware_key"):
        words = "demands a hardware key, which this version cannot verify"
        return _Demand(_MFA, mfa, words, {"mfa": "hardware_key"})
    if mfa != "no" and not identity.mfa_verified:
        return _Demand(_MFA, mfa, "requires a second factor for each session", {"mfa": "required"})
    if conditions.device_trust == "required":
        words = "demands a trusted device, which this version cannot verify"
        return _Demand(_DEVICE, "required", words, {"device_trust": "required"})
    return None


def _demanded(snapshot: Snapshot, demand: _Demand, binding: Sequence[BoundRole]) -> Decision:
    """The denial for an unmet demand: of the first role that makes it, or else of the cluster."""
    role = next((one for one in binding if getattr(one.role.options, demand.option) == demand.value), None)
    if role is None:
        return Decision(False, (f"this cluster {demand.words}",), needs=demand.needs, revision=snapshot.revision)
    return Decision(
        False, (f"role/{role.name} {demand.words}",), role=role.name, needs=demand.needs, revision=snapshot.revision,
        **place_of(role.role.origin, ("spec", "options", demand.option)),
    )  # fmt: skip


def _listed(roles: Sequence[str]) -> str:
    return ", ".join(f"role/{name}" for name in roles)


def conditions_of(snapshot: Snapshot, user: BoundUser, requested: tuple[str, ...] | None = None) -> Conditions:
    """The conditions that hold for a user whatever the target: what certificates are made from."""
    return combine(
        [role.role for role in user.scoped(requested)],
        [role.role for role in user.roles],
        auth=snapshot.auth, network=snapshot.network, recording=snapshot.recording,
    )  # fmt: skip
