"""A role compiled once, and bound to each user who holds it.

Here the versions of the format meet: what a version leaves implicit is filled in, so that everything after
sees one kind of role.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from teleport.access.expressions import WHERE, compile_expression
from teleport.access.labels import EVERYTHING, Selector, SelectorTemplate
from teleport.access.templates import Template, template
from teleport.resources.model import Origin
from teleport.resources.role import Condition, KubernetesResource, Role, RoleOptions, Rule

__all__ = [
    "LOGINS", "NAMED", "TARGETS", "TEMPLATED", "BoundRole", "CompiledRole", "Names", "RoleSide", "Side", "compile_role",
    "expand_names", "valid_login",
]  # fmt: skip

TARGETS: Final = (
    "node", "app", "kubernetes", "db", "db_service", "windows_desktop", "cluster", "group", "workload_identity",
)  # fmt: skip
"""Kinds of target that a role selects by labels."""

LOGINS: Final[Mapping[str, str]] = {"node": "logins", "windows_desktop": "windows_desktop_logins"}
"""Kinds of target with logins, and the field of a role that names them."""

NAMED: Final[Mapping[str, str]] = {
    "logins": "login", "windows_desktop_logins": "Windows login", "db_users": "database user", "db_names": "database",
}  # fmt: skip
"""Fields of a role that must name what is asked for, and what people call one entry."""

TEMPLATED: Final = (
    "logins", "kubernetes_groups", "kubernetes_users", "db_names", "db_users", "db_roles", "windows_desktop_logins",
    "desktop_groups", "host_groups", "host_sudoers", "aws_role_arns", "azure_identities", "gcp_service_accounts",
)  # fmt: skip
"""Fields of a side whose entries are templates."""

_LOGIN: Final = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_.-]{0,31}|[A-Za-z0-9_.-]{0,30}\$)\Z")
_WILDCARD: Final[Mapping[str, tuple[str, ...]]] = {EVERYTHING: ("*",)}

Traits = Mapping[str, tuple[str, ...]]


def valid_login(text: str) -> bool:
    """Whether a text can be a Unix user name: others never become one, whatever a trait says."""
    return _LOGIN.match(text) is not None


_VALID: Final[Mapping[str, Callable[[str], bool]]] = {"logins": valid_login}


@dataclass(frozen=True)
class RoleSide:
    """One side of a role before it is bound."""

    condition: Condition
    names: Mapping[str, tuple[Template, ...]]
    selectors: Mapping[str, SelectorTemplate]
    kubernetes_resources: tuple[KubernetesResource, ...]


@dataclass(frozen=True)
class CompiledRole:
    """A role with everything parsed. `bind` it to a user to decide."""

    source: Role
    allow: RoleSide
    deny: RoleSide

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def origin(self) -> Origin:
        return self.source.origin

    @property
    def options(self) -> RoleOptions:
        return self.source.spec.options

    def bind(self, user: str, roles: tuple[str, ...], traits: Traits) -> "BoundRole":
        return BoundRole(self, user, roles, traits)


@dataclass(frozen=True)
class Names:
    """What one side of a role names in one field: each text with the index of the entry that gave it.

    `every` is the index of the entry `*`, None where there is none. A trait whose value is `*` names just that.
    """

    entries: Mapping[str, int]
    every: int | None = None

    def entry(self, name: str) -> int | None:
        """The index of the entry that covers a name."""
        found = self.entries.get(name)
        return self.every if found is None else found


@dataclass(frozen=True)
class Side:
    """One side of a role for one user."""

    names: Mapping[str, Names]
    rules: tuple[Rule, ...]
    bind: Callable[[str], Selector]
    _selectors: dict[str, Selector] = field(default_factory=dict)

    @property
    def logins(self) -> Mapping[str, int]:
        return self.names["logins"].entries

    def selector(self, target: str) -> Selector:
        """For a kind of target. What is written about other kinds cannot fail here."""
        found = self._selectors.get(target)
        if found is None:
            found = self._selectors[target] = self.bind(target)
        return found

    def names_login(self, login: str) -> bool:
        return self.names["logins"].entry(login) is not None


@dataclass(frozen=True, eq=False)
class BoundRole:
    """A role as one user holds it: templates expanded with that user's traits."""

    role: CompiledRole
    user: str
    roles: tuple[str, ...]
    traits: Traits

    @property
    def name(self) -> str:
        return self.role.name

    @cached_property
    def allow(self) -> Side:
        return self._bind(self.role.allow)

    @cached_property
    def deny(self) -> Side:
        return self._bind(self.role.deny)

    def _bind(self, side: RoleSide) -> Side:
        names = {name: expand_names(name, entries, self.traits) for name, entries in side.names.items()}

        def bind(target: str) -> Selector:
            return side.selectors[target].bind(self.user, self.roles, self.traits)

        return Side(names, side.condition.rules, bind)


def expand_names(field: str, written: tuple[Template, ...], traits: Traits) -> Names:
    """What one field of a side names for somebody with these traits."""
    valid = _VALID.get(field, bool)
    entries: dict[str, int] = {}
    for index, entry in enumerate(written):
        for text in entry.expand(traits):
            if valid(text):
                entries.setdefault(text, index)
    every = next((index for index, entry in enumerate(written) if entry.text == "*"), None)
    return Names(entries, every)


def compile_role(role: Role) -> CompiledRole:
    """Parse all templates, patterns and expressions. Raises ValueError at the first fault; `judge` lists them all."""
    return CompiledRole(
        source=role,
        allow=_side(role, role.spec.allow, allow=True),
        deny=_side(role, role.spec.deny, allow=False),
    )


def _side(role: Role, condition: Condition, *, allow: bool) -> RoleSide:
    for rule in condition.rules:
        if rule.where:
            compile_expression(rule.where, WHERE)
    selectors = {}
    for target in TARGETS:
        labels = condition.labels(target)
        if labels is None and allow:
            labels = _implicit_labels(role, target)
        selectors[target] = SelectorTemplate.of(labels, condition.expression(target))
    return RoleSide(
        condition=condition,
        names={field: tuple(template(entry) for entry in getattr(condition, field)) for field in NAMED},
        selectors=selectors,
        kubernetes_resources=_kubernetes_resources(role, condition, allow=allow),
    )


def _implicit_labels(role: Role, target: str) -> Mapping[str, tuple[str, ...]] | None:
    """Version v3 selects everything where it says nothing; later versions select nothing."""
    if role.version != "v3":
        return None
    if target in ("app", "kubernetes", "db") or (target == "node" and role.spec.allow.logins):
        return _WILDCARD
    return None


def _kubernetes_resources(role: Role, condition: Condition, *, allow: bool) -> tuple[KubernetesResource, ...]:
    if condition.kubernetes_resources is not None or not allow:
        return condition.kubernetes_resources or ()
    everything = {"namespace": "*", "name": "*", "verbs": ("*",)}
    if role.version in ("v3", "v4", "v5"):
        return (KubernetesResource(kind="pod", **everything),)
    if role.version == "v7":
        return (KubernetesResource(kind="*", **everything),)
    if role.version == "v8":
        return (KubernetesResource(kind="*", api_group="*", **everything),)
    return ()
