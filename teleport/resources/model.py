"""The envelope that every resource shares, and the registry of kinds.

A kind is one class: its model gives the schema, the store codec, the noun in admin rules, the columns of
`tctl get`, the API routes and the reference page. To add a kind, define the class and list it in `kinds`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from teleport.resources.values import LabelSet, Name, Text, Timestamp

__all__ = ["Metadata", "Model", "Origin", "Resource", "SourceKind", "Spec"]


class Model(BaseModel):
    """Frozen, and strict about names: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, ignored_types=(cached_property,))

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nothing(cls, value: object) -> object:
        """A field with nothing after its colon is a field left out, unless it is required or unknown."""
        if not isinstance(value, dict) or None not in value.values():
            return value
        fields = cls.model_fields
        return {
            key: item
            for key, item in value.items()
            if item is not None or key not in fields or fields[key].is_required()
        }


class Spec(Model):
    """What a kind declares."""


SourceKind = str


@dataclass(frozen=True)
class Origin:
    """Where a resource was declared: the source's name, the file within it, and the lines of its parts."""

    source: str = ""
    file: str = ""
    line: int = 0
    marks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Path below the document (`spec.allow.logins.0`) to line and column; empty where nobody asks."""
    commit: str = ""

    def at(self, *path: str | int) -> tuple[int, int]:
        """Line and column of a part, or of its nearest ancestor that is known."""
        for length in range(len(path), 0, -1):
            found = self.marks.get(".".join(map(str, path[:length])))
            if found is not None:
                return found
        return self.line, 1 if self.line else 0

    def to_wire(self) -> dict[str, Any]:
        wire: dict[str, Any] = {"source": self.source, "file": self.file, "line": self.line}
        if self.marks:
            wire["marks"] = {path: list(mark) for path, mark in self.marks.items()}
        if self.commit:
            wire["commit"] = self.commit
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Self:
        return cls(
            source=wire.get("source", ""),
            file=wire.get("file", ""),
            line=wire.get("line", 0),
            marks={path: (mark[0], mark[1]) for path, mark in wire.get("marks", {}).items()},
            commit=wire.get("commit", ""),
        )


class Metadata(Model):
    """What every resource says about itself."""

    name: Name = Field(description="unique within the kind")
    description: Text = Field(default="", description="for people; nothing is decided by it")
    labels: LabelSet = Field(default_factory=dict, description="static labels, key to value")
    expires: Timestamp = Field(default=None, description="when the resource ceases to exist")
    revision: Text = Field(default="", description="the optimistic lock: set by the cluster, checked on update")
    namespace: Literal["", "default"] = Field(default="", description="a legacy of the format: there is only one")
    id: int | None = Field(default=None, description="a legacy of the format: nothing reads it")


SpecT = TypeVar("SpecT", bound=Spec)


class Resource(Model, Generic[SpecT]):
    """One declared thing. The class variables describe the kind, the fields one resource of it."""

    kind: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    versions: ClassVar[tuple[str, ...]]
    sub_kinds: ClassVar[tuple[str, ...]] = ()
    summary: ClassVar[str]
    example: ClassVar[str]
    """A document in YAML, for editors and the reference page."""
    singleton: ClassVar[str] = ""
    """The only permitted name, for settings of which there is one."""
    secret: ClassVar[bool] = False
    """The name or the spec is a secret: sealed in the store, hidden from services."""

    version: str = Field(description="the version of the format")
    sub_kind: Text = Field(default="", description="a variety of the kind")
    metadata: Metadata = Field(description="name, labels and expiry")
    spec: SpecT = Field(description="what is declared")

    _origin: Origin = PrivateAttr(default_factory=Origin)
    _uid: str = PrivateAttr(default="")

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def ref(self) -> str:
        """`kind/name`, as people and commands write it."""
        return f"{self.kind}/{self.metadata.name}"

    @property
    def origin(self) -> Origin:
        return self._origin

    @property
    def uid(self) -> str:
        """The incarnation: given when the resource is created, kept while it is updated."""
        return self._uid

    def with_origin(self, origin: Origin, uid: str = "") -> Self:
        """The same resource, declared elsewhere or in another incarnation."""
        twin = self.model_copy()
        twin._origin = origin
        twin._uid = uid or self._uid
        return twin

    def written_secrets(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """The paths of secrets that the resource holds itself, each with what to write instead."""
        yield from ()

    def to_dict(self) -> dict[str, Any]:
        """As written: only what was set, in the format's own spelling, with `kind` first."""
        body = self.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        return {"kind": self.kind, **body}
