"""Who gains, loses or keeps which login on which host when one policy takes another's place; and what they keep.

Exact: on every user, login and host it says what `decide` says before and after, a second factor taken as shown.
People whom no change can touch are not looked at, but for hosts whose labels change.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

from blake3 import blake3

from teleport.access.fleet import Fleet
from teleport.access.holdings import Holding, Holdings
from teleport.access.inventory import aligned
from teleport.access.options import Conditions, combine
from teleport.access.role_sets import RoleSets
from teleport.access.roles import CompiledRole
from teleport.access.selection import Facet, Selection, split
from teleport.access.snapshot import Snapshot
from teleport.access.target import Target
from teleport.resources.lock import Lock

__all__ = ["Change", "Difference", "Effect", "Found", "Impact", "differences", "impact"]

Change = Literal["gained", "lost", "changed"]

_ELSEWHERE: Final = ("desktop_clipboard", "desktop_directory_sharing", "desktop_recording")
"""Conditions that say nothing about hosts."""


class Difference(NamedTuple):
    """A condition that changes, as `Conditions.to_dict` names it."""

    name: str
    old: Any
    new: Any


@dataclass(frozen=True, eq=False)
class Found:
    """One change of one login on a set of hosts, for everybody whose roles select alike."""

    change: Change
    fleet: Fleet
    """Names the hosts; where something is lost, as they were."""
    hosts: int
    count: int
    selection: Selection
    """Of the policy afterwards; where something is lost, before."""
    naming: int
    role: str = ""
    """The role by which it is gained, or was had; what is kept may have several."""
    differences: tuple[Difference, ...] = ()
    """Of what is kept: the conditions that change."""
    demands: tuple[tuple[str, str], ...] = ()
    """Of what is gained: the conditions that depend on the host and are not the usual ones."""
    digest: bytes = b""
    """Equal for equal sets of hosts."""

    def blocks(self) -> Iterator[tuple[str, Mapping[str, Any], int]]:
        """The hosts by the role that allows, and by the conditions that hold; of what is kept, by what changes."""
        for role, hosts in self.selection.by_role(self.naming, self.hosts):
            if self.change == "changed":
                yield role.name, {one.name: {"old": one.old, "new": one.new} for one in self.differences}, hosts
            else:
                for conditions, part in self.selection.cells(self.naming, hosts):
                    yield role.name, _shown(conditions), part


class Effect(NamedTuple):
    """What changes for one user under one login."""

    user: str
    login: str
    written: str
    """The login as its role has it: the template, where it comes from a trait."""
    found: Found


class Impact:
    """What changes for whom. `effects` computes; whoever needs the result twice keeps it, or asks again."""

    def __init__(self, comparisons: Sequence["_Comparison"]) -> None:
        self._comparisons = tuple(comparisons)

    def effects(self) -> Iterator[Effect]:
        """Everything, in no particular order, each user, login and host once."""
        for comparison in self._comparisons:
            yield from comparison.effects(comparison.users)

    def effects_of(self, user: str) -> Iterator[Effect]:
        for comparison in self._comparisons:
            if user in comparison.users:
                yield from comparison.effects([user])


def impact(
    before: Snapshot, after: Snapshot, hosts: tuple[Iterable[Target], Iterable[Target]], *, now: float
) -> Impact:
    """What changes when one policy takes another's place, on the hosts there were and those there will be."""
    was, will = ({host.uid: host for host in one} for one in hosts)
    touched, moved = _touched(before, after), _moved(was, will)
    others = (before.users.keys() | after.users.keys()) - touched if any(moved) else set()
    comparisons = []
    if touched:
        fleets = aligned(was.values(), will.values())
        comparisons.append(_Comparison.of(before, after, fleets, sorted(touched), now=now))
    if others:
        comparisons.append(_Comparison.of(before, after, aligned(*moved), sorted(others), now=now).narrowed())
    return Impact(comparisons)


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Two policies on aligned fleets, and the users to compare in them."""

    before: Holdings
    after: Holdings
    users: Sequence[str]

    @classmethod
    def of(
        cls, before: Snapshot, after: Snapshot, fleets: tuple[Fleet, Fleet], users: Sequence[str], *, now: float
    ) -> "_Comparison":
        first = RoleSets(fleets[0])
        second = first if fleets[0] is fleets[1] else RoleSets(fleets[1])
        return cls(Holdings(before, first, now=now), Holdings(after, second, now=now), users)

    def narrowed(self) -> "_Comparison":
        """Without the users for whom only hosts could make a difference, and make none."""
        if self.before.locks_places or self.after.locks_places:
            return self
        users = [name for name in self.users if self.before.selects(name) != self.after.selects(name)]
        return replace(self, users=users)

    def effects(self, users: Iterable[str]) -> Iterator[Effect]:
        alike: dict[object, list[tuple[str, Holding | None, Holding | None]]] = {}
        for user in users:
            held, holds = self.before.of(user), self.after.of(user)
            if held is not None or holds is not None:
                key = (held and held.key, holds and holds.key)
                alike.setdefault(key, []).append((user, held, holds))
        while alike:
            _, people = alike.popitem()
            yield from self._among(people)

    def _among(self, people: Sequence[tuple[str, Holding | None, Holding | None]]) -> Iterator[Effect]:
        """What changes for people who differ only in their logins."""
        _, held, holds = people[0]
        pair = _Pair(
            (self.before.fleet, self.after.fleet),
            self.before.selection(held) if held is not None else _NOTHING,
            self.after.selection(holds) if holds is not None else _NOTHING,
        )
        for user, was, will in people:
            named, names = was.naming if was is not None else {}, will.naming if will is not None else {}
            for login in names if named.keys() == names.keys() else {**named, **names}:
                for found in pair.found(login, named.get(login, 0), names.get(login, 0)):
                    source = was if found.change == "lost" else will
                    assert source is not None
                    yield Effect(user, login, source.written[login], found)


_NOTHING: Final = Selection((), (), 0, (), Conditions())


class _Pair:
    """Two selections, and what changes under a login that certain roles name; remembered."""

    def __init__(self, fleets: tuple[Fleet, Fleet], before: Selection, after: Selection) -> None:
        self._fleets, self._before, self._after = fleets, before, after
        self._known: dict[tuple[int, int, str], tuple[Found, ...]] = {}
        self._told_apart = before.by_login | after.by_login
        self._differences = _differences(before.conditions, after.conditions)

    def found(self, login: str, named: int, names: int) -> tuple[Found, ...]:
        key = (named, names, login if login in self._told_apart else "")
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = tuple(self._compare(login, named, names))
        return known

    def _compare(self, login: str, named: int, names: int) -> Iterator[Found]:
        before, after = self._before.opened(named, login), self._after.opened(names, login)
        if not before and not after:
            return
        both = before if before == after else before & after
        for role, hosts in self._after.by_role(names, after ^ both):
            for values, part in split(hosts, self._after.facets(names)):
                demands = tuple(pair for pair in values if pair not in _USUAL)
                yield self._made("gained", part, names, role=role.name, demands=demands)
        for role, hosts in self._before.by_role(named, before ^ both):
            yield self._made("lost", hosts, named, role=role.name)
        for differences, hosts in self._kept(named, names, both).items():
            yield self._made("changed", hosts, names, differences=differences)

    def _kept(self, named: int, names: int, both: int) -> Mapping[tuple[Difference, ...], int]:
        """The hosts that stay, by the conditions that change there; without those where none does."""
        if not both:
            return {}
        parts: list[tuple[tuple[Difference, ...], int]] = [(self._differences, both)]
        for old, new in zip(self._before.facets(named), self._after.facets(names), strict=True):
            if old != new or len(old[1]) > 1:
                parts = [finer for known, part in parts for finer in _turned(known, part, old, new)]
        found: dict[tuple[Difference, ...], int] = {}
        for differences, hosts in parts:
            if differences:
                found[differences] = found.get(differences, 0) | hosts
        return found

    def _made(self, change: Change, hosts: int, naming: int, **more: Any) -> Found:
        lost = change == "lost"
        data = hosts.to_bytes((hosts.bit_length() + 7) >> 3, "little")
        return Found(
            change, self._fleets[0] if lost else self._fleets[1], hosts, hosts.bit_count(),
            self._before if lost else self._after, naming,
            digest=blake3(data).digest(16), **more,
        )  # fmt: skip


_USUAL: Final = frozenset({("mfa", "no"), ("device_trust", "off"), ("host_user", "off")})


def _turned(
    known: tuple[Difference, ...], hosts: int, old: Facet, new: Facet
) -> Iterator[tuple[tuple[Difference, ...], int]]:
    """The hosts by how one condition turns from its old to its new value."""
    for before, part in split(hosts, [old]):
        for after, here in split(part, [new]):
            (name, was), (_, will) = before[0], after[0]
            yield (known if was == will else (*known, Difference(name, was, will))), here


def _differences(before: Conditions, after: Conditions) -> tuple[Difference, ...]:
    """The conditions that change wherever somebody logs in; those that depend on the host are facets."""
    return tuple(one for one in differences(before, after) if one.name not in _BY_HOST)


def differences(before: Conditions, after: Conditions) -> tuple[Difference, ...]:
    """All the conditions that change."""
    if before == after:
        return ()
    old, new = _shown(before), _shown(after)
    return tuple(
        Difference(name, _frozen(old[name]), _frozen(new[name])) for name in old if old[name] != new[name]
    )  # fmt: skip


_BY_HOST: Final = ("mfa", "device_trust", "host_user")


def _shown(conditions: Conditions) -> dict[str, Any]:
    return {name: value for name, value in conditions.to_dict().items() if name not in _ELSEWHERE}


def _frozen(value: Any) -> Any:
    """A value that can be a key: lists as tuples, pairs of a name and a value as texts."""
    if isinstance(value, list):
        return tuple(f"{one['name']}={one['value']}" if isinstance(one, dict) else one for one in value)
    return value


def _touched(before: Snapshot, after: Snapshot) -> set[str]:
    """The users for whom a change of the policy might change something on some host."""
    everybody = before.users.keys() | after.users.keys()
    if _settings(before) != _settings(after) or before.unreadable != after.unreadable:
        return set(everybody)
    roles = {name for name in before.roles.keys() | after.roles.keys() if not _same_role(before, after, name)}
    found = {name for name in everybody if not _same_user(before, after, name)}
    for snapshot in (before, after):
        found |= {name for name, user in snapshot.users.items() if not roles.isdisjoint(user.spec.roles)}
    for lock in _changed_locks(before, after):
        found |= {lock.spec.target.user} & everybody if lock.spec.target.user else set(everybody)
    return found


def _changed_locks(before: Snapshot, after: Snapshot) -> Iterator[Lock]:
    """Locks that come, go or change, as they were and as they will be."""
    old, new = ({one.name: one for one in snapshot.locks} for snapshot in (before, after))
    for name in old.keys() | new.keys():
        was, will = old.get(name), new.get(name)
        if was is None or will is None or (was.spec, was.metadata.expires) != (will.spec, will.metadata.expires):
            yield from (one for one in (was, will) if one is not None)


def _settings(snapshot: Snapshot) -> Conditions:
    return combine((), (), auth=snapshot.auth, network=snapshot.network, recording=snapshot.recording)


def _same_role(before: Snapshot, after: Snapshot, name: str) -> bool:
    old, new = before.roles.get(name), after.roles.get(name)
    return old is new or (old is not None and new is not None and _about_hosts(old) == _about_hosts(new))


def _about_hosts(role: CompiledRole) -> tuple[object, ...]:
    """What of a role can matter to access to hosts."""
    spec = role.source.spec
    sides = [(one.logins, one.node_labels, one.node_labels_expression) for one in (spec.allow, spec.deny)]
    return (role.source.version == "v3", spec.options, *sides)


def _same_user(before: Snapshot, after: Snapshot, name: str) -> bool:
    old, new = before.users.get(name), after.users.get(name)
    if old is None or new is None:
        return False
    return old is new or (old.spec == new.spec and old.metadata.expires == new.metadata.expires)


def _moved(was: Mapping[str, Target], will: Mapping[str, Target]) -> tuple[list[Target], list[Target]]:
    """The hosts that come, go or change, as they were and as they will be."""
    return [one for uid, one in was.items() if will.get(uid) != one], [
        one for uid, one in will.items() if was.get(uid) != one
    ]
