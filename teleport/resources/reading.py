"""What a program reads of resources: kinds, versions and fields, so that others learn it before they use more.

A field is its path, `role.spec.allow.logins`; what stands in lists counts as the list, keys that anybody may choose
are a star. Pure; who asks whom is decided elsewhere.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from teleport.resources.kinds import KINDS, AnyResource
from teleport.resources.schema import kind_schema

__all__ = ["Reads", "own_reads"]

_ANY = "*"


@dataclass(frozen=True)
class Reads:
    """Versions by kind, and the paths of the fields."""

    versions: Mapping[str, tuple[str, ...]]
    fields: frozenset[str]

    @classmethod
    def of(cls, versions: Mapping[str, Iterable[str]], fields: Iterable[str]) -> Self:
        return cls({kind: tuple(known) for kind, known in versions.items()}, frozenset(fields))

    @cached_property
    def format(self) -> str:
        """The same for programs that read the same, and short."""
        lines = [*(f"{kind} {' '.join(known)}" for kind, known in self.versions.items()), *self.fields]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]

    @cached_property
    def _parents(self) -> frozenset[str]:
        return frozenset(path.rpartition(".")[0] for path in self.fields)

    def lacking(self, resource: AnyResource) -> tuple[str, ...]:
        """What of a resource is not read: `role v9`, `role.spec.allow.colour`; nothing if all of it is."""
        if resource.version not in self.versions.get(resource.kind, ()):
            return (f"{resource.kind} {resource.version}",)
        spec = resource.to_dict().get("spec") or {}
        return tuple(dict.fromkeys(self._unknown(spec, f"{resource.kind}.spec")))

    def _unknown(self, value: Any, path: str) -> Iterator[str]:
        if isinstance(value, list | tuple):
            for item in value:
                yield from self._unknown(item, path)
        elif isinstance(value, Mapping) and path in self._parents:
            for key, item in value.items():
                below = next((one for one in (f"{path}.{key}", f"{path}.{_ANY}") if one in self.fields), None)
                if below is None:
                    yield f"{path}.{key}"
                else:
                    yield from self._unknown(item, below)


def own_reads() -> Reads:
    """What this program reads."""
    fields: set[str] = set()
    for kind, cls in KINDS.items():
        schema = kind_schema(cls)
        _walk(schema["properties"]["spec"], schema["$defs"], f"{kind}.spec", fields)
    return Reads({kind: tuple(cls.versions) for kind, cls in KINDS.items()}, frozenset(fields))


def _walk(schema: Mapping[str, Any], known: Mapping[str, Any], path: str, found: set[str]) -> None:
    if "$ref" in schema:
        _walk(known[schema["$ref"].removeprefix("#/$defs/")], known, path, found)
    for option in schema.get("anyOf", ()):
        _walk(option, known, path, found)
    if isinstance(schema.get("items"), Mapping):
        _walk(schema["items"], known, path, found)
    below = dict(schema.get("properties", {}))
    if isinstance(schema.get("additionalProperties"), Mapping):
        below[_ANY] = schema["additionalProperties"]
    for name, one in below.items():
        if f"{path}.{name}" not in found:
            found.add(f"{path}.{name}")
            _walk(one, known, f"{path}.{name}", found)
