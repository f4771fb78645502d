"""YAML text to plain values with a position for every key and value; it refuses what policy must not contain.

Reads the event stream of libyaml without recursion. Refused, each with its place: duplicate and merge keys,
aliases to another document, tags, keys that are not text, and anything beyond the bounds below.
Booleans are exactly true/false/yes/no/on/off in the three usual spellings of case; numbers with leading
zeros, dates and everything else stay text.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from _ruamel_yaml import CParser
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from teleport.core.errors import Problem

__all__ = ["MAX_DEPTH", "MAX_DOCUMENT", "MAX_FILE", "MAX_NODES", "Document", "Marks", "Path", "read"]

MAX_FILE: Final = 64 << 20
"""Bytes in one file: far beyond any policy, small enough to parse in seconds."""
MAX_DOCUMENT: Final = 1 << 20
"""Characters in one document: the format's limit for one resource."""
MAX_DEPTH: Final = 32
"""Nesting: the deepest field of any kind is at 9."""
MAX_NODES: Final = 100_000
"""Values in one document after aliases are followed: a billion laughs ends here."""

Path = tuple[str | int, ...]

_BOOLEANS: Final[Mapping[str, bool]] = {
    spelling: value
    for word, value in {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}.items()
    for spelling in (word, word.capitalize(), word.upper())
}
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\Z")
_FLOAT: Final = re.compile(
    r"[-+]?(0|[1-9][0-9]*)?\.[0-9]+([eE][-+]?[0-9]+)?\Z|[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?[eE][-+]?[0-9]+\Z"
)
_SURROGATES: Final = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
"""How JSON writes characters beyond U+FFFF; YAML does not know it."""
_NUMERIC_START: Final = frozenset("+-.0123456789")
_CORE_TAG: Final = "tag:yaml.org,2002:"


class Marks:
    """Where a value stands (1-based line and column), and below it where its keys and items stand."""

    __slots__ = ("column", "items", "keys", "line")

    def __init__(self, line: int, column: int) -> None:
        self.line, self.column = line, column
        self.keys: dict[str | int, tuple[int, int]] = {}
        self.items: dict[str | int, Marks] = {}

    def find(self, path: Sequence[str | int], *, key: bool = False) -> tuple[int, int]:
        """Line and column of the value at a path, or of its key; of the nearest parent where it is absent."""
        here = self
        for depth, step in enumerate(path):
            if key and depth == len(path) - 1 and isinstance(step, str) and step in here.keys:
                return here.keys[step]
            below = here.items.get(step)
            if below is None:
                break
            here = below
        return here.line, here.column


@dataclass(frozen=True)
class Document:
    """One YAML document: its value, the marks of its parts, and its own faults."""

    value: Any
    marks: Marks
    problems: tuple[Problem, ...] = ()


@dataclass
class _Frame:
    """A container being filled. `key` is what the next value of a mapping belongs to."""

    container: dict[str, Any] | list[Any]
    marks: Marks
    anchor: str | None
    started: int
    key: str | None = None
    skip: bool = False
    """The key was refused: its value is read and dropped."""


@dataclass
class _Reading:
    """The state of reading one document."""

    file: str
    stack: list[_Frame] = field(default_factory=list)
    anchors: dict[str, tuple[Any, Marks, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    nodes: int = 0
    root: tuple[Any, Marks] | None = None

    def fault(self, event: Any, message: str, hint: str = "") -> None:
        mark = event.start_mark
        self.problems.append(Problem(self.file, mark.line + 1, mark.column + 1, message, hint))


class _TooMuch(Exception):
    """A bound was exceeded; reading the file stops here."""

    def __init__(self, event: Any, message: str) -> None:
        super().__init__(message)
        self.event = event


def read(data: bytes, *, file: str) -> tuple[list[Document], list[Problem]]:
    """The documents of a file in order, and the faults of its text; documents before a fault are kept."""
    if len(data) > MAX_FILE:
        return [], [Problem(file, 1, 1, f"file of {len(data)} bytes is larger than {MAX_FILE}", "split it")]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return [], [Problem(file, line, 1, "not UTF-8 text", "save the file as UTF-8")]
    if text.lstrip()[:1] in ("{", "["):
        text = _SURROGATES.sub(lambda pair: json.loads(f'"{pair[0]}"'), text)
    documents: list[Document] = []
    reading = _Reading(file)
    try:
        parser = CParser(text)
        for reading in _documents(parser, file):
            if reading.root is not None:
                documents.append(Document(*reading.root, tuple(reading.problems)))
            elif reading.problems:
                return documents, reading.problems
    except _TooMuch as error:
        reading.fault(error.event, str(error))
        return documents, reading.problems
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = "; ".join(part for part in (error.context, error.problem) if part) or "not YAML"
        return documents, [Problem(file, line, column, f"YAML: {problem}")]
    except (YAMLError, ValueError) as error:
        return documents, [Problem(file, 1, 1, f"YAML: {str(error).splitlines()[0]}")]
    return documents, []


def _documents(parser: Any, file: str) -> Iterator[_Reading]:
    """Fold the event stream; yields each document's state when it is complete."""
    reading = _Reading(file)
    start = 0
    while True:
        event = parser.get_event()
        kind = type(event)
        if kind is ScalarEvent:
            _scalar(reading, event)
        elif kind is MappingStartEvent or kind is SequenceStartEvent:
            _open(reading, event, {} if kind is MappingStartEvent else [])
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            frame = reading.stack.pop()
            if frame.anchor is not None:
                reading.anchors[frame.anchor] = (frame.container, frame.marks, reading.nodes - frame.started)
            _place(reading, frame.container, frame.marks)
        elif kind is AliasEvent:
            _alias(reading, event)
        elif kind is DocumentEndEvent:
            if event.end_mark.index - start > MAX_DOCUMENT:
                raise _TooMuch(event, f"document larger than {MAX_DOCUMENT} characters")
            yield reading
            reading, start = _Reading(file), event.end_mark.index
        elif kind is StreamEndEvent:
            return


def _scalar(reading: _Reading, event: Any) -> None:
    _count(reading, event, 1)
    stack = reading.stack
    top = stack[-1] if stack else None
    mark = event.start_mark
    if top is not None and top.key is None and type(top.container) is dict:
        _key(reading, top, event)
        return
    tag, text = event.tag, event.value
    if tag is not None and tag != "!":
        _check_tag(reading, event, tag)
    value: Any = text
    if not event.style and tag != "!" and tag != _CORE_TAG + "str":
        value = _resolve(text)
    marks = Marks(mark.line + 1, mark.column + 1)
    if event.anchor is not None:
        reading.anchors[event.anchor] = (value, marks, 1)
    _place(reading, value, marks)


def _key(reading: _Reading, top: _Frame, event: Any) -> None:
    mark = event.start_mark
    key: str = event.value
    top.key, top.skip = key, False
    assert isinstance(top.container, dict)
    if event.tag is not None and event.tag not in ("!", _CORE_TAG + "str"):
        reading.fault(event, f"tag on the key {key}", "remove it")
    elif not event.style and key == "<<":
        reading.fault(event, "merge key <<", "write the fields out: merged policy cannot be reviewed")
        top.skip = True
    elif key in top.container:
        line, _ = top.marks.keys[key]
        reading.fault(event, f"duplicate key {key}", f"first on line {line}; keep one of them")
        top.skip = True
    else:
        top.marks.keys[key] = (mark.line + 1, mark.column + 1)


def _open(reading: _Reading, event: Any, container: dict[str, Any] | list[Any]) -> None:
    _count(reading, event, 1)
    if len(reading.stack) >= MAX_DEPTH:
        raise _TooMuch(event, f"nested deeper than {MAX_DEPTH} levels")
    top = reading.stack[-1] if reading.stack else None
    if top is not None and top.key is None and type(top.container) is dict:
        raise _TooMuch(event, "a key must be text, not a mapping or a list")
    if event.tag is not None and event.tag != "!":
        _check_tag(reading, event, event.tag)
    mark = event.start_mark
    marks = Marks(mark.line + 1, mark.column + 1)
    reading.stack.append(_Frame(container, marks, event.anchor, reading.nodes))


def _alias(reading: _Reading, event: Any) -> None:
    found = reading.anchors.get(event.anchor)
    if found is None:
        raise _TooMuch(event, f"alias *{event.anchor} has no anchor in this document")
    value, marks, size = found
    top = reading.stack[-1] if reading.stack else None
    if top is not None and top.key is None and type(top.container) is dict:
        raise _TooMuch(event, "a key must be text, not an alias")
    _count(reading, event, size)
    here = Marks(event.start_mark.line + 1, event.start_mark.column + 1)
    here.keys, here.items = marks.keys, marks.items
    _place(reading, value, here)


def _place(reading: _Reading, value: Any, marks: Marks) -> None:
    if not reading.stack:
        reading.root = (value, marks)
        return
    top = reading.stack[-1]
    if type(top.container) is list:
        top.marks.items[len(top.container)] = marks
        top.container.append(value)
        return
    assert isinstance(top.container, dict)
    assert top.key is not None
    if not top.skip:
        top.container[top.key] = value
        top.marks.items[top.key] = marks
    top.key, top.skip = None, False


def _count(reading: _Reading, event: Any, size: int) -> None:
    reading.nodes += size
    if reading.nodes > MAX_NODES:
        raise _TooMuch(event, f"more than {MAX_NODES} values in one document")


def _check_tag(reading: _Reading, event: Any, tag: str) -> None:
    name = tag.removeprefix(_CORE_TAG)
    if not tag.startswith(_CORE_TAG) or name not in ("str", "int", "bool", "float", "null", "map", "seq"):
        reading.fault(event, f"tag {tag}", "remove it: values here have no types of their own")


def _resolve(text: str) -> Any:
    """What a plain scalar means."""
    if text in _NULLS:
        return None
    known = _BOOLEANS.get(text)
    if known is not None:
        return known
    if text[0] in _NUMERIC_START:
        if _INTEGER.match(text):
            return int(text)
        if _FLOAT.match(text):
            return float(text)
    return text
