"""What everybody reaches on one fleet, where `reach` asks for one: what people have in common is computed once.

What a role selects depends on the traits it reads, and on nothing else of a person; whoever agrees in them for all
roles shares a `Selection`, and then only the logins differ. Agrees with `decide` on every pair, as property tests
demand.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from teleport.access.decide import standing
from teleport.access.fleet import Fleet
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
    _names: dict[Key, Names] = field(default_factory=dict)
    _hosts: dict[Key, int] = field(default_factory=dict)

    @property
    def fleet(self) -> Fleet:
        return self.sets.fleet

    @cached_property
    def _naming(self) -> tuple[str, ...]:
        """The traits that the names read."""
        written = self.side.names[LOGINS[self.fleet.kind]]
        return tuple(sorted({trait for one in written for trait in one.reads}))

    @cached_property
    def _selecting(self) -> tuple[str, ...]:
        return tuple(sorted(self.side.selectors[self.fleet.kind].reads.traits))

    def names(self, traits: Traits) -> Names:
        key = tuple([traits.get(name, ()) for name in self._naming])
        found = self._names.get(key)
        if found is None:
            what = LOGINS[self.fleet.kind]
            found = self._names[key] = expand_names(what, self.side.names[what], traits)
        return found

    def key(self, user: BoundUser) -> Key:
        """Whoever agrees in it is given the same hosts."""
        selector = self.side.selectors[self.fleet.kind]
        read = tuple([user.traits.get(name, ()) for name in self._selecting]) if self._selecting else ()
        return (*read, user.name, user.role_names) if selector.reads.user else read

    def hosts(self, key: Key, user: BoundUser) -> int:
        found = self._hosts.get(key)
        if found is None:
            selector = self.side.selectors[self.fleet.kind].bind(user.name, user.role_names, user.traits)
            found = self.fleet.denied_by(selector) if self.denies else self.fleet.allowed_by(selector)
            self._hosts[key] = found
            self.sets.remember(self._hosts)
        return found


@dataclass(frozen=True, eq=False)
class _Role:
    """A role on one fleet."""

    role: CompiledRole
    allow: _Side
    deny: _Side

    def written(self, index: int) -> str:
        """An entry of the allowed logins as the author wrote it."""
        return self.role.source.spec.allow.logins[index]


class RoleSets:
    """What roles select of one fleet, for whoever asks; shared between policies that have roles in common."""

    def __init__(self, fleet: Fleet, *, many: int = _MANY_SETS) -> None:
        self.fleet, self._many = fleet, many
        self._roles: dict[int, _Role] = {}
        self._remembered = 0

    def of(self, role: CompiledRole) -> _Role:
        found = self._roles.get(id(role))
        if found is None:
            allow, deny = _Side(role.allow, self, denies=False), _Side(role.deny, self, denies=True)
            found = self._roles[id(role)] = _Role(role, allow, deny)
        return found

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

    @cached_property
    def unprovable(self) -> int:
        """The roles, as bits, that demand what nobody can show yet."""
        return self._those("require_session_mfa", "hardware_key") | self._those("device_trust_mode", "required")

    @cached_property
    def by_login(self) -> frozenset[str]:
        """The logins that locks tell from others."""
        return frozenset(login for login, _ in self.locked if login)

    def opened(self, naming: int, login: str) -> int:
        """The hosts that a login opens, if these roles (as bits) name it and nothing denies it."""
        bits = self._of(naming) & ~self._of(naming & self.unprovable) & ~self.shut
        for locked, hosts in self.locked:
            if locked in ("", login):
                bits &= ~hosts
        return bits

    def facets(self, naming: int) -> tuple[Facet, ...]:
        """The conditions that differ from host to host, for a login that these roles name."""
        everywhere = EVERYWHERE if self.conditions.mfa != "no" else 0
        asking = self._of(naming & self._mfa) | everywhere if self._mfa or everywhere else 0
        facets: list[Facet] = [("mfa", (("required", asking), ("no", EVERYWHERE)) if asking else _NO)]
        trusting = self._of(naming & self._optional)
        if self.conditions.device_trust != "off":
            trusting = EVERYWHERE
        facets.append(("device_trust", (("optional", trusting), ("off", EVERYWHERE)) if trusting else _OFF))
        facets.append(self._host_user)
        return tuple(facets)

    def by_role(self, naming: int, hosts: int) -> Iterator[tuple[CompiledRole, int]]:
        """The hosts, each under the first role that allows it."""
        for index in _indices(naming):
            part = hosts & self.allowed[index]
            if part:
                yield self.roles[index], part
                hosts &= ~part

    def cells(self, naming: int, hosts: int) -> Iterator[tuple[Conditions, int]]:
        """The hosts by the conditions under which they are reached; `mfa` is `no` or `required`."""
        for values, part in split(hosts, self.facets(naming)):
            yield replace(self.conditions, **dict(values)), part  # type: ignore[arg-type]

    @cached_property
    def _mfa(self) -> int:
        return self._those("require_session_mfa", "yes")

    @cached_property
    def _optional(self) -> int:
        return self._those("device_trust_mode", "optional")

    @cached_property
    def _host_user(self) -> Facet:
        modes: dict[str, int] = {}
        for role, hosts in zip(self.roles, self.allowed, strict=True):
            options = role.options
            mode = options.create_host_user_mode or ("keep" if options.create_host_user else "off")
            modes[mode] = modes.get(mode, 0) | hosts
        if set(modes) <= {"off"}:
            return "host_user", _OFF
        return "host_user", tuple((mode, modes[mode]) for mode in ("off", "keep", "insecure-drop") if mode in modes)

    def _those(self, option: str, value: str) -> int:
        """The roles, as bits, whose option begins like this."""
        found = (
            index for index, role in enumerate(self.roles) if (getattr(role.options, option) or "").startswith(value)
        )
        return sum(1 << index for index in found)

    def _of(self, roles: int) -> int:
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
                here = part & among
                if here:
                    finer.append(((*known, (name, value)), here))
                    part &= ~here
        parts = finer
    return parts


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
        self._combined: dict[tuple[int, ...], Conditions] = {}
        anybody = self._conditions(())
        self._never = anybody.mfa.startswith("hardware_key") or anybody.device_trust == "required"

    def of(self, name: str) -> Holding | None:
        """None for somebody who holds nothing: not a user, without standing, or where an error would deny."""
        try:
            return self._holding(name)
        except Exception:  # fail closed, as `decide` does
            return None

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
            conditions=self._conditions(tuple(one.role for one in sides)),
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
                written.setdefault(login, one.written(entry))
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

    def _conditions(self, roles: tuple[CompiledRole, ...]) -> Conditions:
        """The conditions of all who hold these roles, whatever the host."""
        key = tuple(map(id, roles))
        found = self._combined.get(key)
        if found is None:
            snapshot = self.snapshot
            found = self._combined[key] = combine(
                roles, roles, auth=snapshot.auth, network=snapshot.network, recording=snapshot.recording
            )
        return found
