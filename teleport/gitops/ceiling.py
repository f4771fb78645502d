"""The ceiling of a source: what it may own, and how much power what it owns may give. Values, and what they permit.

Names bound nothing, ceilings bound power. Nothing is permitted that is not written down.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from teleport.access.patterns import covers, is_expression
from teleport.access.templates import template
from teleport.gitops.order import Ref
from teleport.resources.presets import preset_roles
from teleport.resources.role import Role

__all__ = ["BOUNDED_KINDS", "OPTIONS", "PRESETS", "Ceiling", "Reach", "as_pattern"]

BOUNDED_KINDS: Final = (
    "role", "user", "token", "node", "lock", "access_test", "access_invariant", "cluster_auth_preference",
    "cluster_networking_config", "session_recording_config",
)  # fmt: skip
"""Kinds that a ceiling can permit: those whose power it knows how to bound, promises, which bind their own source
alone, and settings, which have no bound."""

OPTIONS: Final = ("forward_agent", "port_forwarding", "permit_x11_forwarding")
"""Options that a ceiling can permit. The others restrict, and need no permission, or are refused."""

PRESETS: Final = frozenset(role.name for role in preset_roles())
"""Roles that reach, administer or read everything: no pattern means them."""

Labels = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Ceiling:
    """What a source may do at most; the default is nothing. All texts but keys, kinds and options are patterns."""

    owns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By kind, the names it may own."""
    assign_roles: tuple[str, ...] = ()
    """Roles of others that its users may hold, request and review; its own need no permission."""
    traits: Labels = field(default_factory=dict)
    """By trait, the values that its users may have."""
    logins: tuple[str, ...] = ()
    """Operating system logins that its roles may allow."""
    node_labels: Labels = field(default_factory=dict)
    """What its roles select must lie within this selector."""
    options: tuple[str, ...] = ()
    """Options of a role that it may switch on."""
    rules: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Kinds of resource with the verbs on them that its roles may grant."""
    join_sessions: tuple[str, ...] = ()
    """Roles whose holders' sessions its roles may let people join."""
    token_roles: tuple[str, ...] = ()
    """What may join with its tokens."""
    host_labels: Labels = field(default_factory=dict)
    """Labels that its declared nodes may give to hosts."""

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Self:
        """Raises ValueError for what another version wrote."""
        try:
            return cls(**{name: _frozen(value) for name, value in wire.items()})
        except TypeError as error:
            raise ValueError(f"a ceiling that this program does not know: {error}") from None


@dataclass(frozen=True)
class Reach:
    """A ceiling together with what the source owns: what it may own and name."""

    source: str
    ceiling: Ceiling
    own: frozenset[Ref]

    def may_own(self, kind: str, name: str) -> bool:
        names = self.ceiling.owns.get(kind, ())
        if kind == Role.kind and name in PRESETS:
            return name in names
        return within(name, names, exact=True)

    def may_name_role(self, role: str) -> bool:
        """Whether a role is the source's own, or one that it may assign."""
        allowed = self.ceiling.assign_roles
        if ("role", role) in self.own or role in allowed:
            return True
        return role not in PRESETS and within(role, allowed, exact=True)

    def may_name_roles(self, pattern: str) -> bool:
        """The same for all that a pattern or a template can match."""
        allowed, wide = self.ceiling.assign_roles, as_pattern(pattern)
        if "*" not in wide and not wide.startswith("^"):
            return self.may_name_role(wide)
        return within(wide, allowed) and all(one in allowed for one in PRESETS if covers(wide, one))


def within(text: str, allowed: Iterable[str], *, exact: bool = False) -> bool:
    """Whether one of the patterns covers a pattern, or, if it is exact, a text without special characters."""
    inner = text.replace("*", "\0") if exact else text
    return any(text == one or covers(one, inner) for one in allowed)


def as_pattern(written: str) -> str:
    """A template as a pattern that matches whatever traits may make of it."""
    parsed = template(written)
    if parsed.values is None:
        return written
    around = parsed.prefix + parsed.suffix
    return "*" if is_expression(around) else f"{parsed.prefix}*{parsed.suffix}"


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
