"""How much everybody reaches together: users, logins and hosts, each such triple once. Exact: it counts what
`decide` allows, a second factor taken as shown.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from teleport.access.fleet import Fleet
from teleport.access.holdings import Holding, Holdings
from teleport.access.impact import Impact
from teleport.access.role_sets import RoleSets
from teleport.access.selection import Selection
from teleport.access.snapshot import Snapshot
from teleport.access.target import Target

__all__ = ["Lost", "lost", "pairs_held"]


@dataclass(frozen=True)
class Lost:
    """What a change takes away."""

    people: frozenset[str]
    pairs: int


def lost(impact: Impact) -> Lost:
    """Who loses a login on some host, and how many of these are lost."""
    people: set[str] = set()
    pairs = 0
    for effect in impact.effects():
        if effect.found.change == "lost":
            people.add(effect.user)
            pairs += effect.found.count
    return Lost(frozenset(people), pairs)


def pairs_held(snapshot: Snapshot, hosts: Iterable[Target], *, now: float) -> int:
    """The number of pairs of a user's login and a host."""
    holdings = Holdings(snapshot, RoleSets(Fleet("node", hosts)), now=now)
    alike: dict[object, list[Holding]] = {}
    for name in snapshot.users:
        holding = holdings.of(name)
        if holding is not None:
            alike.setdefault(holding.key, []).append(holding)
    return sum(_opened(holdings.selection(people[0]), people) for people in alike.values())


def _opened(selection: Selection, people: Iterable[Holding]) -> int:
    """What people open whose roles select alike; they differ in their logins."""
    known: dict[tuple[int, str], int] = {}
    total = 0
    for one in people:
        for login, naming in one.naming.items():
            key = (naming, login if login in selection.by_login else "")
            if key not in known:
                known[key] = selection.opened(naming, login).bit_count()
            total += known[key]
    return total
