"""What a policy says in vain, given its people and its hosts: selectors that match no host, roles that nobody holds.

Unlike `surprises`, which looks at one resource, this needs all of them, and a fleet that is complete.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from teleport.access.fleet import Fleet
from teleport.access.role_sets import RoleSets
from teleport.access.roles import CompiledRole
from teleport.access.snapshot import BoundUser, Snapshot
from teleport.core.errors import Problem
from teleport.resources.presets import PRESET

__all__ = ["idle"]


@dataclass
class _Use:
    """What came of a role for those who hold it."""

    holders: int = 0
    allowed: int = 0
    denied: int = 0
    refused: set[str] = field(default_factory=set)
    """Logins that it denies and that a holder would have had."""


def idle(snapshot: Snapshot, fleet: Fleet) -> Iterator[Problem]:
    """What says nothing, each with its place. Says nothing of hosts where none are known."""
    uses = _uses(snapshot, fleet)
    wanted = set(_requestable(snapshot))
    for name, role in snapshot.roles.items():
        if role.origin.source == PRESET:
            continue
        use = uses.get(name)
        if use is None:
            if name not in wanted:
                yield _problem(role, (), f"role/{name} is held by nobody who is declared", "")
        elif len(fleet):
            yield from _in_vain(role, use)


def _in_vain(role: CompiledRole, use: _Use) -> Iterator[Problem]:
    allow, deny = (side.selectors["node"] for side in (role.allow, role.deny))
    logins = role.source.spec.allow.logins
    if logins and (allow.written or allow.expression) and not use.allowed:
        path = ("spec", "allow", "node_labels" if allow.written else "node_labels_expression")
        yield _problem(role, path, f"role/{role.name} allows {', '.join(logins)} on no host: its labels match none", "")
    if (deny.written or deny.expression) and not use.denied:
        path = ("spec", "deny", "node_labels" if deny.written else "node_labels_expression")
        yield _problem(role, path, f"role/{role.name} denies no host: the labels of its deny block match none", "")
    for index, login in enumerate(role.source.spec.deny.logins):
        if login != "*" and "{{" not in login and login not in use.refused:
            message = f"role/{role.name} denies the login {login}, which none of its holders has"
            yield _problem(role, ("spec", "deny", "logins", index), message, "")


def _problem(role: CompiledRole, path: tuple[str | int, ...], message: str, hint: str) -> Problem:
    line, column = role.origin.at(*path)
    return Problem(role.origin.file, line, column, message, hint)


def _uses(snapshot: Snapshot, fleet: Fleet) -> dict[str, _Use]:
    sets = RoleSets(fleet)
    uses: dict[str, _Use] = {}
    for name in snapshot.users:
        user = snapshot.user(name)
        assert user is not None
        try:
            _note(user, sets, uses)
        except ValueError:
            continue  # whose roles cannot be evaluated is denied everything, which the decisions tell
    return uses


def _note(user: BoundUser, sets: RoleSets, uses: dict[str, _Use]) -> None:
    here = [sets.of(bound.role) for bound in user.roles]
    logins = {login for one in here for login in one.allow.names(user.traits).entries}
    for one in here:
        use = uses.setdefault(one.role.name, _Use())
        use.holders += 1
        use.allowed |= one.allow.hosts(one.allow.key(user), user)
        use.denied |= one.deny.hosts(one.deny.key(user), user)
        use.refused |= logins & one.deny.names(user.traits).entries.keys()


def _requestable(snapshot: Snapshot) -> Iterable[str]:
    """The roles that somebody may ask for."""
    for role in snapshot.roles.values():
        request = role.source.spec.allow.request
        if request is not None:
            yield from (*request.roles, *request.search_as_roles)
