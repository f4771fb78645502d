"""What everybody reaches on one fleet, where `reach` asks for one: what people have in common is computed once.

What a role selects depends on the traits it reads, and on nothing else of a person; whoever agrees in them for all
roles shares a `Selection`, and then only the logins differ. Agrees with `decide` on every pair, as property tests
demand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from teleport.access.decide import standing
from teleport.access.locks import Shut, lock_in_force, shut_by
from teleport.access.options import Conditions, combine
from teleport.access.role_sets import Key, RoleHere, RoleSets
from teleport.access.selection import Selection, as_bits
from teleport.access.snapshot import BoundUser, Snapshot
from teleport.core.identity import Identity
from teleport.resources.lock import Lock

__all__ = ["Holding", "Holdings"]


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
        self.snapshot, self.fleet, self.sets, self._now = snapshot, sets.fleet, sets, now
        self._locks = [lock for lock in snapshot.locks if lock_in_force(lock, now)]
        self._places: dict[str, int] = {}
        self._combined: dict[tuple[str, ...], Conditions] = {}
        anybody = self._conditions(())
        self.never = anybody.mfa.startswith("hardware_key") or anybody.device_trust == "required"

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
            roles = [self.sets.of(bound.role) for bound in user.roles]
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
        sides = [self.sets.of(bound.role) for bound in user.roles]
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
            asking=as_bits(one.mfa == "yes" for one in sides),
            trusting=as_bits(one.device_trust == "optional" for one in sides),
            unprovable=as_bits(one.unprovable for one in sides),
            modes=tuple([one.mode for one in sides]),
        )

    def _holding(self, name: str) -> Holding | None:
        snapshot = self.snapshot
        user = snapshot.user(name)
        if user is None or self.never or snapshot.blind_for(self.fleet.kind):
            return None
        if standing(snapshot, Identity("user", name, user.uid, "", mfa_verified=True), self._now):
            return None
        naming: dict[str, int] = {}
        written: dict[str, str] = {}
        keys: list[object] = []
        sides = [self.sets.of(bound.role) for bound in user.roles]
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

    def _conditions(self, sides: Sequence[RoleHere]) -> Conditions:
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
