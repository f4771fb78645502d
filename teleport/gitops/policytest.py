"""Tests and invariants: what came of each under a policy, and whether a change may land.

A change is judged under those that were in force and under its own. What failed before and fails no worse is not its
fault: it warns. So a host that reports other labels, or a user who expires, stands in nobody's way.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from teleport.access.everybody import Everybody
from teleport.access.expectations import Examiner, Row, imagined_hosts
from teleport.access.fleet import Fleet
from teleport.access.inventory import declared_hosts
from teleport.access.proof import Finding, Proof
from teleport.access.prove import Prover
from teleport.access.snapshot import Snapshot
from teleport.access.target import Target
from teleport.core.errors import Problem
from teleport.gitops.order import Ref
from teleport.gitops.review import API, Proposed, Verdict, Violation
from teleport.resources.access_invariant import AccessInvariant
from teleport.resources.access_test import AccessTest
from teleport.resources.kinds import AnyResource

__all__ = ["INVARIANTS", "TESTS", "WEAKENED", "Failure", "Judged", "Outcome", "State", "judged", "outcomes", "promises"]

TESTS: Final = "tests"
INVARIANTS: Final = "invariants"
WEAKENED: Final = "weakened"
"""The guard of a test or invariant that fails as it is in force, and that the change itself alters or removes."""

_FAR: Final = frozenset({"token", "lock"})
"""Kinds that no test and no invariant can depend on."""


@dataclass(frozen=True)
class Failure:
    """One thing that is not as promised."""

    problem: Problem
    key: tuple[object, ...]
    about: frozenset[str]

    def no_worse_than(self, others: Iterable["Failure"]) -> bool:
        return any(self.key == one.key and self.about <= one.about for one in others)


@dataclass(frozen=True)
class Outcome:
    """What came of one test or invariant."""

    resource: AccessTest | AccessInvariant
    answer: str
    """`passed` or `failed`; of an invariant `proved`, `violated` or `not provable`."""
    failures: tuple[Failure, ...] = ()
    warnings: tuple[Failure, ...] = ()
    rows: tuple[Row, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def guard(self) -> str:
        return TESTS if isinstance(self.resource, AccessTest) else INVARIANTS

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        one = self.resource
        head = {"kind": one.kind, "name": one.name, "passed": self.passed, "answer": self.answer}
        place = {"file": one.origin.file, "line": one.origin.line}
        if isinstance(one, AccessTest):
            return {**head, **place, "rows": [row.to_dict() for row in self.rows]}
        return {**head, **place, "findings": [_finding(found) for found in self.findings]}


@dataclass(frozen=True, eq=False)
class State:
    """A whole policy, compiled, and the hosts there are under it."""

    resources: Mapping[Ref, AnyResource]
    snapshot: Snapshot
    targets: Sequence[Target]

    @property
    def hosts(self) -> list[Target]:
        """Those there are, and the declared ones that are not here yet: promises hold when they come, too."""
        here = {one.name for one in self.targets}
        away = {name: node for name, node in self.snapshot.nodes.items() if name not in here}
        return [*self.targets, *declared_hosts(away)]

    @property
    def promises(self) -> dict[Ref, AccessTest | AccessInvariant]:
        return {
            ref: one for ref, one in self.resources.items() if isinstance(one, AccessTest | AccessInvariant)
        }  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """What is to be said of a change."""

    outcomes: tuple[Outcome, ...] = ()
    """Of the tests and invariants that it brings."""
    verdict: Verdict = field(default_factory=Verdict)
    standing: tuple[Problem, ...] = ()
    """Those of its warnings that tell of what was so before."""


Bounded = Callable[[str], bool]
"""Whether a source has a ceiling. What such a one promises must not keep others from anything: it binds it alone."""


def _unbounded(_: str) -> bool:
    return False


def promises(proposed: Proposed, *, bounded: Bounded = _unbounded) -> Verdict:
    """A check: whether a write of policy keeps what is promised."""
    if not _concerns(proposed):
        return Verdict()
    (was, will), (hosts, later) = proposed.snapshots, proposed.targets
    before, after = State(proposed.before, was, hosts), State(proposed.after, will, later)
    return judged(before, after, now=proposed.now, writer=proposed.source, bounded=bounded).verdict


def outcomes(state: State, of: Iterable[AccessTest | AccessInvariant], *, now: float) -> tuple[Outcome, ...]:
    """What comes of each of these under a policy, in order of kind and name."""
    wanted = sorted(of, key=lambda one: (one.kind != AccessTest.kind, one.name))
    if not wanted:
        return ()
    imagined = imagined_hosts(one for one in wanted if isinstance(one, AccessTest))
    fleet = Fleet("node", [*state.hosts, *imagined])
    everybody = Everybody(state.snapshot, fleet, now=now, imagined=fleet.those(one.uid for one in imagined))
    examiner, prover = Examiner(everybody), Prover(everybody)
    return tuple(
        _tested(one, examiner.examine(one)) if isinstance(one, AccessTest) else _proved(one, prover.prove(one))
        for one in wanted
    )


def judged(
    before: State, after: State, *, now: float, writer: str = "", bounded: Bounded = _unbounded
) -> Judged:  # fmt: skip
    """Whether a change by a source may land."""
    old, new = before.promises, after.promises
    altered = {ref: one for ref, one in old.items() if ref not in new or new[ref].spec != one.spec}
    own = outcomes(after, new.values(), now=now)
    in_force = outcomes(after, altered.values(), now=now)
    kept = [one for one in own if _ref(one) in old and _ref(one) not in altered]
    earlier = _failed_before(before, [one for one in (*kept, *in_force) if not one.passed], now=now)
    violations: list[Violation] = []
    standing: list[Problem] = []
    others: list[Problem] = []
    for one in own:
        known = earlier.get(_ref(one), ()) if one in kept else ()
        for failure in one.failures:
            if failure.no_worse_than(known):
                standing.append(_standing(failure))
            elif (owner := _owner(one.resource)) != writer and bounded(owner):
                others.append(_of_another(failure, owner))
            else:
                violations.append(Violation(one.guard, failure.problem))
    for one in in_force:
        theirs = [each for each in one.failures if not each.no_worse_than(earlier.get(_ref(one), ()))]
        violations += [
            Violation(WEAKENED, _in_force(failure), (one.resource.ref, failure.problem.message)) for failure in theirs
        ]
    violations += [
        Violation(WEAKENED, _passing(one, source), (one.ref, source))
        for ref, one in old.items()
        if ref in new and bounded(source := _owner(new[ref])) and not bounded(_owner(one))
    ]
    warnings = [*standing, *others, *(failure.problem for one in own for failure in one.warnings)]
    return Judged(own, Verdict(tuple(sorted(violations)), tuple(sorted(warnings))), tuple(standing))


def _owner(promise: AccessTest | AccessInvariant) -> str:
    return promise.origin.source or API


def _passing(promise: AccessTest | AccessInvariant, to: str) -> Problem:
    message = f"{promise.ref}: it would belong to {to}, and bind that source alone"
    return Problem(promise.origin.file, promise.origin.line, 1 if promise.origin.line else 0, message)


def _failed_before(state: State, failing: Sequence[Outcome], *, now: float) -> Mapping[Ref, Sequence[Failure]]:
    """What of these was not as promised before, either."""
    return {_ref(one): one.failures for one in outcomes(state, [one.resource for one in failing], now=now)}


def _ref(one: Outcome) -> Ref:
    return one.resource.kind, one.resource.name


def _concerns(proposed: Proposed) -> bool:
    """Whether a write can matter. Sources are judged each time, so that their status tells what does not hold."""
    kinds = {kind for kind, _ in (*proposed.before, *proposed.after)}
    if kinds.isdisjoint((AccessTest.kind, AccessInvariant.kind)):
        return False
    if proposed.source != API:
        return True
    before, after = (
        {ref: one for ref, one in side.items() if ref[0] not in _FAR} for side in (proposed.before, proposed.after)
    )
    return before != after


def _in_force(failure: Failure) -> Problem:
    one = failure.problem
    message = f"{one.message} (as it is in force; this change alters or removes it)"
    return Problem(one.file, one.line, one.column, message, one.hint)


def _of_another(failure: Failure, source: str) -> Problem:
    one = failure.problem
    return Problem(one.file, one.line, one.column, f"{one.message} (it binds the source {source} alone)", one.hint)


def _standing(failure: Failure) -> Problem:
    one = failure.problem
    return Problem(one.file, one.line, one.column, f"{one.message} (it was so before)", one.hint)


def _tested(test: AccessTest, rows: Sequence[Row]) -> Outcome:
    failures = tuple(
        Failure(_row_problem(test, row), (test.name, row.expected, row.because), row.about)
        for row in rows
        if not row.passed
    )
    return Outcome(test, "failed" if failures else "passed", failures, rows=tuple(rows))


def _row_problem(test: AccessTest, row: Row) -> Problem:
    because = f": {row.because}" if row.because else ""
    rule = f" ({row.place.file}:{row.place.line})" if row.place.file else ""
    return Problem(test.origin.file or test.ref, row.at.line, row.at.column,
                   f"{test.ref}: expected {row.expected}; {row.fact}{because}{rule}")  # fmt: skip


def _proved(invariant: AccessInvariant, proof: Proof) -> Outcome:
    failures = tuple(Failure(_finding_problem(invariant, one), (invariant.name, *one.key), one.about)
                     for one in proof.findings)  # fmt: skip
    lenient = invariant.spec.on_unknown == "warn"
    mild = tuple(
        failure for failure, one in zip(failures, proof.findings, strict=True)
        if lenient and one.answer == "not provable"
    )  # fmt: skip
    strict = tuple(one for one in failures if one not in mild)
    return Outcome(invariant, proof.answer, strict, mild, findings=proof.findings)


def _finding_problem(invariant: AccessInvariant, found: Finding) -> Problem:
    line, column = invariant.origin.at("spec", "may")
    rule = f" ({found.place.file}:{found.place.line})" if found.place.file else ""
    hint = f"assume: {_assumable(found.missing)}" if found.missing else ""
    return Problem(
        invariant.origin.file or invariant.ref,
        line,
        column,
        f"{invariant.ref}: {found.answer}: {found.text}{rule}",
        hint,
    )


def _assumable(missing: Sequence[str]) -> str:
    """What to write below `assume` for something to be known."""
    kinds: dict[str, list[str]] = {}
    for one in missing:
        kind, _, name = one.partition(".")
        kinds.setdefault(kind, []).append(f"{name}: […]")
    return "{" + ", ".join(f"{kind}: {{{', '.join(names)}}}" for kind, names in sorted(kinds.items())) + "}"


def _finding(found: Finding) -> dict[str, Any]:
    rule = {"file": found.place.file, "line": found.place.line} if found.place.file else None
    return {
        "answer": found.answer, "text": found.text, "role": found.role, "rule": rule, "missing": list(found.missing),
        "witness": found.witness.to_dict() if found.witness is not None else None,
    }  # fmt: skip
