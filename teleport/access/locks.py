"""Locks: what one shuts, for whom. In force until it expires or is removed, on live sessions too."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from teleport.access.snapshot import BoundUser, Snapshot
from teleport.access.target import Target
from teleport.resources.lock import Lock
from teleport.resources.values import parse_timestamp

__all__ = ["Shut", "lock_in_force", "lock_on", "lock_on_host", "lock_text", "shut_by"]

_PLACES: Final[Mapping[str, tuple[str, ...]]] = {"node": ("server_id", "node"), "windows_desktop": ("windows_desktop",)}
"""By kind of target, the fields of a lock that name one, by UUID or name."""


@dataclass(frozen=True)
class Shut:
    """What a lock shuts for one user: a login, or every one if empty; on places of all these names, or anywhere."""

    login: str
    places: tuple[str, ...]

    def covers(self, target: Target | None, login: str) -> bool:
        if self.login and self.login != login:
            return False
        names = () if target is None else (target.uid, target.name)
        return all(place in names for place in self.places)


def shut_by(lock: Lock, user: BoundUser, kind: str) -> Shut | None:
    """What a lock shuts for a user on targets of a kind, None for nothing: every field that is set must match."""
    fields = dict(lock.spec.target.set_fields())
    if fields.pop("user", user.name) != user.name:
        return None
    if fields.pop("role", None) not in (None, *user.role_names):
        return None
    login = fields.pop("login", "")
    places = tuple(fields.pop(name) for name in _PLACES.get(kind, ()) if name in fields)
    return None if fields else Shut(login, places)


def lock_on(
    snapshot: Snapshot, user: BoundUser, *, target: Target | None = None, login: str = "", now: float
) -> Lock | None:
    """The first lock in force on this user, here; without a target and a login only those on the user as such."""
    kind = target.kind if target is not None else ""
    for lock in snapshot.locks:
        if lock_in_force(lock, now):
            shut = shut_by(lock, user, kind)
            if shut is not None and shut.covers(target, login):
                return lock
    return None


def lock_on_host(snapshot: Snapshot, uid: str, name: str, *, now: float) -> Lock | None:
    """The first lock in force on a host as such, for whoever would use it; names are accepted too."""
    for lock in snapshot.locks:
        targets = dict(lock.spec.target.set_fields())
        if set(targets) <= {"server_id", "node"} and set(targets.values()) <= {uid, name} and lock_in_force(lock, now):
            return lock
    return None


def lock_in_force(lock: Lock, now: float) -> bool:
    """Whether a lock has not expired."""
    ends = [parse_timestamp(text) for text in (lock.spec.expires, lock.metadata.expires) if text is not None]
    return all(end > now for end in ends)


def lock_text(lock: Lock) -> str:
    """The lock, whom it is on, and what its author has to say."""
    whom = ", ".join(f"{name} {value}" for name, value in lock.spec.target.set_fields())
    message = f": {lock.spec.message}" if lock.spec.message else ""
    return f"lock/{lock.name} on {whom}{message}"
