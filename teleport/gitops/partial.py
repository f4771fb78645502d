"""What of a set of objects can come into force while some of them cannot: for sources whose objects stand alone. Pure.

An object that does not load, or that the judge refuses, keeps its last good version in force and is stalled; so is what
refers to it. While anything is stalled, only changes that give nobody more come into force; the others wait. Objects of
one change set come into force together or not at all.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from teleport.access.judge import judge
from teleport.core.errors import Problem
from teleport.gitops.order import Ref, in_order, references
from teleport.resources.kinds import AnyResource

__all__ = ["ChangeSet", "Partial", "Waiting", "Widens", "groups_of", "partial"]

Objects = Mapping[Ref, AnyResource]
Widens = Callable[[Objects, Objects], Sequence[str]]
"""Who would have more after a change than before it, as people say it; empty if nobody."""


Plainly = Callable[[AnyResource], Sequence[str]]
"""Who has more by an object that is new, whatever else there is, as far as it can be told by that alone."""


def _unseen(_: AnyResource) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class ChangeSet:
    """Objects that belong together."""

    name: str
    count: int
    """How many it must have to be complete."""


@dataclass(frozen=True)
class Waiting:
    """Why a change that is right by itself stays out as long as something else is stalled."""

    gainers: tuple[str, ...] = ()
    """Whom it would give more, as people say it."""
    needs: str = ""
    """What it refers to and is not there without another change that waits."""


@dataclass(frozen=True)
class Partial:
    """What is to be in force now, and why it is not all that is declared."""

    desired: dict[Ref, AnyResource]
    stalled: dict[Ref, tuple[Problem, ...]] = field(default_factory=dict)
    waiting: dict[Ref, Waiting] = field(default_factory=dict)


def partial(
    declared: Objects, broken: Mapping[Ref, Sequence[Problem]], *, owned: Objects, others: Objects, widens: Widens,
    sets: Mapping[Ref, ChangeSet] | None = None, plainly: Plainly = _unseen,
) -> Partial:  # fmt: skip
    """From what a source owns towards what it declares, as far as that goes.

    `broken` are objects that exist and cannot be read; `others` is what belongs to somebody else. `sets` tells to
    which change set an object belongs, the broken ones too. `plainly` spares asking `widens` about each new object,
    which takes as long as there are objects.
    """
    members = sets or {}
    declared = {ref: owned[ref] if _same(one, owned.get(ref)) else one for ref, one in declared.items()}
    stalled = {ref: tuple(found) for ref, found in broken.items()}
    while True:
        _stall_incomplete(members, declared, stalled)
        desired = _desired(declared, owned, stalled)
        blamed = _blamed(desired, declared, owned, others, stalled)
        if not blamed:
            break
        for ref, problems in blamed.items():
            stalled[ref] = (*stalled.get(ref, ()), *problems)
    if not stalled:
        return Partial(desired)
    gainers = {ref: tuple(plainly(one)) for ref, one in desired.items() if ref not in owned and ref not in members}
    waiting = {ref: Waiting(found) for ref, found in gainers.items() if found}
    rest = {ref: one for ref, one in desired.items() if ref not in waiting}
    kept, others_waiting = _narrowing(rest, owned, others, widens, members)
    return Partial(kept, stalled, {**waiting, **others_waiting})


def _desired(declared: Objects, owned: Objects, stalled: Iterable[Ref]) -> dict[Ref, AnyResource]:
    """What is declared, with the last good version of what is stalled."""
    held = set(stalled)
    fresh = {ref: one for ref, one in declared.items() if ref not in held}
    return fresh | {ref: owned[ref] for ref in held if ref in owned}


def _stall_incomplete(
    members: Mapping[Ref, ChangeSet], declared: Objects, stalled: dict[Ref, tuple[Problem, ...]]
) -> None:
    """A change set of which one is missing or stalled is stalled as a whole."""
    by_name: dict[str, list[Ref]] = defaultdict(list)
    for ref, one in members.items():
        by_name[one.name].append(ref)
    for name, refs in sorted(by_name.items()):
        counts = {members[ref].count for ref in refs}
        lame = sorted(f"{kind}/{one}" for kind, one in refs if (kind, one) in stalled)
        message = ""
        if len(counts) > 1:
            message = f"change set {name} is said to have {' and '.join(map(str, sorted(counts)))} objects"
        elif len(refs) != (count := counts.pop()):
            message = f"change set {name} has {len(refs)} of {count} objects"
        elif lame:
            message = f"change set {name} waits for {', '.join(lame)}"
        for ref in refs:
            if message and ref not in stalled and ref in declared:
                stalled[ref] = (Problem(declared[ref].origin.file, 0, 0, message),)


def _blamed(
    desired: Objects, declared: Objects, owned: Objects, others: Objects, stalled: Mapping[Ref, Sequence[Problem]]
) -> dict[Ref, list[Problem]]:
    """Which changes have to stay out for the judge to have nothing to say. Of what does not change, none has."""
    union = {**others, **desired}
    problems = judge(union.values()).problems
    if not problems:
        return {}
    by_file = {one.origin.file or one.ref: ref for ref, one in union.items()}
    blamed: dict[Ref, list[Problem]] = defaultdict(list)
    for problem in problems:
        ref = by_file.get(problem.file)
        if ref is not None and ref in declared and ref not in stalled and desired.get(ref) is not owned.get(ref):
            blamed[ref].append(problem)
        elif ref is not None:
            for gone in _missing(union[ref], desired, owned, stalled):
                message = f"{gone[0]}/{gone[1]} is still used by {union[ref].ref} ({problem.file})"
                blamed[gone].append(Problem(owned[gone].origin.file, 0, 0, message, "change that first"))
    return blamed or _all_changes(desired, owned, stalled, problems)


def _missing(user: AnyResource, desired: Objects, owned: Objects, stalled: Mapping[Ref, object]) -> list[Ref]:
    """What an object refers to, was in force, and would be gone."""
    return [ref for ref in references(user) if ref in owned and ref not in desired and ref not in stalled]


def _all_changes(
    desired: Objects, owned: Objects, stalled: Mapping[Ref, object], problems: Sequence[Problem]
) -> dict[Ref, list[Problem]]:
    """Where nobody can be blamed, nothing changes."""
    refs = {ref for ref in desired.keys() | owned.keys() if desired.get(ref) is not owned.get(ref)}
    return {ref: list(problems) for ref in refs - stalled.keys()}


def _narrowing(
    desired: Objects, owned: Objects, others: Objects, widens: Widens, members: Mapping[Ref, ChangeSet]
) -> tuple[dict[Ref, AnyResource], dict[Ref, Waiting]]:
    """Of the changes those that give nobody more, tried in halves; and why the others wait."""
    state = dict(owned)
    waiting: dict[Ref, Waiting] = {}

    def attempt(groups: Sequence[Sequence[Ref]]) -> None:
        nonlocal state
        refs = [ref for group in groups for ref in group]
        proposed = _with(state, desired, refs)
        obstacle = _obstacle({**others, **state}, {**others, **proposed}, widens)
        if obstacle is None:
            state = proposed
        elif len(groups) == 1:
            waiting.update(dict.fromkeys(refs, obstacle))
        else:
            middle = len(groups) // 2
            attempt(groups[:middle])
            attempt(groups[middle:])

    groups = groups_of(desired, owned, members)
    if groups:
        attempt(groups)
    return state, waiting


def _obstacle(before: Objects, after: Objects, widens: Widens) -> Waiting | None:
    problems = judge(after.values()).problems
    if problems:
        return Waiting(needs=problems[0].message)
    gainers = tuple(widens(before, after))
    return Waiting(gainers) if gainers else None


def _same(one: AnyResource, other: AnyResource | None) -> bool:
    return other is not None and one.to_dict() == other.to_dict()


def _with(state: Objects, desired: Objects, refs: Iterable[Ref]) -> dict[Ref, AnyResource]:
    changed = dict(state)
    for ref in refs:
        if ref in desired:
            changed[ref] = desired[ref]
        else:
            changed.pop(ref, None)
    return changed


def groups_of(desired: Objects, owned: Objects, members: Mapping[Ref, ChangeSet]) -> list[list[Ref]]:
    """What changes: change sets as one, in an order in which each can be made."""
    order = [ref for ref in in_order(desired.values()) if desired[ref] is not owned.get(ref)]
    gone = [ref for ref in reversed(in_order(owned.values())) if ref not in desired]
    groups: dict[str | Ref, list[Ref]] = {}
    for ref in (*order, *gone):
        groups.setdefault(members[ref].name if ref in members else ref, []).append(ref)
    return list(groups.values())
