"""Replays a branch: after each commit, the policy that held. Commits that do not hold change nothing, as in a cluster.

What holds is what loads and what the judge lets pass. Signatures, tests and guards are not judged again: what a
cluster really applied, and when, is in its audit log.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from teleport.access.judge import judge
from teleport.core.errors import BadInput, Problem, Unavailable
from teleport.gitops.history.steps import GONE, Line, Step
from teleport.gitops.history.tree import Tree
from teleport.gitops.order import Ref
from teleport.gitops.revision import Commit, Entry, Repository
from teleport.gitops.tree import SUFFIXES
from teleport.resources.kinds import AnyResource
from teleport.resources.node import Node
from teleport.resources.role import Role

__all__ = ["Moment", "walk"]

_SECONDS: Final = 300.0


@dataclass(frozen=True)
class Moment:
    """What a commit came to. `resources` is in force with it: of a commit that does not hold, what was before."""

    step: Step
    resources: Mapping[Ref, AnyResource]
    problems: tuple[Problem, ...] = ()
    written: Mapping[Ref, str] = field(default_factory=dict)
    """The objects that may differ from those of the moment before, and the commit that changed each."""
    base: bool = False
    """The line begins here, in the middle of things."""


def walk(
    repository: Repository, until: Commit, line: Line, *, source: str = "", beside: Iterable[AnyResource] = (),
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Moment]:  # fmt: skip
    """A moment for each commit of a line, oldest first. `beside` is what other sources declare.

    Raises Unavailable once `stop` says so, or when it takes too long.
    """
    others = tuple(beside)
    steps = [*_beginning(repository, until, line), *line.steps]
    with repository.objects(seconds=_SECONDS) as batch:
        tree, judging = Tree(batch, _blobs(steps), source=source), _Judging(others)
        resources: Mapping[Ref, AnyResource] = {}
        base = line.base.commit if line.base is not None else ""
        for step in steps:
            if stop():
                raise Unavailable("the history takes too long to read", hint="ask for fewer commits: --limit")
            tree.take(step)
            problems = tree.problems or judging.faults(tree, resources)
            if problems:
                yield Moment(step, resources, problems, base=step.commit == base)
                continue
            if tree.written:
                resources = dict(tree.resources)
            yield Moment(step, resources, written=tree.written, base=step.commit == base)
            tree.settle()


def _blobs(steps: Iterable[Step]) -> Iterator[str]:
    """What is read, in its order."""
    for step in steps:
        yield from (one.id for one in step.entries if one.mode != GONE and one.name.endswith(SUFFIXES))


def _beginning(repository: Repository, until: Commit, line: Line) -> Iterator[Step]:
    """All there is where a line begins in the middle of things."""
    if line.base is not None:
        entries: tuple[Entry, ...] = ()
        with suppress(BadInput):  # there may be no such folder at that commit
            entries = tuple(repository.entries(Commit(line.base.commit, until.path)))
        yield Step(line.base.commit, line.base.when, entries)


class _Judging:
    """Judges what changed since the last commit that held, and everything where roles are gone."""

    def __init__(self, beside: tuple[AnyResource, ...]) -> None:
        self._beside = beside

    def faults(self, tree: Tree, before: Mapping[Ref, AnyResource]) -> tuple[Problem, ...]:
        now = tree.resources
        if any(ref[0] == Role.kind and ref in before and ref not in now for ref in tree.written):
            return judge([*self._beside, *now.values()]).problems
        chosen = {ref: now[ref] for ref in tree.written if ref in now}
        if any(kind == Node.kind for kind, _ in tree.written):
            chosen |= {ref: one for ref, one in now.items() if one.kind == Node.kind}
        roles = [ref for ref in now if ref[0] == Role.kind]
        return judge([*self._beside, *chosen.values()], broken=roles).problems
