"""Expressions: parsed once, checked for types, compiled to closures over a `Scope`.

Where an expression stands decides which names it may read: `TEMPLATE`, `LABELS`, `WHERE` and the narrower ones
below. Everything wrong with one is an `ExpressionError` at compile time; at run time nothing can fail but
a defect, and a defect is a denial.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, Literal

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from teleport.access.patterns import pattern
from teleport.access.regex import compile_regex, expand_with
from teleport.resources.nouns import nearest

__all__ = ["LABELS", "TEMPLATE", "Compiled", "Environment", "ExpressionError", "Scope", "Shape", "compile_expression"]

MAX_EXPRESSION: Final = 4096
"""Characters in one expression."""
MAX_NESTING: Final = 32
"""Parentheses, calls and negations within each other."""

Shape = Literal["text", "list", "truth"]
Values = tuple[str, ...]


@dataclass(frozen=True)
class Scope:
    """What an expression may look at. Everything has an empty default: what is missing is empty, not an error."""

    user: str = ""
    roles: Values = ()
    traits: Mapping[str, Values] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    resource_name: str = ""
    resource_labels: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str | Values] = field(default_factory=dict)
    """Everything else by its dotted name, such as `session.participants`."""


@dataclass(frozen=True)
class Compiled:
    """A checked expression: the shape of its value, and the function that gives it."""

    shape: Shape
    run: Callable[[Scope], Any]
    literal: str | None = None


class ExpressionError(ValueError):
    """Why a text is not an expression, with a hint."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


@dataclass(frozen=True)
class Environment:
    """The names that expressions at one kind of place may use.

    `plain` are dotted names with the shape of their value; `keyed` are names that take a further key.
    """

    plain: Mapping[str, Compiled]
    keyed: Mapping[str, Callable[[str], Compiled]]

    def names(self) -> list[str]:
        return [*self.plain, *(f'{name}["…"]' for name in self.keyed)]


def _trait(name: str) -> Compiled:
    return Compiled("list", lambda scope: scope.traits.get(name, ()))


def _label(name: str) -> Compiled:
    return Compiled("text", lambda scope: scope.labels.get(name, ""))


def _resource_label(name: str) -> Compiled:
    return Compiled("text", lambda scope: scope.resource_labels.get(name, ""))


def _attribute(name: str, shape: Shape) -> Compiled:
    empty: Any = "" if shape == "text" else ()
    return Compiled(shape, lambda scope: scope.attributes.get(name, empty))


_USER: Final[Mapping[str, Compiled]] = {
    "user.metadata.name": Compiled("text", lambda scope: scope.user),
    "user.spec.roles": Compiled("list", lambda scope: scope.roles),
}

TEMPLATE: Final = Environment({}, {"internal": _trait, "external": _trait})
LABELS: Final = Environment(dict(_USER), {"labels": _label, "user.spec.traits": _trait})

_WHERE_TEXTS = (
    "session.login", "session.user", "session.kind", "session.sid", "session.server_id", "session.server_hostname",
    "session.cluster", "request.reason", "impersonate_role.metadata.name", "impersonate_user.metadata.name",
)  # fmt: skip
_WHERE_LISTS = ("session.participants", "reviewer.roles", "request.roles", "impersonate_user.spec.roles")

WHERE: Final = Environment(
    {
        **_USER,
        "resource.metadata.name": Compiled("text", lambda scope: scope.resource_name),
        **{name: _attribute(name, "text") for name in _WHERE_TEXTS},
        **{name: _attribute(name, "list") for name in _WHERE_LISTS},
    },
    {
        "user.spec.traits": _trait,
        "resource.metadata.labels": _resource_label,
        "reviewer.traits": lambda key: _attribute(f"reviewer.traits.{key}", "list"),
        "request.system_annotations": lambda key: _attribute(f"request.system_annotations.{key}", "list"),
        "impersonate_role.metadata.labels": lambda key: _attribute(f"impersonate_role.metadata.labels.{key}", "text"),
        "impersonate_user.metadata.labels": lambda key: _attribute(f"impersonate_user.metadata.labels.{key}", "text"),
        "impersonate_user.spec.traits": lambda key: _attribute(f"impersonate_user.spec.traits.{key}", "list"),
    },
)

_PARSER: Final = Lark(
    files("teleport.access").joinpath("grammar.lark").read_text(), parser="lalr", maybe_placeholders=False
)


@lru_cache(maxsize=65_536)
def _compile(text: str, environment: "_Place", want: Shape) -> Compiled:
    if len(text) > MAX_EXPRESSION:
        raise ExpressionError(f"expression longer than {MAX_EXPRESSION} characters")
    try:
        tree = _PARSER.parse(text)
    except UnexpectedInput as error:
        raise ExpressionError(_syntax(text, error)) from None
    compiled = _Compiler(environment.environment).node(tree, 0)
    if compiled.shape != want and not (want == "list" and compiled.shape == "text"):
        raise ExpressionError(f"the expression gives {_a(compiled.shape)}; {_a(want)} is expected here")
    return compiled


class _Place:
    """An environment as a cache key: by identity."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment

    def __hash__(self) -> int:
        return id(self.environment)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Place) and other.environment is self.environment


def compile_expression(text: str, environment: Environment, *, want: Shape = "truth") -> Compiled:
    """Parse, check and compile. Raises ExpressionError."""
    return _compile(text, _Place(environment), want)


def _a(shape: Shape) -> str:
    return {"text": "a text", "list": "a list", "truth": "true or false"}[shape]


def _syntax(text: str, error: UnexpectedInput) -> str:
    if isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
        return "the expression ends too early"
    if isinstance(error, UnexpectedToken):
        return f"unexpected {error.token} at character {error.column}"
    if isinstance(error, UnexpectedCharacters):
        rest = text[error.pos_in_stream :]
        quote = "; text stands in double quotes" if rest.startswith("'") else ""
        return f"unexpected {rest[:1]} at character {error.column}{quote}"
    return "not an expression"


_ESCAPES: Final[Mapping[str, str]] = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}


def _unquote(literal: str) -> str:
    """The text of a double-quoted literal, with Go's escapes."""
    out: list[str] = []
    body = iter(literal[1:-1])
    for char in body:
        if char != "\\":
            out.append(char)
            continue
        escaped = next(body)
        if escaped not in _ESCAPES:
            raise ExpressionError(
                f"unknown escape \\{escaped}", f"write \\\\{escaped} for a backslash, or use backquotes: `\\{escaped}`"
            )
        out.append(_ESCAPES[escaped])
    return "".join(out)


class _Compiler:
    """Turns syntax trees into closures; one method a node."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def node(self, tree: Any, depth: int) -> Compiled:
        if depth > MAX_NESTING:
            raise ExpressionError(f"nested deeper than {MAX_NESTING} levels")
        assert isinstance(tree, Tree)
        method: Callable[[Sequence[Any], int], Compiled] = getattr(self, f"_{tree.data}")
        return method(tree.children, depth + 1)

    def _truth(self, tree: Any, depth: int) -> Callable[[Scope], bool]:
        compiled = self.node(tree, depth)
        if compiled.shape != "truth":
            raise ExpressionError(f"{_a(compiled.shape)} where true or false is expected")
        return compiled.run

    def _either(self, children: Sequence[Any], depth: int) -> Compiled:
        parts = [self._truth(child, depth) for child in children]
        return Compiled("truth", lambda scope: any(part(scope) for part in parts))

    def _both(self, children: Sequence[Any], depth: int) -> Compiled:
        parts = [self._truth(child, depth) for child in children]
        return Compiled("truth", lambda scope: all(part(scope) for part in parts))

    def _negate(self, children: Sequence[Any], depth: int) -> Compiled:
        part = self._truth(children[0], depth)
        return Compiled("truth", lambda scope: not part(scope))

    def _equal(self, children: Sequence[Any], depth: int) -> Compiled:
        left, right = (self.node(child, depth) for child in children)
        if "list" in (left.shape, right.shape):
            raise ExpressionError("== and != compare texts, not lists", "use contains, contains_any or contains_all")
        if left.shape != right.shape:
            raise ExpressionError(f"{_a(left.shape)} cannot equal {_a(right.shape)}")
        return Compiled("truth", lambda scope: left.run(scope) == right.run(scope))

    def _unequal(self, children: Sequence[Any], depth: int) -> Compiled:
        equal = self._equal(children, depth)
        return Compiled("truth", lambda scope: not equal.run(scope))

    def _text(self, children: Sequence[Any], depth: int) -> Compiled:
        value = _unquote(children[0])
        return Compiled("text", lambda _: value, value)

    def _raw(self, children: Sequence[Any], depth: int) -> Compiled:
        value = str(children[0])[1:-1]
        return Compiled("text", lambda _: value, value)

    def _reference(self, children: Sequence[Any], depth: int) -> Compiled:
        steps = list(children)
        if len(steps) > 1 and steps[-1].data == "arguments":
            name = ".".join([str(steps[0]), *(self._step(step)[1] for step in steps[1:-1])])
            return _call(name, [self.node(child, depth) for child in steps[-1].children])
        return self._path(str(steps[0]), [self._step(step) for step in steps[1:]])

    def _step(self, step: Any) -> tuple[bool, str]:
        """Whether a step is in brackets, and its name."""
        token = step.children[0]
        assert isinstance(token, Token)
        if step.data == "field":
            return False, str(token)
        return True, _unquote(token) if step.data == "key" else str(token)[1:-1]

    def _path(self, head: str, steps: Sequence[tuple[bool, str]]) -> Compiled:
        plain, keyed = self._environment.plain, self._environment.keyed
        whole = ".".join([head, *(name for _, name in steps)])
        if whole in plain and not any(bracketed for bracketed, _ in steps):
            return plain[whole]
        prefix = ".".join([head, *(name for _, name in steps[:-1])])
        if steps and prefix in keyed and not any(bracketed for bracketed, _ in steps[:-1]):
            return keyed[prefix](steps[-1][1])
        names = self._environment.names()
        likely = nearest(whole, [*plain, *keyed])
        raise ExpressionError(
            f"unknown name {whole}", f"did you mean {likely}?" if likely else f"known: {', '.join(names[:8])}"
        )


_Function = Callable[[Sequence[Compiled]], Compiled]


def _call(name: str, arguments: Sequence[Compiled]) -> Compiled:
    entry = _FUNCTIONS.get(name)
    if entry is None:
        likely = nearest(name, _FUNCTIONS)
        raise ExpressionError(f"unknown function {name}", f"did you mean {likely}?" if likely else "")
    usage, shapes, build = entry
    if shapes is not None and len(arguments) != len(shapes):
        raise ExpressionError(f"{name} takes {len(shapes)} arguments, not {len(arguments)}", f"usage: {usage}")
    for position, (argument, allowed) in enumerate(zip(arguments, shapes or (), strict=False), start=1):
        if allowed == "literal" and argument.literal is None:
            raise ExpressionError(f"argument {position} of {name} must be a quoted text", f"usage: {usage}")
        if allowed == "list" and argument.shape == "truth":
            raise ExpressionError(f"argument {position} of {name} must be a list", f"usage: {usage}")
        if allowed == "text" and argument.shape != "text":
            raise ExpressionError(f"argument {position} of {name} must be a text", f"usage: {usage}")
    return build(arguments)


def _as_list(argument: Compiled) -> Callable[[Scope], Values]:
    """The argument as a list; a text is a list of one, the empty text an empty list."""
    run = argument.run
    if argument.shape == "list":
        return run

    def one(scope: Scope) -> Values:
        value = run(scope)
        return (value,) if value else ()

    return one


def _map(argument: Compiled, change: Callable[[str], str | None]) -> Compiled:
    """Change each value; None drops it. A text stays a text."""
    run = argument.run
    if argument.shape == "text":
        return Compiled("text", lambda scope: change(run(scope)) or "")

    def many(scope: Scope) -> Values:
        changed = (change(value) for value in run(scope))
        return tuple(dict.fromkeys(value for value in changed if value is not None))

    return Compiled("list", many)


def _contains(arguments: Sequence[Compiled]) -> Compiled:
    items, wanted = _as_list(arguments[0]), arguments[1].run
    return Compiled("truth", lambda scope: wanted(scope) in items(scope))


def _contains_any(arguments: Sequence[Compiled]) -> Compiled:
    left, right = (_as_list(argument) for argument in arguments)
    return Compiled("truth", lambda scope: not set(left(scope)).isdisjoint(right(scope)))


def _contains_all(arguments: Sequence[Compiled]) -> Compiled:
    left, right = (_as_list(argument) for argument in arguments)

    def run(scope: Scope) -> bool:
        wanted = right(scope)
        return bool(wanted) and set(wanted) <= set(left(scope))

    return Compiled("truth", run)


def _equals(arguments: Sequence[Compiled]) -> Compiled:
    left, right = arguments
    if left.shape == right.shape == "text":
        return Compiled("truth", lambda scope: left.run(scope) == right.run(scope))
    first, second = _as_list(left), _as_list(right)
    return Compiled("truth", lambda scope: set(first(scope)) == set(second(scope)))


def _has_prefix(arguments: Sequence[Compiled]) -> Compiled:
    text, prefix = arguments[0].run, arguments[1].run
    return Compiled("truth", lambda scope: text(scope).startswith(prefix(scope)))


def _literal_regex(argument: Compiled) -> Callable[[str], bool]:
    assert argument.literal is not None
    try:
        return pattern(argument.literal).matches
    except ValueError as error:
        raise ExpressionError(f"pattern {argument.literal}: {error}") from None


def _regexp_match(arguments: Sequence[Compiled]) -> Compiled:
    items, matches = arguments[0], _literal_regex(arguments[1])
    if items.shape == "text":
        return Compiled("truth", lambda scope: matches(items.run(scope)))
    return Compiled("truth", lambda scope: any(matches(value) for value in items.run(scope)))


def _regexp_replace(arguments: Sequence[Compiled]) -> Compiled:
    subject, written, replacement = arguments
    assert written.literal is not None
    assert replacement.literal is not None
    try:
        regex = compile_regex(written.literal)
    except ValueError as error:
        raise ExpressionError(f"expression {written.literal}: {error}") from None
    expand = expand_with(replacement.literal)
    return _map(subject, lambda value: regex.replace(value, expand) if regex.found_in(value) else None)


def _email_local(arguments: Sequence[Compiled]) -> Compiled:
    def local(value: str) -> str | None:
        head, at, domain = value.rpartition("@")
        return head if at and head and domain else None

    return _map(arguments[0], local)


def _labels_matching(arguments: Sequence[Compiled]) -> Compiled:
    matches = _literal_regex(arguments[0])
    return Compiled("list", lambda scope: tuple(value for key, value in scope.labels.items() if matches(key)))


def _set(arguments: Sequence[Compiled]) -> Compiled:
    if any(argument.shape != "text" for argument in arguments):
        raise ExpressionError("set takes texts", 'usage: set("a", "b")')
    runs = [argument.run for argument in arguments]
    return Compiled("list", lambda scope: tuple(dict.fromkeys(run(scope) for run in runs)))


def _replace_all(arguments: Sequence[Compiled]) -> Compiled:
    old, new = arguments[1].literal, arguments[2].literal
    assert old is not None
    assert new is not None
    return _map(arguments[0], lambda value: value.replace(old, new))


def _split(arguments: Sequence[Compiled]) -> Compiled:
    items, separator = _as_list(arguments[0]), arguments[1].literal
    if not separator:
        raise ExpressionError("strings.split needs a separator")
    return Compiled(
        "list", lambda scope: tuple(dict.fromkeys(part for value in items(scope) for part in value.split(separator)))
    )


_FUNCTIONS: Final[Mapping[str, tuple[str, tuple[str, ...] | None, _Function]]] = {
    "contains": ("contains(list, text)", ("list", "text"), _contains),
    "contains_any": ("contains_any(list, list)", ("list", "list"), _contains_any),
    "contains_all": ("contains_all(list, list)", ("list", "list"), _contains_all),
    "equals": ("equals(value, value)", ("list", "list"), _equals),
    "has_prefix": ("has_prefix(text, text)", ("text", "text"), _has_prefix),
    "regexp.match": ('regexp.match(list, "pattern")', ("list", "literal"), _regexp_match),
    "regexp.replace": (
        'regexp.replace(list, "expression", "replacement")',
        ("list", "literal", "literal"),
        _regexp_replace,
    ),
    "email.local": ("email.local(list)", ("list",), _email_local),
    "strings.upper": ("strings.upper(list)", ("list",), lambda args: _map(args[0], str.upper)),
    "strings.lower": ("strings.lower(list)", ("list",), lambda args: _map(args[0], str.lower)),
    "strings.replaceall": ('strings.replaceall(list, "old", "new")', ("list", "literal", "literal"), _replace_all),
    "strings.split": ('strings.split(list, "separator")', ("list", "literal"), _split),
    "labels_matching": ('labels_matching("pattern")', ("literal",), _labels_matching),
    "set": ('set("a", "b")', None, _set),
}
