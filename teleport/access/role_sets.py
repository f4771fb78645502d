"""What each role means on one fleet, for each combination of the traits it reads: computed once, for whoever asks.

Roles that are written alike in a selector share its sets. Knows nothing of how roles add up.
"""

from dataclasses import dataclass, field
from typing import Final

from teleport.access.fleet import Fleet
from teleport.access.labels import SelectorTemplate
from teleport.access.roles import LOGINS, CompiledRole, Names, RoleSide, Traits, expand_names
from teleport.access.snapshot import BoundUser

__all__ = ["Key", "RoleHere", "RoleSets"]

_MANY_SETS: Final = 20_000
"""Remembered sets of hosts: of a hundred thousand hosts, each takes 13 kB."""

Key = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class _Side:
    """One side of a role on one fleet."""

    side: RoleSide
    sets: "RoleSets"
    denies: bool
    naming: tuple[str, ...]
    """The traits that the names read."""
    selecting: tuple[str, ...]
    """The traits that the selector reads."""
    reads_user: bool
    _hosts: dict[Key, int]
    _names: dict[Key, Names] = field(default_factory=dict)

    @classmethod
    def of(cls, side: RoleSide, sets: "RoleSets", *, denies: bool) -> "_Side":
        names, selector = side.names[LOGINS[sets.fleet.kind]], side.selectors[sets.fleet.kind]
        reads = selector.reads
        naming = tuple(sorted({trait for one in names for trait in one.reads}))
        return cls(side, sets, denies, naming, tuple(sorted(reads.traits)), reads.user, sets.meant(selector, denies))

    def names(self, traits: Traits) -> Names:
        key = tuple([traits.get(name, ()) for name in self.naming]) if self.naming else ()
        found = self._names.get(key)
        if found is None:
            what = LOGINS[self.sets.fleet.kind]
            found = self._names[key] = expand_names(what, self.side.names[what], traits)
        return found

    def key(self, user: BoundUser) -> Key:
        """Whoever agrees in it is given the same hosts."""
        read = tuple([user.traits.get(name, ()) for name in self.selecting]) if self.selecting else ()
        return (*read, user.name, user.role_names) if self.reads_user else read

    def hosts(self, key: Key, user: BoundUser) -> int:
        found = self._hosts.get(key)
        if found is None:
            fleet = self.sets.fleet
            selector = self.side.selectors[fleet.kind].bind(user.name, user.role_names, user.traits)
            found = fleet.denied_by(selector) if self.denies else fleet.allowed_by(selector)
            self._hosts[key] = found
            self.sets.remember(self._hosts)
        return found


@dataclass(frozen=True, eq=False)
class RoleHere:
    """A role on one fleet."""

    role: CompiledRole
    allow: _Side
    deny: _Side
    written: tuple[str, ...]
    """The allowed logins as the author wrote them."""
    options: str
    """Equal for roles whose options are the same."""
    ordered: bool
    """Whether the order of roles shows in what the options come to."""
    mfa: str
    device_trust: str
    mode: str
    """How it has logins created."""

    @classmethod
    def of(cls, role: CompiledRole, sets: "RoleSets") -> "RoleHere":
        allow, deny = _Side.of(role.allow, sets, denies=False), _Side.of(role.deny, sets, denies=True)
        options = role.options
        return cls(
            role, allow, deny, role.source.spec.allow.logins, options.model_dump_json(exclude_none=True),
            bool(options.cert_extensions), options.require_session_mfa or "no", options.device_trust_mode or "off",
            options.create_host_user_mode or ("keep" if options.create_host_user else "off"),
        )  # fmt: skip

    @property
    def unprovable(self) -> bool:
        """Whether it demands what nobody can show yet."""
        return self.mfa.startswith("hardware_key") or self.device_trust == "required"


class RoleSets:
    """What roles select of one fleet, for whoever asks; shared between policies that have roles in common."""

    def __init__(self, fleet: Fleet, *, many: int = _MANY_SETS) -> None:
        self.fleet, self._many = fleet, many
        self._roles: dict[int, RoleHere] = {}
        self._meant: dict[tuple[SelectorTemplate, bool], dict[Key, int]] = {}
        self._remembered = 0

    def of(self, role: CompiledRole) -> RoleHere:
        found = self._roles.get(id(role))
        if found is None:
            found = self._roles[id(role)] = RoleHere.of(role, self)
        return found

    def meant(self, selector: SelectorTemplate, denies: bool) -> dict[Key, int]:
        """What a selector means so far, by what it reads; one for all roles that are written alike there."""
        return self._meant.setdefault((selector, denies), {})

    def remember(self, sets: dict[Key, int]) -> None:
        """One more set is in there; of too many, those of this side are forgotten."""
        self._remembered += 1
        if self._remembered > self._many:
            self._remembered -= len(sets)
            sets.clear()
