"""What one user gains by a change: access to hosts exactly, and whatever else is granted as it is written.

An account, roles, traits, more in a role that is held, less in what denies, an end of a lock, milder conditions. Errs
towards a gain, since all that comes of it is that somebody else is asked.
"""

from collections.abc import Iterator

from teleport.access.decide import standing
from teleport.access.locks import lock_on
from teleport.access.snapshot import BoundUser, Snapshot
from teleport.access.widening import is_stricter
from teleport.core.identity import Identity
from teleport.gitops.guards.widened import widened
from teleport.gitops.guards.words import named
from teleport.gitops.review import Proposed

__all__ = ["gains"]


def gains(proposed: Proposed, name: str) -> tuple[str, ...]:
    """What somebody has afterwards and not before, in words; nothing for nobody."""
    if not proposed.changed:
        return ()
    before, after = (snapshot.user(name) for snapshot in proposed.snapshots)
    if after is None:
        return ()
    if before is None:
        return (f"the user {name}",)
    return tuple(dict.fromkeys([*_standing(proposed, before, after), *_granted(proposed, before, after),
                                *_reached(proposed, name)]))  # fmt: skip


def _standing(proposed: Proposed, before: BoundUser, after: BoundUser) -> Iterator[str]:
    was, will = proposed.snapshots
    if _shut(was, before, proposed.now) and not _shut(will, after, proposed.now):
        yield f"{after.name} is no longer locked or expired"


def _shut(snapshot: Snapshot, user: BoundUser, now: float) -> bool:
    identity = Identity("user", user.name, user.uid, "")
    return bool(standing(snapshot, identity, now)) or lock_on(snapshot, user, now=now) is not None


def _granted(proposed: Proposed, before: BoundUser, after: BoundUser) -> Iterator[str]:
    """Roles, traits, and what is written in roles."""
    yield from (f"role/{name}" for name in after.role_names if name not in before.role_names)
    for trait, values in sorted(after.traits.items()):
        fresh = [value for value in values if value not in before.traits.get(trait, ())]
        if fresh:
            yield f"{named(fresh)} in the trait {trait}"
    known = ("node",) if any(proposed.targets) else ()
    was, will = ({role.name: role.role.source for role in user.roles} for user in (before, after))
    for name in was.keys() & will.keys():
        old, new = was[name], will[name]
        if old is new:
            continue
        if old.version != new.version:
            yield f"role/{name}, written in another version"
        yield from (f"{field} of role/{name}" for field in widened(old.spec.allow, new.spec.allow, known=known))
        for field in widened(new.spec.deny, old.spec.deny, known=known):
            yield f"role/{name} denies less by {field}"
    for name in sorted(was.keys() - will.keys()):
        if was[name].spec.deny.model_fields_set:
            yield f"role/{name} no longer denies anything"


def _reached(proposed: Proposed, name: str) -> Iterator[str]:
    """Logins on hosts, and conditions that become milder."""
    logins: dict[str, int] = {}
    milder: set[str] = set()
    for effect in proposed.impact.effects_of(name):
        if effect.found.change == "gained":
            logins[effect.login] = logins.get(effect.login, 0) | effect.found.hosts
        milder |= {one.name for one in effect.found.differences if not is_stricter(one)}
    for login, hosts in sorted(logins.items()):
        count = hosts.bit_count()
        yield f"{login} on {count} host{'' if count == 1 else 's'}"
    yield from (f"other conditions, not plainly stricter: {condition}" for condition in sorted(milder))
