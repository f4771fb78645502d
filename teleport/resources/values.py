"""The scalar types of resource files: what may be written, and the one canonical way it is written back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, NoReturn

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler, PlainSerializer
from pydantic_core import CoreSchema, core_schema

from teleport.resources import shapes
from teleport.resources.faults import Fault, Misfit, raise_faults, unknown_words
from teleport.resources.names import invisible, name_faults
from teleport.resources.times import duration_text, moment_text, parse_duration, parse_timestamp

__all__ = [
    "Count",
    "Duration",
    "LabelSet",
    "Labels",
    "Name",
    "Spelling",
    "Switch",
    "Text",
    "Texts",
    "Timestamp",
    "Traits",
    "Values",
    "Vocabulary",
    "duration_text",
    "parse_duration",
    "parse_timestamp",
    "text_faults",
]


@dataclass(frozen=True, eq=False)
class Spelling:
    """Other ways to write the words of a choice: YAML's truth values, and the numbers that other programs print."""

    truths: Mapping[bool, str]
    numbers: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._word, handler(source))

    def _word(self, value: object) -> object:
        if isinstance(value, bool):
            return self.truths.get(value, value)
        if isinstance(value, int) and 0 <= value < len(self.numbers):
            return self.numbers[value]
        return value


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The words that a list may hold. `anycase` where `node` is as good as `Node`."""

    what: str
    words: tuple[str, ...]
    anycase: bool = False

    @property
    def spellings(self) -> tuple[str, ...]:
        """Other ways to write the words."""
        return tuple(word.lower() for word in self.words) if self.anycase else ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        known = frozenset((*self.words, *self.spellings))

        def check(words: tuple[str, ...] | None) -> tuple[str, ...] | None:
            if words is not None and not known.issuperset(words):
                raise_faults(unknown_words(self.what, words, self.words, spellings=self.spellings))
            return words

        return core_schema.no_info_after_validator_function(check, handler(source))


def _misfit(expected: str, value: object, hint: str = "") -> NoReturn:
    raise_faults([Misfit((), expected, hint, value=value)])
    raise AssertionError("not reached")


def _not_text(items: Iterable[tuple[tuple[str | int, ...], object]]) -> list[Fault]:
    return [Misfit(path, "text", value=item) for path, item in items if not isinstance(item, str)]


def _text(value: object) -> str:
    return value if isinstance(value, str) else _misfit("text", value)


def _name(value: object) -> str:
    text = _text(value)
    raise_faults(name_faults(text))
    return text


def text_faults(value: object) -> list[Fault]:
    """What in a value written for a list of texts is not text."""
    items = value if isinstance(value, list | tuple) else (value,)
    return _not_text(((index,), item) for index, item in enumerate(items))


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, list | tuple):
        raise_faults(text_faults(value))
        return tuple(value)
    return () if value is None else (_text(value),)


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    _misfit("a whole number from 0 on", value)


_DURATIONS: Final = "write for example 8h, 1h30m, 7d or never"


def _duration(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value == 0:
            return 0.0
        _misfit("a duration with its unit", value, f"write for example {value}h or {value}m")
    if not isinstance(value, str):
        _misfit("a duration", value, _DURATIONS)
    try:
        return parse_duration(value)
    except ValueError as error:
        raise_faults([Fault((), str(error), _DURATIONS)])
        raise


_NO_TIME: Final = "0001-01-01T00:00:00Z"
"""How Go's programs print a time that is not set."""


def _timestamp(value: object) -> str | None:
    if value is None or value == _NO_TIME:
        return None
    try:
        return moment_text(_text(value))
    except ValueError as error:
        raise_faults([Fault((), str(error), "write for example 2030-01-31T12:00:00Z")])
        raise


_SWITCHES: Final[Mapping[str, bool]] = {
    "yes": True, "true": True, "on": True, "no": False, "false": False, "off": False,
}  # fmt: skip


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _SWITCHES:
        return _SWITCHES[value.lower()]
    _misfit("yes or no", value)


def _lists(value: object) -> dict[str, tuple[str, ...]]:
    """A mapping from names to texts or lists of texts, every value as a list."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        _misfit("a mapping from names to a value or a list of values", value)
    lists = {key: tuple(item) if isinstance(item, list | tuple) else (item,) for key, item in value.items()}
    raise_faults(_not_text(((key, index), item) for key, items in lists.items() for index, item in enumerate(items)))
    return lists


def _labels(value: object) -> dict[str, tuple[str, ...]]:
    labels = _lists(value)
    if labels.get("*", ("*",)) != ("*",):
        hint = "name the key; keys have no wildcards"
        raise_faults([Fault(("*",), "the label key * goes only with the value *", hint)])
    return labels


def _label_set(labels: Mapping[str, str]) -> Mapping[str, str]:
    raise_faults(
        Fault((key,), f"a label with the invisible character U+{ord(char):04X}", "remove it")
        for key, value in labels.items()
        for char in dict.fromkeys((*invisible(key), *invisible(value)))
    )
    return labels


def _shorten(value: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    return {key: items[0] if len(items) == 1 else list(items) for key, items in value.items()}


Text = Annotated[str, BeforeValidator(_text), shapes.TEXT]
"""Text as written. Numbers and booleans without quotes are refused: `1.10` must not become `1.1`."""

Name = Annotated[str, BeforeValidator(_name), shapes.NAME]
"""The name of a resource."""

Texts = Annotated[tuple[str, ...], BeforeValidator(_texts), PlainSerializer(list), shapes.LIST]
"""A list of texts; one text alone is read as a list of one."""

Count = Annotated[int, BeforeValidator(_count), shapes.NUMBER]
"""A whole number that is not negative."""

Duration = Annotated[
    float, BeforeValidator(_duration), PlainSerializer(duration_text, return_type=str), shapes.DURATION
]  # fmt: skip
"""Seconds, written as `8h` or `1h30m`; `never` is 0."""

Timestamp = Annotated[str | None, BeforeValidator(_timestamp), shapes.TIME]
"""A moment as RFC 3339, normalised to UTC. Go's zero time is none."""

Switch = Annotated[bool, BeforeValidator(_switch), shapes.YES_OR_NO]
"""yes or no, quoted or not, or true or false."""

Labels = Annotated[Mapping[str, tuple[str, ...]], BeforeValidator(_labels), PlainSerializer(_shorten), shapes.SELECTOR]
"""A label selector: key to the values that match. A list of one is written back as a scalar."""

LabelSet = Annotated[Mapping[str, Text], AfterValidator(_label_set), shapes.LABELS]
"""The labels of a resource itself: key to value."""

Traits = Annotated[
    Mapping[str, tuple[str, ...]],
    BeforeValidator(_lists),
    PlainSerializer(lambda value: {key: list(items) for key, items in value.items()}),
    shapes.TRAITS,
]
"""A user's attributes: name to values."""

Values = Annotated[
    Mapping[str, tuple[str, ...]], BeforeValidator(_lists), PlainSerializer(_shorten), shapes.VALUES
]  # fmt: skip
"""The values that there can be: key to values, literally."""
