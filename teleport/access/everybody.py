"""What everybody reaches on one fleet, locks aside: computed once for all who ask.

Locks are left out because they come and go without anybody judging the policy again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property

from teleport.access.decide import AccessRequest, Decision, decide
from teleport.access.fleet import Fleet
from teleport.access.holdings import Holdings
from teleport.access.role_sets import RoleSets
from teleport.access.selection import Selection
from teleport.access.snapshot import Snapshot
from teleport.access.target import Target
from teleport.access.ways import People
from teleport.core.identity import Identity
from teleport.resources.user import User

__all__ = ["Everybody"]


class Everybody:
    """The declared users under one policy, at one moment."""

    def __init__(
        self, snapshot: Snapshot, fleet: Fleet, *, now: float, imagined: int = 0, sets: RoleSets | None = None
    ) -> None:
        """`imagined` are hosts of the fleet that do not exist; `sets` are those of the fleet, if there are some."""
        self.snapshot = replace(snapshot, locks=(), _bound={}) if snapshot.locks else snapshot
        self.fleet, self.now, self._imagined = fleet, now, imagined
        self.real = fleet.everything & ~imagined
        """The hosts there are."""
        self.sets = sets if sets is not None else RoleSets(fleet)
        self.holdings = Holdings(self.snapshot, self.sets, now=now)

    def at(self, now: float) -> "Everybody":
        """The same at another moment."""
        return Everybody(self.snapshot, self.fleet, now=now, imagined=self._imagined, sets=self.sets)

    def joined(self, user: User) -> "Everybody":
        """The same policy with one more user, alone."""
        return self.only(replace(self.snapshot, users={user.name: user}, _bound={}))

    def only(self, alone: Snapshot) -> "Everybody":
        """The people of another policy, on the same fleet."""
        return Everybody(alone, self.fleet, now=self.now, imagined=self._imagined, sets=self.sets)

    def values_of(self, key: str) -> Iterator[str]:
        """The values that a label has on some host there is, in order."""
        for value in sorted(self.fleet.values_of(key)):
            if self.fleet.labelled(key, value) & self.real:
                yield value

    @cached_property
    def people(self) -> People:
        return People.of(self.snapshot)

    @cached_property
    def opened(self) -> Mapping[str, Mapping[int, int]]:
        """Login to sets of hosts, each with the users (as bits) to whom it opens just these; a second factor shown."""
        opened: dict[str, dict[int, int]] = {}
        alike: dict[object, tuple[Selection, dict[int, int]]] = {}
        for index, name in enumerate(self.people.names):
            holding = self.holdings.of(name)
            if holding is None:
                continue
            if holding.key not in alike:
                alike[holding.key] = (self.holdings.selection(holding), {})
            selection, known = alike[holding.key]
            for login, naming in holding.naming.items():
                if naming not in known:
                    known[naming] = selection.opened(naming, login)
                if known[naming]:
                    by_hosts = opened.setdefault(login, {})
                    by_hosts[known[naming]] = by_hosts.get(known[naming], 0) | 1 << index
        return opened

    def users_on(self, hosts: int, logins: tuple[str, ...] = ()) -> int:
        """Who reaches one of these hosts, as one of these logins or, if there are none, as any."""
        users = 0
        for login in logins or self.opened:
            for bits, those in self.opened.get(login, {}).items():
                if bits & hosts:
                    users |= those
        return users

    def decide(self, name: str, login: str, target: Target, *, mfa: bool = True) -> Decision:
        """What the gate would say of a user of this policy."""
        identity = Identity("user", name, self.snapshot.users[name].uid, "", mfa_verified=mfa)
        return decide(self.snapshot, AccessRequest(identity, target, login), now=self.now)
