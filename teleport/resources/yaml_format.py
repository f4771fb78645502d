"""The one layout of policy files: order of keys, two spaces, indented lists. What a file says is never touched.

Comments stay with what they are about. The result is proved before it is given away: it has the same values, loads
to the same resources, has the same comments, and formatting it again changes nothing.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ruamel.yaml.error import MarkedYAMLError

from teleport.core.errors import Invalid, Refused
from teleport.resources.kinds import KINDS
from teleport.resources.load import load
from teleport.resources.yaml_nodes import Comment, Node, Text, parse_nodes
from teleport.resources.yaml_reader import read
from teleport.resources.yaml_text import decode

__all__ = ["WIDTH", "formatted"]

WIDTH: Final = 120
"""Characters of a line beyond which a collection in braces or brackets is written one item a line."""
_STEP: Final = 2

_DIGIT: Final = re.compile("[1-9]")
_ENVELOPE: Final = ("kind", "sub_kind", "version", "metadata", "spec")
_METADATA: Final = ("name", "description", "labels", "annotations", "expires")
_SPELLINGS: Final[Mapping[str, str]] = {alias: cls.kind for cls in KINDS.values() for alias in cls.aliases}


class _Unfit(Exception):
    """This text cannot be laid out."""


def formatted(data: bytes, *, file: str) -> str:
    """The same policy, laid out. Raises Invalid with the faults of the file, Refused if the proof fails."""
    before = load(data, file=file)
    if before.problems:
        raise Invalid(before.problems)
    text, _ = decode(data, file=file)
    assert text is not None
    text = text.replace("\r\n", "\n")
    try:
        result = _laid_out(parse_nodes(text))
        if result != text:
            _prove(text, result, file)
    except (_Unfit, MarkedYAMLError) as error:
        raise Refused(f"{file} is left as it is: {error}", hint="write that part in a plainer way") from None
    return result


def _prove(before: str, after: str, file: str) -> None:
    if _meaning(before, file) != _meaning(after, file):
        raise _Unfit("laid out, it would not mean the same")
    laid_out = parse_nodes(after)
    if _words(parse_nodes(before).comments) != _words(laid_out.comments):
        raise _Unfit("laid out, it would lose a comment")
    if _laid_out(laid_out) != after:
        raise _Unfit("laid out again, it would change again")


def _meaning(text: str, file: str) -> str:
    """All that a text declares, each value with its type."""
    data = text.encode()
    documents, faults = read(data, file=file)
    loaded = load(data, file=file)
    if faults or loaded.problems:
        raise _Unfit("laid out, it would have faults")
    values = [_spelled(one.value) for one in documents if one.value is not None]
    return json.dumps([values, [one.to_dict() for one in loaded.resources]], sort_keys=True)


def _spelled(value: Any) -> Any:
    kind = value["kind"]
    return {**value, "kind": _SPELLINGS.get(kind, kind)}


def _words(comments: Sequence[Comment]) -> list[str]:
    return sorted(one.text for one in comments)


def _laid_out(text: Text) -> str:
    if text.directives:
        raise _Unfit("it begins with a line that says how YAML is to be read (%)")
    layout = _Layout(text)
    for number, (_, root) in enumerate(text.roots):
        following = text.roots[number + 1][0] if number + 1 < len(text.roots) else len(text.text)
        layout.document(root, following)
    return layout.finished()


class _Layout:
    """Lines that grow, and the comments that are still to be placed, in the order of the file."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._source = text.text.split("\n")
        self._pending = list(text.comments)
        self._spelled: dict[int, str] = {}
        """Where a word stands that the format spells differently."""
        self._lines: list[str] = []
        self._no_blank = True
        """Whether a blank line here would begin a document, or mean something."""

    def finished(self) -> str:
        self._lead(len(self._text.text) + 1, 0)
        return "".join(f"{line}\n" for line in self._lines)

    def document(self, root: Node, limit: int) -> None:
        """One document and the comments behind it; an empty one leaves its comments to the next."""
        if not root.collection:
            return
        if any(not line.startswith("#") for line in self._lines):
            self._lines.append("---")
            self._no_blank = True
        for key, value in root.items:
            if key is not None and key.value == "kind" and value.value in _SPELLINGS:
                self._spelled[value.start] = _SPELLINGS[value.value]
        self._lead(root.first, 0)
        self._map(root, _Place(0, limit, -1), order=_ENVELOPE)
        self._lead(limit, 0)

    def _map(self, node: Node, place: "_Place", *, prefix: str = "", order: Sequence[str] = ()) -> None:
        """The entries of a mapping; `prefix` is what stands before the first of them."""
        start, chunks = len(self._lines), list[tuple[int, list[str]]]()
        for number, (key, value) in enumerate(node.items):
            assert key is not None
            self._entry(key, value, place.of_item(node, number), prefix if number == 0 else "", order)
            if order:
                chunks.append((_rank(key.value, order), self._lines[start:]))
                del self._lines[start:]
        if not self._text.anchors:
            chunks = _sorted(chunks)
        self._lines += [line for _, lines in chunks for line in lines]
        self._tail(node, place)

    def _entry(self, key: Node, value: Node, place: "_Place", prefix: str, order: Sequence[str]) -> None:
        text = self._text.written(key)
        if "\n" in text:
            raise _Unfit(f"line {key.line + 1} has a key of several lines")
        if not prefix:
            self._lead(key.start, place.indent)
            self._blank(key.line)
        head = f"{prefix or ' ' * place.indent}{text}:"
        nested = _METADATA if order is _ENVELOPE and key.value == "metadata" else ()
        if not value.collection:
            self._scalar(head, value, place)
        elif not self._inline(head, value, place):
            self._below(head, value, place, nested)

    def _list(self, node: Node, place: "_Place", *, prefix: str = "") -> None:
        for number, (_, item) in enumerate(node.items):
            self._item(item, place.of_item(node, number), prefix if number == 0 else "")
        self._tail(node, place)

    def _item(self, item: Node, place: "_Place", prefix: str) -> None:
        if not prefix:
            self._lead(item.start, place.indent)
            self._blank(item.line)
        head = f"{prefix or ' ' * place.indent}-"
        if not item.collection:
            self._scalar(head, item, place)
        elif self._inline(head, item, place):
            pass
        elif item.properties:
            self._below(head, item, place, ())
        else:
            self._lead(item.first, len(head) - len(head.lstrip()))
            self._collection(item, place, prefix=f"{head} ")

    def _below(self, head: str, value: Node, place: "_Place", order: Sequence[str]) -> None:
        """A collection that begins on the next line."""
        self._lines.append(f"{head} {value.properties}" if value.properties else head)
        if not self._comment(None, value.first) and value.flow:
            self._comment_behind(value, place.limit)
        self._collection(value, place, order=order)

    def _collection(self, node: Node, place: "_Place", *, prefix: str = "", order: Sequence[str] = ()) -> None:
        below = place.below()
        if node.collection == "map":
            self._map(node, below, prefix=prefix, order=order)
        else:
            self._list(node, below, prefix=prefix)

    def _inline(self, head: str, node: Node, place: "_Place") -> bool:
        """A collection on the line of its key or hyphen, where it is written so and fits."""
        text = self._braced(node) if node.flow else None
        line = f"{head} {text}"
        if text is None or (len(line) > WIDTH and node.items):
            return False
        self._lead(node.start, len(head) - len(head.lstrip()))
        self._lines.append(line)
        self._comment(None if not node.items else node.end_line, place.limit)
        return True

    def _braced(self, node: Node) -> str | None:
        """A collection in braces or brackets; None where that cannot be, or was not."""
        if not node.collection:
            return self._text.written(node) or None
        if node.items and (node.line != node.end_line or not node.flow):
            return None
        parts = [(self._braced(key) if key else "", self._braced(value)) for key, value in node.items]
        if any(part is None for pair in parts for part in pair):
            return None
        text = ", ".join(f"{key}: {value}" if key else str(value) for key, value in parts)
        opened = f"{{{text}}}" if node.collection == "map" else f"[{text}]"
        return f"{node.properties} {opened}" if node.properties else opened

    def _scalar(self, head: str, node: Node, place: "_Place") -> None:
        self._lead(node.start, len(head) - len(head.lstrip()))
        if node.block_header:
            self._lines.append(f"{head} {_DIGIT.sub(str(_STEP), node.block_header)}")
            self._comment(node.line, place.limit)
            self._lines += self._block_lines(node, place)
            self._no_blank = "+" in node.block_header
            return
        first, *more = self._spelled.get(node.start, self._text.written(node)).split("\n")
        self._lines.append(f"{head} {first}" if first else head)
        indent = " " * (place.indent + _STEP)
        self._lines += [f"{indent}{line.lstrip()}" if line.strip() else "" for line in more]
        self._comment(node.end_line, place.limit)

    def _block_lines(self, node: Node, place: "_Place") -> Iterator[str]:
        """The lines of a block scalar, moved."""
        _, _, content = self._text.written(node).partition("\n")
        lines = content.removesuffix("\n").split("\n") if content else []
        if "+" not in node.block_header:
            while lines and not lines[-1].strip():
                lines.pop()
        digit = _DIGIT.search(node.block_header)
        first = next((line for line in lines if line.strip()), "")
        margin = place.column + int(digit[0]) if digit else len(first) - len(first.lstrip(" "))
        indent = " " * (place.indent + _STEP)
        return (f"{indent}{line[margin:]}" if line[margin:] else "" for line in lines)

    def _lead(self, index: int, indent: int) -> None:
        """The comments before something, each on a line of its own."""
        while self._pending and self._pending[0].index < index:
            comment = self._pending.pop(0)
            self._blank(comment.line if comment.own_line else 0)
            self._lines.append(" " * indent + comment.text)

    def _tail(self, node: Node, place: "_Place") -> None:
        """The comments behind the last item of a collection, as far as they are indented like it."""
        if node.flow:
            self._lead(node.end, place.indent)
            return
        column = max(node.column, place.column + 1)
        while self._pending and self._pending[0].index < place.limit and self._pending[0].column >= column:
            self._lead(self._pending[0].index + 1, place.indent)

    def _blank(self, line: int) -> None:
        """One blank line where the source has any above a line."""
        if line > 0 and not self._source[line - 1].strip() and not self._no_blank:
            self._lines.append("")
        self._no_blank = False

    def _comment(self, line: int | None, before: int) -> bool:
        """Whether the next comment stood at the end of a line of the source, and now stands at that of the last."""
        comment = self._pending[0] if self._pending else None
        if comment is None or comment.own_line or comment.index >= before or line not in (None, comment.line):
            return False
        self._put_behind(comment)
        return True

    def _comment_behind(self, node: Node, before: int) -> None:
        """The comment behind a closing bracket."""
        for comment in self._pending:
            if node.end <= comment.index < before and comment.line == node.end_line:
                self._put_behind(comment)
                return

    def _put_behind(self, comment: Comment) -> None:
        self._pending.remove(comment)
        self._lines[-1] += " " * max(2, comment.gap) + comment.text


@dataclass(frozen=True)
class _Place:
    """Where something is laid out: its indentation, up to which index comments may belong to it, and in the source
    the column of the collection it is in."""

    indent: int
    limit: int
    column: int

    def of_item(self, node: Node, number: int) -> "_Place":
        """The place of an item of a collection here."""
        limit = node.end if node.flow else self.limit
        if number + 1 < len(node.items):
            key, value = node.items[number + 1]
            limit = (key or value).start
        return _Place(self.indent, limit, -1 if node.flow else node.column)

    def below(self) -> "_Place":
        return _Place(self.indent + _STEP, self.limit, self.column)


def _rank(key: str, order: Sequence[str]) -> int:
    return order.index(key) if key in order else len(order)


def _sorted(chunks: Sequence[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Chunks by rank; what comes to the top brings no blank line along."""
    found = sorted(chunks, key=lambda chunk: chunk[0])
    if found and found[0] is not chunks[0]:
        rank, lines = found[0]
        found[0] = (rank, lines[1:] if lines and not lines[0] else lines)
    return found
