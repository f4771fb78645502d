"""Changes values of a YAML text where they stand: no other character moves, and no comment goes but those of lines that
go. Pure. What it cannot do so, it does not do.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from teleport.core.errors import TeleportError
from teleport.resources.kinds import kind_named
from teleport.resources.yaml_nodes import Node, Text, parse_nodes

__all__ = ["is_plain", "spliced"]

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./@-]*|([0-9]+(h|m|s|ms))+")
_WORDS: Final = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null"])
_ITEM: Final = re.compile(r" *- +\Z")


class _Unfit(Exception):
    """This change moves other things."""


@dataclass(frozen=True)
class _Edit:
    start: int
    end: int
    text: str


def is_plain(text: str) -> bool:
    """Whether every reader of YAML takes it for this text without quotes."""
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS


def spliced(text: str, ref: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """The text with a document changed in place, or None where that takes more."""
    parsed = parse_nodes(text)
    roots = [root for _, root in parsed.roots if root.collection == "map" and _ref_of(root) == ref]
    if len(roots) != 1 or parsed.anchors:
        return None
    try:
        edits = sorted(_Splicing(parsed).node(roots[0], before, after), key=lambda one: (one.start, one.end))
    except _Unfit:
        return None
    pieces, position = [], 0
    for edit in edits:
        pieces += [text[position : edit.start], edit.text]
        position = edit.end
    return "".join([*pieces, text[position:]])


def _ref_of(root: Node) -> str:
    metadata = _child(root, "metadata")
    name, kind = _child(metadata, "name") if metadata is not None else None, _child(root, "kind")
    try:
        return f"{kind_named(kind.value).kind}/{name.value}" if kind is not None and name is not None else ""
    except TeleportError:
        return ""


def _child(node: Node, key: str) -> Node | None:
    return next((value for name, value in node.items if name is not None and name.value == key), None)


class _Splicing:
    def __init__(self, text: Text) -> None:
        self._text = text.text
        self._comments = [one.index for one in text.comments]
        self._quoted = text.text.lstrip().startswith("{")
        """As JSON has it."""

    def node(self, node: Node, before: Any, after: Any) -> Iterator[_Edit]:
        """What has to be written elsewhere for a value to be another. Raises _Unfit."""
        if node.collection == "map" and isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from self._mapping(node, before, after)
        elif node.collection == "list":
            yield from self._list(node, _listed(before), _listed(after))
        else:
            yield self._replaced(node, after)

    def _mapping(self, node: Node, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[_Edit]:
        if before.keys() != after.keys():
            raise _Unfit
        for key, value in after.items():
            child = _child(node, key)
            if before[key] == value:
                continue
            if child is None:
                raise _Unfit
            yield from self.node(child, before[key], value)

    def _list(self, node: Node, before: Sequence[Any], after: Sequence[Any]) -> Iterator[_Edit]:
        nodes = [value for _, value in node.items]
        stay = [index for index, value in enumerate(before) if value in after]
        new = after[len(stay) :]
        if len(nodes) != len(before) or not stay or [before[index] for index in stay] != list(after[: len(stay)]):
            raise _Unfit
        for index in sorted(set(range(len(nodes))) - set(stay)):
            yield from self._flow_gone(nodes, index, stay) if node.flow else [self._line_of(nodes[index])]
        last = nodes[stay[-1]]
        if new and node.flow:
            yield _Edit(last.end, last.end, "".join(f", {self._written(one)}" for one in new))
        elif new:
            end = self._line_of(last).end
            hyphen = " " * node.column + "- "
            yield _Edit(end, end, "".join(f"{hyphen}{self._written(one)}\n" for one in new))

    def _flow_gone(self, nodes: Sequence[Node], index: int, stay: Sequence[int]) -> Iterator[_Edit]:
        """An item and one comma; what stands between, such as a comment, stays."""
        node = nodes[index]
        if index > stay[0]:
            comma = self._comma(nodes[index - 1].end)
            between = self._text[comma + 1 : node.start]
            yield _Edit(comma, comma + 1, "")
            yield _Edit(node.start if between.strip() or "\n" in between else comma + 1, node.end, "")
        else:
            comma = self._comma(node.end)
            spaces = len(self._text[comma + 1 :]) - len(self._text[comma + 1 :].lstrip(" "))
            yield _Edit(node.start, comma + 1 + spaces, "")

    def _comma(self, position: int) -> int:
        """The next one that is no part of a comment. Raises _Unfit."""
        comma = self._text.find(",", position)
        if comma < 0 or any(position <= one < comma for one in self._comments):
            raise _Unfit
        return comma

    def _line_of(self, node: Node) -> _Edit:
        """All of the line of an item of a block list. Raises _Unfit if it shares it, or takes more than one."""
        start = self._text.rfind("\n", 0, node.start) + 1
        end = self._text.find("\n", node.end)
        written = self._text[node.start : node.end]
        if end < 0 or "\n" in written or not _ITEM.fullmatch(self._text[start : node.start]):
            raise _Unfit
        return _Edit(start, end + 1, "")

    def _replaced(self, node: Node, value: Any) -> _Edit:
        if node.collection or node.block_header or isinstance(value, Mapping):
            raise _Unfit
        return _Edit(node.start, node.end, self._written(value))

    def _written(self, value: Any) -> str:
        if isinstance(value, list):
            return f"[{', '.join(map(self._written, value))}]"
        if isinstance(value, str) and is_plain(value) and not self._quoted:
            return value
        if isinstance(value, Mapping):
            raise _Unfit
        return json.dumps(value, ensure_ascii=False)


def _listed(value: Any) -> Sequence[Any]:
    """One value alone means the same as a list of it."""
    return value if isinstance(value, list) else [value]
