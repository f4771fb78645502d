"""The ceilings of teleport.yaml: fields, types, and what cannot be meant; and which source has which."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from teleport.access.patterns import pattern
from teleport.gitops.ceiling import BOUNDED_KINDS, OPTIONS, Ceiling
from teleport.resources.faults import Fault, raise_faults, unknown_words
from teleport.resources.nouns import NOUNS, VERBS
from teleport.resources.token import SYSTEM_TOKEN_ROLES
from teleport.resources.values import Labels, Texts, Vocabulary
from teleport.service.sections import Section

__all__ = ["CeilingSection"]

_PLACEHOLDER: Final = "{namespace}"
_PATTERNS: Final = ("assign_roles", "logins", "join_sessions")
_SELECTORS: Final = ("traits", "node_labels", "host_labels")


class RuleBound(Section):
    """Administrative verbs that may be granted."""

    resources: Annotated[Texts, Vocabulary("resource kind", NOUNS)] = Field(
        min_length=1, description="kinds of resource", examples=[["session"]]
    )
    verbs: Annotated[Texts, Vocabulary("verb", VERBS)] = Field(
        min_length=1, description="what may be done; `*` is everything", examples=[["list", "read"]]
    )


class CeilingSection(Section):
    """What a source may do at most. What is left out is permitted to nobody."""

    owns: dict[str, Texts] = Field(
        default_factory=dict, description="by kind, patterns of the names it may own",
        examples=[{"role": ["team-b-*"], "user": ["*@b.example.com"]}],
    )  # fmt: skip
    assign_roles: Texts = Field(
        default=(), description="patterns of other sources' roles that its users may hold, request and review",
        examples=[["support"]],
    )  # fmt: skip
    traits: dict[str, Texts] = Field(
        default_factory=dict, description="by trait, patterns of the values that its users may have",
        examples=[{"team": ["b"]}],
    )  # fmt: skip
    logins: Texts = Field(
        default=(), description="patterns of the logins that its roles may allow", examples=[["app", "b-*"]]
    )
    node_labels: Labels = Field(
        default_factory=dict, description="a selector that the node_labels of its roles must lie within",
        examples=[{"team": "b"}],
    )  # fmt: skip
    options: Annotated[Texts, Vocabulary("option", OPTIONS)] = Field(
        default=(), description=f"role options it may switch on: {', '.join(OPTIONS)}", examples=[["port_forwarding"]]
    )
    rules: tuple[RuleBound, ...] = Field(default=(), description="administrative rules that its roles may have")
    join_sessions: Texts = Field(
        default=(), description="patterns of the roles whose holders' sessions its roles may let people join",
        examples=[["team-b-*"]],
    )  # fmt: skip
    token_roles: Annotated[Texts, Vocabulary("service role", SYSTEM_TOKEN_ROLES, anycase=True)] = Field(
        default=(), description="as what services may join with its tokens", examples=[["Node"]]
    )
    host_labels: Labels = Field(
        default_factory=dict, description="labels that its declared nodes may give to hosts", examples=[{"team": "b"}]
    )

    @model_validator(mode="after")
    def _sensible(self) -> "CeilingSection":
        raise_faults(self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        for fault in unknown_words("kind for a ceiling", tuple(self.owns), BOUNDED_KINDS):
            yield Fault(("owns", fault.word), fault.message, fault.hint, fault.word, fault.known)
        for kind, names in self.owns.items():
            yield from _pattern_faults(("owns", kind), names)
        for name in _PATTERNS:
            yield from _pattern_faults((name,), getattr(self, name))
        for name in _SELECTORS:
            given: Mapping[str, tuple[str, ...]] = getattr(self, name)
            for key, values in given.items():
                yield from _pattern_faults((name, key), values)

    def of(self, namespace: str) -> Ceiling:
        """That of a namespace, among all that it holds for."""
        return Ceiling.from_wire(_named(self.value.to_wire(), namespace)) if namespace else self.value

    @property
    def value(self) -> Ceiling:
        return Ceiling(
            owns=self.owns, assign_roles=self.assign_roles, traits=self.traits, logins=self.logins,
            node_labels=self.node_labels, options=self.options,
            rules=tuple((noun, one.verbs) for one in self.rules for noun in one.resources),
            join_sessions=self.join_sessions, token_roles=self.token_roles, host_labels=self.host_labels,
        )  # fmt: skip


def _named(value: Any, namespace: str) -> Any:
    """A value with a namespace's name in place of the word that stands for it."""
    if isinstance(value, str):
        return value.replace(_PLACEHOLDER, namespace)
    if isinstance(value, Mapping):
        return {_named(key, namespace): _named(item, namespace) for key, item in value.items()}
    return [_named(item, namespace) for item in value]


def _pattern_faults(path: tuple[str | int, ...], texts: Iterable[str]) -> Iterator[Fault]:
    for text in texts:
        try:
            pattern(text)
        except ValueError as error:
            yield Fault(path, f"pattern: {error}", "")
