"""What one user gains by a change: access to hosts exactly, and whatever else is granted as it is written.

An account, roles, traits, more in a role that is held or may be asked for, less in what denies, an end of a lock,
milder conditions; at once, or once something ends that the change gives an end. Errs towards a gain, since all that
comes of it is that somebody else is asked.
"""

from collections.abc import Iterator
from typing import Final

from teleport.access.decide import standing
from teleport.access.locks import lock_on
from teleport.access.roles import CompiledRole
from teleport.access.snapshot import BoundUser, Snapshot
from teleport.access.ways import askable
from teleport.access.widening import is_stricter
from teleport.core.identity import Identity
from teleport.gitops.guards.later import at, changed_ends, moment
from teleport.gitops.guards.unseen import milder_as_written, ruled, turned
from teleport.gitops.guards.widened import widened
from teleport.gitops.guards.words import named
from teleport.gitops.review import Proposed
from teleport.resources.lock import Lock
from teleport.resources.role import Role
from teleport.resources.user import User

__all__ = ["gains"]

_MANY: Final = 16
"""Moments that are looked at."""


def gains(proposed: Proposed, name: str) -> tuple[str, ...]:
    """What somebody has afterwards and not before, in words; nothing for nobody."""
    if not proposed.changed:
        return ()
    return tuple(dict.fromkeys([*_gains(proposed, name), *_later(proposed, name)]))


def _later(proposed: Proposed, name: str) -> Iterator[str]:
    """What comes of ends that change: of the account, of locks, of roles that are held or may be."""
    users = [user for snapshot in proposed.snapshots if (user := snapshot.user(name)) is not None]
    roles = {role for user in users for role in user.role_names}
    roles |= {role for snapshot in proposed.snapshots for role in askable(snapshot, roles)}
    refs = [
        (kind, one) for kind, one in proposed.changed
        if kind == Lock.kind or (kind, one) == (User.kind, name) or (kind == Role.kind and one in roles)
    ]  # fmt: skip
    moments = changed_ends(proposed, refs)
    for when in moments[:_MANY]:
        yield from (f"from {moment(when)} on: {gain}" for gain in _gains(at(proposed, when), name))
    if len(moments) > _MANY:
        yield f"other ends of {len(refs)} locks and roles"


def _gains(proposed: Proposed, name: str) -> Iterator[str]:
    before, after = (snapshot.user(name) for snapshot in proposed.snapshots)
    if after is None and before is not None:
        was, will = (snapshot.users.keys() for snapshot in proposed.snapshots)
        yield from (f"the user {one} in place of {name}" for one in sorted(will - was))
    elif after is not None and before is None:
        yield f"the user {name}"
    elif after is not None and before is not None:
        yield from _standing(proposed, before, after)
        yield from _granted(proposed, before, after)
        yield from ruled(proposed, after)
        yield from _reached(proposed, before, after)


def _standing(proposed: Proposed, before: BoundUser, after: BoundUser) -> Iterator[str]:
    was, will = proposed.snapshots
    if _shut(was, before, proposed.now) and not _shut(will, after, proposed.now):
        yield f"{after.name} is no longer locked or expired"


def _shut(snapshot: Snapshot, user: BoundUser, now: float) -> bool:
    identity = Identity("user", user.name, user.uid, "")
    return bool(standing(snapshot, identity, now)) or lock_on(snapshot, user, now=now) is not None


def _granted(proposed: Proposed, before: BoundUser, after: BoundUser) -> Iterator[str]:
    """Roles, traits, and what is written in roles."""
    was, will = ({role.name: role.role for role in user.roles} for user in (before, after))
    for name in dict.fromkeys(after.role_names):
        if name not in before.role_names or (name in will and name not in was):
            yield f"role/{name}"
    for trait, values in sorted(after.traits.items()):
        fresh = [value for value in values if value not in before.traits.get(trait, ())]
        if fresh:
            yield f"{named(fresh)} in the trait {trait}"
    yield from turned(before, after)
    known = ("node",) if any(proposed.targets) else ()
    for name in was.keys() & will.keys():
        yield from _written(was[name], will[name], known=known)
    for name in sorted(was.keys() - will.keys()):
        if was[name].source.spec.deny.model_fields_set:
            yield f"role/{name} no longer denies anything"
    yield from _on_request(proposed, before, after)


def _written(was: CompiledRole, will: CompiledRole, *, known: tuple[str, ...] = ()) -> Iterator[str]:
    """What a role says more, or denies less."""
    old, new, ref = was.source, will.source, f"role/{was.name}"
    if old is new:
        return
    if old.version != new.version:
        yield f"{ref}, written in another version"
    yield from (f"{field} of {ref}" for field in widened(old.spec.allow, new.spec.allow, known=known))
    for field in widened(new.spec.deny, old.spec.deny, known=known):
        yield f"{ref} denies less by {field}"


def _on_request(proposed: Proposed, before: BoundUser, after: BoundUser) -> Iterator[str]:
    """Roles that can be asked for are as good as held: who decides on that is not known here."""
    (old, new), user = proposed.snapshots, after.name
    was, will = askable(old, before.role_names), askable(new, after.role_names)
    for name in sorted(will - {*before.role_names, *after.role_names}):
        if name not in was or name not in old.roles:
            yield f"role/{name}, which {user} may ask for"
        elif name in new.roles:
            yield from (f"{gain}, which {user} may ask for" for gain in _written(old.roles[name], new.roles[name]))


def _reached(proposed: Proposed, before: BoundUser, after: BoundUser) -> Iterator[str]:
    """Logins on hosts, and conditions that become milder, there or as they are written."""
    logins: dict[str, int] = {}
    milder = set(milder_as_written(*proposed.snapshots, before, after))
    for effect in proposed.impact.effects_of(after.name):
        if effect.found.change == "gained":
            logins[effect.login] = logins.get(effect.login, 0) | effect.found.hosts
        milder |= {one.name for one in effect.found.differences if not is_stricter(one)}
    for login, hosts in sorted(logins.items()):
        count = hosts.bit_count()
        yield f"{login} on {count} host{'' if count == 1 else 's'}"
    yield from (f"other conditions, not plainly stricter: {condition}" for condition in sorted(milder))
