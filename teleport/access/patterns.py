"""Text patterns: how labels, names and maps of roles match (SEMANTICS: "Matching").

A pattern that starts with `^` and ends with `$` is an RE2 expression as written. In every other, all characters
are literal but `*`, which stands for any text, and the whole is anchored. Case counts. No matcher can fail.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from teleport.access.regex import Regex, compile_regex, escape, opens_group

__all__ = [
    "ANY", "Any_", "Exact", "Glob", "Matcher", "Pattern", "around", "check_around", "covers", "glob", "is_expression",
    "pattern",
]  # fmt: skip


@dataclass(frozen=True)
class Exact:
    """Matches one text and nothing else. What traits give is always this."""

    text: str

    def matches(self, value: str) -> bool:
        return value == self.text

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Any_:
    """Matches every text."""

    def matches(self, value: str) -> bool:
        return True

    def __str__(self) -> str:
        return "*"


@dataclass(frozen=True)
class Glob:
    """Matches texts that consist of the parts in order, with anything in between: at least two parts."""

    parts: tuple[str, ...]

    def matches(self, value: str) -> bool:
        head, *middle, tail = self.parts
        end = len(value) - len(tail)
        if end < len(head) or not value.startswith(head) or not value.endswith(tail):
            return False
        position = len(head)
        for part in middle:
            position = value.find(part, position, end)
            if position < 0:
                return False
            position += len(part)
        return True

    def __str__(self) -> str:
        return "*".join(self.parts)


@dataclass(frozen=True)
class Pattern:
    """Matches what an expression says."""

    text: str
    regex: Regex

    def matches(self, value: str) -> bool:
        return self.regex.found_in(value)

    def __str__(self) -> str:
        return self.text


Matcher = Exact | Any_ | Glob | Pattern
ANY = Any_()


def is_expression(text: str) -> bool:
    return len(text) > 1 and text.startswith("^") and text.endswith("$")


@lru_cache(maxsize=65_536)
def pattern(text: str) -> Matcher:
    """The matcher that a written pattern means. Raises ValueError with the reason it is none."""
    if not is_expression(text):
        return glob(text)
    regex, scan = compile_regex(text), _Scan(text)
    if scan.bar >= 0:
        raise ValueError(f"the alternation in {text} is not grouped: write ^({text[1:-1]})$")
    if scan.ends_escaped:
        raise ValueError(f"the $ that ends {text} is a literal dollar, so the end is open: write {text}$")
    return Pattern(text, regex)


def glob(text: str) -> Matcher:
    """Only `*` is special."""
    if text == "*":
        return ANY
    return Glob(tuple(text.split("*"))) if "*" in text else Exact(text)


def around(prefix: str, value: str, suffix: str) -> Matcher:
    """A pattern that the author wrote around a value that is data: the value matches only itself.

    Raises ValueError only where `check_around` does, or where the value makes an expression too large.
    """
    if is_expression(prefix + suffix) and prefix and suffix:
        return Pattern(f"{prefix}{value}{suffix}", compile_regex(f"{prefix}(?:{escape(value)}){suffix}", bounded=False))
    before, after = prefix.split("*"), suffix.split("*")
    parts = (*before[:-1], f"{before[-1]}{value}{after[0]}", *after[1:])
    return Glob(parts) if len(parts) > 1 else Exact(parts[0])


def check_around(prefix: str, suffix: str) -> None:
    """Whether a value may stand between the two. Raises ValueError with the reason it may not."""
    if not (is_expression(prefix + suffix) and prefix and suffix):
        return
    if not opens_group(prefix):
        raise ValueError(f"a template cannot stand after {prefix}: there it would not be matched as text")
    pattern(f"{prefix}(?:x){suffix}")


_ANYTHING: Final = "\U0010ffff"
"""Stands for a star of another pattern: no text that anybody writes has it, so only a star can match it."""


def covers(outer: str, inner: str) -> bool:
    """Whether all that the inner pattern can match is matched by the outer one. Where that is not plain, it is not.

    What an expression matches is never weighed: it is covered by `*` and by itself. Raises ValueError for an outer
    pattern that is none.
    """
    matcher = pattern(outer)
    if isinstance(matcher, Any_) or outer == inner:
        return True
    if is_expression(inner) or _ANYTHING in outer:
        return False
    if "*" in inner and isinstance(matcher, Pattern):
        return False
    return matcher.matches(inner.replace("*", _ANYTHING))


class _Scan:
    """What of an expression undoes its anchors; RE2 alone judges the rest.

    `bar` is where a `|` stands outside of any group, -1 for nowhere. `ends_escaped`: the last `$` is no anchor.
    """

    def __init__(self, text: str) -> None:
        self.bar, self.ends_escaped = -1, False
        depth, position = 0, 0
        while position < len(text):
            char = text[position]
            following = self._after_literal(text, position)
            if following > position:
                self.ends_escaped = following >= len(text)
                position = following
                continue
            depth += (char == "(") - (char == ")")
            if char == "|" and depth == 0 and self.bar < 0:
                self.bar = position
            position += 1

    @staticmethod
    def _after_literal(text: str, position: int) -> int:
        """The end of an escape, a quotation or a character class that starts here; otherwise the position itself."""
        if text.startswith("\\Q", position):
            end = text.find("\\E", position)
            return len(text) if end < 0 else end + 2
        if text[position] == "\\":
            return position + 2
        return _end_of_class(text, position) if text[position] == "[" else position


def _end_of_class(text: str, position: int) -> int:
    """The position after the character class that opens at `position`. A `]` that comes first is a member."""
    position += 2 if text.startswith("[^", position) else 1
    first = position
    while position < len(text):
        if text[position] == "\\":
            position += 2
        elif text.startswith("[:", position) and (end := text.find(":]", position + 2)) > 0:
            position = end + 2
        elif text[position] == "]" and position > first:
            return position + 1
        else:
            position += 1
    return len(text)
