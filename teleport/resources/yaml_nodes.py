"""YAML text as nodes that remember what the file says, and its comments: what layout needs and values lose.

Decides where comments are; knows nothing of kinds. The text must be one that `yaml_reader` reads without a fault.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from _ruamel_yaml import CParser
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

__all__ = ["Comment", "Node", "Text", "parse_nodes"]

_HEADER: Final = re.compile(r"([|>][-+0-9]*)[ \t]*(?:#.*)?\Z")
"""The end of the first line of a block scalar."""
_COMMENT: Final = re.compile(r"(?:(?<=\s)|\A|^)#[^\n]*", re.MULTILINE)
_DASH: Final = re.compile(r"^( *)-(?:\s|\Z)", re.MULTILINE)


@dataclass
class Node:
    """A value and where it stands: indices into the text, lines and columns from 0."""

    start: int
    end: int
    line: int
    end_line: int
    column: int
    """Of a block collection: where its keys or its hyphens are."""
    collection: str = ""
    """`map`, `list`, or empty for a scalar or an alias."""
    flow: bool = False
    block_header: str = ""
    """Of a block scalar: its first line, without a comment."""
    properties: str = ""
    """Anchor and tag of a collection, as they are written; those of a scalar are part of its text."""
    value: str = ""
    items: list[tuple["Node | None", "Node"]] = field(default_factory=list)
    """Key and value; of a list, no key and the value."""

    @property
    def first(self) -> int:
        """Where its first item stands."""
        if not self.items:
            return self.end
        key, value = self.items[0]
        return (key or value).start


@dataclass(frozen=True)
class Comment:
    """A comment; `own_line` if nothing stands before it."""

    index: int
    line: int
    column: int
    text: str
    own_line: bool
    gap: int
    """Characters between it and what stands before it."""


@dataclass(frozen=True)
class Text:
    """A file: the roots of its documents, each with where the document begins, and all of its comments in order."""

    text: str
    roots: tuple[tuple[int, Node], ...]
    comments: tuple[Comment, ...]
    anchors: bool
    directives: bool

    def written(self, node: Node) -> str:
        return self.text[node.start : node.end]


def parse_nodes(text: str) -> Text:
    """Raises MarkedYAMLError for what is not YAML."""
    try:
        events = list(_events(CParser(text).get_event))
    except MarkedYAMLError:
        events = list(_events(partial(next, YAML(typ="safe", pure=True).parse(text))))
    stream, scalars = iter(events), list[Node]()
    roots = tuple(
        (event.start_mark.index, _node(next(stream), stream, text, scalars))
        for event in stream
        if type(event) is DocumentStartEvent
    )
    return Text(
        text,
        roots,
        tuple(_comments(text, scalars)),
        anchors=any(getattr(event, "anchor", None) for event in events),
        directives=any(getattr(event, "version", None) or getattr(event, "tags", None) for event in events),
    )


def _events(next_event: Callable[[], Any]) -> Iterator[Any]:
    while True:
        event = next_event()
        yield event
        if type(event) is StreamEndEvent:
            return


def _node(event: Any, stream: Iterator[Any], text: str, scalars: list[Node]) -> Node:
    start, end = event.start_mark, event.end_mark
    node = Node(start.index, end.index, start.line, end.line, start.column)
    if isinstance(event, ScalarEvent | AliasEvent):
        _finish_scalar(node, event, text)
        scalars.append(node)
        return node
    assert isinstance(event, MappingStartEvent | SequenceStartEvent)
    node.collection = "map" if isinstance(event, MappingStartEvent) else "list"
    node.flow = bool(event.flow_style)
    if event.anchor is not None:
        node.properties = f"&{event.anchor}"
    for below in stream:
        if isinstance(below, MappingEndEvent | SequenceEndEvent):
            node.end, node.end_line = below.end_mark.index, below.end_mark.line
            break
        key = _node(below, stream, text, scalars) if node.collection == "map" else None
        node.items.append((key, _node(next(stream) if key else below, stream, text, scalars)))
    if node.properties and not node.flow and node.items:
        node.column = _column_below(node, text)
    return node


def _finish_scalar(node: Node, event: Any, text: str) -> None:
    node.value = getattr(event, "value", "")
    if getattr(event, "style", None) in ("|", ">"):
        first_line = text[node.start : node.end].partition("\n")[0]
        match = _HEADER.search(first_line)
        assert match is not None
        node.block_header = first_line[: match.end(1)]


def _column_below(node: Node, text: str) -> int:
    """The column of a collection that an anchor stands before."""
    if node.collection == "list":
        dash = _DASH.search(text, node.start)
        return len(dash[1]) if dash else node.column
    return node.first - (text.rfind("\n", 0, node.first) + 1)


def _comments(text: str, scalars: list[Node]) -> Iterator[Comment]:
    """What begins with # outside of scalars; the first line of a block scalar may end with one."""
    position, line, counted = 0, 0, 0
    for start, end in [*((_comments_end(one, text), one.end) for one in scalars), (len(text), len(text))]:
        for match in _COMMENT.finditer(text, position, max(position, start)):
            line += text.count("\n", counted, match.start())
            counted = match.start()
            line_start = text.rfind("\n", 0, counted) + 1
            before = text[line_start:counted]
            gap = len(before) - len(before.rstrip())
            yield Comment(counted, line, len(before), match[0].rstrip(), not before.strip(), gap)
        position = max(position, end)


def _comments_end(scalar: Node, text: str) -> int:
    """Up to where there may be comments before the content of a scalar."""
    if not scalar.block_header:
        return scalar.start
    return scalar.start + len(text[scalar.start : scalar.end].partition("\n")[0])
