"""The functions of expressions: what each takes, and what it does. Which may be used where is `environments`'."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from teleport.access.patterns import pattern
from teleport.access.regex import compile_regex, expand_with
from teleport.access.scope import Compiled, ExpressionError, Scope, Values, a

__all__ = ["FUNCTIONS", "Function"]

Parameter = Literal["text", "list", "any", "literal"]
"""`any` is a text or a list; `literal` a text that stands in the expression itself."""

Build = Callable[[Sequence[Compiled]], Compiled]


@dataclass(frozen=True)
class Function:
    """How a function is used: its parameters (None for any number of texts), and what a call becomes."""

    usage: str
    parameters: tuple[Parameter, ...] | None
    build: Build

    def call(self, name: str, arguments: Sequence[Compiled]) -> Compiled:
        """Check the arguments and build. Raises ExpressionError."""
        text: Parameter = "text"
        parameters = self.parameters if self.parameters is not None else (text,) * len(arguments)
        if len(arguments) != len(parameters):
            raise ExpressionError(
                f"{name} takes {len(parameters)} arguments, not {len(arguments)}", f"usage: {self.usage}"
            )
        for position, (argument, parameter) in enumerate(zip(arguments, parameters, strict=True), start=1):
            self._check(f"argument {position} of {name}", argument, parameter)
        return self.build(arguments)

    def _check(self, what: str, argument: Compiled, parameter: Parameter) -> None:
        hint = f"usage: {self.usage}"
        if parameter == "literal" and argument.literal is None:
            raise ExpressionError(f"{what} must be a quoted text", hint)
        if parameter in ("list", "text") and argument.shape != parameter:
            if parameter == "list" and argument.shape == "text":
                hint += "; for one text write set(…), or compare with =="
            raise ExpressionError(f"{what} must be {a(parameter)}, not {a(argument.shape)}", hint)
        if parameter == "any" and argument.shape == "truth":
            raise ExpressionError(f"{what} must be a text or a list", hint)


def _map(argument: Compiled, change: Callable[[str], str | None]) -> Compiled:
    """Change each value; None drops it. A text stays a text, empty when dropped."""
    run = argument.run
    if argument.shape == "text":
        return Compiled("text", lambda scope: change(run(scope)) or "")

    def many(scope: Scope) -> Values:
        changed = (change(value) for value in run(scope))
        return tuple(dict.fromkeys(value for value in changed if value is not None))

    return Compiled("list", many)


def _contains(arguments: Sequence[Compiled]) -> Compiled:
    items, wanted = arguments[0].run, arguments[1].run
    return Compiled("truth", lambda scope: wanted(scope) in items(scope))


def _contains_any(arguments: Sequence[Compiled]) -> Compiled:
    left, right = (argument.run for argument in arguments)
    return Compiled("truth", lambda scope: not set(left(scope)).isdisjoint(right(scope)))


def _contains_all(arguments: Sequence[Compiled]) -> Compiled:
    left, right = (argument.run for argument in arguments)

    def run(scope: Scope) -> bool:
        wanted = right(scope)
        return bool(wanted) and set(wanted) <= set(left(scope))

    return Compiled("truth", run)


def _equals(arguments: Sequence[Compiled]) -> Compiled:
    left, right = arguments
    if left.shape != right.shape:
        raise ExpressionError(f"{a(left.shape)} cannot equal {a(right.shape)}", "contains looks for a text in a list")
    if left.shape == "list":
        return Compiled("truth", lambda scope: set(left.run(scope)) == set(right.run(scope)))
    return Compiled("truth", lambda scope: left.run(scope) == right.run(scope))


def _has_prefix(arguments: Sequence[Compiled]) -> Compiled:
    text, prefix = arguments[0].run, arguments[1].run
    return Compiled("truth", lambda scope: text(scope).startswith(prefix(scope)))


def _literal(argument: Compiled) -> str:
    assert argument.literal is not None
    return argument.literal


def _matches(argument: Compiled) -> Callable[[str], bool]:
    try:
        return pattern(_literal(argument)).matches
    except ValueError as error:
        raise ExpressionError(f"pattern {argument.literal}: {error}") from None


def _regexp_match(arguments: Sequence[Compiled]) -> Compiled:
    run, matches = arguments[0].run, _matches(arguments[1])
    if arguments[0].shape == "text":
        return Compiled("truth", lambda scope: matches(run(scope)))
    return Compiled("truth", lambda scope: any(matches(value) for value in run(scope)))


def _regexp_replace(arguments: Sequence[Compiled]) -> Compiled:
    try:
        regex = compile_regex(_literal(arguments[1]))
    except ValueError as error:
        raise ExpressionError(f"expression {arguments[1].literal}: {error}") from None
    expand = expand_with(_literal(arguments[2]))
    return _map(arguments[0], lambda value: regex.replace(value, expand) if regex.found_in(value) else None)


def _email_local(arguments: Sequence[Compiled]) -> Compiled:
    def local(value: str) -> str | None:
        head, at, domain = value.rpartition("@")
        return head if at and head and domain else None

    return _map(arguments[0], local)


def _labels_matching(arguments: Sequence[Compiled]) -> Compiled:
    matches = _matches(arguments[0])
    return Compiled("list", lambda scope: tuple(value for key, value in scope.labels.items() if matches(key)))


def _set(arguments: Sequence[Compiled]) -> Compiled:
    runs = [argument.run for argument in arguments]
    return Compiled("list", lambda scope: tuple(dict.fromkeys(run(scope) for run in runs)))


def _replace_all(arguments: Sequence[Compiled]) -> Compiled:
    old, new = _literal(arguments[1]), _literal(arguments[2])
    if not old:
        raise ExpressionError("strings.replaceall needs a text to replace")
    return _map(arguments[0], lambda value: value.replace(old, new))


def _split(arguments: Sequence[Compiled]) -> Compiled:
    values, separator = arguments[0].run, _literal(arguments[1])
    if not separator:
        raise ExpressionError("strings.split needs a separator")
    single = arguments[0].shape == "text"

    def run(scope: Scope) -> Values:
        given = (values(scope),) if single else values(scope)
        return tuple(dict.fromkeys(part for value in given for part in value.split(separator)))

    return Compiled("list", run)


FUNCTIONS: Final[Mapping[str, Function]] = {
    "contains": Function("contains(list, text)", ("list", "text"), _contains),
    "contains_any": Function("contains_any(list, list)", ("list", "list"), _contains_any),
    "contains_all": Function("contains_all(list, list)", ("list", "list"), _contains_all),
    "equals": Function("equals(value, value)", ("any", "any"), _equals),
    "has_prefix": Function("has_prefix(text, text)", ("text", "text"), _has_prefix),
    "regexp.match": Function('regexp.match(list, "pattern")', ("any", "literal"), _regexp_match),
    "regexp.replace": Function(
        'regexp.replace(list, "expression", "replacement")', ("any", "literal", "literal"), _regexp_replace
    ),
    "email.local": Function("email.local(list)", ("any",), _email_local),
    "strings.upper": Function("strings.upper(list)", ("any",), lambda args: _map(args[0], str.upper)),
    "strings.lower": Function("strings.lower(list)", ("any",), lambda args: _map(args[0], str.lower)),
    "strings.replaceall": Function(
        'strings.replaceall(list, "old", "new")', ("any", "literal", "literal"), _replace_all
    ),
    "strings.split": Function('strings.split(list, "separator")', ("any", "literal"), _split),
    "labels_matching": Function('labels_matching("pattern")', ("literal",), _labels_matching),
    "set": Function('set("a", "b")', None, _set),
}
