"""What there is to say about a field, found by its path: type, default, words, versions, what several roles come to.

Reads the models, as the schemas and the reference page do, so that it cannot lag behind them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from teleport.core.errors import NotFound
from teleport.resources.explain import model_in
from teleport.resources.kinds import AnyResource, kind_named
from teleport.resources.nouns import nearest
from teleport.resources.schema import field_schema, vocabulary
from teleport.resources.shapes import SHAPES

__all__ = ["Described", "describe"]

_SHAPES: Final = {shape.name: shape for shape in SHAPES}
_INDEX: Final = re.compile(r"\[[^\]]*\]")


@dataclass(frozen=True)
class Described:
    """A kind or a field. What is empty has nothing to be said about."""

    path: str
    type: str
    description: str
    required: bool = False
    default: str = ""
    words: tuple[str, ...] = ()
    """The only ones it takes."""
    versions: str = ""
    over_roles: str = ""
    """What the values of several roles come to."""
    written: str = ""
    """How values of the type are written."""
    example: str = ""
    fields: tuple["Described", ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "type": self.type,
            "description": self.description,
            "required": self.required,
            "default": self.default or None,
            "words": list(self.words),
            "versions": self.versions or None,
            "over_roles": self.over_roles or None,
            "fields": [one.to_dict() for one in self.fields],
        }


def describe(path: str) -> Described:
    """The kind or field at a path such as `role.spec.options.lock`. Raises NotFound with the likely right one."""
    word, *steps = _INDEX.sub("", path).split(".")
    cls = kind_named(word)
    if not steps:
        return _kind(cls)
    here, found = cls.kind, None
    model: type[BaseModel] | None = cls
    for step in steps:
        known = _fields(model)
        if step not in known:
            raise _no_field(here, step, known)
        here, found = f"{here}.{step}", known[step]
        model = model_in(found.annotation)
    assert found is not None
    return _field(here, found, versions=_versions(cls), below=True)


def _no_field(here: str, step: str, known: Mapping[str, FieldInfo]) -> NotFound:
    if not known:
        return NotFound(f"{here} has no fields below it", hint=f"tctl explain {here}")
    likely = nearest(step, known)
    hint = f"did you mean {here}.{likely}?" if likely else f"its fields: {', '.join(known)}"
    return NotFound(f"{here} has no field {step}", hint=hint)


def _kind(cls: type[AnyResource]) -> Described:
    fields = tuple(_field(f"{cls.kind}.{name}", info) for name, info in _fields(cls).items())
    description = f"{cls.summary}; the only one is named {cls.singleton}" if cls.singleton else cls.summary
    return Described(
        cls.kind, "resource", description, versions=_versions(cls), words=cls.sub_kinds, example=cls.example,
        fields=fields,
    )  # fmt: skip


def _versions(cls: type[AnyResource]) -> str:
    return ", ".join(cls.versions)


def _fields(model: type[BaseModel] | None) -> Mapping[str, FieldInfo]:
    if model is None:
        return {}
    sub_kinds = getattr(model, "sub_kinds", None)
    return {name: info for name, info in model.model_fields.items() if name != "sub_kind" or sub_kinds}


def _field(path: str, info: FieldInfo, *, versions: str = "", below: bool = False) -> Described:
    """A field; `below` with the fields in it."""
    schema, definitions = field_schema(info)
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    name = _reference(schema)
    fields = _fields(model_in(info.annotation)) if below else {}
    own = str(extra.get("versions", ""))
    return Described(
        path,
        _type(schema, definitions),
        info.description or "",
        required=info.is_required(),
        default=str(schema.get("default", "")),
        words=tuple(_words(schema, definitions)),
        versions=f"{versions}; {own}" if versions and own else own or versions,
        over_roles=str(extra.get("over", "")),
        written=_SHAPES[name].meaning if name in _SHAPES else "",
        fields=tuple(_field(f"{path}.{step}", below_it) for step, below_it in fields.items()),
    )


def _type(schema: Mapping[str, Any], definitions: Mapping[str, dict[str, Any]]) -> str:
    """In words, as the reference page says it."""
    name = _reference(schema)
    if name:
        return name.replace("-", " ") if name in _SHAPES else "mapping"
    if vocabulary(schema, definitions):
        return "list of words"
    if "anyOf" in schema:
        return _type(schema["anyOf"][0], definitions)
    if "enum" in schema:
        return "word"
    if "items" in schema:
        return f"list of {_type(schema['items'], definitions)}s"
    if "additionalProperties" in schema:
        return f"names, each with a {_type(schema['additionalProperties'], definitions)}"
    return {"integer": "number", "string": "text"}.get(str(schema.get("type")), "value")


def _words(schema: Mapping[str, Any], definitions: Mapping[str, dict[str, Any]]) -> list[str]:
    if found := vocabulary(schema, definitions):
        return found
    first = schema.get("anyOf", [schema])[0]
    return [str(word) for word in first.get("enum", ()) if word != ""]


def _reference(schema: Mapping[str, Any]) -> str:
    return str(schema.get("anyOf", [schema])[0].get("$ref", "")).removeprefix("#/$defs/")
