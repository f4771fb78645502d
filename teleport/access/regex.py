"""Regular expressions in linear time: the one typed door to RE2.

Errors are ValueError with RE2's own words. Nothing here anchors or escapes by itself.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import re2

__all__ = ["MAX_PATTERN", "Regex", "compile_regex", "escape", "expand_with"]

MAX_PATTERN: Final = 2048
"""Characters in one pattern."""


class Regex:
    """A compiled expression."""

    __slots__ = ("_compiled", "text")

    def __init__(self, text: str, compiled: Any) -> None:
        self.text, self._compiled = text, compiled

    def found_in(self, value: str) -> bool:
        """Whether the expression matches anywhere; anchors decide the rest."""
        return self._compiled.search(value) is not None

    def covers(self, value: str) -> bool:
        """Whether the expression matches the whole value."""
        return self._compiled.fullmatch(value) is not None

    def replace(self, value: str, expand: Callable[[Callable[[int | str], str]], str]) -> str:
        """Every match replaced by what `expand` makes of its groups (a missing group is empty)."""

        def one(match: Any) -> str:
            def group(name: int | str) -> str:
                try:
                    return match[name] or ""
                except (IndexError, KeyError):
                    return ""

            return expand(group)

        replaced: str = self._compiled.sub(one, value)
        return replaced


@lru_cache(maxsize=16_384)
def compile_regex(text: str) -> Regex:
    """Compile an RE2 expression. Raises ValueError for what RE2 does not understand."""
    if len(text) > MAX_PATTERN:
        raise ValueError(f"pattern longer than {MAX_PATTERN} characters")
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    try:
        return Regex(text, re2.compile(text, options))
    except re2.error as error:
        message = error.args[0]
        shown = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
        raise ValueError(shown) from None


def escape(text: str) -> str:
    """Text as an expression that matches only itself."""
    escaped: str = re2.escape(text)
    return escaped


_REFERENCE: Final = re.compile(r"\$(?:(\$)|([0-9A-Za-z_]+)|\{([0-9A-Za-z_]+)\})")


def expand_with(template: str) -> Callable[[Callable[[int | str], str]], str]:
    """A replacement with `$1`, `${1}`, `${name}` and `$$`, as Go's regexp.Expand reads it."""
    parts: list[str | int | tuple[int | str]] = []
    position = 0
    for match in _REFERENCE.finditer(template):
        parts.append(template[position : match.start()])
        name = match[2] or match[3]
        if match[1]:
            parts.append("$")
        else:
            parts.append((int(name) if name.isdigit() else name,))
        position = match.end()
    parts.append(template[position:])

    def expand(group: Callable[[int | str], str]) -> str:
        return "".join(group(part[0]) if isinstance(part, tuple) else str(part) for part in parts)

    return expand
