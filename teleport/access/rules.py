"""Administrative acts: which verbs on which kinds of resource somebody may use (SEMANTICS: "Admin rules").

Deny over all roles first, then allow. Verbs are independent, but `read` covers `readnosecrets`, and `break_glass` is
allowed by name alone. Within a role the more specific rule is tried first: it is the one an answer names.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from teleport.access.decide import Decision, place_of, standing
from teleport.access.expressions import WHERE, Scope, compile_expression
from teleport.access.locks import lock_on, lock_text
from teleport.access.roles import BoundRole
from teleport.access.snapshot import BoundUser, Snapshot
from teleport.core.identity import Identity
from teleport.resources.kinds import AnyResource
from teleport.resources.model import Metadata
from teleport.resources.nouns import BREAK_GLASS
from teleport.resources.role import Rule
from teleport.resources.user import User, UserSpec

__all__ = ["forbidden", "may", "may_always", "roles_allowing"]

_NOUNS: Mapping[str, Sequence[str]] = {
    "token": ("provision_token",),
    "node": ("server",),
    "cluster_auth_preference": ("cluster_config",),
    "cluster_networking_config": ("cluster_config",),
    "session_recording_config": ("cluster_config",),
    "session_tracker": ("ssh_session",),
}
"""Other nouns of the format that mean the same kind."""


def may(
    snapshot: Snapshot,
    identity: Identity,
    verb: str,
    noun: str,
    *,
    now: float,
    subject: AnyResource | None = None,
    attributes: Mapping[str, str | tuple[str, ...]] | None = None,
) -> Decision:
    """Whether an identity may use a verb on a kind, or on one resource of it.

    Without `subject` and `attributes` the question is whether it may for some resource: conditions in allow count
    as met, those in deny as not. Ask again for each resource.
    """
    if identity.kind == "admin" and identity.requested_roles is None:
        return Decision(True, ("local administrator",), revision=snapshot.revision)
    try:
        return _may(snapshot, identity, verb, noun, now=now, subject=subject, attributes=attributes)
    except Exception as error:  # fail closed
        return Decision(
            False, ("the policy could not be evaluated",), revision=snapshot.revision,
            defect=f"{type(error).__name__}: {error}",
        )  # fmt: skip


def may_always(snapshot: Snapshot, identity: Identity, verb: str, noun: str, *, now: float) -> bool:
    """Whether an identity may use a verb on every resource of a kind there could be, whatever conditions say.

    Of the rules with conditions none allows and each denies. A user alone can be so; an error is a no.
    """
    try:
        user = snapshot.user(identity.name) if identity.is_user else None
        if user is None or standing(snapshot, identity, now) or lock_on(snapshot, user, now=now) is not None:
            return False
        if any(True for role in user.roles for _ in _matching(role.deny.rules, verb, noun)):
            return False
        roles = user.scoped(identity.requested_roles)
        return any(not rule.where for role in roles for _, rule in _matching(role.allow.rules, verb, noun))
    except Exception:  # fail closed
        return False


def roles_allowing(snapshot: Snapshot, verb: str, noun: str, *, always: bool) -> frozenset[str]:
    """The roles that have a rule which allows it; `always`: whatever conditions say. Who has none of them may not."""
    return frozenset(
        name
        for name, role in snapshot.roles.items()
        if any(not (always and rule.where) for _, rule in _matching(role.source.spec.allow.rules, verb, noun))
    )


def _may(
    snapshot: Snapshot, identity: Identity, verb: str, noun: str, *, now: float, subject: AnyResource | None,
    attributes: Mapping[str, str | tuple[str, ...]] | None,
) -> Decision:  # fmt: skip
    def denied(reason: str, **place: Any) -> Decision:
        return Decision(False, (reason,), revision=snapshot.revision, **place)

    if identity.kind == "admin":
        user: BoundUser | None = _mapped(snapshot, identity)
        obstacle = _unread(snapshot, user)
        requested = None
    else:
        user, obstacle = snapshot.user(identity.name), standing(snapshot, identity, now)
        requested = identity.requested_roles
    if obstacle or user is None:
        return denied(obstacle)
    if not identity.reissuable:
        return denied("this certificate is for one session only")
    lock = lock_on(snapshot, user, now=now)
    if lock is not None:
        return denied(lock_text(lock), **place_of(lock.origin, ("spec", "target")))
    scope = None if subject is None and attributes is None else _scope(user, subject, attributes or {})
    denial = _denial(snapshot, user, verb, noun, scope)
    if denial is not None:
        return denial
    for role in user.scoped(requested):
        for index, rule in _granting(role.allow.rules, verb, noun):
            if _holds(rule, scope, unknown=True):
                return _judged(snapshot, role, "allow", index, allowed=True, what=f"allows {verb} on {noun}")
    return denied(f"no role of {identity.name} allows {verb} on {noun}")


def forbidden(
    snapshot: Snapshot, user: BoundUser, verb: str, noun: str, attributes: Mapping[str, str | tuple[str, ...]]
) -> Decision | None:
    """The denial by a rule of some deny block, if there is one: for what may be allowed by something else than rules.

    Raises what its conditions raise.
    """
    return _denial(snapshot, user, verb, noun, _scope(user, None, attributes))


def _denial(snapshot: Snapshot, user: BoundUser, verb: str, noun: str, scope: Scope | None) -> Decision | None:
    for role in user.roles:
        for index, rule in _matching(role.deny.rules, verb, noun):
            if _holds(rule, scope, unknown=False):
                return _judged(snapshot, role, "deny", index, allowed=False, what=f"denies {verb} on {noun}")
    return None


def _mapped(snapshot: Snapshot, identity: Identity) -> BoundUser:
    """Somebody at the administration socket whom teleport.yaml maps to roles: judged by exactly those."""
    spec = UserSpec(roles=identity.requested_roles or ())
    return snapshot.bind(
        User.model_construct(version="v2", metadata=Metadata.model_construct(name=identity.name), spec=spec)
    )


def _unread(snapshot: Snapshot, user: BoundUser | None) -> str:
    """What must be read before anything is said about somebody mapped to roles."""
    refs = [*snapshot.blind, *(f"role/{name}" for name in (user.unreadable if user is not None else ()))]
    return f"the policy holds what this version cannot read: {', '.join(refs)}" if refs else ""


def _matching(rules: Sequence[Rule], verb: str, noun: str) -> Iterator[tuple[int, Rule]]:
    """The rules that speak of this, the more specific first."""
    nouns = {noun, *_NOUNS.get(noun, ())}
    verbs = {verb} | ({"read"} if verb == "readnosecrets" else set())

    def order(item: tuple[int, Rule]) -> tuple[bool, bool, bool, int, int]:
        index, rule = item
        return not rule.where, not nouns & set(rule.resources), not verbs & set(rule.verbs), len(rule.resources), index

    found = [
        (index, rule)
        for index, rule in enumerate(rules)
        if (nouns | {"*"}) & set(rule.resources) and (verbs | {"*"}) & set(rule.verbs)
    ]
    yield from sorted(found, key=order)


def _granting(rules: Sequence[Rule], verb: str, noun: str) -> Iterator[tuple[int, Rule]]:
    """Those that may allow it: `*` is every verb but the one that goes past whoever else has a say."""
    return (item for item in _matching(rules, verb, noun) if verb != BREAK_GLASS or verb in item[1].verbs)


def _holds(rule: Rule, scope: Scope | None, *, unknown: bool) -> bool:
    if not rule.where:
        return True
    if scope is None:
        return unknown
    return bool(compile_expression(rule.where, WHERE).run(scope))


def _scope(user: BoundUser, subject: AnyResource | None, attributes: Mapping[str, Any]) -> Scope:
    return Scope(
        user=user.name,
        roles=user.role_names,
        traits=user.traits,
        resource_name=subject.name if subject is not None else str(attributes.get("resource.metadata.name", "")),
        resource_labels=subject.metadata.labels if subject is not None else {},
        attributes=attributes,
    )


def _judged(snapshot: Snapshot, role: BoundRole, side: str, index: int, *, allowed: bool, what: str) -> Decision:
    origin = role.role.origin
    line, column = origin.at("spec", side, "rules", index)
    return Decision(
        allowed, (f"role/{role.name} {what}",), role=role.name, file=origin.file, line=line, column=column,
        source=origin.source, commit=origin.commit, revision=snapshot.revision,
    )  # fmt: skip
