"""The guard `administration`: somebody must be left who can administer the cluster.

That is a declared user who may update every role and every user, by rules without conditions, who is neither locked
nor expired, and will not be once something ends that the change gives an end. Whether that person has enrolled is not
known to the policy; the socket on the auth host does not count, for it is there always. A cluster that has no such
user yet is not held to it.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from teleport.access.rules import may_always, roles_allowing
from teleport.access.snapshot import Snapshot
from teleport.core.errors import Problem
from teleport.core.identity import Identity
from teleport.gitops.guards.later import at, coming_ends, moment
from teleport.gitops.guards.words import brakes_alone, named
from teleport.gitops.review import Proposed, Verdict, Violation
from teleport.resources.role import Role
from teleport.resources.settings import AuthPreference
from teleport.resources.user import User

__all__ = ["NAME", "administration", "administrators"]

NAME: Final = "administration"
_KINDS: Final = (Role.kind, User.kind)
_CONCERN: Final = frozenset({"role", "user", "lock", AuthPreference.kind})
_MANY: Final = 16
"""Moments that are looked at, the last of them."""


def administration(proposed: Proposed) -> Verdict:
    """Refuse what leaves nobody who administers, where there was somebody."""
    if _CONCERN.isdisjoint(kind for kind, _ in proposed.changed) or brakes_alone(proposed):
        return Verdict()
    now, *later = (proposed, *(at(proposed, when) for when in coming_ends(proposed, _CONCERN)[-_MANY:]))
    return Verdict(tuple(islice(_lost([("", now), *((f" from {moment(one.now)} on", one) for one in later)]), 1)))


def _lost(moments: Iterable[tuple[str, Proposed]]) -> Iterator[Violation]:
    """When nobody administers any more though somebody would have."""
    for when, proposed in moments:
        before, after = proposed.snapshots
        if _manageable(after, now=proposed.now):
            continue
        had = sorted(administrators(before, now=proposed.now)) if _manageable(before, now=proposed.now) else []
        if had:
            message = f"nobody could administer the cluster any more{when}; so far {named(had)} can"
            hint = "leave a user who may update roles and users, without conditions"
            yield Violation(NAME, Problem("", 0, 0, message, hint), tuple(had))


def _manageable(snapshot: Snapshot, *, now: float) -> bool:
    """Whether there is an administrator who can log in: as long as there are no connectors, with a password."""
    return snapshot.auth.allow_local_auth and next(administrators(snapshot, now=now), None) is not None


def administrators(snapshot: Snapshot, *, now: float) -> Iterator[str]:
    """The declared users who can administer the cluster."""
    able = [roles_allowing(snapshot, "update", kind, always=True) for kind in _KINDS]
    for name, user in snapshot.users.items():
        if any(roles.isdisjoint(user.spec.roles) for roles in able):
            continue
        identity = Identity("user", name, user.uid, "")
        if all(may_always(snapshot, identity, "update", kind, now=now) for kind in _KINDS):
            yield name
