"""The scalar types of resource files: what may be written, and the one canonical way it is written back."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, PlainSerializer, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from teleport.resources.faults import Fault, raise_faults

__all__ = [
    "Duration",
    "Labels",
    "Name",
    "Switch",
    "Text",
    "Texts",
    "Timestamp",
    "Traits",
    "duration_text",
    "parse_duration",
    "parse_timestamp",
    "text_faults",
]

_UNITS: Final[Mapping[str, float]] = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Seconds in a duration such as `1h30m`; `never` and `0` are 0.

    Units are those of Go's time.ParseDuration (ns, us, ms, s, m, h). Raises ValueError.
    """
    if text in ("never", "0"):
        return 0.0
    rest, seconds = text, 0.0
    while rest:
        match = _DURATION.match(rest)
        if match is None:
            raise ValueError(f"{text!r} is not a duration")
        seconds += float(match[1]) * _UNITS[match[2]]
        rest = rest[match.end() :]
    if not text:
        raise ValueError("an empty duration")
    return seconds


def duration_text(seconds: float) -> str:
    """The shortest spelling that `parse_duration` reads back: `30h`, `1h30m`, `500ms`, `0s`."""
    if seconds != int(seconds):
        return f"{round(seconds * 1000)}ms"
    whole, parts = int(seconds), []
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_timestamp(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time. Raises ValueError; a time without zone is refused."""
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; append Z for UTC")
    return when.timestamp()


def _duration(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise PydanticCustomError("duration", "a duration is text such as 8h, 30m or never")
    if isinstance(value, int | float):
        if value == 0:
            return 0.0
        raise PydanticCustomError(
            "duration", "{value} has no unit; write a duration such as {value}h", {"value": value}
        )
    try:
        return parse_duration(value)
    except ValueError:
        raise PydanticCustomError(
            "duration", "{value} is not a duration; write for example 8h, 1h30m or never", {"value": value}
        ) from None


def _timestamp(value: object) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("timestamp", "a time is text as RFC 3339, for example 2030-01-31T12:00:00Z")
    try:
        when = parse_timestamp(value)
        return datetime.fromtimestamp(when, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        raise PydanticCustomError(
            "timestamp", "{value} is not a time as RFC 3339 with a zone, for example 2030-01-31T12:00:00Z",
            {"value": value},
        ) from None  # fmt: skip


_SWITCHES: Final[Mapping[str, bool]] = {
    "yes": True,
    "true": True,
    "on": True,
    "no": False,
    "false": False,
    "off": False,
}


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _SWITCHES:
        return _SWITCHES[value.lower()]
    raise PydanticCustomError("switch", "{value} is neither yes nor no", {"value": repr(value)})


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise_faults([_not_text(value, ())])
    raise AssertionError("not reached")


def _not_text(value: object, path: tuple[str | int, ...]) -> Fault:
    if isinstance(value, bool | int | float):
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        return Fault(path, f"{shown} is not text", f'put it in quotes: "{shown}"')
    what = "nothing" if value is None else "a list" if isinstance(value, list) else "a mapping"
    return Fault(path, f"text is expected here, found {what}")


def text_faults(value: object) -> list[Fault]:
    """What in a value written for a list of texts is not text."""
    items = value if isinstance(value, list | tuple) else (value,)
    return [_not_text(item, (i,)) for i, item in enumerate(items) if not isinstance(item, str)]


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, list | tuple):
        raise_faults(text_faults(value))
        return tuple(value)
    return () if value is None else (_text(value),)


def _split(value: object, what: str) -> dict[str, tuple[Any, ...]]:
    """A mapping with every value as a list, items not yet checked."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise_faults([Fault((), f"{what} are a mapping from names to a value or a list of values")])
        raise AssertionError("not reached")
    return {key: tuple(item) if isinstance(item, list | tuple) else (item,) for key, item in value.items()}


def _item_faults(texts: Mapping[str, tuple[Any, ...]]) -> Iterator[Fault]:
    for key, items in texts.items():
        for index, item in enumerate(items):
            if not isinstance(item, str):
                yield _not_text(item, (key, index) if len(items) > 1 else (key,))


def _labels(value: object) -> dict[str, tuple[str, ...]]:
    labels = _split(value, "labels")
    faults = list(_item_faults(labels))
    if "*" in labels and labels["*"] != ("*",):
        faults.append(Fault(("*",), "the label key * goes only with the value *", "a key has no wildcards"))
    raise_faults(faults)
    return labels


def _traits(value: object) -> dict[str, tuple[str, ...]]:
    traits = _split(value, "traits")
    raise_faults(_item_faults(traits))
    return traits


def _shorten(value: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    return {key: items[0] if len(items) == 1 else list(items) for key, items in value.items()}


_TEXTS_SCHEMA: Final = {"type": "array", "items": {"type": "string"}}
_SCALAR_OR_LIST: Final = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
}

Text = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": "string"})]
"""Text as written. Numbers and booleans without quotes are refused: `1.10` must not become `1.1`."""

Name = Annotated[str, BeforeValidator(_text), StringConstraints(min_length=1, max_length=1000)]
"""The name of a resource."""

Texts = Annotated[tuple[str, ...], BeforeValidator(_texts), PlainSerializer(list), WithJsonSchema(_TEXTS_SCHEMA)]
"""A list of texts; one text alone is read as a list of one."""

Duration = Annotated[
    float,
    BeforeValidator(_duration),
    PlainSerializer(duration_text, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["8h", "1h30m", "never"]}),
]
"""Seconds, written as `8h` or `1h30m`; `never` is 0."""

Timestamp = Annotated[str, BeforeValidator(_timestamp), WithJsonSchema({"type": "string", "format": "date-time"})]
"""A moment as RFC 3339, normalised to UTC."""

Switch = Annotated[
    bool,
    BeforeValidator(_switch),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": ["yes", "no", "on", "off", "true", "false"]}]}),
]
"""yes or no, quoted or not, or true or false."""

Labels = Annotated[
    Mapping[str, tuple[str, ...]],
    BeforeValidator(_labels),
    PlainSerializer(_shorten),
    WithJsonSchema(_SCALAR_OR_LIST),
]
"""A label selector: key to the values that match. A list of one is written back as a scalar."""

Traits = Annotated[
    Mapping[str, tuple[str, ...]],
    BeforeValidator(_traits),
    PlainSerializer(lambda value: {key: list(items) for key, items in value.items()}),
    WithJsonSchema(_SCALAR_OR_LIST),
]
"""A user's attributes: name to values."""
