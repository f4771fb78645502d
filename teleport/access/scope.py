"""What expressions look at, and what a checked one is. Knows no syntax and no names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Compiled", "ExpressionError", "Reads", "Scope", "Shape", "Values", "a"]

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
class Reads:
    """What of a scope can matter: whoever agrees in all of it gets the same value."""

    traits: frozenset[str] = frozenset()
    labels: frozenset[str] | None = frozenset()
    """Keys of labels; None where any may matter."""
    user: bool = False
    """The user's name, or the names of the roles held."""

    def __or__(self, other: "Reads") -> "Reads":
        labels = None if self.labels is None or other.labels is None else self.labels | other.labels
        return Reads(self.traits | other.traits, labels, self.user or other.user)


@dataclass(frozen=True)
class Compiled:
    """A checked expression: the shape of its value, and the function that gives it."""

    shape: Shape
    run: Callable[[Scope], Any]
    literal: str | None = None
    """The text, if it is one that stands in the expression itself."""
    reads: Reads = field(default_factory=Reads)
    """Of a whole expression, what it looks at."""


class ExpressionError(ValueError):
    """Why a text is not an expression, with a hint."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def a(shape: Shape) -> str:
    """A shape as people read it."""
    return {"text": "a text", "list": "a list", "truth": "true or false"}[shape]
