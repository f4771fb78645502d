"""Whom a change of the policy would give more than before. Conservative: where it says nobody, that is proved.

Access to hosts is compared exactly. Beyond hosts (admin rules, other kinds of target, requests, settings) whatever is
not plainly less counts as more.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from teleport.access.impact import Difference, Effect, impact
from teleport.access.partners import held_here, partners
from teleport.access.snapshot import Snapshot
from teleport.access.target import Target
from teleport.access.unheld import changed_partners, changed_unheld
from teleport.resources.model import Model
from teleport.resources.role import Role
from teleport.resources.times import parse_duration
from teleport.resources.user import User

__all__ = ["is_stricter", "widened"]

Hosts = tuple[Iterable[Target], Iterable[Target]]

_ABOUT_HOSTS: Final = frozenset({"logins", "node_labels", "node_labels_expression"})


def widened(before: Snapshot, after: Snapshot, hosts: Hosts, *, now: float) -> tuple[str, ...]:
    """Who gets more, as people would say it: users by name, others by what they hold. Empty if nobody does."""
    hosts = (tuple(hosts[0]), tuple(hosts[1]))
    people = {one.user for one in impact(before, after, hosts, now=now).effects() if _is_more(one)}
    holders = {one.user for one in changed_unheld(before, after, hosts, now=now).impact.effects() if _is_more(one)}
    visitors = {one.user for one in changed_partners(before, after, hosts, now=now).impact.effects() if _is_more(one)}
    beyond = {name for name in before.roles.keys() | after.roles.keys() if _beyond_hosts(before, after, name)}
    people |= {name for name, user in after.users.items() if not beyond.isdisjoint(user.spec.roles)}
    people |= set(_otherwise_more(before, after))
    held = {role for user in after.users.values() for role in user.spec.roles}
    told = (f"whoever holds role/{name}" for name in sorted(holders | (beyond - held)))
    mapped = (f"whoever holds {name}" for name in sorted(visitors | _passes_more(before, after)))
    return (*sorted(people), *told, *mapped, *_unlocked(before, after), *_settings(before, after))


def _passes_more(before: Snapshot, after: Snapshot) -> set[str]:
    """Partners who come to roles that say something beyond hosts, or to whom one is no longer denied by."""
    found = set[str]()
    for one in partners(before, after):
        had, has = (held_here(snapshot, one) for snapshot in (before, after))
        gained = set(has.roles) if has.passing - had.passing else set(has.roles) - set(had.roles)
        lost = set(had.roles) - set(has.roles)
        if any(_says_more(after, role) for role in gained) or any(_denies_more(before, role) for role in lost):
            found.add(str(one))
    return found


def _is_more(effect: Effect) -> bool:
    found = effect.found
    return found.change == "gained" or (
        found.change == "changed" and not all(is_stricter(one) for one in found.differences)
    )


def _period(value: Any) -> float:
    return parse_duration(value) or float("inf")


def _count(value: Any) -> float:
    return value or float("inf")


_ORDER: Final[Mapping[str, Callable[[Any], float]]] = {
    "mfa": lambda value: -float(value != "no"),
    "device_trust": lambda value: -float(value == "required"),
    "lock": lambda value: -float(value == "strict"),
    "recording": lambda value: -float(value == "strict"),
    "max_session_ttl": _period,
    "idle_timeout": _period,
    "max_connections": _count,
    "max_sessions": _count,
    "disconnect_expired_cert": lambda value: -float(value),
    "pin_source_ip": lambda value: -float(value),
    "agent_forwarding": float,
    "local_forwarding": float,
    "remote_forwarding": float,
    "x11_forwarding": float,
    "file_copy": float,
}
"""By condition: how much it lets through. Those that are not here have no order."""


def is_stricter(difference: Difference) -> bool:
    """Whether a condition plainly lets through less than it did."""
    measure = _ORDER.get(difference.name)
    return measure is not None and measure(difference.new) < measure(difference.old)


def _beyond_hosts(before: Snapshot, after: Snapshot, name: str) -> bool:
    """Whether a role might give more of anything but hosts."""
    old, new = before.roles.get(name), after.roles.get(name)
    if new is None or old is new:
        return False
    fresh = Role.model_validate({"version": new.source.version, "metadata": {"name": name}, "spec": {}})
    was = old.source if old is not None else fresh
    if was.version != new.source.version and old is not None:
        return True
    more = _differs(was.spec.allow, new.source.spec.allow, lambda _, value: bool(value))
    return more or _differs(was.spec.deny, new.source.spec.deny, lambda value, _: bool(value))


def _differs(old: Model, new: Model, counts: Callable[[Any, Any], bool]) -> bool:
    fields = type(new).model_fields.keys() - _ABOUT_HOSTS
    pairs = ((getattr(old, name), getattr(new, name)) for name in fields)
    return any(was != will and counts(was, will) for was, will in pairs)


def _otherwise_more(before: Snapshot, after: Snapshot) -> Iterator[str]:
    """Users who hold other roles or have other traits, where those roles say something beyond hosts."""
    for name, user in after.users.items():
        old = before.users.get(name)
        had, has = set(old.spec.roles) if old is not None else set(), set(user.spec.roles)
        turned = old is not None and (old.spec.traits != user.spec.traits or _lives_longer(old, user))
        gained, lost = has if turned else has - had, had - has
        if any(_says_more(after, role) for role in gained) or any(_denies_more(before, role) for role in lost):
            yield name


def _lives_longer(old: User, new: User) -> bool:
    return old.metadata.expires is not None and old.metadata.expires != new.metadata.expires


def _says_more(snapshot: Snapshot, role: str) -> bool:
    found = snapshot.roles.get(role)
    return found is not None and _anything(found.source.spec.allow)


def _denies_more(snapshot: Snapshot, role: str) -> bool:
    found = snapshot.roles.get(role)
    return found is not None and _anything(found.source.spec.deny)


def _anything(side: Model) -> bool:
    return any(getattr(side, name) for name in type(side).model_fields.keys() - _ABOUT_HOSTS)


def _unlocked(before: Snapshot, after: Snapshot) -> Iterator[str]:
    will = {one.name: one for one in after.locks}
    for lock in before.locks:
        kept = will.get(lock.name)
        if kept is None or (kept.spec, kept.metadata.expires) != (lock.spec, lock.metadata.expires):
            yield f"whom {lock.ref} shuts out"


def _settings(before: Snapshot, after: Snapshot) -> Iterator[str]:
    for name in ("auth", "network", "recording"):
        if getattr(before, name) != getattr(after, name):
            yield f"everybody, by the cluster's settings ({name})"
