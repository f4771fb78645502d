"""The named types of values: how each is written, for people and for editors. What they mean is in `values`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from teleport.resources.names import MAX_NAME
from teleport.resources.times import DURATION_PATTERN

__all__ = [
    "DURATION", "HOSTS", "LABELS", "LIST", "NAME", "NUMBER", "SELECTOR", "SHAPES", "TEXT", "TIME", "TRAITS", "VALUES",
    "YES_OR_NO", "Shape",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Shape:
    """What editors and the reference page are told of a type: its name, how it is written, and its JSON Schema."""

    name: str
    meaning: str
    schema: Mapping[str, Any]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.schema)


_ONE_OR_MANY: Final = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}

TEXT: Final = Shape(
    "text",
    'Text. In quotes where YAML would read a number or a truth value: `"1.10"`, `"no"`.',
    {"type": "string"},
)
NAME: Final = Shape(
    "name",
    f"Text of 1 to {MAX_NAME} characters, without invisible ones, and without letters of two alphabets that are "
    "mistaken for each other.",
    {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
)
LIST: Final = Shape(
    "list-of-text",
    "A list of texts: `[a, b]`, or one a line after hyphens. One text alone is a list of one.",
    {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": ["string", "null"]}]},
)
NUMBER: Final = Shape("number", "A whole number from 0 on.", {"type": "integer", "minimum": 0})
DURATION: Final = Shape(
    "duration",
    "A number with its unit, `30s`, `15m`, `8h`, `7d`, or several, `1h30m`. Units are `ns`, `us`, `ms`, `s`, `m`, `h`, "
    "`d` (24 hours), `mo` (30 days) and `y` (365 days). `never` and `0` are none.",
    {"anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"const": 0}], "examples": ["8h", "1h30m", "never"]},
)
TIME: Final = Shape(
    "time",
    "A moment as RFC 3339, with its zone: `2030-01-31T12:00:00Z` or `2030-01-31T13:00:00+01:00`.",
    {"type": ["string", "null"], "format": "date-time", "examples": ["2030-01-31T12:00:00Z"]},
)
YES_OR_NO: Final = Shape(
    "yes-or-no",
    "`yes` or `no`; `true`, `on`, `false` and `off` mean the same, with or without quotes.",
    {"anyOf": [{"type": "boolean"}, {"enum": ["yes", "no", "true", "false", "on", "off"]}]},
)
SELECTOR: Final = Shape(
    "label-selector",
    "Which things are meant, by their labels: a mapping from keys to a value or a list of values. Every key must be "
    "there; of a list, one value is enough. `*` in a value is any text, and a value that begins with `^` and ends with "
    '`$` is an [RE2](https://github.com/google/re2/wiki/Syntax) expression. `{"*": "*"}` is everything, labelled or '
    'not; an empty selector is nothing. Keys and values may be templates such as `"{{external.team}}"`.',
    {
        "type": ["object", "null"],
        "properties": {"*": {"enum": ["*", ["*"]]}},
        "additionalProperties": _ONE_OR_MANY,
        "examples": [{"env": ["dev", "staging"], "team": "web"}, {"*": "*"}],
    },
)
LABELS: Final = Shape(
    "labels",
    "The labels of a thing: a mapping from keys to texts, `{env: dev, team: web}`.",
    {"type": ["object", "null"], "additionalProperties": {"type": "string"}, "examples": [{"env": "dev"}]},
)
TRAITS: Final = Shape(
    "traits",
    "A user's attributes: a mapping from names to a value or a list of values.",
    {"type": ["object", "null"], "additionalProperties": _ONE_OR_MANY},
)
VALUES: Final = Shape(
    "values",
    "Which values there can be: a mapping from keys to a value or a list of values, each as it stands.",
    {"type": ["object", "null"], "additionalProperties": _ONE_OR_MANY, "examples": [{"env": ["dev", "prod"]}]},
)
HOSTS: Final = Shape(
    "hosts",
    "Which hosts a test means. `{name: web-1}` are those of that name. `{labels: {env: prod}}` are all that have these "
    "labels, and one that has no others, so that it says something even where there is none. `any` is every host, and "
    "one without labels.",
    {
        "anyOf": [
            {"const": "any"},
            {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "hosts of this name"},
                    "labels": {
                        "type": "object",
                        "additionalProperties": {"type": "string"},
                        "description": "hosts with these labels",
                    },
                },
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            },
        ],
        "examples": ["any", {"name": "web-1"}, {"labels": {"env": "prod"}}],
    },
)
SHAPES: Final = (
    TEXT, NAME, LIST, NUMBER, YES_OR_NO, DURATION, TIME, LABELS, SELECTOR, TRAITS, VALUES, HOSTS,
)  # fmt: skip
"""Every type that has a name, in the order in which they are best explained."""
