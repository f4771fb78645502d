"""Label selectors: which resources a role speaks of (SEMANTICS: "Label selector").

A `Selector` is bound to one user: templates are expanded. It answers for one resource; `reach` asks the same
object for a whole fleet.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from teleport.access.expressions import LABELS, Scope, compile_expression
from teleport.access.patterns import ANY, Any_, Matcher
from teleport.access.scope import Reads
from teleport.access.templates import Template, check_pattern, template

__all__ = ["EVERYTHING", "Labels", "Selector", "SelectorTemplate"]

EVERYTHING: Final = "*"
"""The label key that goes only with the value `*`."""

Labels = Mapping[str, str]
Traits = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Selector:
    """What of a fleet is meant. Neither labels nor an expression: nothing.

    `everything` is the selector `'*': '*'`, which also matches resources without labels; other keys beside it say
    nothing.
    """

    written: bool = False
    """Whether the role has labels here at all."""
    everything: bool = False
    keys: tuple[tuple[str, tuple[Matcher, ...]], ...] = ()
    expression: Callable[[Labels], bool] | None = None
    reads: frozenset[str] | None = None
    """The keys that the expression looks at; None where any may matter."""

    @property
    def empty(self) -> bool:
        """Whether nothing is written at all, so that it matches nothing."""
        return not self.written and self.expression is None

    def by_labels(self, labels: Labels) -> bool:
        """Whether the written labels match; an empty selector matches nothing."""
        if self.everything:
            return True
        return bool(self.keys) and all(self._key_matches(key, matchers, labels) for key, matchers in self.keys)

    @staticmethod
    def _key_matches(key: str, matchers: tuple[Matcher, ...], labels: Labels) -> bool:
        value = labels.get(key)
        return value is not None and any(matcher.matches(value) for matcher in matchers)

    def allows(self, labels: Labels) -> bool:
        """Whether an allow block means a resource: labels and expression both, where both are written."""
        if self.empty:
            return False
        if self.written and not self.by_labels(labels):
            return False
        return self.expression is None or self.expression(labels)

    def denies(self, labels: Labels) -> bool:
        """Whether a deny block means a resource: labels or expression."""
        if self.written and self.by_labels(labels):
            return True
        return self.expression is not None and self.expression(labels)

    def explain(self, labels: Labels) -> str:
        """The labels of a resource that made it match, as `env=prod, team=web`."""
        shown = [f"{key}={labels[key]}" for key, _ in self.keys if key in labels]
        if shown:
            return ", ".join(shown)
        return "every resource" if self.everything else "the label expression"

    def describe(self) -> str:
        """The selector in words, as `env=dev|staging`."""
        parts = ["every resource" if self.everything else ""]
        parts += [f"{key}={'|'.join(map(str, matchers)) or 'nothing'}" for key, matchers in self.keys]
        parts += ["an expression" if self.expression is not None else ""]
        return ", ".join(part for part in parts if part) or "nothing"


@dataclass(frozen=True)
class SelectorTemplate:
    """A selector as a role has it, templates not yet expanded."""

    keys: tuple[tuple[Template, tuple[Template, ...]], ...] = ()
    everything: bool = False
    written: bool = False
    expression: str = ""
    reads: Reads = field(default_factory=Reads)
    """What templates and expression look at."""

    @classmethod
    def of(cls, labels: Mapping[str, tuple[str, ...]] | None, expression: str) -> "SelectorTemplate":
        """Raises ValueError for templates, patterns and expressions that do not parse."""
        written = labels or {}
        reads = compile_expression(expression, LABELS).reads if expression else Reads()
        for values in written.values():
            for value in values:
                check_pattern(value)
        if EVERYTHING in written:
            return cls(everything=True, written=True, expression=expression, reads=reads)
        keys = tuple((template(key), tuple(template(value) for value in values)) for key, values in written.items())
        templates = [one for key, values in keys for one in (key, *values)]
        reads |= Reads(traits=frozenset(trait for one in templates for trait in one.reads))
        return cls(keys=keys, written=bool(written), expression=expression, reads=reads)

    def bind(self, user: str, roles: tuple[str, ...], traits: Traits) -> Selector:
        """The selector for one user."""
        if not self.written and not self.expression:
            return _NOTHING
        keys = tuple((next(iter(key.expand(traits)), ""), _matchers(values, traits)) for key, values in self.keys)
        return Selector(
            written=self.written,
            everything=self.everything,
            keys=keys,
            expression=self._bound_expression(user, roles, traits),
            reads=self.reads.labels,
        )

    def _bound_expression(self, user: str, roles: tuple[str, ...], traits: Traits) -> Callable[[Labels], bool] | None:
        if not self.expression:
            return None
        run = compile_expression(self.expression, LABELS).run
        return lambda labels: bool(run(Scope(user=user, roles=roles, traits=traits, labels=labels)))


_NOTHING = Selector()


def _matchers(values: tuple[Template, ...], traits: Traits) -> tuple[Matcher, ...]:
    found = tuple(dict.fromkeys(matcher for value in values for matcher in value.matchers(traits)))
    return (ANY,) if any(isinstance(matcher, Any_) for matcher in found) else found
