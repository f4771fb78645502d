"""Whom a change would give more one day: on hosts, by services and to people that are still to come. Pure.

`access.widening` compares what people reach now, exactly; here what is written is compared, whatever there may be.
Errs towards yes.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from teleport.access.partners import held_here, partners
from teleport.access.roles import CompiledRole
from teleport.access.snapshot import Snapshot
from teleport.gitops.guards.unseen import milder_as_written, turned
from teleport.gitops.guards.widened import widened
from teleport.gitops.order import Ref
from teleport.resources.kinds import AnyResource, shown
from teleport.resources.role import Condition, Role
from teleport.resources.times import parse_timestamp
from teleport.resources.token import Token
from teleport.resources.trusted_cluster import TrustedCluster
from teleport.resources.user import User

__all__ = ["foreseen", "plainly"]

Objects = Mapping[Ref, AnyResource]

_NOTHING: Final = Condition()
_LABELLED: Final = "resource.metadata.labels"


def foreseen(
    snapshots: tuple[Snapshot, Snapshot], objects: tuple[Objects, Objects], hosts: Collection[str]
) -> Iterator[str]:
    """Who gains, as people would say it; `hosts` are the names of those there are, of which the impact tells."""
    before, after = snapshots
    wider = {name for name, role in after.roles.items() if _says_more(before.roles.get(name), role)}
    holders = {name: user for name, user in after.users.items() if not wider.isdisjoint(user.spec.roles)}
    yield from sorted(holders)
    held = {role for user in after.users.values() for role in user.spec.roles}
    yield from (f"whoever holds role/{name}" for name in sorted(wider - held))
    yield from (name for name in sorted(after.users.keys() - holders.keys()) if _gains(before, after, name))
    yield from _partners(before, after)
    yield from (f"whoever may reach hosts like {name}" for name in _unknown_hosts(before, after, hosts))
    yield from _otherwise(*objects, after)


def plainly(new: AnyResource) -> tuple[str, ...]:
    """Who gains by an object that is new, as `foreseen` would say it, told by the object alone; empty if that takes
    more."""
    if isinstance(new, Role):
        return (f"whoever holds role/{new.name}",) if any(widened(_NOTHING, new.spec.allow)) else ()
    if isinstance(new, User):
        return (new.name,) if new.spec.roles else ()
    return (_joining(new.name),) if isinstance(new, Token) else ()


def _joining(name: str) -> str:
    return f"what joins with token/{shown(Token.kind, name)}"


def _says_more(old: CompiledRole | None, new: CompiledRole) -> bool:
    """Whether a role allows more or denies less as it is written, or does so for longer."""
    if old is new:
        return False
    if old is None:
        return _allows(new)
    was, will = old.source, new.source
    return (
        was.version != will.version
        or any(widened(was.spec.allow, will.spec.allow))
        or any(widened(will.spec.deny, was.spec.deny))
        or (_allows(new) and _expires(will) > _expires(was))
        or (_denies(old) and _expires(will) < _expires(was))
    )


def _allows(role: CompiledRole) -> bool:
    return any(widened(_NOTHING, role.source.spec.allow))


def _denies(role: CompiledRole) -> bool:
    return any(widened(_NOTHING, role.source.spec.deny))


def _expires(resource: Role | User) -> float:
    expires = resource.metadata.expires
    return math.inf if expires is None else parse_timestamp(expires)


def _gains(before: Snapshot, after: Snapshot, name: str) -> bool:
    """Whether a user has other roles or traits, lives longer, or meets milder conditions."""
    old, new = before.users.get(name), after.users[name]
    if _gives(after, new.spec.roles, old.spec.roles if old is not None else ()):
        return True
    if old is None:
        return False
    if any(_denies(before.roles[role]) for role in set(old.spec.roles) - set(new.spec.roles) if role in before.roles):
        return True
    if old is not new and new.spec.roles and (_expires(new) > _expires(old) or _has_more(old, new)):
        return True
    had, has = before.user(name), after.user(name)
    if had is None or has is None:
        return False
    return any(turned(had, has)) or any(milder_as_written(before, after, had, has))


def _gives(snapshot: Snapshot, has: Iterable[str], had: Iterable[str]) -> bool:
    return any(_allows(snapshot.roles[role]) for role in set(has) - set(had) if role in snapshot.roles)


def _has_more(old: User, new: User) -> bool:
    return any(not set(values) <= set(old.spec.traits.get(name, ())) for name, values in new.spec.traits.items())


def _partners(before: Snapshot, after: Snapshot) -> Iterator[str]:
    """Whoever comes from clusters that are trusted: by other roles, or because it is another cluster."""
    for one in partners(before, after):
        had, has = held_here(before, one), held_here(after, one)
        lost = [before.roles[role] for role in set(had.roles) - set(has.roles) if role in before.roles]
        more = _gives(after, has.roles, had.roles) or (has.roles and any(map(_denies, lost)))
        if more or (has.roles and not has.passing <= had.passing):
            yield f"whoever holds {one}"
    for name, trusted in after.trusted.items():
        if trusted.spec.enabled and trusted.spec.role_map and not _is_same(before.trusted.get(name), trusted):
            yield f"whoever comes from {name}"


def _is_same(old: TrustedCluster | None, new: TrustedCluster) -> bool:
    """Whether it is the cluster that it was, as far as that had been said. A new one is told of by its role map."""
    if old is None or old is new:
        return True
    was, will = old.spec, new.spec
    return (was.web_proxy_addr, was.ca_pin, was.token) == (will.web_proxy_addr, will.ca_pin, will.token)


def _unknown_hosts(before: Snapshot, after: Snapshot, hosts: Collection[str]) -> Iterator[str]:
    """Declared hosts that are not there, and will come with other labels than they would have."""
    for name in sorted(before.nodes.keys() | after.nodes.keys()):
        was, will = before.nodes.get(name), after.nodes.get(name)
        if name not in hosts and (was.metadata.labels if was else {}) != (will.metadata.labels if will else {}):
            yield name


def _otherwise(before: Objects, after: Objects, snapshot: Snapshot) -> Iterator[str]:
    """Services that may join, and objects whose labels some rule looks at."""
    changed = [ref for ref, one in after.items() if before.get(ref) is not one]
    for kind, name in sorted(changed):
        old, new = before.get((kind, name)), after[kind, name]
        if kind == Token.kind and (old is None or (old.spec, old.metadata.expires) != (new.spec, new.metadata.expires)):
            yield _joining(name)
    if any(_looks_at_labels(role) for role in snapshot.roles.values()):
        for ref in sorted(changed):
            if ref in before and before[ref].metadata.labels != after[ref].metadata.labels:
                yield f"whoever may change {ref[0]}/{shown(*ref)}"


def _looks_at_labels(role: CompiledRole) -> bool:
    return any(_LABELLED in rule.where for side in (role.allow, role.deny) for rule in side.condition.rules)
