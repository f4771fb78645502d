"""What is asked of a change before it comes into force, through whatever door: each check sees all of before and after.

Pure, and the same for a plan on a laptop and for a running cluster. A check that finds nothing says nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from teleport.access.impact import Impact, impact
from teleport.access.inventory import declared_hosts, known_hosts
from teleport.access.snapshot import Declared, Snapshot, compile_snapshot
from teleport.access.target import Target
from teleport.core.errors import Problem
from teleport.gitops.order import Ref
from teleport.resources.kinds import AnyResource
from teleport.resources.node import Node

__all__ = ["Check", "Proposed", "Verdict", "Violation", "review"]


@dataclass(frozen=True, eq=False)
class Proposed:
    """The whole policy of a cluster as it is and as a source, or somebody through the API, would have it."""

    source: str
    """The name of the source; `api` for whoever writes through the API."""
    before: Mapping[Ref, AnyResource]
    after: Mapping[Ref, AnyResource]
    """Each resource's origin names its source."""
    now: float
    hosts: Sequence[Node] | None = None
    """The hosts that report themselves; None where nobody knows, so that the declared ones count."""
    commit: str = ""
    actor: str = ""
    """Who writes: a user, or `source:NAME`."""

    @cached_property
    def snapshots(self) -> tuple[Snapshot, Snapshot]:
        """The policy before and after, compiled."""
        before = compile_snapshot(Declared(tuple(self.before.values())))
        return before, compile_snapshot(Declared(tuple(self.after.values())), previous=before)

    @cached_property
    def targets(self) -> tuple[tuple[Target, ...], tuple[Target, ...]]:
        """The hosts, with the labels they have before and after."""
        before, after = self.snapshots
        return self._targets(before), self._targets(after)

    @cached_property
    def impact(self) -> Impact:
        """Who gains and who loses what."""
        return impact(*self.snapshots, self.targets, now=self.now)

    @property
    def owned(self) -> dict[Ref, AnyResource]:
        """What the source has in force."""
        return {ref: one for ref, one in self.before.items() if (one.origin.source or "api") == self.source}

    @property
    def desired(self) -> dict[Ref, AnyResource]:
        """What the source would have in force."""
        return {ref: one for ref, one in self.after.items() if (one.origin.source or "api") == self.source}

    def _targets(self, snapshot: Snapshot) -> tuple[Target, ...]:
        return tuple(declared_hosts(snapshot.nodes) if self.hosts is None else known_hosts(self.hosts, snapshot.nodes))


@dataclass(frozen=True, order=True)
class Violation:
    """Why a change is refused: the guard's name, and where and what."""

    guard: str
    problem: Problem

    @property
    def message(self) -> str:
        return self.problem.message

    def to_problem(self) -> Problem:
        """As a stalled source shows it: with the guard's name, which an override has to give."""
        one = self.problem
        return Problem(one.file, one.line, one.column, f"refused by the guard {self.guard}: {one.message}", one.hint)


@dataclass(frozen=True)
class Verdict:
    """What the checks found."""

    violations: tuple[Violation, ...] = ()
    warnings: tuple[Problem, ...] = ()


Check = Callable[[Proposed], Verdict]


def review(proposed: Proposed, checks: Iterable[Check]) -> Verdict:
    """What all the checks find, in order."""
    found = [check(proposed) for check in checks]
    return Verdict(
        tuple(sorted(violation for one in found for violation in one.violations)),
        tuple(sorted(warning for one in found for warning in one.warnings)),
    )
