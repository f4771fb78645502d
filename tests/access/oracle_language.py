"""The oracle's own reading of patterns, templates and label expressions: characters, recursion, and no cleverness.

Written from SEMANTICS alone. Imports nothing of the product; regular expressions are Python's, which agree with
RE2 on the few constructs that the tests generate.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Traits = Mapping[str, Sequence[str]]


def glob_matches(written: str, value: str) -> bool:
    """Every star tries every length."""
    if written == "":
        return value == ""
    if written[0] == "*":
        return any(glob_matches(written[1:], value[cut:]) for cut in range(len(value) + 1))
    return value[:1] == written[0] and glob_matches(written[1:], value[1:])


def pattern_matches(written: str, value: str) -> bool:
    if written.startswith("^") and written.endswith("$"):
        return re.fullmatch(written[1:-1], value) is not None
    return glob_matches(written, value)


def expand(text: str, traits: Traits) -> list[str] | None:
    """What a text with at most one template stands for; None where it has no template."""
    if "{{" not in text:
        return None
    before, rest = text.split("{{")
    inner, after = rest.split("}}")
    values = Reader(inner, Facts("", {}, traits)).whole()
    return unique([before + value + after for value in values])


def template_matches(text: str, value: str, traits: Traits) -> bool:
    """A label value: what traits give matches only itself, what the author wrote keeps its meaning."""
    if "{{" not in text:
        return pattern_matches(text, value)
    before, rest = text.split("{{")
    inner, after = rest.split("}}")
    given = Reader(inner, Facts("", {}, traits)).whole()
    if not given:
        return value == ""
    for one in given:
        if before.startswith("^") and after.endswith("$"):
            if re.fullmatch(before[1:] + re.escape(one) + after[:-1], value) is not None:
                return True
            continue
        for start in range(len(value) + 1):
            end = start + len(one)
            if value[start:end] == one and glob_matches(before, value[:start]) and glob_matches(after, value[end:]):
                return True
    return False


def unique(values: Sequence[str]) -> list[str]:
    found: list[str] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


@dataclass(frozen=True)
class Facts:
    """What an expression looks at."""

    user: str
    labels: Mapping[str, str]
    traits: Traits


TOKEN = re.compile(
    r'\s*(?://[^\n]*\n?\s*)*("(?:[^"\\]|\\.)*"|`[^`]*`|&&|\|\||==|!=|[A-Za-z_][A-Za-z0-9_-]*|[!().,\[\]])'
)


class Reader:
    """Reads and evaluates at once, one method for each level of binding."""

    def __init__(self, text: str, facts: Facts) -> None:
        self.tokens: list[str] = []
        self.facts = facts
        at = 0
        while text[at:].strip():
            match = TOKEN.match(text, at)
            assert match is not None, text[at:]
            self.tokens.append(match[1])
            at = match.end()

    def whole(self) -> Any:
        value = self.either()
        assert not self.tokens, self.tokens
        return value

    def next(self) -> str:
        return self.tokens.pop(0)

    def peek(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def either(self) -> Any:
        value = self.both()
        while self.peek() == "||":
            self.next()
            other = self.both()
            value = value or other
        return value

    def both(self) -> Any:
        value = self.negation()
        while self.peek() == "&&":
            self.next()
            other = self.negation()
            value = value and other
        return value

    def negation(self) -> Any:
        if self.peek() == "!":
            self.next()
            return not self.negation()
        value = self.operand()
        if self.peek() in ("==", "!="):
            same = self.next() == "=="
            return (value == self.operand()) is same
        return value

    def operand(self) -> Any:
        token = self.next()
        if token == "(":
            value = self.either()
            assert self.next() == ")"
            return value
        if token[0] in '"`':
            return text_of(token)
        path = [token]
        while self.peek() in (".", "["):
            if self.next() == ".":
                path.append(self.next())
            else:
                path.append(text_of(self.next()))
                assert self.next() == "]"
        if self.peek() == "(":
            return self.call(".".join(path))
        return self.look_up(path)

    def look_up(self, path: list[str]) -> Any:
        if path == ["user", "metadata", "name"]:
            return self.facts.user
        if path[:3] == ["user", "spec", "traits"]:
            return list(self.facts.traits.get(path[3], []))
        if path[0] in ("internal", "external"):
            return list(self.facts.traits.get(path[1], []))
        assert path[0] == "labels", path
        return self.facts.labels.get(path[1], "")

    def call(self, name: str) -> Any:
        self.next()
        arguments: list[Any] = []
        while self.peek() != ")":
            arguments.append(self.either())
            if self.peek() == ",":
                self.next()
        self.next()
        return self.apply(name, arguments)

    def apply(self, name: str, given: list[Any]) -> Any:
        first = given[0] if given else []
        if name == "contains":
            return given[1] in first
        if name == "contains_any":
            return any(one in first for one in given[1])
        if name == "contains_all":
            return len(given[1]) > 0 and all(one in first for one in given[1])
        if name == "set":
            return unique(given)
        if name == "labels_matching":
            return [value for key, value in self.facts.labels.items() if pattern_matches(given[0], key)]
        if name == "regexp.match":
            return any(pattern_matches(given[1], one) for one in ([first] if isinstance(first, str) else first))
        if name == "regexp.replace":
            return each(first, lambda one: replaced(one, given[1], given[2]))
        if name == "email.local":
            return each(first, local_part)
        assert name in ("strings.upper", "strings.lower"), name
        return each(first, str.upper if name == "strings.upper" else str.lower)


def each(value: Any, change: Any) -> Any:
    """A list without what was dropped and without duplicates; a text alone is empty when it is dropped."""
    if isinstance(value, str):
        return change(value) or ""
    return unique([changed for changed in map(change, value) if changed is not None])


def replaced(value: str, written: str, replacement: str) -> str | None:
    if re.search(written, value) is None:
        return None
    return re.sub(written, lambda match: replacement.replace("$1", match[1]), value)


def local_part(value: str) -> str | None:
    at = value.rfind("@")
    return value[:at] if 0 < at < len(value) - 1 else None


def text_of(token: str) -> str:
    return token[1:-1].replace('\\"', '"').replace("\\\\", "\\")
