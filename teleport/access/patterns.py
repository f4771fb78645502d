"""Text patterns: how labels, names and maps of roles match (SEMANTICS: "Matching").

A pattern that starts with `^` and ends with `$` is an RE2 expression as written. In every other, all characters
are literal but `*`, which stands for any text, and the whole is anchored. Case counts.
"""

from dataclasses import dataclass
from functools import lru_cache

from teleport.access.regex import Regex, compile_regex, escape

__all__ = ["ANY", "Any_", "Exact", "Matcher", "Pattern", "around", "glob", "pattern"]


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
class Pattern:
    """Matches what a glob or an expression says."""

    text: str
    regex: Regex

    def matches(self, value: str) -> bool:
        return self.regex.found_in(value)

    def __str__(self) -> str:
        return self.text


Matcher = Exact | Any_ | Pattern
ANY = Any_()


def is_expression(text: str) -> bool:
    return text.startswith("^") and text.endswith("$")


@lru_cache(maxsize=65_536)
def pattern(text: str) -> Matcher:
    """The matcher that a written pattern means. Raises ValueError with the reason it is none."""
    if is_expression(text):
        bar = _ungrouped_bar(text)
        if bar >= 0:
            raise ValueError(f"the alternation in {text} is not grouped: write ^({text[1:-1]})$")
        return Pattern(text, compile_regex(text))
    return glob(text)


def glob(text: str) -> Matcher:
    """Only `*` is special."""
    if text == "*":
        return ANY
    if "*" not in text:
        return Exact(text)
    return Pattern(text, compile_regex("^" + ".*".join(escape(part) for part in text.split("*")) + "$"))


def around(prefix: str, value: str, suffix: str) -> Matcher:
    """A pattern that the author wrote around a value that is data: the value matches only itself."""
    shown = f"{prefix}{value}{suffix}"
    if prefix.startswith("^") and suffix.endswith("$"):
        return Pattern(shown, compile_regex(prefix + escape(value) + suffix))
    if "*" not in prefix and "*" not in suffix:
        return Exact(shown)
    stars = (".*".join(escape(part) for part in side.split("*")) for side in (prefix, suffix))
    return Pattern(shown, compile_regex("^" + escape(value).join(stars) + "$"))


def _ungrouped_bar(text: str) -> int:
    """Where a `|` stands outside of any group, -1 for nowhere: it would undo the anchors."""
    depth, position, in_class = 0, 0, False
    while position < len(text):
        char = text[position]
        if char == "\\":
            if text.startswith("\\Q", position):
                end = text.find("\\E", position)
                position = len(text) if end < 0 else end
            position += 2
            continue
        if in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
            following = position + (2 if text[position + 1 : position + 2] == "^" else 1)
            if text[following : following + 1] == "]":
                position = following
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == "|" and depth == 0:
            return position
        position += 1
    return -1
