"""How far each role reaches, in one line: how many people hold it, and on how many hosts it opens a login to them.

Of the role alone: what other roles and locks deny is not looked at.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from teleport.access.fleet import Fleet
from teleport.access.roles import CompiledRole
from teleport.access.snapshot import Snapshot
from teleport.access.target import Target
from teleport.resources.user import User

__all__ = ["reach_lines"]


def reach_lines(snapshot: Snapshot, hosts: Iterable[Target], names: Iterable[str]) -> Mapping[str, str]:
    """By role, for those of some roles that there are."""
    fleet = Fleet("node", hosts)
    wanted = {name: snapshot.roles[name] for name in names if name in snapshot.roles}
    holders: dict[str, list[User]] = defaultdict(list)
    for user in snapshot.users.values():
        for name in wanted.keys() & set(user.spec.roles):
            holders[name].append(user)
    return {name: _line(len(holders[name]), _opened(role, holders[name], fleet)) for name, role in wanted.items()}


def _opened(role: CompiledRole, holders: Sequence[User], fleet: Fleet) -> int:
    if not holders or not _differs_by_person(role):
        holders = holders[:1]
    bound = [role.bind(one.name, one.spec.roles, one.spec.traits) for one in holders] or [role.bind("", (), {})]
    opened = 0
    for one in bound:
        if one.allow.names["logins"].entries:
            opened |= fleet.allowed_by(one.allow.selector("node"))
    return opened.bit_count()


def _differs_by_person(role: CompiledRole) -> bool:
    reads = role.allow.selectors["node"].reads
    return bool(reads.traits or reads.user or any(one.reads for one in role.allow.names["logins"]))


def _line(people: int, nodes: int) -> str:
    return f"{people} {'person' if people == 1 else 'people'}, {nodes} node{'' if nodes == 1 else 's'}"
