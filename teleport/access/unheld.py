"""What changes for whoever comes to hold a role that no declared user holds: people known at login alone, partners.

Told of the role, since nobody can be named. Where a role reads traits, they might have any value: then what is said
is the most that a holder could reach.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from teleport.access.expressions import LABELS, compile_expression
from teleport.access.impact import Impact, impact
from teleport.access.roles import CompiledRole, compile_role
from teleport.access.snapshot import Snapshot
from teleport.access.target import Target
from teleport.resources.role import Role
from teleport.resources.user import User

__all__ = ["Unheld", "changed_unheld", "held_roles"]

_ANYBODY = ("login", "login@example.com")
"""What every trait is supposed to be: a login, and an address of which a login can be made."""


@dataclass(frozen=True, eq=False)
class Unheld:
    """The impact on holders, each named like a role; and the traits on which it depends, by role."""

    impact: Impact
    depends: Mapping[str, tuple[str, ...]]


def held_roles(snapshot: Snapshot) -> set[str]:
    """The roles that some declared user holds."""
    return {role for user in snapshot.users.values() for role in user.spec.roles}


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
    depends = {name: _traits(before.roles.get(name), after.roles.get(name)) for name in names}
    was, will = (_of_holders(snapshot, names) for snapshot in (before, after))
    return Unheld(impact(was, will, hosts, now=now), depends)


def _traits(*roles: CompiledRole | None) -> tuple[str, ...]:
    selectors = [side.selectors["node"] for role in roles if role is not None for side in (role.allow, role.deny)]
    return tuple(sorted({trait for selector in selectors for trait in selector.reads.traits}))


def _of_holders(snapshot: Snapshot, names: Iterable[str]) -> Snapshot:
    """The policy for somebody who holds one role alone, for each of these roles."""
    roles = {name: _widest(snapshot.roles[name]) for name in names if name in snapshot.roles}
    traits = {trait: _ANYBODY for role in roles.values() for one in role.allow.names["logins"] for trait in one.reads}
    users = {name: _holder(name, traits) for name in roles}
    return replace(snapshot, roles=roles, users=users, locks=(), _bound={})


def _holder(role: str, traits: Mapping[str, tuple[str, ...]]) -> User:
    holder = User.model_validate(
        {"version": "v2", "metadata": {"name": "holder"}, "spec": {"roles": [role], "traits": traits}}
    )
    return holder.model_copy(update={"metadata": holder.metadata.model_copy(update={"name": role})})


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
