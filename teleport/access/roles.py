"""A role compiled once, and bound to each user who holds it.

Here the versions of the format meet: what a version leaves implicit is filled in, so that everything after
sees one kind of role.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from teleport.access.labels import Selector, SelectorTemplate
from teleport.access.templates import Template, template
from teleport.resources.model import Origin
from teleport.resources.role import Condition, KubernetesResource, Role, RoleOptions, Rule

__all__ = ["TARGETS", "BoundRole", "CompiledRole", "Side", "compile_role", "valid_login"]

TARGETS: Final = (
    "node", "app", "kubernetes", "db", "db_service", "windows_desktop", "cluster", "group", "workload_identity",
)  # fmt: skip
"""Kinds of target that a role selects by labels."""

_LOGIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?\Z")
_EVERYTHING: Final[Mapping[str, tuple[str, ...]]] = {"*": ("*",)}

Traits = Mapping[str, tuple[str, ...]]


def valid_login(text: str) -> bool:
    """Whether a text can be a Unix user name: others never become one, whatever a trait says."""
    return _LOGIN.match(text) is not None


@dataclass(frozen=True)
class _CompiledSide:
    """One side of a role before it is bound."""

    condition: Condition
    logins: tuple[Template, ...]
    selectors: Mapping[str, SelectorTemplate]
    kubernetes_resources: tuple[KubernetesResource, ...]


@dataclass(frozen=True)
class CompiledRole:
    """A role with everything parsed. `bind` it to a user to decide."""

    source: Role
    allow: _CompiledSide
    deny: _CompiledSide

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
class Side:
    """One side of a role for one user: login to the index of the entry that gave it, and selectors."""

    logins: Mapping[str, int]
    every_login: bool
    selectors: Mapping[str, Selector]
    rules: tuple[Rule, ...]

    def selector(self, target: str) -> Selector:
        return self.selectors[target]

    def names_login(self, login: str) -> bool:
        return self.every_login or login in self.logins


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

    def _bind(self, side: _CompiledSide) -> Side:
        logins: dict[str, int] = {}
        for index, entry in enumerate(side.logins):
            for login in entry.expand(self.traits):
                if valid_login(login):
                    logins.setdefault(login, index)
        selectors = {
            target: selector.bind(self.user, self.roles, self.traits) for target, selector in side.selectors.items()
        }
        return Side(logins, "*" in side.condition.logins, selectors, side.condition.rules)


def compile_role(role: Role) -> CompiledRole:
    """Parse all templates, patterns and expressions. Raises ValueError at the first fault; `judge` lists them all."""
    return CompiledRole(
        source=role,
        allow=_side(role, role.spec.allow, allow=True),
        deny=_side(role, role.spec.deny, allow=False),
    )


def _side(role: Role, condition: Condition, *, allow: bool) -> _CompiledSide:
    selectors = {}
    for target in TARGETS:
        labels = condition.labels(target)
        if labels is None and allow:
            labels = _implicit_labels(role, target)
        selectors[target] = SelectorTemplate.of(labels, condition.expression(target))
    return _CompiledSide(
        condition=condition,
        logins=tuple(template(login) for login in condition.logins),
        selectors=selectors,
        kubernetes_resources=_kubernetes_resources(role, condition, allow=allow),
    )


def _implicit_labels(role: Role, target: str) -> Mapping[str, tuple[str, ...]] | None:
    """Version v3 selects everything where it says nothing; later versions select nothing."""
    if role.version != "v3":
        return None
    if target in ("app", "kubernetes", "db") or (target == "node" and role.spec.allow.logins):
        return _EVERYTHING
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
