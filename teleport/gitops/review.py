"""What is asked of a change before it comes into force, through whatever door: each check sees all of before and after.

Pure, and the same for a plan on a laptop and for a running cluster. A check that finds nothing says nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from teleport.access.held import Lost, lost
from teleport.access.impact import Impact, impact
from teleport.access.inventory import declared_hosts, known_hosts
from teleport.access.snapshot import Declared, Snapshot, compile_snapshot
from teleport.access.target import Target
from teleport.core.errors import Problem
from teleport.gitops.order import Ref
from teleport.gitops.provenance import Provenance
from teleport.resources.kinds import AnyResource
from teleport.resources.node import Node

__all__ = ["API", "Check", "Proposed", "Verdict", "Violation", "review"]

API: Final = "api"
"""The source that everybody is who writes through the API."""


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
    user: str = ""
    """Who writes through the API, if that is a user of this cluster."""
    provenance: Provenance | None = None
    """Who signed it; None where nobody demands signatures."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """`kind/name` to the reason, of what is in force and cannot be read here."""
    compiled: Snapshot | None = None
    """A policy that has these very roles compiled already, or most of them."""

    @cached_property
    def changed(self) -> tuple[Ref, ...]:
        """What is created, updated or deleted, in order."""
        refs = self.before.keys() | self.after.keys()
        return tuple(sorted(ref for ref in refs if not _same(self.before.get(ref), self.after.get(ref))))

    @cached_property
    def snapshots(self) -> tuple[Snapshot, Snapshot]:
        """The policy before and after, compiled."""
        changed = set(self.changed)
        kept = {ref: one if ref in changed else self.before[ref] for ref, one in self.after.items()}
        before = compile_snapshot(Declared(tuple(self.before.values()), self.unreadable), previous=self.compiled)
        return before, compile_snapshot(Declared(tuple(kept.values()), self.unreadable), previous=before)

    @cached_property
    def targets(self) -> tuple[tuple[Target, ...], tuple[Target, ...]]:
        """The hosts, with the labels they have before and after."""
        before, after = self.snapshots
        return self._targets(before), self._targets(after)

    @cached_property
    def impact(self) -> Impact:
        """Who gains and who loses what."""
        return impact(*self.snapshots, self.targets, now=self.now)

    @cached_property
    def lost(self) -> Lost:
        """What everybody loses together."""
        return lost(self.impact)

    @property
    def owned(self) -> dict[Ref, AnyResource]:
        """What the source has in force."""
        return {ref: one for ref, one in self.before.items() if (one.origin.source or API) == self.source}

    @property
    def desired(self) -> dict[Ref, AnyResource]:
        """What the source would have in force."""
        return {ref: one for ref, one in self.after.items() if (one.origin.source or API) == self.source}

    def _targets(self, snapshot: Snapshot) -> tuple[Target, ...]:
        return tuple(declared_hosts(snapshot.nodes) if self.hosts is None else known_hosts(self.hosts, snapshot.nodes))


@dataclass(frozen=True, order=True)
class Violation:
    """Why a change is refused: the guard's name, and where and what."""

    guard: str
    problem: Problem
    subjects: tuple[str, ...] = field(default=(), compare=False)
    """Whom or what it is about, all of it and in order: whoever permits the change permits it for these."""

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


def _same(before: AnyResource | None, after: AnyResource | None) -> bool:
    """Whether two mean the same, wherever they are declared."""
    if before is None or after is None or before is after:
        return before is after
    return (before.version, before.sub_kind, before.metadata, before.spec) == (
        after.version, after.sub_kind, after.metadata, after.spec
    )  # fmt: skip


def review(proposed: Proposed, checks: Iterable[Check]) -> Verdict:
    """What all the checks find, in order."""
    found = [check(proposed) for check in checks]
    return Verdict(
        tuple(sorted(violation for one in found for violation in one.violations)),
        tuple(sorted(warning for one in found for warning in one.warnings)),
    )
