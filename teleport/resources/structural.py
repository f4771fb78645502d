"""A kind's spec as Kubernetes wants schemas: structural OpenAPI v3, without references, nothing pruned.

Made from the JSON Schema of the same models. Every object keeps fields it does not know (an unknown field must be
refused in words, not vanish), and what may be written in several ways (one text or a list, yes or `"yes"`) has no type
here: the operator reads it as a folder would be read. `breaches` are the rules that API servers hold schemas to.

Source: Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions", "Specifying a structural
schema".
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from teleport.resources.schema import kind_schema

__all__ = ["PRESERVE", "Schema", "breaches", "structural_spec"]

Schema = dict[str, Any]

PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
"""What keeps fields that the schema does not name."""

_TEXT: Final[Schema] = {"type": "string"}
_MANY: Final[Schema] = {"type": "array", "items": _TEXT, "nullable": True}
_SEVERAL_WAYS: Final[Schema] = {PRESERVE: True}
_INT_OR_STRING: Final = "x-kubernetes-int-or-string"

_SHAPES: Final[Mapping[str, Schema]] = {
    "text": _TEXT,
    "name": {"type": "string", "minLength": 1, "maxLength": 256},
    "list-of-text": _MANY,
    "number": {"type": "integer", "minimum": 0},
    "duration": {_INT_OR_STRING: True},
    "time": {"type": "string", "format": "date-time", "nullable": True},
    "yes-or-no": _SEVERAL_WAYS,
    "labels": {"type": "object", "additionalProperties": _TEXT, "nullable": True},
    "label-selector": {"type": "object", "additionalProperties": _SEVERAL_WAYS, "nullable": True},
    "traits": {"type": "object", "additionalProperties": _SEVERAL_WAYS, "nullable": True},
    "SecretRef": _SEVERAL_WAYS,
}
"""The named types of values (`shapes`), as a structural schema can say them."""
_KEPT: Final = {
    "minimum": ("integer", "number"), "maximum": ("integer", "number"), "minItems": ("array",),
    "minProperties": ("object",),
}  # fmt: skip
"""Bounds that are kept, each where the type of value has it."""


def structural_spec(cls: Any) -> Schema:
    """The schema of what stands under `spec` in a manifest of a kind."""
    schema = kind_schema(cls)
    return _Inlined(schema["$defs"]).of(schema["properties"]["spec"])


class _Inlined:
    """Schemas with their references put in their places."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions

    def of(self, schema: Schema) -> Schema:
        made = self._of(schema)
        if "description" in schema:
            made = {"description": schema["description"], **{k: v for k, v in made.items() if k != "description"}}
        return {
            **made,
            **{key: schema[key] for key, types in _KEPT.items() if key in schema and made.get("type") in types},
        }

    def _of(self, schema: Schema) -> Schema:
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/$defs/")
            return dict(_SHAPES[name]) if name in _SHAPES else self.of(self._definitions[name])
        if "anyOf" in schema:
            return self._any_of(schema["anyOf"])
        if "enum" in schema:
            return _choice(schema["enum"])
        return self._typed(schema)

    def _any_of(self, ways: list[Schema]) -> Schema:
        real = [way for way in ways if way != {"type": "null"}]
        nullable = {"nullable": True} if len(real) < len(ways) else {}
        lists = [way for way in real if way.get("type") == "array"]
        if len(real) == 1:
            return {**self.of(real[0]), **nullable}
        if lists:
            return {**self.of(lists[0]), "nullable": True}
        return dict(_SEVERAL_WAYS)

    def _typed(self, schema: Schema) -> Schema:
        types = schema.get("type")
        kind, nullable = (types[0], {"nullable": True}) if isinstance(types, list) else (types, {})
        if kind == "array":
            return {"type": "array", "items": self.of(schema["items"]), **nullable}
        if kind != "object":
            return {"type": kind, **{key: schema[key] for key in ("format", "pattern") if key in schema}, **nullable}
        if "properties" not in schema:
            return {"type": "object", "additionalProperties": self.of(schema["additionalProperties"]), **nullable}
        return {
            "type": "object",
            **({"required": schema["required"]} if schema.get("required") else {}),
            "properties": {name: self.of(one) for name, one in schema["properties"].items()},
            PRESERVE: True,
            **nullable,
        }


def _choice(words: list[Any]) -> Schema:
    return {"type": "string", "enum": words} if all(isinstance(one, str) for one in words) else dict(_SEVERAL_WAYS)


def breaches(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Where a schema breaks the rules of structural schemas, each with its path."""
    if "$ref" in schema or "$defs" in schema:
        yield f"{path}: a reference"
    for word in ("anyOf", "oneOf", "allOf", "not", "const", "definitions", "dependencies", "uniqueItems"):
        if word in schema:
            yield f"{path}: {word}"
    if "properties" in schema and "additionalProperties" in schema:
        yield f"{path}: properties beside additionalProperties"
    if not (schema.get("type") or schema.get(PRESERVE) or schema.get(_INT_OR_STRING)):
        yield f"{path}: no type"
    if isinstance(schema.get("type"), list):
        yield f"{path}: several types; nullable says that a value may be null"
    if schema.get(PRESERVE) is False:
        yield f"{path}: {PRESERVE} may only be true"
    if schema.get("type") == "array" and "items" not in schema:
        yield f"{path}: an array without items"
    for word, types in _KEPT.items():
        if word in schema and schema.get("type") not in types:
            yield f"{path}: {word} of what is no {types[0]}"
    if schema.get("nullable") and "enum" in schema and None not in schema["enum"]:
        yield f"{path}: nullable, and null is none of the words"
    if schema.get("nullable") and "default" in schema and schema["default"] is None:
        yield f"{path}: a default of null"
    for name, one in schema.get("properties", {}).items():
        yield from breaches(one, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), Mapping):
            yield from breaches(schema[word], f"{path}.{word}")
