"""Regular expressions in linear time: the one typed door to RE2.

Errors are ValueError with RE2's own words, at compile time only. Nothing here anchors or escapes by itself.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import re2

__all__ = ["MAX_PATTERN", "Regex", "compile_regex", "escape", "expand_with", "opens_group", "references_in"]

MAX_PATTERN: Final = 2048
"""Characters in one written pattern."""

Groups = Callable[[int | str], str]
"""The text of a group by number or name; empty where there is none."""


class Regex:
    """A compiled expression."""

    __slots__ = ("_compiled", "text")

    def __init__(self, text: str, compiled: Any) -> None:
        self.text, self._compiled = text, compiled

    def found_in(self, value: str) -> bool:
        """Whether the expression matches anywhere; anchors decide the rest."""
        return self._compiled.search(_encodable(value)) is not None

    def groups_of(self, value: str) -> "Groups | None":
        """The groups of the first match; None where there is none."""
        match = self._compiled.search(_encodable(value))
        return None if match is None else _groups(match)

    @property
    def names(self) -> frozenset[int | str]:
        """The numbers and names of its groups."""
        return frozenset((*range(self._compiled.groups + 1), *self._compiled.groupindex))

    def replace(self, value: str, expand: Callable[[Groups], str]) -> str:
        """Every match replaced by what `expand` makes of its groups."""

        def one(match: Any) -> str:
            return expand(_groups(match))

        replaced: str = self._compiled.sub(one, _encodable(value))
        return replaced


def _groups(match: Any) -> Groups:
    def group(name: int | str) -> str:
        try:
            return match[name] or ""
        except (IndexError, KeyError):
            return ""

    return group


def _encodable(value: str) -> str:
    """The value with lone surrogates, which are no characters and which RE2 cannot take, as question marks."""
    if value.isascii():
        return value
    return value.encode("utf-8", "replace").decode()


@lru_cache(maxsize=16_384)
def compile_regex(text: str, *, bounded: bool = True) -> Regex:
    """Compile an RE2 expression. Raises ValueError for what RE2 does not understand, or for too large a one."""
    if bounded and len(text) > MAX_PATTERN:
        raise ValueError(f"pattern longer than {MAX_PATTERN} characters")
    try:
        return Regex(text, re2.compile(_encodable(text), _options()))
    except re2.error as error:
        raise ValueError(_words(error)) from None


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


def _words(error: Exception) -> str:
    message = error.args[0]
    return message.decode(errors="replace") if isinstance(message, bytes) else str(message)


def opens_group(prefix: str) -> bool:
    """Whether a group can be opened after the beginning of an expression.

    It cannot within a character class, a quotation or an escape: there the parenthesis would be a character.
    """
    try:
        re2.compile(_encodable(f"{prefix}(?:"), _options())
    except re2.error as error:
        return _words(error).startswith("missing )")
    return False


def escape(text: str) -> str:
    """Text as an expression that matches only itself."""
    escaped: str = re2.escape(_encodable(text))
    return escaped


_REFERENCE: Final = re.compile(r"\$(?:(\$)|([0-9A-Za-z_]+)|\{([0-9A-Za-z_]+)\})")
_MAX_GROUP: Final = 1000


def expand_with(template: str) -> Callable[[Groups], str]:
    """A replacement with `$1`, `${1}`, `${name}` and `$$`, as Go's regexp.Expand reads it: `$1x` is the group 1x."""
    parts: list[str | tuple[int | str]] = []
    position = 0
    for match in _REFERENCE.finditer(template):
        parts.append(template[position : match.start()])
        parts.append("$" if match[1] else (_group(match[2] or match[3]),))
        position = match.end()
    parts.append(template[position:])

    def expand(group: Groups) -> str:
        return "".join(group(part[0]) if isinstance(part, tuple) else part for part in parts)

    return expand


def references_in(template: str) -> frozenset[int | str]:
    """The groups that a replacement names."""
    found = _REFERENCE.finditer(template)
    return frozenset(_group(match[2] or match[3]) for match in found if not match[1])


def _group(name: str) -> int | str:
    """A number, if it can be that of a group."""
    return int(name) if name.isdigit() and len(name) <= len(str(_MAX_GROUP)) else name
