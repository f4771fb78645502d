"""Who comes to hold which role: by declaration, or by asking for it. Sets of users are the bits of integers.

Ways that the policy itself does not tell are given by whoever knows them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from teleport.access.fleet import positions
from teleport.access.patterns import pattern
from teleport.access.roles import CompiledRole
from teleport.access.snapshot import Snapshot
from teleport.resources.requests import RequestConditions

__all__ = ["Elsewhere", "People", "Way", "askable", "ways"]

_GROUP: Final = re.compile(r"\$(\w+|\{\w+\})")


@dataclass(frozen=True)
class Way:
    """How somebody comes to hold a role."""

    role: str
    users: int
    """Those declared who hold it, or may ask for it; none where only people of elsewhere do."""
    through: str = ""
    """What lets them have it, where they are not given it."""


@dataclass(frozen=True)
class Elsewhere:
    """People who are not declared here, by all that they hold together, and what gives it to them."""

    roles: tuple[str, ...]
    through: str


@dataclass(frozen=True, eq=False)
class People:
    """The declared users as bits, and what they hold."""

    names: tuple[str, ...]
    holders: Mapping[str, int]
    """Role to those who are given it."""
    requestable: Mapping[str, tuple[str, ...]]
    """Role to those that its holders may ask for."""
    _having: dict[tuple[str, tuple[str, ...]], int] = field(default_factory=dict)

    @classmethod
    def of(cls, snapshot: Snapshot) -> "People":
        names = tuple(sorted(snapshot.users))
        holders: dict[str, int] = {}
        for index, name in enumerate(names):
            for role in snapshot.users[name].spec.roles:
                holders[role] = holders.get(role, 0) | 1 << index
        known = tuple(sorted(snapshot.roles.keys() | _unreadable(snapshot)))
        requestable = {name: _requestable(role, known) for name, role in snapshot.roles.items()}
        return cls(names, holders, {name: found for name, found in requestable.items() if found})

    @property
    def everybody(self) -> int:
        return (1 << len(self.names)) - 1

    def named(self, names: Iterable[str]) -> int:
        wanted = set(names)
        return sum(1 << index for index, name in enumerate(self.names) if name in wanted)

    def having(self, snapshot: Snapshot, trait: str, values: tuple[str, ...]) -> int:
        """Those who have one of the values of a trait."""
        key = (trait, values)
        if key not in self._having:
            wanted = set(values)
            self._having[key] = sum(
                1 << index
                for index, name in enumerate(self.names)
                if not wanted.isdisjoint(snapshot.users[name].spec.traits.get(trait, ()))
            )
        return self._having[key]

    def listed(self, users: int) -> list[str]:
        return [self.names[position] for position in positions(users)]


def ways(people: People, outsiders: int, inside: Iterable[str], elsewhere: Iterable[Elsewhere]) -> Iterator[Way]:
    """Each role that one of these people can come to hold, but those that make them insiders; each once."""
    closed = set(inside)
    found: dict[str, Way] = {}
    queue: list[Way] = []

    def reach(way: Way) -> None:
        known = found.get(way.role)
        if way.role in closed or (known is not None and not way.users & ~known.users):
            return
        through = way.through if known is None else known.through
        users = way.users if known is None else way.users | known.users
        found[way.role] = Way(way.role, users, through)
        queue.append(found[way.role])

    for role in sorted(people.holders):
        if people.holders[role] & outsiders:
            reach(Way(role, people.holders[role] & outsiders))
    for others in elsewhere:
        for role in others.roles if closed.isdisjoint(others.roles) else ():
            reach(Way(role, 0, others.through))
    while queue:
        way = queue.pop(0)
        for role in people.requestable.get(way.role, ()):
            reach(Way(role, way.users, f"role/{way.role} lets its holders ask for it"))
    yield from found.values()


def askable(snapshot: Snapshot, roles: Iterable[str]) -> frozenset[str]:
    """What holders of these roles may ask for, and what they may ask for then; without these themselves."""
    known = tuple(sorted(snapshot.roles.keys() | _unreadable(snapshot)))
    held = set(roles)
    found, queue = set[str](), [*held]
    while queue:
        role = snapshot.roles.get(queue.pop())
        fresh = set(_requestable(role, known)) - found if role is not None else set()
        found |= fresh
        queue += fresh
    return frozenset(found - held)


def _unreadable(snapshot: Snapshot) -> set[str]:
    return {ref.removeprefix("role/") for ref in snapshot.unreadable if ref.startswith("role/")}


def _requestable(role: CompiledRole, known: tuple[str, ...]) -> tuple[str, ...]:
    """What holders may ask for, at most; what the role itself denies to every holder is left out."""
    request = role.source.spec.allow.request
    if request is None:
        return ()
    asked = [*map(_matching, _asked(request))]
    denied = role.source.spec.deny.request
    refused = [_matching(name) for name in denied.roles if "{{" not in name] if denied is not None else []
    searched = [_matching(name) for name in request.search_as_roles]
    return tuple(
        name for name in known
        if (any(one(name) for one in asked) and not any(one(name) for one in refused))
        or any(one(name) for one in searched)
    )  # fmt: skip


def _asked(request: RequestConditions) -> Iterator[str]:
    yield from request.roles
    for mapping in request.claims_to_roles:
        yield from (_GROUP.sub("*", name) for name in mapping.roles)


def _matching(name: str) -> Callable[[str], bool]:
    """What a name of a role, a pattern or a template can be; a template can be anything."""
    return pattern("*" if "{{" in name else name).matches
