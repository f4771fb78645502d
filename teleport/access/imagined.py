"""A host that could exist: one that some labels mean, that a role allows and does not deny; or why there can be none.

Looks at one role at a time. Says that there is no such host only where that is certain; a host that it gives has just
the labels that are needed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from types import EllipsisType
from typing import Final

from teleport.access.choices import Choices, OneOf, choices
from teleport.access.expressions import Part
from teleport.access.partial import Knowledge, held
from teleport.access.views import Block, View

__all__ = ["Imagined", "LabelsKnown", "imagine"]

_MANY: Final = 600
"""Combinations of labels that are tried for an expression."""

_Value = str | EllipsisType | None
"""Of a label: None where the host lacks it; an ellipsis where nobody knows."""


@dataclass(frozen=True)
class LabelsKnown:
    """Which values labels have: all of them where somebody says so, otherwise some."""

    bound: Mapping[str, Sequence[str]] = field(default_factory=dict)
    seen: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Imagined:
    """A host by its labels; without them, what would have to be known to say whether there can be one."""

    labels: Mapping[str, str] | None
    missing: frozenset[str] = frozenset()


def imagine(view: View, allow: Block, meant: Block, known: LabelsKnown) -> Imagined | None:
    """A host that `meant` means and `allow` (one of the view's) allows; None if there can be none."""
    if allow.empty or (meant.empty and not meant.everything) or view.deny.everything:
        return None
    return _Search(view, allow, meant, known).result()


class _Search:
    def __init__(self, view: View, allow: Block, meant: Block, known: LabelsKnown) -> None:
        self._view, self._allow, self._known = view, allow, known
        self._demands: dict[str, list[OneOf]] = {}
        for key, demand in (*allow.demands, *meant.demands):
            self._demands.setdefault(key, []).append(demand)
        self._shunned: dict[str, list[OneOf]] = {}
        for key, demand in view.deny.demands:
            self._shunned.setdefault(key, []).append(demand)
        self._words = (*allow.words, *view.deny.words)
        self._expressions = [one for one in (allow.expression, view.deny.expression) if one is not None]

    def result(self) -> Imagined | None:
        required = {key: self._choices(key) for key in self._demands}
        if any(one.none for one in required.values()):
            return None
        read = self._read()
        spread = _narrowed({key: self._values(key, required) for key in read})
        missing: set[str] = set()
        possible = False
        for chosen in product(*spread.values()):
            labels = dict(zip(spread, chosen, strict=True))
            for key, one in required.items():
                if key not in labels:
                    labels[key] = one.values[0] if one.values else ...
            lacking: set[str] = set()
            found = self._try(labels, required, lacking)
            if isinstance(found, dict):
                return Imagined(found)
            if found:
                possible = True
                missing |= lacking
        return Imagined(None, frozenset(missing)) if possible else None

    def _choices(self, key: str) -> Choices:
        bound = self._known.bound.get(key)
        seen = (*self._known.seen.get(key, ()), *self._words)
        return choices(self._demands.get(key, ()), bound=bound, known=seen, shunned=self._shunned.get(key, ()))

    def _values(self, key: str, required: Mapping[str, Choices]) -> list[_Value]:
        """What a label that an expression reads may be."""
        found = required.get(key)
        values: list[_Value] = []
        if found is None:
            values.append(None)
            found = self._choices(key)
        values += found.values
        return [*values, ...] if found.open else values

    def _read(self) -> list[str]:
        keys = {
            key for part in self._expressions for leaf in part.leaves() if leaf.leaf is not None
            for key in leaf.leaf.reads.labels or ()
        }  # fmt: skip
        return sorted(keys)

    def _try(
        self, labels: dict[str, _Value], required: Mapping[str, Choices], missing: set[str]
    ) -> dict[str, str] | bool:
        """A host with these labels that is allowed; True if one is possible, False if it is certain that none is."""
        escape = self._escape(labels, required, missing)
        if escape is False:
            return False
        if isinstance(escape, dict):
            labels = {**labels, **escape}
            host = {key: value for key, value in labels.items() if isinstance(value, str)}
            if ... not in labels.values() and self._holds(host):
                return host
        possible = self._expressions_allow(labels, missing)
        missing |= {f"labels.{key}" for key in labels if labels[key] is ... and key in self._demands}
        return possible

    def _escape(
        self, labels: Mapping[str, _Value], required: Mapping[str, Choices], missing: set[str]
    ) -> dict[str, _Value] | bool:
        """Values with which the labels of the deny block do not match; True if it is possible that they do not."""
        if not self._view.deny.written:
            return {}
        possible = False
        lacking: set[str] = set()
        for key, shunned in self._shunned.items():
            value = labels.get(key)
            if value is None or (isinstance(value, str) and not all(one.matches(value) for one in shunned)):
                return {}
            for other in required[key].values if key in required and key not in self._read() else ():
                if not all(one.matches(other) for one in shunned):
                    return {key: other}
            if self._may_differ(key, value, required, shunned):
                possible = True
                lacking.add(f"labels.{key}")
        missing |= lacking if possible else set()
        return possible

    def _may_differ(
        self, key: str, value: _Value, required: Mapping[str, Choices], shunned: Sequence[OneOf]
    ) -> bool:  # fmt: skip
        """Whether a label might have a value that nobody tried and that is not denied."""
        demands = self._demands.get(key, ())
        if any(all(one.covers(demand) for one in shunned) for demand in demands):
            return False
        if value is ...:
            return True
        return key in required and key not in self._read() and required[key].open

    def _holds(self, host: Mapping[str, str]) -> bool:
        """Whether the expressions allow just this host, for certain."""
        known = Knowledge(host, True, self._view.traits, self._view.user, self._view.roles)
        allow, deny = self._judge(known, set())
        return allow is True and deny is False

    def _expressions_allow(self, labels: Mapping[str, _Value], missing: set[str]) -> bool:
        certain = {key: value for key, value in labels.items() if value is None or isinstance(value, str)}
        known = Knowledge(certain, False, self._view.traits, self._view.user, self._view.roles)
        allow, deny = self._judge(known, missing)
        return allow is not False and deny is not True

    def _judge(self, known: Knowledge, missing: set[str]) -> tuple[bool | None, bool | None]:
        allow = _held(self._allow.expression, known, missing, without=True)
        deny = _held(self._view.deny.expression, known, missing, without=False)
        return allow, deny


def _held(part: Part | None, known: Knowledge, missing: set[str], *, without: bool) -> bool | None:
    return without if part is None else held(part, known, missing)


def _narrowed(spread: Mapping[str, list[_Value]]) -> dict[str, list[_Value]]:
    """Few enough combinations: of the labels with the most values, nobody knows which."""
    found = dict(spread)
    while _count(found.values()) > _MANY:
        widest = max(found, key=lambda key: len(found[key]))
        found[widest] = [...]
    return found


def _count(lists: Iterable[Sequence[object]]) -> int:
    many = 1
    for one in lists:
        many *= len(one)
    return many
