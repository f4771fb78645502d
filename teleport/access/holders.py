"""What those may be like who hold a role, as far as its rules can tell them apart: traits, in all combinations or some.

Knows one role and the values that traits may have; no users, no hosts.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations, product
from typing import Final

from teleport.access.partial import possible_sets
from teleport.access.roles import CompiledRole
from teleport.access.scope import Values
from teleport.access.views import Possible

__all__ = ["Traits", "every_holder", "examples", "reads", "reads_user"]

Traits = Mapping[str, Values]

_KIND: Final = "node"
_NAMES: Final = "logins"
_MANY: Final = 256
"""Combinations that are tried."""
_MANY_ORDERS: Final = 4
"""Values of a trait of which the first one counts, that are tried in every order."""


def reads(role: CompiledRole) -> frozenset[str]:
    """The traits that a role looks at, for hosts."""
    found: frozenset[str] = frozenset()
    for side in (role.allow, role.deny):
        found |= side.selectors[_KIND].reads.traits
        found |= {trait for one in side.names[_NAMES] for trait in one.reads}
    return found


def reads_user(role: CompiledRole) -> bool:
    """Whether it looks at who somebody is, or what else they hold."""
    return any(side.selectors[_KIND].reads.user for side in (role.allow, role.deny))


def every_holder(role: CompiledRole, possible: Possible) -> Sequence[Traits] | None:
    """All that holders may have of the possible traits that a role looks at; None if these are too many."""
    names = sorted(reads(role) & possible.keys())
    keyed = _in_keys(role)
    many, sets = 1, []
    for name in names:
        found = _in_order(possible[name]) if name in keyed else possible_sets(possible[name])
        if found is None or (many := many * len(found)) > _MANY:
            return None
        sets.append(found)
    return [dict(zip(names, chosen, strict=True)) for chosen in product(*sets)]


def examples(role: CompiledRole, possible: Possible) -> Iterator[Traits]:
    """Some of them: with all values, with none, with one value at a time."""
    looked_at = reads(role)
    known = {name: values for name, values in possible.items() if name in looked_at and values}
    yield known
    if known:
        yield {}
    for name, values in known.items():
        yield {key: one for key, one in known.items() if key != name}
        yield from ({**known, name: (value,)} for value in values[:8])


def _in_keys(role: CompiledRole) -> frozenset[str]:
    """The traits of which the first value counts, as the key of a label."""
    return frozenset(
        trait
        for side in (role.allow, role.deny)
        for key, _ in side.selectors[_KIND].keys
        for trait in key.reads
    )  # fmt: skip


def _in_order(values: Values) -> Sequence[Values] | None:
    if len(values) > _MANY_ORDERS:
        return None
    return [one for many in range(len(values) + 1) for one in permutations(values, many)]
