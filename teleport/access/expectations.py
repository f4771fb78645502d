"""Whether what a test expects is so: of one person's logins, and of everybody who reaches something.

Judged by `decide`, for many hosts at once by the sets that agree with it. Locks are left out, see `everybody`. What
is expected of hosts with certain labels is also expected of one that has no others.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from teleport.access.decide import Decision
from teleport.access.everybody import Everybody
from teleport.access.fleet import Fleet, positions
from teleport.access.proof import NOWHERE, Place, counted, labels_shown, place_of_decision
from teleport.access.target import Target
from teleport.resources.access_test import AccessTest, Exactly, Expectation, Given, Verb
from teleport.resources.model import Metadata
from teleport.resources.promises import EVERY_LOGIN, Where
from teleport.resources.user import User, UserSpec
from teleport.resources.values import parse_timestamp

__all__ = ["Examiner", "Row"]

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


@dataclass(frozen=True, eq=False)
class _Hosts:
    """The hosts that a row means: some of a fleet."""

    everybody: Everybody
    bits: int

    def at(self, position: int) -> Target:
        return self.everybody.fleet.at(position)


class Examiner:
    """Examines a policy on a fleet; what tests have in common is computed once."""

    def __init__(self, everybody: Everybody, tests: Iterable[AccessTest]) -> None:
        self._now = everybody
        rows: list[Expectation | Exactly] = []
        for test in tests:
            rows += (*test.spec.expect, *test.spec.exactly)
        labels = {tuple(sorted((row.hosts.labels or {}).items())): None for row in rows if not row.hosts.name}
        targets = [Target("node", labels_shown(dict(one)), f"imagined {one}", dict(one)) for one in labels]
        self._imagined = Fleet("node", targets)
        self._at: dict[float, tuple[Everybody, Everybody]] = {}

    def examine(self, test: AccessTest) -> tuple[Row, ...]:
        """Each row of a test, in order."""
        spec, given = test.spec, test.spec.given or Given()
        known, imagined = self._when(given)
        rows = [*self._exactly(test, (known, imagined))]
        if not spec.expect:
            return tuple(rows)
        name = given.user or _ANYBODY
        if name not in known.snapshot.users and given.user:
            fact = f"user {name} is not declared"
            return (*(Row(str(row), at, fact) for row, at in _placed(test, spec.expect, "expect")), *rows)
        person = _Person(given, name, _with(known, given), _with(imagined, given))
        return (
            *(
                person.row(row, at, [_Hosts(person.known, self._named(row.hosts)), *self._like(person.imagined, row)])
                for row, at in _placed(test, spec.expect, "expect")
            ),
            *rows,
        )  # fmt: skip

    def _when(self, given: Given) -> tuple[Everybody, Everybody]:
        now = parse_timestamp(given.time) if given.time is not None else self._now.now
        if now not in self._at:
            same = now == self._now.now
            known = self._now if same else Everybody(self._now.snapshot, self._now.fleet, now=now)
            self._at[now] = known, Everybody(self._now.snapshot, self._imagined, now=now)
        return self._at[now]

    def _named(self, where: Where) -> int:
        """The hosts there are of those that are meant."""
        fleet = self._now.fleet
        if where.name:
            return self._names.get(where.name, 0)
        bits = fleet.everything
        for key, value in (where.labels or {}).items():
            bits &= fleet.labelled(key, value)
        return bits

    def _like(self, imagined: Everybody, row: Expectation | Exactly) -> Iterator[_Hosts]:
        """The host that need not exist."""
        if not row.hosts.name:
            labels = tuple(sorted((row.hosts.labels or {}).items()))
            position = self._imagined.position(f"imagined {labels}")
            assert position is not None
            yield _Hosts(imagined, 1 << position)

    @cached_property
    def _names(self) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for target in self._now.fleet:
            position = self._now.fleet.position(target.uid)
            assert position is not None
            found[target.name] = found.get(target.name, 0) | 1 << position
        return found

    def _exactly(self, test: AccessTest, when: tuple[Everybody, Everybody]) -> Iterator[Row]:
        for row, at in _placed(test, test.spec.exactly, "exactly"):
            hosts = [_Hosts(when[0], self._named(row.hosts)), *self._like(when[1], row)]
            if not any(one.bits for one in hosts):
                yield Row(str(row), at, f"no host {row.hosts} is known")
                continue
            yield _complete(row, at, hosts)


def _complete(row: Exactly, at: Place, hosts: Sequence[_Hosts]) -> Row:
    """Whether these and no others reach one of the hosts."""
    people = hosts[0].everybody.people
    listed = people.named(row.users)
    found = 0
    for one in hosts:
        found |= one.everybody.users_on(one.bits, row.logins)
    extra, lacking = people.listed(found & ~listed), people.listed(listed & ~found)
    unknown = [name for name in row.users if name not in hosts[0].everybody.snapshot.users]
    about = frozenset([*(f"+{name}" for name in extra), *(f"-{name}" for name in (*lacking, *unknown))])
    if not about:
        return Row(str(row), at)
    facts = [f"{counted(extra, 'user')} {'reaches' if len(extra) == 1 else 'reach'} it too"] if extra else []
    facts += [f"{counted(lacking, 'user')} {'does' if len(lacking) == 1 else 'do'} not reach it"] if lacking else []
    facts += [f"user {name} is not declared" for name in unknown]
    decision = _extra(extra[0], row, hosts) if extra else _missing(lacking[0], row, hosts) if lacking else None
    if decision is None:
        return Row(str(row), at, "; ".join(facts), about=about)
    return Row(str(row), at, "; ".join(facts), decision.because, place_of_decision(decision), about)


def _extra(name: str, row: Exactly, hosts: Sequence[_Hosts]) -> Decision | None:
    """What lets somebody in who is not on the list."""
    for one in hosts:
        index = one.everybody.people.names.index(name)
        for login in sorted(row.logins or one.everybody.opened):
            for bits, users in one.everybody.opened.get(login, {}).items():
                if users >> index & 1 and bits & one.bits:
                    return one.everybody.decide(name, login, one.at(next(positions(bits & one.bits))))
    return None


def _missing(name: str, row: Exactly, hosts: Sequence[_Hosts]) -> Decision | None:
    """What keeps somebody out who is on the list."""
    one = next(one for one in hosts if one.bits)
    holding = one.everybody.holdings.of(name)
    login = next(iter(row.logins or (holding.naming if holding is not None else ())), "")
    return one.everybody.decide(name, login, one.at(next(positions(one.bits))))


@dataclass(frozen=True, eq=False)
class _Person:
    """Whom the expectations of a test are about, among the hosts there are and among others."""

    given: Given
    name: str
    known: Everybody
    imagined: Everybody

    def row(self, row: Expectation, at: Place, hosts: Sequence[_Hosts]) -> Row:
        if not any(one.bits for one in hosts):
            return Row(str(row), at, f"no host {row.hosts} is known")
        about: set[str] = set()
        first: tuple[str, _Hosts, int] | None = None
        names: list[str] = []
        for one in hosts:
            for login in self._logins(row, one.everybody):
                for position in self._unfulfilled(row.verb, login, one):
                    first = first or (login, one, position)
                    names.append(one.at(position).name)
                    about.add(f"{login}@{one.at(position).uid}")
        if first is None:
            return Row(str(row), at)
        login, one, position = first
        decision = self._telling(row.verb, one, login, one.at(position))
        where = counted(list(dict.fromkeys(names)), "host", most=2)
        return Row(
            str(row), at, f"{login} is {_fact(row.verb, decision)} on {where}", decision.because,
            place_of_decision(decision), frozenset(about),
        )  # fmt: skip

    def _logins(self, row: Expectation, everybody: Everybody) -> Iterable[str]:
        if EVERY_LOGIN not in row.logins:
            return row.logins
        holding = everybody.holdings.of(self.name)
        return holding.naming if holding is not None else ()

    def _unfulfilled(self, verb: Verb, login: str, hosts: _Hosts) -> Iterator[int]:
        if hosts.bits.bit_count() <= _FEW:
            for position in positions(hosts.bits):
                if not self._fulfilled(verb, hosts.everybody, login, hosts.at(position)):
                    yield position
        else:
            yield from positions(hosts.bits & ~self._fulfilling(verb, hosts.everybody, login))

    def _fulfilled(self, verb: Verb, everybody: Everybody, login: str, target: Target) -> bool:
        def allowed(mfa: bool) -> bool:
            return everybody.decide(self.name, login, target, mfa=mfa).allowed

        if verb == "can":
            return allowed(bool(self.given.mfa))
        if verb == "cannot":
            return not allowed(self.given.mfa is not False)
        without = everybody.decide(self.name, login, target, mfa=False)
        return not without.allowed and "mfa" in without.needs and allowed(True)

    def _fulfilling(self, verb: Verb, everybody: Everybody, login: str) -> int:
        """The same for all hosts at once."""
        opened, asking = self._opened(everybody, login)
        if verb == "can":
            return opened if self.given.mfa else opened & ~asking
        if verb == "cannot":
            return ~(opened & ~asking) if self.given.mfa is False else ~opened
        return opened & asking

    def _opened(self, everybody: Everybody, login: str) -> tuple[int, int]:
        """The hosts that a login opens, and those that ask for a second factor."""
        holding = everybody.holdings.of(self.name)
        if holding is None or login not in holding.naming:
            return 0, 0
        selection, naming = everybody.holdings.selection(holding), holding.naming[login]
        ((_, values),) = [one for one in selection.facets(naming) if one[0] == "mfa"]
        return selection.opened(naming, login), dict(values).get("required", 0)

    def _telling(self, verb: Verb, hosts: _Hosts, login: str, target: Target) -> Decision:
        """The decision that shows what is wrong."""
        decide: Callable[..., Decision] = hosts.everybody.decide
        if verb == "needs_mfa":
            without = decide(self.name, login, target, mfa=False)
            return without if without.allowed else decide(self.name, login, target, mfa=True)
        mfa = bool(self.given.mfa) if verb == "can" else self.given.mfa is not False
        return decide(self.name, login, target, mfa=mfa)


def _fact(verb: Verb, decision: Decision) -> str:
    if not decision.allowed:
        return "denied without a second factor" if decision.needs.get("mfa") == "required" else "denied"
    return "allowed without a second factor" if verb == "needs_mfa" else "allowed"


def _with(everybody: Everybody, given: Given) -> Everybody:
    """The same policy with somebody who need not exist."""
    if given.user:
        return everybody
    return everybody.joined(_somebody(given))


def _somebody(given: Given) -> User:
    return User.model_construct(
        version="v2", metadata=Metadata.model_construct(name=_ANYBODY),
        spec=UserSpec(roles=given.roles, traits=given.traits),
    )  # fmt: skip


def _placed(test: AccessTest, rows: Sequence[Any], field: str) -> Iterator[tuple[Any, Place]]:
    for index, row in enumerate(rows):
        yield row, Place(test.origin.file, *test.origin.at("spec", field, index))
