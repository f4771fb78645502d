"""A set whose objects stand alone, beside what is in force: what `partial` is asked, and what a refusal is blamed on.

Pure. The judge and the guards speak of the whole policy. What they refuse is blamed on the objects that they name; else
on what would be deleted; else on everything that would change. So one bad object keeps the good ones waiting as little
as can be told.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from teleport.core.errors import Problem
from teleport.gitops.manifests import Declared
from teleport.gitops.order import Ref
from teleport.gitops.partial import Partial
from teleport.resources.kinds import AnyResource
from teleport.resources.secret_ref import plain_secrets
from teleport.resources.values import parse_timestamp
from teleport.resources.wishes import KEEP, wishes

__all__ = ["Case", "Finding", "Reason", "case_of", "merged"]

Reason = Literal["Invalid", "Guarded", "NotOwned"]
Objects = Mapping[Ref, AnyResource]


@dataclass(frozen=True)
class Finding:
    """Why an object stays out."""

    reason: Reason
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Case:
    """What a source declares, and what is in force."""

    read: Declared
    declared: Objects
    owned: Objects
    """What belongs to the source, without what it gives up and leaves in force."""
    others: Objects
    findings: Mapping[Ref, Finding] = field(default_factory=dict)
    """What cannot even be looked at."""

    def desired(self, part: Partial) -> dict[Ref, AnyResource]:
        """What is to be in force, as it is declared now where that says the same as before."""
        held = part.stalled.keys() | part.waiting.keys()
        fresh = {ref: self.declared.get(ref, one) if ref not in held else one for ref, one in part.desired.items()}
        return {**fresh, **self._ignored}

    @property
    def _ignored(self) -> dict[Ref, AnyResource]:
        read = self.read
        return {ref: one for one in read.resources if (ref := (one.kind, one.name)) in read.ignored}

    def pruned(self, ref: Ref) -> bool:
        """Whether it is in force and declared no more."""
        return ref in self.owned and ref not in self._known

    @cached_property
    def _known(self) -> frozenset[Ref]:
        return frozenset(self.read.refs.values()) | self.declared.keys()

    def changes(self, desired: Objects) -> frozenset[Ref]:
        """What differs from what is in force."""
        return frozenset(
            ref
            for ref in desired.keys() | self.owned.keys()
            if ref not in self.read.ignored and not _same(desired.get(ref), self.owned.get(ref))
        )

    def named(self, problems: Iterable[Problem], desired: Objects) -> dict[Ref, list[Problem]]:
        """The changes that problems name by their files, each with its own."""
        files = {one.origin.file: ref for ref, one in {**self.owned, **self.declared}.items()}
        changes, found = self.changes(desired), defaultdict[Ref, list[Problem]](list)
        for problem in problems:
            ref = self.read.refs.get(problem.file) or files.get(problem.file)
            if ref in changes:
                found[ref].append(problem)
        return found


def case_of(read: Declared, found: Objects, source: str, *, now: float) -> Case:
    """`found` is everything in force."""
    owned = {ref: one for ref, one in found.items() if one.origin.source == source}
    fresh = {(one.kind, one.name): one for one in read.resources if not _expired(one, now)}
    declared = {ref: one for ref, one in fresh.items() if ref not in read.ignored}
    declared |= {ref: owned[ref] for ref in read.ignored if ref in owned}
    withheld = {ref: one for ref, one in owned.items() if _manifest_kind(one) in read.withheld and ref not in fresh}
    declared = {**withheld, **declared}
    broken = _broken(read)
    kept = {
        ref: one for ref, one in owned.items()
        if wishes(one, KEEP) and ref not in declared and ref not in broken
    }  # fmt: skip
    rest = {ref: one for ref, one in owned.items() if ref not in kept}
    others = {ref: one for ref, one in found.items() if ref not in rest}
    return Case(read, {ref: one for ref, one in declared.items() if ref not in broken}, rest, others, broken)


def merged(known: Mapping[Ref, Finding], fresh: Mapping[Ref, Sequence[Problem]], reason: Reason) -> dict[Ref, Finding]:
    """What was found, and more."""
    return dict(known) | {ref: Finding(reason, tuple(found)) for ref, found in fresh.items() if ref not in known}


def _broken(read: Declared) -> dict[Ref, Finding]:
    found: dict[Ref, list[Problem]] = defaultdict(list)
    for problem in (*read.problems, *plain_secrets((*read.resources, *read.remnants))):
        found[read.refs.get(problem.file, ("", problem.file))].append(problem)
    return {ref: Finding("Invalid", tuple(problems)) for ref, problems in found.items()}


def _manifest_kind(resource: AnyResource) -> str:
    return resource.origin.file.partition("/")[2].partition("/")[0]


def _same(one: AnyResource | None, other: AnyResource | None) -> bool:
    if one is None or other is None or one is other:
        return one is other
    return one.to_dict() == other.to_dict()


def _expired(resource: AnyResource, now: float) -> bool:
    expires = resource.metadata.expires
    return expires is not None and parse_timestamp(expires) <= now
