"""What a prover says of an invariant, in values and in words: that it holds, who breaks it, or what nobody knows."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, Literal

from teleport.access.decide import Decision
from teleport.access.roles import CompiledRole

__all__ = [
    "NOWHERE", "Answer", "Finding", "Place", "Proof", "Witness", "counted", "labels_shown", "lacking",
    "place_of_decision", "place_of_role", "traits_shown",
]  # fmt: skip

Answer = Literal["proved", "violated", "not provable"]


@dataclass(frozen=True)
class Place:
    """Where a rule stands."""

    file: str = ""
    line: int = 0
    column: int = 0


NOWHERE: Final = Place()


@dataclass(frozen=True)
class Witness:
    """Somebody outside who is let in, and where; the user or the host need not exist."""

    user: str
    """A declared user; empty for somebody who is not."""
    roles: tuple[str, ...]
    traits: Mapping[str, tuple[str, ...]]
    login: str
    host: str
    """The name of a host there is; empty for one that there is not."""
    labels: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        traits = {name: list(values) for name, values in self.traits.items()}
        body = {"user": self.user, "roles": list(self.roles), "traits": traits, "login": self.login}
        return {**body, "host": self.host, "labels": dict(self.labels)}


@dataclass(frozen=True)
class Finding:
    """Why an invariant is not proved."""

    answer: Answer
    text: str
    role: str = ""
    place: Place = NOWHERE
    missing: tuple[str, ...] = ()
    """What would have to be assumed, as `traits.logins` or `labels.env`."""
    witness: Witness | None = None
    key: tuple[object, ...] = ()
    """Equal for what is wrong in the same way."""
    about: frozenset[str] = frozenset()
    """Whom and what it concerns: more of them is worse."""


@dataclass(frozen=True)
class Proof:
    """The answer, and all that speaks against the invariant; what is certain comes first."""

    answer: Answer
    findings: tuple[Finding, ...] = ()

    @classmethod
    def of(cls, findings: Sequence[Finding]) -> "Proof":
        if not findings:
            return cls("proved")
        certain = any(one.answer == "violated" for one in findings)
        ordered = sorted(findings, key=lambda one: (one.answer != "violated", one.text))
        return cls("violated" if certain else "not provable", tuple(ordered))


def place_of_decision(decision: Decision) -> Place:
    return Place(decision.file, decision.line, decision.column)


def place_of_role(role: CompiledRole) -> Place:
    return Place(role.origin.file, *role.origin.at("spec", "allow"))


def counted(names: Sequence[str], what: str, *, most: int = 3) -> str:
    """Names, or some of them and how many more of what there are."""
    more = len(names) - most
    shown = ", ".join(names[:most])
    return shown if more <= 0 else f"{shown} and {more} more {what}{'' if more == 1 else 's'}"


def labels_shown(labels: Mapping[str, str]) -> str:
    return f"a host with {', '.join(f'{key}={value}' for key, value in sorted(labels.items())) or 'no labels'}"


def traits_shown(traits: Mapping[str, Sequence[str]]) -> str:
    shown = "; ".join(f"{name} {', '.join(values)}" for name, values in sorted(traits.items()) if values)
    return f" with the traits {shown}" if shown else ""


_OTHERS: Final = {"labels": "any label may count", "user": "it depends on who somebody is"}


def lacking(missing: Set[str], *, many: Set[str] = frozenset()) -> str:
    """What nobody knows; `many` has too many values to try them in all combinations."""
    named = [_noun(one) for one in sorted(missing) if "." in one]
    parts = [f"nobody says which values {' and '.join(named)} can have"] if named else []
    parts += [_OTHERS[one] for one in sorted(missing) if one in _OTHERS]
    known = " and ".join(_noun(one) for one in sorted(many))
    parts += [f"{known} can have too many values to try every combination"] if many else []
    return ", and ".join(parts) or "what it denies is not enough to exclude it"


def _noun(missing: str) -> str:
    kind, _, name = missing.partition(".")
    return f"the {'trait' if kind == 'traits' else 'label'} {name}"
