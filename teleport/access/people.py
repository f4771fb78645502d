"""Questions of the form who: who reaches a host, as whom, by which role; and the host that a name means. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from teleport.access.decide import AccessRequest, decide
from teleport.access.fleet import Fleet
from teleport.access.holdings import Holdings
from teleport.access.inventory import labelled
from teleport.access.reach import reach
from teleport.access.role_sets import RoleSets
from teleport.access.snapshot import Snapshot
from teleport.access.target import Target
from teleport.access.unheld import partners_alone
from teleport.core.identity import Identity
from teleport.resources.node import Node

__all__ = ["Rights", "host_named", "partner_rights", "people", "supposed"]


@dataclass(frozen=True)
class Rights:
    """Logins that one role gives to somebody."""

    user: str
    """Empty where it is not somebody declared."""
    logins: tuple[str, ...]
    role: str
    partner: str = ""
    """The role of a trusted cluster, as `dev of root.example.com`, whose holders have these logins, at most."""


def supposed(snapshot: Snapshot, name: str, *, mfa: bool = True) -> Identity:
    """A declared user, had that person just logged in."""
    return Identity("user", name, snapshot.users[name].uid, "", mfa_verified=mfa)


def people(snapshot: Snapshot, target: Target, *, login: str = "", now: float) -> list[Rights]:
    """Who reaches a host, a second factor assumed: for each user and each role, the logins that role gives.

    After the users those who hold a role of a trusted cluster.
    """
    fleet, found = Fleet(target.kind, [target]), list[Rights]()
    for name in sorted(snapshot.users):
        identity = supposed(snapshot, name)
        opened = reach(snapshot, identity, fleet, now=now).logins_on(target)
        by_role: dict[str, list[str]] = {}
        for one in opened:
            if login in ("", one):
                decision = decide(snapshot, AccessRequest(identity, target, one), now=now)
                by_role.setdefault(decision.role or "", []).append(one)
        found += [Rights(name, tuple(logins), role) for role, logins in by_role.items()]
    return found + partner_rights(snapshot, target, login=login, now=now)


def partner_rights(snapshot: Snapshot, target: Target, *, login: str = "", now: float) -> list[Rights]:
    """The same of those who hold a role of a trusted cluster; logins from traits are as they are written."""
    alone, fleet, found = partners_alone(snapshot), Fleet(target.kind, [target]), list[Rights]()
    holdings = Holdings(alone, RoleSets(fleet), now=now)
    for name in alone.users:
        holding = holdings.of(name)
        if holding is None:
            continue
        selection, by_role = holdings.selection(holding), dict[str, dict[str, None]]()
        for one, naming in holding.naming.items():
            written = holding.written[one]
            if login in ("", one) or "{{" in written:
                for role, _ in selection.by_role(naming, selection.opened(naming, one)):
                    by_role.setdefault(role.name, {})[written] = None
        found += [Rights("", tuple(sorted(logins)), role, name) for role, logins in by_role.items()]
    return found


def host_named(name: str, declared: Mapping[str, Node], inventory: Iterable[Node] = ()) -> Target | None:
    """A host by the name people use or by that of its resource: one that reports itself, or else a declared one."""
    for host in inventory:
        if name in (host.hostname, host.name):
            return labelled(host, declared)
    node = declared.get(name) or next((one for one in declared.values() if one.name == name), None)
    return Target("node", node.hostname, node.name, node.metadata.labels) if node is not None else None
