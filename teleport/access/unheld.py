"""What changes for people whom nobody declared: known at login alone, or by a role of a cluster that is trusted.

Told of a role, since nobody can be named. Where a role reads traits, they might have any value: then what is said
is the most that a holder could reach.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from teleport.access.expressions import LABELS, compile_expression
from teleport.access.impact import Impact, impact
from teleport.access.partners import held_here, partners
from teleport.access.roles import CompiledRole, compile_role
from teleport.access.snapshot import Snapshot
from teleport.access.target import Target
from teleport.resources.model import Metadata
from teleport.resources.role import Role
from teleport.resources.user import User, UserSpec

__all__ = ["ANYBODY", "Unheld", "changed_partners", "changed_unheld", "held_roles", "partners_alone"]

ANYBODY: Final = ("login", "login@example.com")
"""What every trait is supposed to be: a login, and an address of which a login can be made."""


@dataclass(frozen=True, eq=False)
class Unheld:
    """The impact on holders, each named like the role or the partner; and the traits on which it depends, by name."""

    impact: Impact
    depends: Mapping[str, tuple[str, ...]]


def held_roles(snapshot: Snapshot) -> set[str]:
    """The roles that some declared user or some partner holds."""
    held = {role for user in snapshot.users.values() for role in user.spec.roles}
    return held | {role for one in partners(snapshot) for role in held_here(snapshot, one).roles}


def changed_unheld(
    before: Snapshot, after: Snapshot, hosts: tuple[Iterable[Target], Iterable[Target]], *, now: float
) -> Unheld:
    """The roles that nobody declared holds, before or after, as far as they change."""
    held = held_roles(before) | held_roles(after)
    names = [
        name
        for name in sorted((before.roles.keys() | after.roles.keys()) - held)
        if before.roles.get(name) is not after.roles.get(name)
    ]
    depends = {name: _traits([before.roles.get(name), after.roles.get(name)]) for name in names}
    was, will = (_alone(snapshot, {name: (name,) for name in names}) for snapshot in (before, after))
    return Unheld(impact(was, will, hosts, now=now), depends)


def changed_partners(
    before: Snapshot, after: Snapshot, hosts: tuple[Iterable[Target], Iterable[Target]], *, now: float
) -> Unheld:
    """The same of partners, for each of the roles of other clusters that are something here, before or after."""
    known = partners(before, after)
    held = [{str(one): held_here(snapshot, one).roles for one in known} for snapshot in (before, after)]
    depends = {
        name: _traits(
            snapshot.roles.get(role)
            for snapshot, roles in zip((before, after), held, strict=True)
            for role in roles[name]
        )
        for name in map(str, known)
    }
    was, will = (_alone(snapshot, roles) for snapshot, roles in zip((before, after), held, strict=True))
    return Unheld(impact(was, will, hosts, now=now), depends)


def partners_alone(snapshot: Snapshot) -> Snapshot:
    """The policy for partners and nobody else, each a user named like the partner; locks are in force."""
    held = {str(one): held_here(snapshot, one).roles for one in partners(snapshot)}
    return replace(_alone(snapshot, held), locks=snapshot.locks)


def _traits(roles: Iterable[CompiledRole | None]) -> tuple[str, ...]:
    selectors = [side.selectors["node"] for role in roles if role is not None for side in (role.allow, role.deny)]
    return tuple(sorted({trait for selector in selectors for trait in selector.reads.traits}))


def _alone(snapshot: Snapshot, holders: Mapping[str, Sequence[str]]) -> Snapshot:
    """The policy for these holders and nobody else, by what each holds; any trait may have any value."""
    used = {name for names in holders.values() for name in names if name in snapshot.roles}
    roles = {name: _widest(snapshot.roles[name]) for name in used}
    traits = {trait: ANYBODY for role in roles.values() for one in role.allow.names["logins"] for trait in one.reads}
    users = {name: _holder(name, [role for role in held if role in roles], traits) for name, held in holders.items()}
    held = {name: user for name, user in users.items() if user.spec.roles}
    return replace(snapshot, roles=roles, users=held, locks=(), _bound={})


def _holder(name: str, roles: Sequence[str], traits: Mapping[str, tuple[str, ...]]) -> User:
    return User.model_construct(
        version="v2", metadata=Metadata.model_construct(name=name), spec=UserSpec(roles=tuple(roles), traits=traits)
    )


def _widest(role: CompiledRole) -> CompiledRole:
    """A role that reads no traits where it selects hosts: it allows all that a trait could, denies nothing by one."""
    spec = role.source.spec
    allow, deny = spec.allow, spec.deny
    if role.allow.selectors["node"].reads.traits or role.allow.selectors["node"].reads.user:
        labels = {key: _any_value(values) for key, values in (allow.node_labels or {}).items() if "{{" not in key}
        text = "" if _reads_user(role, "allow") else allow.node_labels_expression
        wide = labels or (None if text else {"*": ("*",)})
        allow = allow.model_copy(update={"node_labels": wide, "node_labels_expression": text})
    if role.deny.selectors["node"].reads.traits or role.deny.selectors["node"].reads.user:
        deny = deny.model_copy(update={"node_labels": None, "node_labels_expression": ""})
    if any(entry.reads for entry in role.deny.names["logins"]):
        deny = deny.model_copy(update={"logins": tuple(login for login in deny.logins if "{{" not in login)})
    if (allow, deny) == (spec.allow, spec.deny):
        return role
    changed = role.source.model_copy(update={"spec": spec.model_copy(update={"allow": allow, "deny": deny})})
    assert isinstance(changed, Role)
    return compile_role(changed)


def _any_value(values: tuple[str, ...]) -> tuple[str, ...]:
    return ("*",) if any("{{" in value for value in values) else values


def _reads_user(role: CompiledRole, side: str) -> bool:
    text = getattr(role.source.spec, side).node_labels_expression
    reads = compile_expression(text, LABELS).reads if text else None
    return reads is not None and bool(reads.traits or reads.user)
