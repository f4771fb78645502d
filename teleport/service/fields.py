"""The fields of teleport.yaml as people read them: for the reference, and for the commented example."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from teleport.resources.shapes import DURATION, LABELS, LIST, TIME, YES_OR_NO, Shape
from teleport.resources.values import duration_text
from teleport.service.ignored import reason_of
from teleport.service.sections import Section

__all__ = ["FieldText", "fields_of"]

_PLACEHOLDERS: Mapping[str, Any] = {
    "duration": "30m", "yes or no": False, "number": 3, "HOST:PORT": "127.0.0.1:3000", "text": "text", "mapping": {},
}  # fmt: skip


@dataclass(frozen=True)
class FieldText:
    """One field, in words."""

    name: str
    words: str
    """What is written there."""
    description: str
    required: bool
    default: Any
    """As YAML would have it; None where there is none."""
    example: Any
    """What to show where nothing is set: the default, or something believable."""
    without_effect: str
    section: type[Section] | None
    """What is below it, where that is a section."""
    many: bool
    """A list of such sections."""


def fields_of(model: type[BaseModel]) -> Iterator[FieldText]:
    """The fields of a section, in the order in which they are explained."""
    schema = model.model_json_schema()
    for name, info in model.model_fields.items():
        words = _words(schema["properties"][name], schema.get("$defs", {}))
        default = None if info.is_required() else _plain(info.get_default(call_default_factory=True), words)
        section, many = _section(info.annotation)
        example = info.examples[0] if info.examples else default
        if example in (None, "", [], {}) and section is None:
            example = _PLACEHOLDERS.get(words, words.split(",")[0].split(" or ")[0])
        yield FieldText(
            name=name, words=words, description=info.description or "", required=info.is_required(), default=default,
            example=example, without_effect=reason_of(info), section=section, many=many,
        )  # fmt: skip


def _words(schema: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """A JSON Schema in a few words."""
    for shape, words in _SHAPES.items():
        if shape.schema.items() <= schema.items():
            return words
    options = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if len(options) == 1:
        return _words(options[0], known)
    if options:
        return "yes or no" if {"type": "boolean"} in options else " or ".join(_words(one, known) for one in options)
    if "$ref" in schema:
        return "section"
    if "enum" in schema:
        *most, last = map(str, schema["enum"])
        return f"{', '.join(most)} or {last}" if most else last
    if "const" in schema:
        return str(schema["const"])
    kind = schema.get("type", "")
    if isinstance(kind, list):
        (kind,) = (one for one in kind if one != "null")
    if kind == "array":
        return f"list of {_plural(_words(schema.get('items', {}), known))}"
    if kind == "string":
        return _FORMATS.get(schema.get("format", ""), "text")
    return {"integer": "number", "number": "number", "boolean": "yes or no", "object": "mapping"}.get(kind, "anything")


_SHAPES: Mapping[Shape, str] = {
    DURATION: "duration", LIST: "list of texts", YES_OR_NO: "yes or no", TIME: "time", LABELS: "mapping",
}  # fmt: skip
_FORMATS: Mapping[str, str] = {"address": "HOST:PORT"}


def _plural(word: str) -> str:
    return {"text": "texts", "section": "sections"}.get(word, word)


def _section(annotation: Any) -> tuple[type[Section] | None, bool]:
    """The section inside Optional[...] or tuple[..., ...], and whether it is a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    inner = [one for one in get_args(annotation) if one not in (NoneType, Ellipsis)]
    if len(inner) == 1 and isinstance(inner[0], type) and issubclass(inner[0], Section):
        return inner[0], Ellipsis in get_args(annotation)
    return None, False


def _plain(value: Any, words: str) -> Any:
    """A default as YAML would have it."""
    if value is PydanticUndefined or isinstance(value, BaseModel):
        return None
    if words == "duration" and isinstance(value, float):
        return duration_text(value) if value else "never"
    return list(value) if isinstance(value, tuple) else value
