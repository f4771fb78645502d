"""Expressions: parsed once, checked for types, compiled to closures over a `Scope`.

Where an expression stands decides which names it may read (`environments`). Everything wrong with one is an
`ExpressionError` at compile time; at run time nothing can fail but a defect, and a defect is a denial.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, Literal

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedEOF, UnexpectedInput, UnexpectedToken

from teleport.access.environments import LABELS, TEMPLATE, WHERE, Environment
from teleport.access.scope import Compiled, ExpressionError, Reads, Scope, Shape, a

__all__ = [
    "LABELS", "TEMPLATE", "WHERE", "Environment", "ExpressionError", "Part", "Scope", "compile_expression", "parts_of",
]  # fmt: skip

MAX_EXPRESSION: Final = 4096
"""Characters in one expression."""
MAX_NESTING: Final = 32
"""Parentheses, calls and negations within each other."""

_PARSER: Final = Lark(
    files("teleport.access").joinpath("grammar.lark").read_text(), parser="lalr", maybe_placeholders=False
)


@lru_cache(maxsize=65_536)
def compile_expression(text: str, environment: Environment, *, want: Shape = "truth") -> Compiled:
    """Parse, check and compile. Raises ExpressionError. Where a list is wanted, a text will do."""
    if len(text) > MAX_EXPRESSION:
        raise ExpressionError(f"expression longer than {MAX_EXPRESSION} characters")
    try:
        tree = _PARSER.parse(text)
    except UnexpectedInput as error:
        raise ExpressionError(_syntax(text, error)) from None
    compiler = _Compiler(environment)
    compiled = compiler.node(tree, 0)
    if compiled.shape != want and not (want == "list" and compiled.shape == "text"):
        raise ExpressionError(f"the expression gives {a(compiled.shape)}; {a(want)} is expected here")
    return replace(compiled, reads=compiler.reads)


@dataclass(frozen=True)
class Part:
    """A truth, or what it is joined of: a leaf has no parts and is evaluated whole."""

    join: Literal["and", "or", "not", "leaf"]
    parts: tuple["Part", ...] = ()
    leaf: Compiled | None = None

    def leaves(self) -> Iterator["Part"]:
        if self.leaf is not None:
            yield self
        for part in self.parts:
            yield from part.leaves()


_JOINS: Final[Mapping[str, Literal["and", "or", "not"]]] = {"both": "and", "either": "or", "negate": "not"}


@lru_cache(maxsize=4096)
def parts_of(text: str, environment: Environment) -> Part:
    """An expression that `compile_expression` takes for a truth, with its joints. Raises ExpressionError."""
    compile_expression(text, environment)
    return _part(_PARSER.parse(text), environment)


def _part(tree: Any, environment: Environment) -> Part:
    join = _JOINS.get(tree.data)
    if join is not None:
        return Part(join, tuple(_part(child, environment) for child in tree.children))
    compiler = _Compiler(environment)
    compiled = compiler.node(tree, 0)
    return Part("leaf", leaf=replace(compiled, reads=compiler.reads))


def _syntax(text: str, error: UnexpectedInput) -> str:
    if isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
        return "the expression ends too early"
    position: int = getattr(error, "pos_in_stream", 0)  # lark's annotation says it is None
    if isinstance(error, UnexpectedToken):
        return f"unexpected {error.token} at character {position + 1}"
    quote = "; text stands in double quotes" if text.startswith("'", position) else ""
    return f"unexpected {text[position : position + 1]} at character {position + 1}{quote}"


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
        self.reads = Reads()
        """What the nodes compiled so far look at."""

    def node(self, tree: Any, depth: int) -> Compiled:
        if depth > MAX_NESTING:
            raise ExpressionError(f"nested deeper than {MAX_NESTING} levels")
        assert isinstance(tree, Tree)
        method: Callable[[Sequence[Any], int], Compiled] = getattr(self, f"_{tree.data}")
        return method(tree.children, depth + 1)

    def _truth(self, tree: Any, depth: int) -> Callable[[Scope], bool]:
        compiled = self.node(tree, depth)
        if compiled.shape != "truth":
            raise ExpressionError(f"{a(compiled.shape)} where true or false is expected")
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
            raise ExpressionError(f"{a(left.shape)} cannot equal {a(right.shape)}")
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
        head, *rest = children
        arguments = rest.pop() if rest and rest[-1].data == "arguments" else None
        steps = [self._step(step) for step in rest]
        if arguments is None:
            return self._path(str(head), steps)
        if any(bracketed for bracketed, _ in steps):
            raise ExpressionError("a function's name stands without brackets")
        name = ".".join([str(head), *(step for _, step in steps)])
        function = self._environment.function(name)
        if name == "labels_matching":
            self.reads |= Reads(labels=None)
        return function.call(name, [self.node(child, depth) for child in arguments.children])

    def _step(self, step: Any) -> tuple[bool, str]:
        """Whether a step is in brackets, and its name."""
        token = step.children[0]
        assert isinstance(token, Token)
        if step.data == "field":
            return False, str(token)
        return True, _unquote(token) if step.data == "key" else str(token)[1:-1]

    def _path(self, head: str, steps: Sequence[tuple[bool, str]]) -> Compiled:
        """A name, or a name and the key after it. Only the key may stand in brackets."""
        whole = ".".join([head, *(name for _, name in steps)])
        brackets = [bracketed for bracketed, _ in steps]
        found, base, key = self._environment.name(whole) if not any(brackets) else None, whole, ""
        if found is None and steps and not any(brackets[:-1]):
            base, key = ".".join([head, *(name for _, name in steps[:-1])]), steps[-1][1]
            found = self._environment.keyed_name(base, key)
        if found is None:
            raise self._environment.unknown_name(whole)
        self.reads |= _reads(base, key)
        return found


def _reads(base: str, key: str) -> Reads:
    if base == "labels":
        return Reads(labels=frozenset({key}))
    if base in ("internal", "external", "user.spec.traits"):
        return Reads(traits=frozenset({key}))
    return Reads(user=True)
