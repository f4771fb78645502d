"""The guard `administration`: somebody must be left who can administer the cluster.

That is a declared user who may update every role and every user, by rules without conditions, who is neither locked
nor expired. Whether that person has enrolled is not known to the policy; the socket on the auth host does not count,
for it is there always. A cluster that has no such user yet is not held to it.
"""

from typing import Final

from teleport.access.rules import may_always
from teleport.access.snapshot import Snapshot
from teleport.core.errors import Problem
from teleport.core.identity import Identity
from teleport.gitops.guards.words import brakes_alone, named
from teleport.gitops.review import Proposed, Verdict, Violation
from teleport.resources.role import Role
from teleport.resources.user import User

__all__ = ["NAME", "administers", "administration"]

NAME: Final = "administration"
_CONCERN: Final = frozenset({"role", "user", "lock"})


def administration(proposed: Proposed) -> Verdict:
    """Refuse what leaves nobody who administers, where there was somebody."""
    if _CONCERN.isdisjoint(kind for kind, _ in proposed.changed) or brakes_alone(proposed):
        return Verdict()
    before, after = proposed.snapshots
    if any(administers(after, name, now=proposed.now) for name in after.users):
        return Verdict()
    had = [name for name in sorted(before.users) if administers(before, name, now=proposed.now)]
    if not had:
        return Verdict()
    message = f"nobody could administer the cluster any more; so far {named(had)} can"
    hint = "leave a user who may update roles and users, without conditions"
    return Verdict((Violation(NAME, Problem("", 0, 0, message, hint), tuple(had)),))


def administers(snapshot: Snapshot, name: str, *, now: float) -> bool:
    """Whether a declared user can administer the cluster."""
    identity = Identity("user", name, snapshot.users[name].uid, "")
    return all(may_always(snapshot, identity, "update", kind, now=now) for kind in (Role.kind, User.kind))
