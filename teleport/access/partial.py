"""Expressions of which not everything is known: true, false, or nobody can tell.

Truths are taken apart where `&&`, `||` and `!` join them; each part is evaluated whole, if all that it reads is known.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from teleport.access.expressions import LABELS, Part, parts_of
from teleport.access.scope import Scope, Values

__all__ = ["Knowledge", "held", "parts", "possible_sets"]

_MANY: Final = 256
"""Combinations of traits that are tried for one part of an expression."""
_MANY_VALUES: Final = 6
"""Values of a trait whose subsets are all tried."""


@dataclass(frozen=True)
class Knowledge:
    """What is known of somebody and of a host."""

    labels: Mapping[str, str | None]
    """Keys to values, None for a key that the host lacks. Others are not known."""
    complete: bool = False
    """The host has no labels but these."""
    traits: Mapping[str, Sequence[Values]] = field(default_factory=dict)
    """For each trait that is known every set of values that it may have."""
    user: str | None = None
    roles: Values = ()
    """Known where the user is."""


def parts(text: str) -> Part:
    """A label expression, taken apart."""
    return parts_of(text, LABELS)


def possible_sets(values: Values) -> Sequence[Values] | None:
    """Every set of these values; None where there are too many."""
    if len(values) > _MANY_VALUES:
        return None
    found: list[Values] = [()]
    for value in values:
        found += [(*one, value) for one in found]
    return found


def held(part: Part, known: Knowledge, missing: set[str]) -> bool | None:
    """Whether it holds; None if nobody can tell, and then what would have to be known is added to `missing`."""
    if part.leaf is not None:
        return _leaf(part, known, missing)
    if part.join == "not":
        inner = held(part.parts[0], known, missing)
        return None if inner is None else not inner
    lacking: set[str] = set()
    found = [held(one, known, lacking) for one in part.parts]
    decisive = part.join == "or"
    if decisive in found:
        return decisive
    if None in found:
        missing |= lacking
        return None
    return not decisive


def _leaf(part: Part, known: Knowledge, missing: set[str]) -> bool | None:
    assert part.leaf is not None
    lacking = set(_lacking(part, known))
    if lacking:
        missing |= lacking
        return None
    reads = part.leaf.reads
    labels = {key: value for key, value in known.labels.items() if value is not None}
    names = sorted(reads.traits)
    found = {
        bool(part.leaf.run(Scope(known.user or "", known.roles, dict(zip(names, values, strict=True)), labels)))
        for values in product(*(known.traits[name] for name in names))
    }
    if len(found) == 1:
        return found.pop()
    missing |= {f"traits.{name}" for name in names}
    return None


def _lacking(part: Part, known: Knowledge) -> Iterator[str]:
    assert part.leaf is not None
    reads = part.leaf.reads
    if not known.complete:
        if reads.labels is None:
            yield "labels"
        yield from (f"labels.{key}" for key in reads.labels or () if key not in known.labels)
    many = 1
    for name in reads.traits:
        many *= len(known.traits.get(name, ()))
        if name not in known.traits:
            yield f"traits.{name}"
    if many > _MANY:
        yield from (f"traits.{name}" for name in reads.traits)
    if reads.user and known.user is None:
        yield "user"
