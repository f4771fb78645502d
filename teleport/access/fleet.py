"""A fleet of targets of one kind, indexed by label: sets of them are the bits of integers.

Posting lists (label value to positions), turned into bitsets when asked. Knows no users and no roles.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from teleport.access.labels import Selector
from teleport.access.patterns import Any_, Exact, Matcher
from teleport.access.target import Target

__all__ = ["Fleet", "bits_of", "positions"]


def bits_of(positions: Iterable[int], size: int) -> int:
    """The set of positions as one integer."""
    field_ = bytearray((size >> 3) + 1)
    for position in positions:
        field_[position >> 3] |= 1 << (position & 7)
    return int.from_bytes(field_, "little")


def positions(bits: int) -> Iterator[int]:
    """The positions that are set, ascending."""
    for index, byte in enumerate(bits.to_bytes((bits.bit_length() + 7) >> 3, "little")):
        while byte:
            low = byte & -byte
            yield (index << 3) + low.bit_length() - 1
            byte ^= low


@dataclass
class _Key:
    """Where a label key occurs: value to positions."""

    postings: dict[str, set[int]] = field(default_factory=dict)
    bits: dict[str, int] = field(default_factory=dict)
    """Bitsets made so far; dropped for a value when its posting changes."""
    matched: dict[Matcher, int] = field(default_factory=dict)
    """What patterns mean, as far as somebody asked; dropped when any posting changes."""


_Cells = list[tuple[dict[str, str], int | list[int]]]
"""Hosts that agree in some labels: these, and the set as bits, or as positions where there are few."""
_FEW: Final = 64


class Fleet:
    """Hosts of one kind, indexed by label; kept up to date by `put` and `remove`."""

    def __init__(self, kind: str = "node", targets: Iterable[Target] = ()) -> None:
        self.kind = kind
        self._slots: list[Target | None] = []
        self._free: list[int] = []
        self._position: dict[str, int] = {}
        self._keys: dict[str, _Key] = {}
        self._alive = 0
        self._cells: dict[frozenset[str], tuple[int, _Cells]] = {}
        self.version = 0
        """Counts changes, so that what was computed from the fleet knows whether it is current."""
        self._fill({target.uid: target for target in targets})

    def put(self, target: Target) -> None:
        """Add a host, or replace the one with its uid."""
        current = self._position.get(target.uid)
        if current is not None:
            if self._slots[current] == target:
                return
            self._drop(current)
        position = self._insert(target)
        self._alive |= 1 << position

    def remove(self, uid: str) -> None:
        """Forget a host; no error if it is unknown."""
        position = self._position.get(uid)
        if position is not None:
            self._drop(position)

    def get(self, uid: str) -> Target | None:
        position = self._position.get(uid)
        return None if position is None else self._slots[position]

    def position(self, uid: str) -> int | None:
        """Which bit stands for a host."""
        return self._position.get(uid)

    def named(self, name: str) -> list[Target]:
        """Hosts of a name, of which there may be several."""
        return [target for target in self if target.name == name]

    def at(self, position: int) -> Target:
        target = self._slots[position]
        assert target is not None
        return target

    def __iter__(self) -> Iterator[Target]:
        return (target for target in self._slots if target is not None)

    def __len__(self) -> int:
        return len(self._position)

    @property
    def everything(self) -> int:
        """All hosts."""
        return self._alive

    def those(self, names: Iterable[str]) -> int:
        """The hosts with these uids or names."""
        wanted = set(names)
        return bits_of(
            (position for uid, position in self._position.items() if uid in wanted or self.at(position).name in wanted),
            len(self._slots),
        )

    def labelled(self, key: str, value: str) -> int:
        """The hosts with this label."""
        entry = self._keys.get(key)
        return self._value(entry, value) if entry is not None else 0

    def values_of(self, key: str) -> Collection[str]:
        """The values that a label has on some host."""
        entry = self._keys.get(key)
        return entry.postings.keys() if entry is not None else ()

    def allowed_by(self, selector: Selector) -> int:
        """The hosts an allow block means; see `Selector.allows`."""
        if not selector.written and selector.expression is None:
            return 0
        found = self._by_labels(selector) if selector.written else self._alive
        return found if selector.expression is None else self._by_expression(selector, found)

    def denied_by(self, selector: Selector) -> int:
        """The hosts a deny block means; see `Selector.denies`."""
        found = self._by_labels(selector) if selector.written else 0
        if selector.expression is not None:
            found |= self._by_expression(selector, self._alive & ~found)
        return found

    def _fill(self, targets: Mapping[str, Target]) -> None:
        """Many hosts at once, in the order given: a loop of its own, because a big fleet waits for it."""
        index: dict[str, defaultdict[str, list[int]]] = {}
        for position, target in enumerate(targets.values()):
            for key, value in target.labels.items():
                by_value = index.get(key)
                if by_value is None:
                    by_value = index[key] = defaultdict(list)
                by_value[value].append(position)
        self._slots = [*targets.values()]
        self._position = dict(zip(targets, range(len(targets)), strict=True))
        self._keys = {
            key: _Key({value: set(found) for value, found in by_value.items()}) for key, by_value in index.items()
        }
        self._alive = (1 << len(targets)) - 1
        self.version = len(targets)

    def _insert(self, target: Target) -> int:
        self.version += 1
        if self._free:
            position = self._free.pop()
            self._slots[position] = target
        else:
            position = len(self._slots)
            self._slots.append(target)
        self._position[target.uid] = position
        for key, value in target.labels.items():
            entry = self._keys.setdefault(key, _Key())
            entry.postings.setdefault(value, set()).add(position)
            entry.bits.pop(value, None)
            entry.matched.clear()
        return position

    def _drop(self, position: int) -> None:
        target = self.at(position)
        self.version += 1
        for key, value in target.labels.items():
            entry = self._keys[key]
            entry.postings[value].discard(position)
            entry.bits.pop(value, None)
            entry.matched.clear()
            if not entry.postings[value]:
                del entry.postings[value]
            if not entry.postings:
                del self._keys[key]
        self._slots[position] = None
        self._free.append(position)
        del self._position[target.uid]
        self._alive &= ~(1 << position)

    def _by_labels(self, selector: Selector) -> int:
        if selector.everything:
            return self._alive
        if not selector.keys:
            return 0
        found = self._alive
        for key, matchers in selector.keys:
            found &= self._with_label(key, matchers)
            if not found:
                break
        return found

    def _with_label(self, key: str, matchers: tuple[Matcher, ...]) -> int:
        entry = self._keys.get(key)
        if entry is None:
            return 0
        found = 0
        for matcher in matchers:
            if isinstance(matcher, Exact):
                found |= self._value(entry, matcher.text)
            else:
                found |= self._values(entry, matcher)
        return found

    def _value(self, entry: _Key, value: str) -> int:
        posting = entry.postings.get(value)
        if posting is None:
            return 0
        bits = entry.bits.get(value)
        if bits is None:
            bits = entry.bits[value] = bits_of(posting, len(self._slots))
        return bits

    def _values(self, entry: _Key, matcher: Matcher) -> int:
        found = entry.matched.get(matcher)
        if found is None:
            every = isinstance(matcher, Any_)
            matching = [posting for value, posting in entry.postings.items() if every or matcher.matches(value)]
            found = bits_of((position for posting in matching for position in posting), len(self._slots))
            entry.matched[matcher] = found
        return found

    def _by_expression(self, selector: Selector, among: int) -> int:
        """Evaluate once for each distinct set of the labels that the expression reads."""
        assert selector.expression is not None
        found, few = 0, list[int]()
        for labels, hosts in self._alike(selector.reads):
            if isinstance(hosts, int):
                if hosts & among and selector.expression(labels):
                    found |= hosts
            elif selector.expression(labels):
                few += hosts
        return (found | bits_of(few, len(self._slots))) & among

    def _alike(self, keys: frozenset[str] | None) -> _Cells:
        """The hosts by their labels of these keys, of any if None; remembered until the fleet changes."""
        wanted = frozenset(self._keys if keys is None else keys.intersection(self._keys))
        version, cells = self._cells.get(wanted, (-1, []))
        if version != self.version:
            cells = self._split(sorted(wanted))
            self._cells[wanted] = (self.version, cells)
        return cells

    def _split(self, keys: Sequence[str]) -> _Cells:
        alike: dict[tuple[str | None, ...], list[int]] = {}
        for position, target in enumerate(self._slots):
            if target is not None:
                get = target.labels.get
                alike.setdefault(tuple([get(key) for key in keys]), []).append(position)
        size = len(self._slots)
        return [
            (
                {key: value for key, value in zip(keys, values, strict=True) if value is not None},
                bits_of(hosts, size) if len(hosts) > _FEW else hosts,
            )
            for values, hosts in alike.items()
        ]
