"""A commented, complete teleport.yaml: every field explained, set where a value is given, commented out elsewhere."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from teleport.service.config import Config
from teleport.service.fields import FieldText, fields_of
from teleport.service.sections import Section

__all__ = ["example", "flow"]

_WIDTH: Final = 100
_PLAIN: Final = re.compile(r"[a-zA-Z/][a-zA-Z0-9/._-]*|([0-9]+(h|m|s|ms))+")
_HEAD: Final = """\
# teleport.yaml: what one process runs. Lines of the form `#field: value` show a default or an example; remove the #
# to set them. Check it with `teleport configure --check FILE`. Every field: docs/configuration.md.
"""

_UNEXPLAINED: Final = ("not supported", "only `", "accepted")
"""Fields that nobody would set in a new file say so at the start."""

_INSTEAD: Final = "instead of "
"""Fields that exclude another one say so at the start; they stay commented out where that one is shown."""

Given = Mapping[str, Any]
"""Values by field, with a mapping for a section."""


def example(given: Given) -> str:
    """The whole file. Sections that are given without values but `enabled: no` are not explained further."""
    blocks = [_HEAD]
    for one in fields_of(Config):
        if one.without_effect or one.words == "mapping":
            continue
        value = given.get(one.name)
        if one.section is not None and isinstance(value, Mapping) and dict(value) == {"enabled": False}:
            blocks.append(f"{one.name}:\n  enabled: no\n")
        else:
            blocks.append("\n".join(_field(one, value)) + "\n")
    return "\n".join(blocks)


def _field(one: FieldText, value: Any, *, shown: bool = False) -> list[str]:
    """The lines of one field; commented out where no value is given, unless it is `shown` as an example."""
    comment = [f"# {line}" for line in textwrap.wrap(one.description, _WIDTH)]
    given = shown or value is not None
    if one.section is None:
        lines = [f"{one.name}: {flow(one.example if value is None else value)}"]
    elif one.many:
        lines = [f"{one.name}:", *_entry(one.section)]
    else:
        below = _section(one.section, {} if value is None else value, shown=value is None)
        lines = [f"{one.name}:", *(f"  {line}" for line in below)]
    return [*comment, *(lines if given else [f"#{line}" for line in lines])]


def _section(section: type[Section], given: Given, *, shown: bool) -> Iterator[str]:
    for below in fields_of(section):
        if not below.without_effect and not below.description.startswith(_UNEXPLAINED):
            shows = shown and not below.description.startswith(_INSTEAD)
            yield from _field(below, given.get(below.name), shown=shows)


def _entry(section: type[Section]) -> Iterator[str]:
    """One entry of a list of sections, with those of its own sections that have an example."""
    shown = [
        one for one in fields_of(section)
        if not one.description.startswith(_INSTEAD) and not (one.section is not None and one.example in (None, [], ""))
    ]  # fmt: skip
    for index, below in enumerate(shown):
        yield f"{'    ' if index else '  - '}{below.name}: {flow(below.example)}"


def flow(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return _scalar(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return str(value)


def _scalar(text: str) -> str:
    """Plain where YAML takes it for text, quoted elsewhere."""
    plain = _PLAIN.fullmatch(text) is not None and text.lower() not in (
        "yes",
        "no",
        "on",
        "off",
        "true",
        "false",
        "null",
    )
    return text if plain else json.dumps(text, ensure_ascii=False)
