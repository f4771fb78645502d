"""Who reaches what, over a whole fleet at once: for one user, which hosts each login opens.

It must agree with `decide` on every pair, which property tests hold it to.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from teleport.access.decide import standing
from teleport.access.fleet import Fleet, positions
from teleport.access.locks import lock_in_force, shut_by
from teleport.access.roles import LOGINS, BoundRole
from teleport.access.snapshot import BoundUser, Snapshot
from teleport.access.target import Target
from teleport.core.identity import Identity

__all__ = ["Fleet", "Reach", "reach"]


@dataclass(frozen=True)
class Reach:
    """Which hosts each login opens. It holds until the fleet changes; asked afterwards it raises RuntimeError."""

    fleet: Fleet
    version: int
    by_login: Mapping[str, int]
    defect: str = ""
    """An error while it was computed, for the log: then nothing is reached."""

    def logins_on(self, target: Target) -> list[str]:
        """The logins that open one host, in alphabetical order."""
        self._check()
        position = self.fleet.position(target.uid)
        if position is None:
            return []
        return sorted(login for login, bits in self.by_login.items() if bits >> position & 1)

    def rows(self) -> Iterator[tuple[Target, list[str]]]:
        """Each reachable host with its logins, by name."""
        self._check()
        opened: dict[int, list[str]] = {}
        for login in sorted(self.by_login):
            for position in positions(self.by_login[login]):
                opened.setdefault(position, []).append(login)
        targets = [(self.fleet.at(position), logins) for position, logins in opened.items()]
        yield from sorted(targets, key=lambda row: (row[0].name, row[0].uid))

    def _check(self) -> None:
        """A bit may stand for another host by now."""
        if self.fleet.version != self.version:
            raise RuntimeError("the fleet has changed since this was computed")


def reach(snapshot: Snapshot, identity: Identity, fleet: Fleet, *, now: float) -> Reach:
    """Everything an identity reaches, a second factor assumed. Agrees with `decide` on every pair.

    Only for kinds of target with logins.
    """
    try:
        return Reach(fleet, fleet.version, _opened(snapshot, identity, fleet, now))
    except Exception as error:  # fail closed: what `decide` would deny is not listed
        return Reach(fleet, fleet.version, {}, defect=f"{type(error).__name__}: {error}")


def _opened(snapshot: Snapshot, identity: Identity, fleet: Fleet, now: float) -> dict[str, int]:
    """Each login with the hosts it opens: what is granted, less what each obstacle of `decide` shuts."""
    user = snapshot.holder(identity) if identity.is_user else None
    if user is None or standing(snapshot, identity, now) or snapshot.blind_for(fleet.kind) or _never(snapshot):
        return {}
    field_ = LOGINS[fleet.kind]
    selected = {role.name: fleet.allowed_by(role.allow.selector(fleet.kind)) for role in user.roles}
    opened: dict[str, int] = {}
    for role in user.scoped(identity.requested_roles):
        for login in role.allow.names[field_].entries:
            opened[login] = opened.get(login, 0) | selected[role.name]
    shut = _shut(user, identity, fleet)
    for login in opened:
        opened[login] &= ~shut
    for role in user.roles:
        _take(opened, role.deny.names[field_].entries, fleet.everything)
        if _unprovable(role):
            _take(opened, role.allow.names[field_].entries, selected[role.name])
    for lock in snapshot.locks:
        found = shut_by(lock, user, fleet.kind) if lock_in_force(lock, now) else None
        if found is not None:
            hosts = fleet.everything
            for place in found.places:
                hosts &= fleet.those((place,))
            _take(opened, (found.login,) if found.login else tuple(opened), hosts)
    return {login: bits for login, bits in opened.items() if bits}


def _shut(user: BoundUser, identity: Identity, fleet: Fleet) -> int:
    """The hosts that are shut whatever the login: by a deny block, or by the certificate's restriction."""
    shut = 0
    for role in user.roles:
        if role.deny.names[LOGINS[fleet.kind]].every is not None:
            return fleet.everything
        shut |= fleet.denied_by(role.deny.selector(fleet.kind))
    if identity.allowed_resources is not None:
        shut |= fleet.everything & ~fleet.those(identity.allowed_resources)
    return shut


def _take(opened: dict[str, int], logins: Iterable[str], hosts: int) -> None:
    for login in logins:
        if login in opened:
            opened[login] &= ~hosts


def _never(snapshot: Snapshot) -> bool:
    """Whether the cluster demands of everybody what nobody can show yet."""
    trust = snapshot.auth.device_trust
    return snapshot.auth.require_session_mfa.startswith("hardware_key") or (
        trust is not None and trust.mode.startswith("required")
    )


def _unprovable(role: BoundRole) -> bool:
    """Whether a matching role demands what nobody can show yet."""
    options = role.role.options
    return (options.require_session_mfa or "no").startswith("hardware_key") or options.device_trust_mode == "required"
