"""An impact told in few words: people for whom the same changes on the same hosts are one group.

Nothing is lost by it: the groups together say of everybody what the effects say. Knows no output format.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from teleport.access.fleet import Fleet, positions
from teleport.access.impact import Change, Difference, Effect, Found, Impact

__all__ = ["CHANGES", "Group", "Totals", "grouped"]

CHANGES: Final[tuple[Change, ...]] = ("gained", "lost", "changed")

_KEPT: Final = 4000
"""Groups whose sets of hosts are remembered; those of the others are computed again when somebody asks."""

_Key = tuple[int, Change, bytes, str, tuple[Difference, ...], tuple[tuple[str, str], ...]]


@dataclass
class Totals:
    """How much one kind of change comes to."""

    people: set[str] = field(default_factory=set)
    pairs: int = 0
    """Users, logins and hosts, each such triple once."""
    hosts: set[str] = field(default_factory=set)
    """Their ids."""


@dataclass(frozen=True)
class Group:
    """People for whom the same changes: under these logins, on the same hosts."""

    change: Change
    people: tuple[str, ...]
    logins: tuple[str, ...]
    """As the roles have them: a template where the login comes from a trait."""
    hosts: int
    """How many; `found` says which."""
    role: str
    """The role by which it is gained, or was had."""
    differences: tuple[Difference, ...]
    demands: tuple[tuple[str, str], ...]
    own: tuple[str, ...]
    """What the logins are for the first of the people."""
    key: _Key
    kept: Found | None = field(default=None, compare=False)

    @property
    def weight(self) -> int:
        return len(self.people) * self.hosts * len(self.logins)

    def found(self, impact: Impact) -> Found:
        """Which hosts, and what holds there."""
        if self.kept is not None:
            return self.kept
        effects = impact.effects_of(self.people[0])
        return next(one.found for one in effects if one.login == self.own[0] and _key(one.found) == self.key)


def grouped(impact: Impact) -> tuple[tuple[Group, ...], Mapping[Change, Totals]]:
    """The groups, the weightiest first, and what everything comes to."""
    groups: dict[tuple[_Key, tuple[str, ...]], _Draft] = {}
    totals = {change: Totals() for change in CHANGES}
    touched = _Touched()
    for user, effects in groupby(impact.effects(), key=lambda effect: effect.user):
        alike: dict[_Key, list[Effect]] = {}
        for effect in effects:
            found, total = effect.found, totals[effect.found.change]
            total.people.add(user)
            total.pairs += found.count
            alike.setdefault(touched.add(found), []).append(effect)
        for key, few in alike.items():
            same = (key, tuple(sorted({effect.written for effect in few})))
            draft = groups.get(same)
            if draft is None:
                first = few[0]
                kept = first.found if len(groups) < _KEPT else None
                own = tuple(sorted({effect.login for effect in few}, key=lambda login: (login != first.login, login)))
                draft = groups[same] = _Draft(user, own, first.found.count, kept)
            draft.people.append(user)
    touched.tell(totals)
    made = [draft.group(*same) for same, draft in groups.items()]
    return tuple(sorted(made, key=lambda one: (-one.weight, one.people, one.logins))), totals


def _key(found: Found) -> _Key:
    return (id(found.fleet), found.change, found.digest, found.role, found.differences, found.demands)


@dataclass
class _Draft:
    """A group while its people are found. The sample is that of the first one."""

    user: str
    own: tuple[str, ...]
    hosts: int
    kept: Found | None
    people: list[str] = field(default_factory=list)

    def group(self, key: _Key, logins: tuple[str, ...]) -> Group:
        _, change, _, role, differences, demands = key
        people = (self.user, *sorted(one for one in self.people if one != self.user))
        return Group(change, people, logins, self.hosts, role, differences, demands, self.own, key, self.kept)


class _Touched:
    """The hosts on which anything changes, each set looked at once."""

    def __init__(self) -> None:
        self._seen: set[_Key] = set()
        self._bits: dict[tuple[int, Change], tuple[Fleet, int]] = {}

    def add(self, found: Found) -> _Key:
        key = _key(found)
        if key not in self._seen:
            self._seen.add(key)
            where = (id(found.fleet), found.change)
            fleet, bits = self._bits.get(where, (found.fleet, 0))
            self._bits[where] = (fleet, bits | found.hosts)
        return key

    def tell(self, totals: Mapping[Change, Totals]) -> None:
        for (_, change), (fleet, bits) in self._bits.items():
            totals[change].hosts |= {fleet.at(position).uid for position in positions(bits)}
