"""Which fields differ between two documents of one resource. Pure; the order of a list is no difference."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["HIDDEN", "FieldChange", "differing"]

HIDDEN: Final = "(hidden)"
"""Stands where a value is a secret."""


@dataclass(frozen=True, eq=False)
class FieldChange:
    """A field with its old and its new value, None where it is not written."""

    path: str
    old: Any
    new: Any

    def to_dict(self) -> dict[str, Any]:
        return {"path": self.path, "old": self.old, "new": self.new}


def differing(old: Any, new: Any, path: str = "") -> Iterator[FieldChange]:
    """The smallest fields that differ, each once."""
    if old is None and isinstance(new, Mapping) and new:
        old = {}
    if new is None and isinstance(old, Mapping) and old:
        new = {}
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in (*old, *(key for key in new if key not in old)):
            yield from differing(old.get(key), new.get(key), _below(path, str(key)))
    elif isinstance(old, list) and isinstance(new, list) and _mappings(old) and _mappings(new):
        yield from _items(old, new, path)
    elif isinstance(old, list) or isinstance(new, list):
        if sorted(map(_text, _listed(old))) != sorted(map(_text, _listed(new))):
            yield FieldChange(path, old, new)
    elif old != new:
        yield FieldChange(path, old, new)


def _items(old: Sequence[Any], new: Sequence[Any], path: str) -> Iterator[FieldChange]:
    """Items of a list of mappings: those that are equal anywhere in it are no change."""
    gone, come = list(enumerate(old)), list(enumerate(new))
    for index, item in enumerate(old):
        same = next((one for one in come if one[1] == item), None)
        if same is not None:
            come.remove(same)
            gone.remove((index, item))
    if len(gone) == len(come):
        for (_, before), (index, after) in zip(gone, come, strict=True):
            yield from differing(before, after, f"{path}[{index}]")
        return
    yield from (FieldChange(f"{path}[{index}]", item, None) for index, item in gone)
    yield from (FieldChange(f"{path}[{index}]", None, item) for index, item in come)


def _below(path: str, key: str) -> str:
    plain = key.replace("_", "").replace("-", "").isalnum()
    step = key if plain else json.dumps(key, ensure_ascii=False)
    return f"{path}.{step}" if path and plain else f"{path}[{step}]" if path else step


def _mappings(items: Sequence[Any]) -> bool:
    return all(isinstance(item, Mapping) for item in items)


def _listed(value: Any) -> list[Any]:
    """One value alone means the same as a list of it."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
