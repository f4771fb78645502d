"""Templates: `prefix{{expression}}suffix`, expanded with a user's traits (SEMANTICS: "Templates").

Values from traits are data. Where an expansion becomes a pattern, only what the author wrote around it has
special characters; see `patterns.around`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from teleport.access.expressions import TEMPLATE, ExpressionError, Scope, compile_expression
from teleport.access.patterns import Exact, Matcher, around, check_around, pattern

__all__ = ["Template", "check_pattern", "template"]

Traits = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Template:
    """A text with at most one expression. Without one, `values` is None and `prefix` is the text."""

    text: str
    prefix: str
    suffix: str = ""
    values: Callable[[Scope], tuple[str, ...]] | None = None
    reads: frozenset[str] = frozenset()
    """The traits it looks at."""

    def expand(self, traits: Traits) -> tuple[str, ...]:
        """The texts it stands for, in order, without duplicates; none where the trait is missing."""
        if self.values is None:
            return (self.text,)
        found = self.values(Scope(traits=traits))
        return tuple(dict.fromkeys(f"{self.prefix}{value}{self.suffix}" for value in found))

    def matchers(self, traits: Traits) -> tuple[Matcher, ...]:
        """As a label value: the patterns it stands for; a missing trait is the empty text.

        Raises ValueError for what `check_pattern` would have refused.
        """
        if self.values is None:
            return (pattern(self.text),)
        found = self.values(Scope(traits=traits))
        if not found:
            return (Exact(""),)
        return tuple(dict.fromkeys(around(self.prefix, value, self.suffix) for value in found))


@lru_cache(maxsize=65_536)
def template(text: str) -> Template:
    """Parse and check. Raises ExpressionError."""
    start, end = text.find("{{"), text.rfind("}}")
    if start < 0 and end < 0:
        return Template(text, text)
    if start < 0 or end < start + 2:
        raise ExpressionError(f"unbalanced braces in {text}", "write {{internal.logins}}")
    inner = text[start + 2 : end]
    if "{{" in inner or "}}" in inner:
        raise ExpressionError(f"more than one expression in {text}", "an entry takes one {{…}}; write several entries")
    try:
        compiled = compile_expression(inner, TEMPLATE, want="list")
    except ExpressionError as error:
        raise ExpressionError(f"template {text}: {error.message}", error.hint) from None
    if compiled.shape == "text":
        raise ExpressionError(f"template {text} reads no trait", "write the text without braces")
    return Template(text, text[:start], text[end + 2 :], compiled.run, compiled.reads.traits)


def check_pattern(text: str) -> None:
    """Whether a label value is a template or pattern that compiles with any trait. Raises ValueError."""
    parsed = template(text)
    if parsed.values is None:
        pattern(text)
    else:
        check_around(parsed.prefix, parsed.suffix)
