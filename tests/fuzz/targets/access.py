"""What authors of policy write between quotes: expressions, templates, patterns, label selectors."""

import re
from collections.abc import Iterable
from typing import Final, get_args

from teleport.access.environments import LABELS, TEMPLATE, WHERE
from teleport.access.expressions import compile_expression
from teleport.access.labels import SelectorTemplate
from teleport.access.patterns import Glob, Pattern, around, check_around, pattern
from teleport.access.scope import ExpressionError, Scope, Shape
from teleport.access.templates import check_pattern, template
from tests.fuzz.target import Target

__all__ = ["EXPRESSIONS", "PATTERNS"]

_TRAITS: Final = {"logins": ("root", "^.*$", "*", "é", "\ud800"), "empty": (), "one": ("x@y.z",)}
_SCOPES: Final = (
    Scope(),
    Scope("ann", ("dev",), _TRAITS, {"env": "prod", "a b": ""}, "db-1", {"env": "dev"}, {"session.login": "root"}),
)
_MOST_STARS: Final = 5
"""The other reader tries every way to place them."""
_TYPES: Final = {"text": str, "list": tuple, "truth": bool}


def check_expressions(data: bytes) -> None:
    written = data.decode("utf-8", "surrogateescape")
    for environment in (TEMPLATE, LABELS, WHERE):
        for want in get_args(Shape):
            try:
                compiled = compile_expression.__wrapped__(written, environment, want=want)
            except ExpressionError:
                continue
            for scope in _SCOPES:
                assert isinstance(compiled.run(scope), _TYPES[compiled.shape])
    _template_is_refused_or_expands(written)


def _template_is_refused_or_expands(written: str) -> None:
    try:
        parsed = template.__wrapped__(written)
    except ExpressionError:
        return
    for traits in ({}, _TRAITS):
        found = parsed.expand(traits)
        assert len(set(found)) == len(found)
        assert all(one.startswith(parsed.prefix) and one.endswith(parsed.suffix) for one in found)
    try:
        check_pattern(written)
    except ValueError:
        return
    for traits in ({}, _TRAITS):
        for matcher in parsed.matchers(traits):
            assert isinstance(matcher.matches("root"), bool)


def check_patterns(data: bytes) -> None:
    written, _, rest = data.decode("utf-8", "surrogateescape").partition("\n")
    value, _, other = rest.partition("\n")
    _pattern_matches_as_another_reader_says(written, value)
    _a_value_is_never_a_pattern(written, value, other)
    _selector_is_refused_or_answers(written, value)


def _pattern_matches_as_another_reader_says(written: str, value: str) -> None:
    try:
        matcher = pattern.__wrapped__(written)
    except ValueError:
        return
    found = matcher.matches(value)
    assert isinstance(found, bool)
    assert str(matcher) == written
    parts = written.split("*")
    if not isinstance(matcher, Pattern) and len(parts) <= _MOST_STARS:
        assert found == bool(re.fullmatch(".*".join(map(re.escape, parts)), value, re.DOTALL))


def _a_value_is_never_a_pattern(prefix: str, value: str, suffix: str) -> None:
    """What a trait says stands for itself alone, whatever an author writes around it."""
    try:
        check_around(prefix, suffix)
    except ValueError:
        return
    matcher = around(prefix, value, suffix)
    if not isinstance(matcher, Glob | Pattern):
        assert matcher.matches(prefix + value + suffix)
    if prefix == "^" and suffix == "$":
        assert matcher.matches(value)
        assert not matcher.matches(f"{value}x")
        assert matcher.matches("root") == (value == "root")


def _selector_is_refused_or_answers(key: str, value: str) -> None:
    try:
        written = SelectorTemplate.of({key: (value,)}, "")
    except ValueError:
        return
    for traits in ({}, _TRAITS):
        selector = written.bind("ann", ("dev",), traits)
        assert selector.allows({}) == selector.everything
        for labels in ({key: value}, {"env": "prod"}):
            assert selector.allows(labels) == selector.denies(labels)
            assert selector.describe()
            assert selector.explain(labels)


def expressions() -> Iterable[bytes]:
    yield b'labels["env"] == "prod" && !contains(user.spec.traits["logins"], "root")'
    yield b'contains_any(user.spec.traits["a"], set("a", `b`)) || user.metadata.name != "ann" // why'
    yield b'regexp.match(labels_matching("env*"), "^prod$")'
    yield b'equals(resource.metadata.labels["env"], "x") && has_prefix(session.login, "a")'
    yield b'{{email.local(external["one"])}}'
    yield b'^x-{{regexp.replace(internal.logins, "^(.*)$", "$1")}}$'
    yield b"internal.logins"
    yield b'strings.upper(strings.lower(external.one)) == ("x")'


def patterns() -> Iterable[bytes]:
    yield b"^(prod|dev)-[a-z]+$\nprod-x\n"
    yield b"prod-*-db*\nprod-1-db2\n*"
    yield b"^\n.*\n$"
    yield b"^[[:alpha:]\\Q|\\E]$\na\n"
    yield b"^a\\$\na$\n"


EXPRESSIONS: Final = Target(
    "expressions", "`access/expressions`, `access/templates`: selectors, conditions, templates",
    "`ExpressionError`, or a value of the promised type in every scope: what compiles cannot fail",
    check_expressions, expressions, 30_000,
    (b"labels", b"user.spec.traits", b"&&", b"||", b"!", b"contains_all(", b"set(", b"regexp.replace(", b'["', b'"]',
     b"{{", b"}}", b"strings.lower(", b"(", b")", b"//", b"`"),
)  # fmt: skip
PATTERNS: Final = Target(
    "patterns", "`access/patterns`, `access/labels`: texts, globs, RE2",
    "`ValueError` or a matcher that cannot fail; a glob means what another reader says; a trait stands for itself",
    check_patterns, patterns, 100_000,
    (b"*", b"^", b"$", b"\\Q", b"\\E", b"(?", b"[", b"]", b"[^", b"[:", b":]", b"|", b"\\", b"{1000}"),
)  # fmt: skip
