"""Which values a label can have that has to match several patterns at once: examples, and whether these are all.

Never says that there are no others unless that is certain.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, product
from typing import Final

from teleport.access.patterns import Any_, Exact, Glob, Matcher, Pattern

__all__ = ["Choices", "OneOf", "choices"]

_MANY: Final = 24
"""Examples that are kept of one label."""
_TRIED: Final = 50_000
"""How often an example is matched against a pattern."""
_PAIRS: Final = 10_000
"""Pairs of patterns beyond which nothing is said about what they have in common."""
_FRESH: Final = ("other", "another-one", "something-else", "x", "0")
"""Values that nobody is likely to have named."""


@dataclass(frozen=True)
class OneOf:
    """Patterns of which one has to match."""

    matchers: tuple[Matcher, ...]

    @cached_property
    def exact(self) -> frozenset[str]:
        return frozenset(one.text for one in self.matchers if isinstance(one, Exact))

    @cached_property
    def open(self) -> tuple[Matcher, ...]:
        """Those that match more than one text."""
        return tuple(one for one in self.matchers if not isinstance(one, Exact))

    def matches(self, value: str) -> bool:
        return value in self.exact or any(one.matches(value) for one in self.open)

    def covers(self, other: "OneOf") -> bool:
        """Whether it is certain that all that the other matches is matched here."""
        if any(isinstance(one, Any_) for one in self.open):
            return True
        return all(map(self.matches, other.exact)) and set(other.open) <= set(self.open)


@dataclass(frozen=True)
class Choices:
    """Values that fulfil everything, and whether there may be others."""

    values: tuple[str, ...]
    open: bool

    @property
    def none(self) -> bool:
        return not self.values and not self.open


def choices(
    demands: Sequence[OneOf], *, bound: Sequence[str] | None = None, known: Iterable[str] = (),
    shunned: Sequence[OneOf] = (),
) -> Choices:  # fmt: skip
    """What fulfils all demands. `bound` are all values there are, `known` some; those that are `shunned` come last."""
    every = bound if bound is not None else (*_named(demands), *known, *_made(demands), *_named(shunned), *_FRESH)
    pool = tuple(dict.fromkeys(every))
    tried = pool[: _TRIED // (1 + sum(len(one.open) for one in (*demands, *shunned)))]
    fitting = [one for one in tried if all(demand.matches(one) for demand in demands)]
    found = sorted(fitting, key=lambda one: any(demand.matches(one) for demand in shunned))
    named = bound is not None or any(not demand.open for demand in demands)
    complete = (named and tried == pool) or (not found and _apart(demands))
    return Choices(tuple(found[:_MANY]), not complete or len(found) > _MANY)


def _named(demands: Iterable[OneOf]) -> Iterator[str]:
    """What stands there literally."""
    for demand in demands:
        yield from demand.exact


def _made(demands: Sequence[OneOf]) -> Iterator[str]:
    """Texts made to match: what globs have in common, and the words of expressions."""
    globs = [[one for one in demand.open if isinstance(one, Glob)] for demand in demands]
    flat = [one for some in globs for one in some]
    for one in flat[:20]:
        yield from ("".join(one.parts), "x".join(one.parts))
    for first, second in islice(product(flat[:20], flat[:20]), 400):
        common = _common(first, second)
        if common is not None:
            yield common
    for demand in demands:
        for matcher in demand.open[:20]:
            if isinstance(matcher, Pattern):
                yield from re.findall(r"[\w-]+", matcher.text)[:20]


def _common(first: Glob, second: Glob) -> str | None:
    """A text that both match, None if there is none."""
    (head, *middle, tail), (other, *further, end) = first.parts, second.parts
    if not (head.startswith(other) or other.startswith(head)) or not (tail.endswith(end) or end.endswith(tail)):
        return None
    return "".join([max(head, other, key=len), *middle, *further, max(tail, end, key=len)])


def _apart(demands: Sequence[OneOf]) -> bool:
    """Whether it is certain that two of the demands have nothing in common."""
    for index, first in enumerate(demands):
        for second in demands[index + 1 :]:
            if len(first.matchers) * len(second.matchers) <= _PAIRS and not any(
                _meet(one, other) for one, other in product(first.matchers, second.matchers)
            ):
                return True
    return any(not demand.matchers for demand in demands)


def _meet(one: Matcher, other: Matcher) -> bool:
    """Whether both may match the same text."""
    if isinstance(one, Exact):
        return other.matches(one.text)
    if isinstance(other, Exact):
        return one.matches(other.text)
    if isinstance(one, Glob) and isinstance(other, Glob):
        return _common(one, other) is not None
    return True
