"""YAML text to plain values with a position for every key and value; it refuses what policy must not contain.

Reads the event stream of libyaml without recursion. Refused, each with its place: duplicate and merge keys,
aliases to another document, tags, keys that are not text, and anything beyond the bounds below.
Booleans are exactly true/false/yes/no/on/off in the three usual spellings of case; numbers with leading
zeros, dates and everything else stay text.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from _ruamel_yaml import CParser
from ruamel.yaml import YAML
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
from teleport.resources.faults import one_line
from teleport.resources.yaml_text import MAX_FILE, decode
from teleport.resources.yaml_words import TEMPLATE_HINT, explain_yaml

__all__ = ["MAX_DEPTH", "MAX_DOCUMENT", "MAX_DOCUMENTS", "MAX_FILE", "MAX_NODES", "Document", "Marks", "Path", "read"]

MAX_DOCUMENT: Final = 1 << 20
"""Characters in one document: the format's limit for one resource."""
MAX_SLOW: Final = 1 << 16
"""Characters in a file up to which a second reader has a try, which knows YAML 1.2 but takes 25 µs a character.

What libyaml does not take: `[host:22]` and `{prompt: Why?}`, colons and question marks within plain text in flow style.
"""
MAX_DOCUMENTS: Final = 20_000
"""Documents in one file."""
MAX_DEPTH: Final = 32
"""Nesting: the deepest field of any kind is at 9."""
MAX_NODES: Final = 100_000
"""Values in one document, those that aliases repeat counted each time: a billion laughs ends here."""
_MAX_FILE_NODES: Final = 2_000_000
"""The same in one file."""
_MAX_FAULTS: Final = 200
"""Faults of one document: after so many it is not worth reading on."""

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
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_NEWER: Final = re.compile("unexpected ':'|expected ',' or ")
"""What libyaml says of a colon or a question mark where it expects none."""
_NUMERIC_START: Final = frozenset("+-.0123456789")
_CORE_TAG: Final = "tag:yaml.org,2002:"
_TEXT_TAG: Final = _CORE_TAG + "str"
"""`!!str`: the one tag that says no more than quotes do."""


class Marks:
    """Where a value stands (1-based line and column), and below it where its keys and items stand."""

    __slots__ = ("column", "items", "keys", "line", "text")

    def __init__(self, line: int, column: int, *, text: str = "", leaf: bool = False) -> None:
        self.line, self.column, self.text = line, column, text
        self.keys: dict[str | int, tuple[int, int]] = _NO_KEYS if leaf else {}
        self.items: dict[str | int, Marks] = _NO_ITEMS if leaf else {}

    def find(self, path: Sequence[str | int], *, key: bool = False) -> tuple[int, int]:
        """Line and column of the value at a path, or of its key; of the nearest parent where it is absent."""
        parent = self._nearest(path[:-1])
        if key and path and path[-1] in parent.keys:
            return parent.keys[path[-1]]
        here = self._nearest(path)
        return here.line, here.column

    def written(self, path: Sequence[str | int]) -> str:
        """What the file says at a path where YAML reads a number, a truth value or nothing; else empty."""
        return self._nearest(path).text

    def _nearest(self, path: Sequence[str | int]) -> "Marks":
        here = self
        for step in path:
            below = here.items.get(step)
            if below is None:
                break
            here = below
        return here


_NO_KEYS: Final[dict[str | int, tuple[int, int]]] = {}
_NO_ITEMS: Final[dict[str | int, Marks]] = {}
"""What all leaves share: most values are leaves, and two dictionaries each would be most of the memory."""


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

    @property
    def wants_key(self) -> bool:
        return self.key is None and type(self.container) is dict


@dataclass
class _Reading:
    """The state of reading one document."""

    file: str
    start: int = 0
    before: int = 0
    """Values in the documents before."""
    stack: list[_Frame] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    """Of anchors, also of those whose value is not read to its end."""
    anchors: dict[str, tuple[Any, Marks, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    nodes: int = 0
    root: tuple[Any, Marks] | None = None

    def fault(self, mark: Any, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.file, mark.line + 1, mark.column + 1, one_line(message), hint))


class _Unreadable(Exception):
    """Reading the file stops here: a bound was exceeded, or nothing sensible can follow."""

    def __init__(self, event: Any, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.mark, self.hint = event.start_mark, hint


def read(data: bytes, *, file: str) -> tuple[list[Document], list[Problem]]:
    """The documents of a file in order, and the faults of its text; documents before a fault are kept."""
    text, problems = decode(data, file=file)
    if text is None:
        return [], problems
    if text.lstrip()[:1] in ("{", "["):
        text = _SURROGATES.sub(lambda pair: json.loads(f'"{pair[0]}"'), text)
    documents, found = _read(CParser(text).get_event, text, file=file)
    if found is not None and found.newer and len(text) <= MAX_SLOW and not _SURROGATE.search(text):
        again = _read(partial(next, YAML(typ="safe", pure=True).parse(text)), text, file=file)
        if again[1] is None or not again[1].newer:
            documents, found = again
    return documents, problems if found is None else [*problems, *found.problems]


@dataclass(frozen=True)
class _Fault:
    """Why reading a text stopped; `newer` if it might be YAML 1.2, of which libyaml knows not all."""

    problems: tuple[Problem, ...]
    newer: bool = False


def _read(next_event: Callable[[], Any], text: str, *, file: str) -> tuple[list[Document], _Fault | None]:
    documents: list[Document] = []
    reading = _Reading(file)
    try:
        for reading in _documents(next_event, file):
            if reading.root is not None:
                documents.append(Document(*reading.root, tuple(reading.problems)))
    except _Unreadable as error:
        last = Problem(file, *_place_in(text, error.mark), one_line(str(error)), one_line(error.hint))
        return documents, _Fault((*reading.problems, last))
    except MarkedYAMLError as error:
        mark, message, hint = explain_yaml(error, text)
        newer = bool(_NEWER.search(str(getattr(error, "problem", ""))))
        return documents, _Fault((Problem(file, *_place_in(text, mark), message, hint),), newer)
    except (YAMLError, ValueError) as error:
        return documents, _Fault((Problem(file, 1, 1, f"YAML: {str(error).splitlines()[0]}"),))
    return documents, None


def _place_in(text: str, mark: Any) -> tuple[int, int]:
    """Line and column of a mark. What libyaml finds at the end of a text stands where the text ends."""
    if mark is None:
        return 1, 1
    if mark.index < len(text):
        return mark.line + 1, mark.column + 1
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _documents(next_event: Callable[[], Any], file: str) -> Iterator[_Reading]:
    """Fold the event stream; yields each document's state when it is complete."""
    reading, count = _Reading(file), 0
    while True:
        event = next_event()
        kind = type(event)
        if event.end_mark.index - reading.start > MAX_DOCUMENT:
            raise _Unreadable(event, f"document larger than {MAX_DOCUMENT} characters", "split it")
        if kind is ScalarEvent:
            _scalar(reading, event)
        elif kind is MappingStartEvent or kind is SequenceStartEvent:
            _open(reading, event, {} if kind is MappingStartEvent else [])
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            _close(reading)
        elif kind is AliasEvent:
            _alias(reading, event)
        elif kind is DocumentEndEvent:
            count += 1
            if count > MAX_DOCUMENTS:
                raise _Unreadable(event, f"more than {MAX_DOCUMENTS} documents in one file", "split it")
            yield reading
            reading = _Reading(file, start=event.end_mark.index, before=reading.before + reading.nodes)
        elif kind is StreamEndEvent:
            return
        if len(reading.problems) > _MAX_FAULTS:
            raise _Unreadable(event, "this document has more problems than are shown")


def _scalar(reading: _Reading, event: Any) -> None:
    _count(reading, event)
    stack = reading.stack
    if stack and stack[-1].wants_key:
        _key(reading, stack[-1], event)
        return
    tag, text, mark = event.tag, event.value, event.start_mark
    if tag is not None:
        _check_tag(reading, event)
    value = text if event.style or tag == _TEXT_TAG else _resolve(text)
    marks = Marks(mark.line + 1, mark.column + 1, text="" if value is text else text, leaf=True)
    if event.anchor is not None:
        _name_anchor(reading, event)
        reading.anchors[event.anchor] = (value, marks, 1)
    _place(reading, value, marks)


def _name_anchor(reading: _Reading, event: Any) -> None:
    if event.anchor in reading.names:
        reading.fault(event.start_mark, f"anchor &{event.anchor} is set twice", "name it differently")
    reading.names.add(event.anchor)


def _key(reading: _Reading, top: _Frame, event: Any) -> None:
    mark = event.start_mark
    key: str = event.value
    top.key, top.skip = key, False
    assert isinstance(top.container, dict)
    if event.tag is not None:
        _check_tag(reading, event)
    if not event.style and key == "<<":
        reading.fault(mark, "merge key <<", "write the fields out: merged policy cannot be reviewed")
        top.skip = True
    elif key in top.container:
        line, _ = top.marks.keys[key]
        reading.fault(mark, f"duplicate key {key}", f"first on line {line}; keep one of them")
        top.skip = True
    else:
        top.marks.keys[key] = (mark.line + 1, mark.column + 1)


def _open(reading: _Reading, event: Any, container: dict[str, Any] | list[Any]) -> None:
    _count(reading, event)
    if len(reading.stack) >= MAX_DEPTH:
        raise _Unreadable(event, f"nested deeper than {MAX_DEPTH} levels")
    if reading.stack and reading.stack[-1].wants_key:
        braces = type(container) is dict and event.flow_style
        raise _Unreadable(event, "a key must be text, not a mapping or a list", TEMPLATE_HINT if braces else "")
    if event.tag is not None:
        _check_tag(reading, event)
    if event.anchor is not None:
        _name_anchor(reading, event)
    mark = event.start_mark
    reading.stack.append(_Frame(container, Marks(mark.line + 1, mark.column + 1), event.anchor, reading.nodes))


def _close(reading: _Reading) -> None:
    frame = reading.stack.pop()
    if frame.anchor is not None:
        reading.anchors[frame.anchor] = (frame.container, frame.marks, reading.nodes - frame.started)
    _place(reading, frame.container, frame.marks)


def _alias(reading: _Reading, event: Any) -> None:
    found = reading.anchors.get(event.anchor)
    if found is None:
        hint = f'an anchor holds within one document; for text, write "*{event.anchor}"'
        raise _Unreadable(event, f"alias *{event.anchor} has no anchor in this document", hint)
    if reading.stack and reading.stack[-1].wants_key:
        raise _Unreadable(event, "a key must be text, not an alias")
    value, marks, size = found
    _count(reading, event, size)
    here = Marks(event.start_mark.line + 1, event.start_mark.column + 1, text=marks.text, leaf=True)
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


def _count(reading: _Reading, event: Any, size: int = 1) -> None:
    reading.nodes += size
    if reading.nodes > MAX_NODES:
        raise _Unreadable(event, f"more than {MAX_NODES} values in one document")
    if reading.before + reading.nodes > _MAX_FILE_NODES:
        raise _Unreadable(event, f"more than {_MAX_FILE_NODES} values in one file", "split it")


def _check_tag(reading: _Reading, event: Any) -> None:
    if event.tag != _TEXT_TAG:
        shown = event.tag.replace(_CORE_TAG, "!!")
        reading.fault(event.start_mark, f"tag {shown}", "remove it: values here have no types of their own")


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
        if _FLOAT.match(text) and math.isfinite(float(text)):
            return float(text)
    return text
