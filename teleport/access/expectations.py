"""Whether what a test expects is so: of one person's logins, and of everybody who reaches something.

Judged by `decide`, for many hosts at once by the sets that agree with it. Locks are left out, see `everybody`. What
is expected of hosts with certain labels is also expected of one that has no others.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from teleport.access.decide import Decision
from teleport.access.everybody import Everybody
from teleport.access.fleet import positions
from teleport.access.holdings import Holding
from teleport.access.partners import blinded, partners
from teleport.access.proof import NOWHERE, Place, counted, labels_shown, place_of_decision
from teleport.access.selection import Selection
from teleport.access.snapshot import Snapshot
from teleport.access.target import Target
from teleport.access.trust import mapped
from teleport.access.unheld import ANYBODY, partners_alone
from teleport.resources.access_test import AccessTest, Exactly, Expectation, Given, Verb
from teleport.resources.model import Metadata
from teleport.resources.promises import EVERY_LOGIN, Where
from teleport.resources.user import User, UserSpec
from teleport.resources.values import parse_timestamp

__all__ = ["Examiner", "Row", "imagined_hosts"]

_FEW: Final = 16
"""Hosts that are each asked of `decide`."""
_ANYBODY: Final = ""


@dataclass(frozen=True)
class Row:
    """One expectation, and what came of it."""

    expected: str
    at: Place
    """Where the expectation stands."""
    fact: str = ""
    """What is so instead; empty where the expectation is fulfilled."""
    because: str = ""
    """What decided, in words."""
    place: Place = NOWHERE
    """Where the rule stands that decided."""
    about: frozenset[str] = frozenset()
    """Whom and what it concerns: more of them is worse."""

    @property
    def passed(self) -> bool:
        return not self.fact

    def to_dict(self) -> dict[str, Any]:
        body: dict[str, Any] = {"expected": self.expected, "passed": self.passed, "line": self.at.line}
        if self.passed:
            return body
        rule = {"file": self.place.file, "line": self.place.line} if self.place.file else None
        return {**body, "fact": self.fact, "because": self.because, "rule": rule}


def imagined_hosts(tests: Iterable[AccessTest]) -> list[Target]:
    """The hosts that need not exist, for tests that mean hosts by labels or any."""
    meant: dict[tuple[tuple[str, str], ...], None] = {}
    for test in tests:
        where = [*(row.hosts for row in test.spec.expect), *(row.hosts for row in test.spec.exactly)]
        meant |= {_labels(one): None for one in where if not one.name}
    return [Target("node", labels_shown(dict(one)), _uid(one), dict(one)) for one in meant]


def _labels(where: Where) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((where.labels or {}).items()))


def _uid(labels: tuple[tuple[str, str], ...]) -> str:
    return f"imagined {labels}"


class Examiner:
    """Examines a policy on a fleet to which `imagined_hosts` were added; what tests have in common is computed once."""

    def __init__(self, everybody: Everybody) -> None:
        self._now, self._fleet = everybody, everybody.fleet
        self._at: dict[float, Everybody] = {everybody.now: everybody}
        self._visitors: dict[float, Everybody] = {}

    def examine(self, test: AccessTest) -> tuple[Row, ...]:
        """Each row of a test, in order."""
        given = test.spec.given or Given()
        everybody = self._when(given)
        return (*self._expect(test, given, everybody), *self._exactly(test, everybody))

    def _when(self, given: Given) -> Everybody:
        now = parse_timestamp(given.time) if given.time is not None else self._now.now
        if now not in self._at:
            self._at[now] = self._now.at(now)
        return self._at[now]

    def _hosts(self, where: Where) -> int:
        """The hosts there are of those that are meant, and the one that need not exist."""
        if where.name:
            return self._names.get(where.name, 0)
        bits = self._now.real
        for key, value in (where.labels or {}).items():
            bits &= self._fleet.labelled(key, value)
        position = self._fleet.position(_uid(_labels(where)))
        return bits if position is None else bits | 1 << position

    @cached_property
    def _names(self) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for position in positions(self._now.real):
            name = self._fleet.at(position).name
            found[name] = found.get(name, 0) | 1 << position
        return found

    def _expect(self, test: AccessTest, given: Given, everybody: Everybody) -> Iterator[Row]:
        name, unknown = given.user or _ANYBODY, _unknown(given, everybody.snapshot)
        person = _Person(
            given, name, everybody if given.user else everybody.joined(_somebody(given, everybody.snapshot))
        )
        for row, at in _placed(test, test.spec.expect, "expect"):
            hosts = self._hosts(row.hosts)
            if unknown or not hosts:
                yield Row(str(row), at, unknown or _nowhere(row.hosts))
            else:
                yield person.row(row, at, hosts)

    def _exactly(self, test: AccessTest, everybody: Everybody) -> Iterator[Row]:
        for row, at in _placed(test, test.spec.exactly, "exactly"):
            hosts = self._hosts(row.hosts)
            yield self._complete(row, at, everybody, hosts) if hosts else Row(str(row), at, _nowhere(row.hosts))

    def _complete(self, row: Exactly, at: Place, everybody: Everybody, hosts: int) -> Row:
        found = _complete(row, at, everybody, hosts)
        if everybody.now not in self._visitors:
            self._visitors[everybody.now] = everybody.only(partners_alone(everybody.snapshot))
        visiting = _visiting(row, everybody.snapshot, self._visitors[everybody.now], hosts)
        if not visiting:
            return found
        facts = "; ".join((*((found.fact,) if found.fact else ()), *visiting))
        because = found.because or "role maps are part of the policy: see `tctl access who`"
        return replace(found, fact=facts, because=because, about=found.about | frozenset(visiting))


def _unknown(given: Given, snapshot: Snapshot) -> str:
    """Why nothing can be said of somebody, or nothing."""
    if given.user and given.user not in snapshot.users:
        return f"user {given.user} is not declared"
    trusted = snapshot.trusted.get(given.cluster)
    if given.cluster and (trusted is None or not trusted.spec.enabled):
        return f"cluster {given.cluster} is not trusted"
    return ""


def _visiting(row: Exactly, snapshot: Snapshot, visitors: Everybody, hosts: int) -> list[str]:
    """What is not as listed of those who hold a role of a trusted cluster."""
    listed = {f"{role} of {cluster}" for cluster, roles in row.partners.items() for role in roles}
    logins = (*row.logins, *ANYBODY) if row.logins else ()
    reaching = set(visitors.people.listed(visitors.users_on(hosts, logins)))
    found = {one.named for one in partners(snapshot) if str(one) in reaching}
    extra, lacking = sorted(found - listed), sorted(listed - found)
    return [
        *([f"holders of {', '.join(extra)} reach it too"] if extra else []),
        *([f"holders of {', '.join(lacking)} do not reach it"] if lacking else []),
    ]


def _nowhere(where: Where) -> str:
    return f"no host {where} is known"


def _complete(row: Exactly, at: Place, everybody: Everybody, hosts: int) -> Row:
    """Whether these and no others reach one of the hosts."""
    people = everybody.people
    listed, found = people.named(row.users), everybody.users_on(hosts, row.logins)
    extra, lacking = people.listed(found & ~listed), people.listed(listed & ~found)
    unknown = [name for name in row.users if name not in everybody.snapshot.users]
    about = frozenset([*(f"+{name}" for name in extra), *(f"-{name}" for name in (*lacking, *unknown))])
    if not about:
        return Row(str(row), at)
    facts = [f"user {name} is not declared" for name in unknown]
    facts += [f"{counted(lacking, 'user')} {'does' if len(lacking) == 1 else 'do'} not reach it"] if lacking else []
    facts += [f"{counted(extra, 'user')} {'reaches' if len(extra) == 1 else 'reach'} it too"] if extra else []
    if not extra and not lacking:
        return Row(str(row), at, "; ".join(facts), about=about)
    decision = _extra(extra[0], row, everybody, hosts) if extra else _missing(lacking[0], row, everybody, hosts)
    return Row(str(row), at, "; ".join(facts), decision.because, place_of_decision(decision), about)


def _extra(name: str, row: Exactly, everybody: Everybody, hosts: int) -> Decision:
    """What lets somebody in who is not on the list."""
    user = everybody.people.named([name])
    login, bits = next(
        (login, bits & hosts)
        for login in sorted(row.logins or everybody.opened)
        for bits, users in everybody.opened.get(login, {}).items()
        if users & user and bits & hosts
    )
    return everybody.decide(name, login, everybody.fleet.at(next(positions(bits))))


def _missing(name: str, row: Exactly, everybody: Everybody, hosts: int) -> Decision:
    """What keeps somebody out who is on the list."""
    holding = everybody.holdings.of(name)
    login = next(iter(row.logins or (holding.naming if holding is not None else ())), "")
    return everybody.decide(name, login, everybody.fleet.at(next(positions(hosts))))


@dataclass(frozen=True, eq=False)
class _Person:
    """Whom the expectations of a test are about."""

    given: Given
    name: str
    everybody: Everybody

    def row(self, row: Expectation, at: Place, hosts: int) -> Row:
        wrong = [
            (login, self.everybody.fleet.at(position))
            for login in self._logins(row)
            for position in self._unfulfilled(row.verb, login, hosts)
        ]
        if not wrong:
            return Row(str(row), at)
        login, target = wrong[0]
        decision = self._telling(row.verb, login, target)
        where = counted(list(dict.fromkeys(one.name for _, one in wrong)), "host", most=2)
        return Row(
            str(row), at, f"{login} is {_fact(row.verb, decision)} on {where}", decision.because,
            place_of_decision(decision), frozenset(f"{name}@{one.uid}" for name, one in wrong),
        )  # fmt: skip

    @cached_property
    def _holding(self) -> Holding | None:
        return self.everybody.holdings.of(self.name)

    @cached_property
    def _selection(self) -> Selection:
        assert self._holding is not None
        return self.everybody.holdings.selection(self._holding)

    def _logins(self, row: Expectation) -> Iterable[str]:
        if EVERY_LOGIN not in row.logins:
            return row.logins
        return self._holding.naming if self._holding is not None else ()

    def _unfulfilled(self, verb: Verb, login: str, hosts: int) -> Iterator[int]:
        if hosts.bit_count() > _FEW:
            yield from positions(hosts & ~self._fulfilling(verb, login))
            return
        for position in positions(hosts):
            if not self._fulfilled(verb, login, self.everybody.fleet.at(position)):
                yield position

    def _fulfilled(self, verb: Verb, login: str, target: Target) -> bool:
        if verb == "can":
            return self._decide(login, target, bool(self.given.mfa)).allowed
        if verb == "cannot":
            return not self._decide(login, target, self.given.mfa is not False).allowed
        without = self._decide(login, target, mfa=False)
        return not without.allowed and "mfa" in without.needs and self._decide(login, target, mfa=True).allowed

    def _fulfilling(self, verb: Verb, login: str) -> int:
        """The same for all hosts at once."""
        opened, asking = self._opened(login)
        if verb == "can":
            return opened if self.given.mfa else opened & ~asking
        if verb == "cannot":
            return ~(opened & ~asking) if self.given.mfa is False else ~opened
        return opened & asking

    def _opened(self, login: str) -> tuple[int, int]:
        """The hosts that a login opens, and those that ask for a second factor."""
        if self._holding is None or login not in self._holding.naming:
            return 0, 0
        naming = self._holding.naming[login]
        values = dict(next(found for name, found in self._selection.facets(naming) if name == "mfa"))
        return self._selection.opened(naming, login), values.get("required", 0)

    def _telling(self, verb: Verb, login: str, target: Target) -> Decision:
        """The decision that shows what is wrong."""
        if verb == "needs_mfa":
            without = self._decide(login, target, mfa=False)
            return without if without.allowed else self._decide(login, target, mfa=True)
        return self._decide(login, target, bool(self.given.mfa) if verb == "can" else self.given.mfa is not False)

    def _decide(self, login: str, target: Target, mfa: bool) -> Decision:
        return self.everybody.decide(self.name, login, target, mfa=mfa)


def _fact(verb: Verb, decision: Decision) -> str:
    if not decision.allowed:
        return "denied without a second factor" if decision.needs.get("mfa") == "required" else "denied"
    return "allowed without a second factor" if verb == "needs_mfa" else "allowed"


def _somebody(given: Given, snapshot: Snapshot) -> User:
    """Somebody who need not exist: one of another cluster as the role map has it."""
    roles, traits = given.roles, given.traits
    if given.cluster and (trusted := snapshot.trusted.get(given.cluster)) is not None:
        here = mapped(trusted.spec.role_map, roles, traits)
        roles, traits = (() if blinded(snapshot, here) else here.roles), dict(here.traits)
    return User.model_construct(
        version="v2", metadata=Metadata.model_construct(name=_ANYBODY), spec=UserSpec(roles=roles, traits=traits)
    )


def _placed(test: AccessTest, rows: Sequence[Any], field: str) -> Iterator[tuple[Any, Place]]:
    for index, row in enumerate(rows):
        yield row, Place(test.origin.file, *test.origin.at("spec", field, index))
