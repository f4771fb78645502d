"""JSON Schema (2020-12) of the kinds, made from their models: what editors check and complete.

A schema says what a document may look like. What only a set can tell (whether roles exist, whether expressions
parse) and what depends on the version is the loader's business and the judge's.
"""

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from teleport.resources.kinds import KINDS, AnyResource
from teleport.resources.model import Metadata
from teleport.resources.shapes import Shape
from teleport.resources.times import duration_text
from teleport.resources.values import Spelling, Vocabulary
from teleport.resources.yaml_reader import read

__all__ = ["any_kind_schema", "field_schema", "kind_schema", "vocabulary"]

Schema = dict[str, Any]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_SIMPLE: Final[Mapping[Any, Schema]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
}


def kind_schema(cls: type[AnyResource]) -> Schema:
    """The schema of one kind's documents."""
    definitions = _Definitions()
    return {
        "$schema": _DIALECT,
        "title": cls.kind,
        **_document(cls, definitions),
        "examples": [_example(cls)],
        "$defs": definitions.sorted(),
    }


def any_kind_schema() -> Schema:
    """The schema of a document of any kind, for files that hold several."""
    definitions = _Definitions()
    for cls in KINDS.values():
        definitions.add(cls.kind, _document(cls, definitions))
    return {
        "$schema": _DIALECT,
        "title": "resource",
        "description": "any resource",
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": _kind(*KINDS.values())},
        "allOf": [
            {"if": {"properties": {"kind": _kind(cls)}, "required": ["kind"]}, "then": {"$ref": f"#/$defs/{cls.kind}"}}
            for cls in KINDS.values()
        ],
        "$defs": definitions.sorted(),
    }


def field_schema(info: FieldInfo) -> tuple[Schema, Mapping[str, Schema]]:
    """The schema of one field, and the definitions that it refers to."""
    definitions = _Definitions()
    return definitions.field(info), definitions.sorted()


def vocabulary(schema: Mapping[str, Any], definitions: Mapping[str, Schema]) -> list[str]:
    """The words that a list may hold, each in one spelling; none if it may hold others."""
    items = schema.get("anyOf", [{}])[0].get("items", {})
    spellings: dict[str, str] = {}
    for word in definitions.get(_name_of(items), {}).get("enum", ()):
        spellings.setdefault(word.lower(), word)
    return list(spellings.values())


def _document(cls: type[AnyResource], definitions: "_Definitions") -> Schema:
    required = ["kind", "version"] + ([] if cls.singleton else ["metadata"])
    if cls.model_fields["spec"].is_required():
        required.append("spec")
    properties = {
        "kind": _kind(cls),
        "version": {"enum": list(cls.versions), "description": "the version of the format"},
        "metadata": {**definitions.metadata(cls), "description": "name, labels and expiry"},
        "spec": definitions.field(cls.model_fields["spec"]),
    }
    if cls.sub_kinds:
        properties["sub_kind"] = {"enum": ["", *cls.sub_kinds], "description": "a variety of the kind"}
    return {
        "description": cls.summary,
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


def _kind(*kinds: type[AnyResource]) -> Schema:
    """The words for these kinds, the usual ones first."""
    aliases = [alias for cls in kinds for alias in cls.aliases]
    return {"enum": [*(cls.kind for cls in kinds), *aliases], "description": "the kind of resource"}


def _example(cls: type[AnyResource]) -> Any:
    documents, _ = read(cls.example.encode(), file=cls.kind)
    return documents[0].value


class _Definitions:
    """The `$defs` of one schema, filled while fields refer to them."""

    def __init__(self) -> None:
        self._known: dict[str, Schema] = {}

    def add(self, name: str, schema: Schema) -> Schema:
        self._known[name] = schema
        return {"$ref": f"#/$defs/{name}"}

    def sorted(self) -> dict[str, Schema]:
        return dict(sorted(self._known.items()))

    def metadata(self, cls: type[AnyResource]) -> Schema:
        """Metadata; where there is one of the kind, its name may be left out."""
        if not cls.singleton:
            return self._model(Metadata)
        fields = {name: self.field(info) for name, info in Metadata.model_fields.items() if name != "name"}
        name = {"const": cls.singleton, "description": "there is only one"}
        return self.add(f"Metadata-{cls.kind}", _mapping(Metadata, {"name": name, **fields}, required=[]))

    def field(self, info: FieldInfo) -> Schema:
        """The schema of a field: its type's, with what the field says about itself."""
        schema = dict(self._type(info.annotation, info.metadata))
        if not info.is_required() and "properties" in self._known.get(_name_of(schema), {}):
            schema = {"anyOf": [schema, {"type": "null"}]}
        if info.description:
            schema["description"] = info.description
        default = _default(info)
        if default is not None:
            schema["default"] = default
        return schema

    def _type(self, annotation: Any, metadata: list[Any]) -> Schema:
        """The schema of an annotation; `metadata` is what stands next to it in `Annotated`, innermost first."""
        if get_origin(annotation) is Annotated:
            inner, *more = get_args(annotation)
            return self._type(inner, [*more, *metadata])
        schema = self._shaped(metadata) or self._plain(annotation)
        for mark in sorted(metadata, key=lambda mark: isinstance(mark, Ge | MinLen)):
            schema = self._refined(schema, mark)
        return schema

    def _shaped(self, metadata: list[Any]) -> Schema | None:
        """A reference to the named type, where there is one."""
        shape = next((mark for mark in metadata if isinstance(mark, Shape)), None)
        return None if shape is None else self.add(shape.name, {"description": shape.meaning, **shape.schema})

    def _plain(self, annotation: Any) -> Schema:
        """The schema of a type without marks."""
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin in (Union, types.UnionType):
            (inner,) = (argument for argument in arguments if argument is not type(None))
            return self._type(inner, [])
        if origin is Literal:
            return {"enum": list(arguments)}
        if origin is tuple:
            return {"type": ["array", "null"], "items": self._type(arguments[0], [])}
        if origin in (dict, Mapping):
            return {"type": ["object", "null"], "additionalProperties": self._type(arguments[1], [])}
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return self._model(annotation)
        return _SIMPLE[annotation]

    def _refined(self, schema: Schema, mark: Any) -> Schema:
        if isinstance(mark, Vocabulary):
            word = self.add(mark.what.replace(" ", "-"), {"enum": [*mark.words, *mark.spellings]})
            return {"anyOf": [{"type": "array", "items": word}, word]}
        if isinstance(mark, Spelling):
            return {"anyOf": [schema, *_spellings(mark)]}
        if isinstance(mark, MinLen):
            return {**schema, "minItems": mark.min_length}
        return {**schema, "minimum": mark.ge} if isinstance(mark, Ge) else schema

    def _model(self, cls: type[BaseModel]) -> Schema:
        if cls.__name__ not in self._known:
            self.add(cls.__name__, {"properties": {}})
            fields = {name: self.field(info) for name, info in cls.model_fields.items()}
            required = [name for name, info in cls.model_fields.items() if info.is_required()]
            self.add(cls.__name__, _mapping(cls, fields, required=required))
        return {"$ref": f"#/$defs/{cls.__name__}"}


def _mapping(cls: type[BaseModel], fields: Schema, *, required: list[str]) -> Schema:
    schema = {
        "description": " ".join((cls.__doc__ or "").split()),
        "type": "object",
        **({"required": required} if required else {}),
        "properties": fields,
        "additionalProperties": False,
    }
    more = cls.model_config.get("json_schema_extra")
    return {**schema, **more} if isinstance(more, dict) else schema


def _name_of(schema: Schema) -> str:
    """The definition that a schema refers to, empty if none."""
    return str(schema.get("$ref", "")).removeprefix("#/$defs/")


def _spellings(spelling: Spelling) -> Iterator[Schema]:
    if spelling.truths:
        yield {"enum": list(spelling.truths)}
    if spelling.numbers:
        yield {"type": "integer", "minimum": 0, "maximum": len(spelling.numbers) - 1}


def _default(info: FieldInfo) -> Any:
    """What holds where the field is left out, as one would write it; None where that is nothing in particular."""
    extra = info.json_schema_extra
    if isinstance(extra, dict) and extra.get("default"):
        return extra["default"]
    default = info.default
    if default is PydanticUndefined or (default in (None, "", (), 0.0) and default is not False):
        return None
    return _written(default)


def _written(default: Any) -> Any:
    if isinstance(default, float):
        return duration_text(default)
    return ("yes" if default else "no") if isinstance(default, bool) else default
