"""The guard `administration`: somebody must be left who can administer the cluster.

That is a declared user who may update every role and every user, by rules without conditions, who is neither locked
nor expired. Whether that person has enrolled is not known to the policy; the socket on the auth host does not count,
for it is there always. A cluster that has no such user yet is not held to it.
"""

from collections.abc import Iterator
from typing import Final

from teleport.access.rules import may_always, roles_allowing
from teleport.access.snapshot import Snapshot
from teleport.core.errors import Problem
from teleport.core.identity import Identity
from teleport.gitops.guards.words import brakes_alone, named
from teleport.gitops.review import Proposed, Verdict, Violation
from teleport.resources.role import Role
from teleport.resources.user import User

__all__ = ["NAME", "administration", "administrators"]

NAME: Final = "administration"
_KINDS: Final = (Role.kind, User.kind)
_CONCERN: Final = frozenset({"role", "user", "lock"})


def administration(proposed: Proposed) -> Verdict:
    """Refuse what leaves nobody who administers, where there was somebody."""
    if _CONCERN.isdisjoint(kind for kind, _ in proposed.changed) or brakes_alone(proposed):
        return Verdict()
    before, after = proposed.snapshots
    if next(administrators(after, now=proposed.now), None) is not None:
        return Verdict()
    had = sorted(administrators(before, now=proposed.now))
    if not had:
        return Verdict()
    message = f"nobody could administer the cluster any more; so far {named(had)} can"
    hint = "leave a user who may update roles and users, without conditions"
    return Verdict((Violation(NAME, Problem("", 0, 0, message, hint), tuple(had)),))


def administrators(snapshot: Snapshot, *, now: float) -> Iterator[str]:
    """The declared users who can administer the cluster."""
    able = [roles_allowing(snapshot, "update", kind, always=True) for kind in _KINDS]
    for name, user in snapshot.users.items():
        if any(roles.isdisjoint(user.spec.roles) for roles in able):
            continue
        identity = Identity("user", name, user.uid, "")
        if all(may_always(snapshot, identity, "update", kind, now=now) for kind in _KINDS):
            yield name
