"""Which names and functions an expression may use, by the place where it stands: `TEMPLATE`, `LABELS`, `WHERE`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from teleport.access.functions import FUNCTIONS, Function
from teleport.access.scope import Compiled, ExpressionError, Shape
from teleport.resources.nouns import nearest

__all__ = ["LABELS", "TEMPLATE", "WHERE", "Environment"]


@dataclass(frozen=True, eq=False)
class Environment:
    """The names and functions of one kind of place.

    `plain` are dotted names with what gives their value; `keyed` are names that take a further key.
    """

    where: str
    plain: Mapping[str, Compiled]
    keyed: Mapping[str, Callable[[str], Compiled]]
    functions: frozenset[str]

    def name(self, dotted: str) -> Compiled | None:
        return self.plain.get(dotted)

    def keyed_name(self, dotted: str, key: str) -> Compiled | None:
        of = self.keyed.get(dotted)
        return of(key) if of is not None else None

    def unknown_name(self, dotted: str) -> ExpressionError:
        """Why a name means nothing here, with the one that was probably meant."""
        if dotted in self.keyed:
            return ExpressionError(f"{dotted} needs a key", f'write {dotted}["name"]')
        for name in self.keyed:
            if dotted.startswith(f"{name}."):
                key = dotted.removeprefix(f"{name}.")
                return ExpressionError(f"{name} takes one key, not {key}", f'write {name}["{key}"]')
        known = [*self.plain, *(f'{name}["…"]' for name in self.keyed)]
        likely = nearest(dotted, [*self.plain, *self.keyed])
        hint = f"did you mean {likely}?" if likely else f"known: {', '.join(known[:8])}"
        return ExpressionError(f"unknown name {dotted} in {self.where}", hint)

    def function(self, name: str) -> Function:
        """Raises ExpressionError for a function that does not exist here."""
        if name in self.functions:
            return FUNCTIONS[name]
        if name in FUNCTIONS:
            usable = ", ".join(sorted(self.functions))
            raise ExpressionError(f"{name} cannot be used in {self.where}", f"functions here: {usable}")
        likely = nearest(name, self.functions)
        raise ExpressionError(f"unknown function {name}", f"did you mean {likely}?" if likely else "")


def _trait(name: str) -> Compiled:
    return Compiled("list", lambda scope: scope.traits.get(name, ()))


def _label(name: str) -> Compiled:
    return Compiled("text", lambda scope: scope.labels.get(name, ""))


def _resource_label(name: str) -> Compiled:
    return Compiled("text", lambda scope: scope.resource_labels.get(name, ""))


def _attribute(name: str, shape: Shape) -> Compiled:
    empty: Any = "" if shape == "text" else ()
    return Compiled(shape, lambda scope: scope.attributes.get(name, empty))


def _attributes(name: str, shape: Shape) -> Callable[[str], Compiled]:
    return lambda key: _attribute(f"{name}.{key}", shape)


_TEMPLATE_FUNCTIONS: Final = frozenset({"email.local", "regexp.replace", "strings.upper", "strings.lower"})
_WHERE_ONLY: Final = frozenset({"equals", "has_prefix"})
_LABELS_ONLY: Final = frozenset({"labels_matching"})

_USER: Final[Mapping[str, Compiled]] = {
    "user.metadata.name": Compiled("text", lambda scope: scope.user),
    "user.spec.roles": Compiled("list", lambda scope: scope.roles),
}

TEMPLATE: Final = Environment("a template", {}, {"internal": _trait, "external": _trait}, _TEMPLATE_FUNCTIONS)

LABELS: Final = Environment(
    "a label expression",
    _USER,
    {"labels": _label, "user.spec.traits": _trait},
    frozenset(FUNCTIONS) - _WHERE_ONLY,
)

_TEXTS: Final = (
    "session.login", "session.user", "session.kind", "session.sid", "session.server_id", "session.server_hostname",
    "session.cluster",
    "ssh_session.login", "ssh_session.user", "ssh_session.sid", "ssh_session.server_id", "ssh_session.server_hostname",
    "event.event", "event.code", "event.user", "event.login", "event.sid", "event.server_id", "event.server_hostname",
    "event.cluster_name",
    "request.reason", "impersonate_role.metadata.name", "impersonate_user.metadata.name",
)  # fmt: skip
_LISTS: Final = (
    "session.participants",
    "ssh_session.participants",
    "reviewer.roles",
    "request.roles",
    "impersonate_user.spec.roles",
)

WHERE: Final = Environment(
    "a condition",
    {
        **_USER,
        "resource.metadata.name": Compiled("text", lambda scope: scope.resource_name),
        **{name: _attribute(name, "text") for name in _TEXTS},
        **{name: _attribute(name, "list") for name in _LISTS},
    },
    {
        "user.spec.traits": _trait,
        "resource.metadata.labels": _resource_label,
        "reviewer.traits": _attributes("reviewer.traits", "list"),
        "request.system_annotations": _attributes("request.system_annotations", "list"),
        "impersonate_role.metadata.labels": _attributes("impersonate_role.metadata.labels", "text"),
        "impersonate_user.metadata.labels": _attributes("impersonate_user.metadata.labels", "text"),
        "impersonate_user.spec.traits": _attributes("impersonate_user.spec.traits", "list"),
    },
    frozenset(FUNCTIONS) - _LABELS_ONLY,
)
