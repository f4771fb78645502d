"""What everybody reaches on one fleet, where `reach` asks for one: what people have in common is computed once.

What a role selects depends on the traits it reads, and on nothing else of a person; whoever agrees in them for all
roles shares a `Selection`, and then only the logins differ. Agrees with `decide` on every pair, as property tests
demand.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from teleport.access.decide import standing
from teleport.access.fleet import Fleet
from teleport.access.labels import SelectorTemplate
from teleport.access.locks import Shut, lock_in_force, shut_by
from teleport.access.options import Conditions, combine
from teleport.access.roles import LOGINS, CompiledRole, Names, RoleSide, Traits, expand_names
from teleport.access.snapshot import BoundUser, Snapshot
from teleport.core.identity import Identity
from teleport.resources.lock import Lock

__all__ = ["EVERYWHERE", "Facet", "Holding", "Holdings", "RoleSets", "Selection", "split"]

EVERYWHERE: Final = -1
"""Every bit is set: all hosts of whatever fleet."""

_MANY_SETS: Final = 20_000
"""Remembered sets of hosts: of a hundred thousand hosts, each takes 13 kB."""

Key = tuple[object, ...]

Facet = tuple[str, tuple[tuple[str, int], ...]]
"""A condition that depends on the host: its values, each with hosts; where several have a host, the first counts."""


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
class _Role:
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
    def of(cls, role: CompiledRole, sets: "RoleSets") -> "_Role":
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
        self._roles: dict[int, _Role] = {}
        self._meant: dict[tuple[SelectorTemplate, bool], dict[Key, int]] = {}
        self._remembered = 0

    def of(self, role: CompiledRole) -> _Role:
        found = self._roles.get(id(role))
        if found is None:
            found = self._roles[id(role)] = _Role.of(role, self)
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


@dataclass(frozen=True, eq=False)
class Selection:
    """What the roles of somebody select, and what shuts them out, whatever logins they name. Roles in their order."""

    roles: tuple[CompiledRole, ...]
    allowed: tuple[int, ...]
    """For each role the hosts that its allow block means."""
    shut: int
    """Hosts that are denied whatever the login."""
    locked: tuple[tuple[str, int], ...]
    """Logins (empty for every one) with the hosts where a lock shuts them."""
    conditions: Conditions
    """Those that do not depend on the host."""
    asking: int = 0
    """The roles, as bits, that ask for a second factor."""
    trusting: int = 0
    """Those that would like a trusted device."""
    unprovable: int = 0
    """Those that demand what nobody can show yet."""
    modes: tuple[str, ...] = ()
    """For each role, how it has logins created."""

    @cached_property
    def by_login(self) -> frozenset[str]:
        """The logins that locks tell from others."""
        return frozenset(login for login, _ in self.locked if login)

    def opened(self, naming: int, login: str) -> int:
        """The hosts that a login opens, if these roles (as bits) name it and nothing denies it."""
        bits = self._of(naming)
        for closed in (self._of(naming & self.unprovable), self.shut):
            if closed:
                bits ^= bits & closed
        for locked, hosts in self.locked:
            if locked in ("", login):
                bits &= ~hosts
        return bits

    def facets(self, naming: int) -> tuple[Facet, ...]:
        """The conditions that differ from host to host, for a login that these roles name."""
        everywhere = EVERYWHERE if self.conditions.mfa != "no" else 0
        asking = everywhere or self._of(naming & self.asking)
        facets: list[Facet] = [("mfa", (("required", asking), ("no", EVERYWHERE)) if asking else _NO)]
        trusting = self._of(naming & self.trusting) if self.conditions.device_trust == "off" else EVERYWHERE
        facets.append(("device_trust", (("optional", trusting), ("off", EVERYWHERE)) if trusting else _OFF))
        facets.append(self._host_user)
        return tuple(facets)

    def by_role(self, naming: int, hosts: int) -> Iterator[tuple[CompiledRole, int]]:
        """The hosts, each under the first role that allows it."""
        if hosts and not naming & (naming - 1):
            yield self.roles[naming.bit_length() - 1], hosts
            return
        for index in _indices(naming):
            part = hosts & self.allowed[index]
            if part:
                yield self.roles[index], part
                hosts ^= part
            if not hosts:
                return

    def cells(self, naming: int, hosts: int) -> Iterator[tuple[Conditions, int]]:
        """The hosts by the conditions under which they are reached; `mfa` is `no` or `required`."""
        for values, part in split(hosts, self.facets(naming)):
            yield replace(self.conditions, **dict(values)), part  # type: ignore[arg-type]

    @cached_property
    def _host_user(self) -> Facet:
        if set(self.modes) <= {"off"}:
            return "host_user", _OFF
        modes: dict[str, int] = {}
        for mode, hosts in zip(self.modes, self.allowed, strict=True):
            modes[mode] = modes.get(mode, 0) | hosts
        return "host_user", tuple((mode, modes[mode]) for mode in ("off", "keep", "insecure-drop") if mode in modes)

    def _of(self, roles: int) -> int:
        if not roles & (roles - 1):
            return self.allowed[roles.bit_length() - 1] if roles else 0
        bits = 0
        for index in _indices(roles):
            bits |= self.allowed[index]
        return bits


_NO: Final = (("no", EVERYWHERE),)
_OFF: Final = (("off", EVERYWHERE),)


def split(hosts: int, facets: Iterable[Facet]) -> list[tuple[tuple[tuple[str, str], ...], int]]:
    """A set of hosts by the values of all facets."""
    parts: list[tuple[tuple[tuple[str, str], ...], int]] = [((), hosts)]
    for name, values in facets:
        finer = []
        for known, part in parts:
            for value, among in values:
                here = part if among == EVERYWHERE else part & among
                if here:
                    finer.append(((*known, (name, value)), here))
                    part = 0 if here is part else part ^ here
        parts = finer
    return parts


def _bits(flags: Iterable[bool]) -> int:
    return sum(1 << index for index, flag in enumerate(flags) if flag)


def _indices(bits: int) -> Iterator[int]:
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low


@dataclass(frozen=True, eq=False)
class Holding:
    """What one user holds: the logins, and the key of the selection."""

    user: BoundUser
    key: Key
    naming: Mapping[str, int]
    """Login to the roles, as bits, that name it; without those that are denied."""
    written: Mapping[str, str]
    """Login to the entry of a role that gave it, as the author wrote it."""
    locks: tuple[Shut, ...] = ()


class Holdings:
    """What everybody holds under one policy on one fleet, at one moment."""

    def __init__(self, snapshot: Snapshot, sets: RoleSets, *, now: float) -> None:
        self.snapshot, self.fleet, self._sets, self._now = snapshot, sets.fleet, sets, now
        self._locks = [lock for lock in snapshot.locks if lock_in_force(lock, now)]
        self._places: dict[str, int] = {}
        self._combined: dict[tuple[str, ...], Conditions] = {}
        anybody = self._conditions(())
        self._never = anybody.mfa.startswith("hardware_key") or anybody.device_trust == "required"

    def of(self, name: str) -> Holding | None:
        """None for somebody who holds nothing: not a user, without standing, or where an error would deny."""
        try:
            return self._holding(name)
        except Exception:  # fail closed, as `decide` does
            return None

    def selects(self, name: str) -> tuple[int, ...] | None:
        """The hosts that each side of each role of a user selects; None for somebody who holds nothing."""
        user = self.snapshot.user(name)
        if user is None:
            return None
        try:
            roles = [self._sets.of(bound.role) for bound in user.roles]
            return tuple([side.hosts(side.key(user), user) for one in roles for side in (one.allow, one.deny)])
        except Exception:  # fail closed, as `decide` does
            return None

    @property
    def locks_places(self) -> bool:
        """Whether some lock is on a host."""
        return any(lock.spec.target.node or lock.spec.target.server_id for lock in self._locks)

    def selection(self, holding: Holding) -> Selection:
        """What the roles of a holder select."""
        user = holding.user
        sides = [self._sets.of(bound.role) for bound in user.roles]
        shut = 0
        for one in sides:
            every = one.deny.names(user.traits).every is not None
            shut |= self.fleet.everything if every else one.deny.hosts(one.deny.key(user), user)
        return Selection(
            roles=tuple(one.role for one in sides),
            allowed=tuple(one.allow.hosts(one.allow.key(user), user) for one in sides),
            shut=shut,
            locked=tuple((lock.login, self._locked(lock)) for lock in holding.locks),
            conditions=self._conditions(sides),
            asking=_bits(one.mfa == "yes" for one in sides),
            trusting=_bits(one.device_trust == "optional" for one in sides),
            unprovable=_bits(one.unprovable for one in sides),
            modes=tuple([one.mode for one in sides]),
        )

    def _holding(self, name: str) -> Holding | None:
        snapshot = self.snapshot
        user = snapshot.user(name)
        if user is None or self._never or snapshot.blind_for(self.fleet.kind):
            return None
        if standing(snapshot, Identity("user", name, user.uid, "", mfa_verified=True), self._now):
            return None
        naming: dict[str, int] = {}
        written: dict[str, str] = {}
        keys: list[object] = []
        sides = [self._sets.of(bound.role) for bound in user.roles]
        for index, one in enumerate(sides):
            for login, entry in one.allow.names(user.traits).entries.items():
                naming[login] = naming.get(login, 0) | 1 << index
                if login not in written:
                    written[login] = one.written[entry]
            allow, deny = one.allow.key(user), one.deny.key(user)
            one.allow.hosts(allow, user)  # here, so that an error denies
            one.deny.hosts(deny, user)
            keys.append((id(one), allow, deny) if allow or deny else id(one))
        for one in sides:
            for login in one.deny.names(user.traits).entries:
                naming.pop(login, None)
        locks, shut = self._locks_on(user)
        return Holding(user, (*keys, *map(id, locks)), naming, written, shut)

    def _locks_on(self, user: BoundUser) -> tuple[list[Lock], tuple[Shut, ...]]:
        if not self._locks:
            return [], ()
        found = [(lock, shut) for lock in self._locks if (shut := shut_by(lock, user, self.fleet.kind)) is not None]
        return [lock for lock, _ in found], tuple(shut for _, shut in found)

    def _locked(self, lock: Shut) -> int:
        hosts = self.fleet.everything
        for place in lock.places:
            if place not in self._places:
                self._places[place] = self.fleet.those((place,))
            hosts &= self._places[place]
        return hosts

    def _conditions(self, sides: Sequence[_Role]) -> Conditions:
        """The conditions of all who hold these roles, whatever the host."""
        options = [one.options for one in sides]
        key = tuple(options if any(one.ordered for one in sides) else sorted(options))
        found = self._combined.get(key)
        if found is None:
            snapshot, roles = self.snapshot, [one.role for one in sides]
            found = self._combined[key] = combine(
                roles, roles, auth=snapshot.auth, network=snapshot.network, recording=snapshot.recording
            )
        return found
