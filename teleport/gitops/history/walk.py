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
from teleport.gitops.history.steps import Line, Step
from teleport.gitops.history.tree import Tree
from teleport.gitops.order import Ref
from teleport.gitops.revision import Commit, Entry, Repository
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
    with repository.objects(seconds=_SECONDS) as batch:
        tree, judging = Tree(batch, source=source), _Judging(others)
        resources: Mapping[Ref, AnyResource] = {}
        for step, base in _from_the_beginning(repository, until, line):
            if stop():
                raise Unavailable("the history takes too long to read", hint="ask for fewer commits: --limit")
            tree.take(step)
            problems = tree.problems or judging.faults(tree)
            if problems:
                yield Moment(step, resources, problems, base=base)
                continue
            if tree.written:
                resources = tree.resources
            yield Moment(step, resources, written=tree.written, base=base)
            judging.settle(tree)
            tree.settle()


def _from_the_beginning(repository: Repository, until: Commit, line: Line) -> Iterator[tuple[Step, bool]]:
    if line.base is not None:
        entries: tuple[Entry, ...] = ()
        with suppress(BadInput):  # there may be no such folder at that commit
            entries = tuple(repository.entries(Commit(line.base.commit, until.path)))
        yield Step(line.base.commit, line.base.when, entries), True
    for step in line.steps:
        yield step, False


class _Judging:
    """Judges what changed since the last commit that held, and everything where roles are gone."""

    def __init__(self, beside: tuple[AnyResource, ...]) -> None:
        self._beside = beside
        self._roles: frozenset[str] = frozenset()

    def faults(self, tree: Tree) -> tuple[Problem, ...]:
        resources, roles = tree.resources, self._named(tree.resources)
        if self._roles - roles:
            chosen = list(resources.values())
        else:
            nodes = any(kind == Node.kind for kind, _ in tree.written)
            chosen = [one for ref, one in resources.items() if ref in tree.written or (nodes and one.kind == Node.kind)]
        known = [(Role.kind, name) for name in roles]
        return judge([*self._beside, *chosen], broken=known).problems

    def settle(self, tree: Tree) -> None:
        self._roles = self._named(tree.resources)

    def _named(self, resources: Mapping[Ref, AnyResource]) -> frozenset[str]:
        declared = (name for kind, name in resources if kind == Role.kind)
        return frozenset([*declared, *(one.name for one in self._beside if one.kind == Role.kind)])
