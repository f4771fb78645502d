"""What taking one state for the other comes to: the changes, who gains and loses, and what is worth a look."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from teleport.access.decide import AccessRequest, Decision, decide
from teleport.access.fleet import Fleet
from teleport.access.groups import Group, Totals, grouped
from teleport.access.idle import idle
from teleport.access.impact import Change as Kind
from teleport.access.impact import Impact, impact
from teleport.access.inventory import declared_hosts, known_hosts
from teleport.access.judge import judge
from teleport.access.snapshot import Declared, Snapshot, compile_snapshot
from teleport.access.target import Target
from teleport.access.unheld import Unheld, changed_unheld
from teleport.cli.plan.states import State
from teleport.core.errors import Invalid, Problem, TeleportError
from teleport.core.identity import Identity
from teleport.gitops.ceiling_check import within_ceilings
from teleport.gitops.order import Ref
from teleport.gitops.plan import Plan, guard, plan
from teleport.gitops.review import Proposed
from teleport.resources.kinds import AnyResource, shown
from teleport.resources.node import Node
from teleport.resources.wishes import ADOPT, IGNORE, settled, wishes

_API = "api"

__all__ = ["Report", "Violation", "Warned", "compared"]


@dataclass(frozen=True)
class Violation:
    """Why a cluster would refuse the change."""

    guard: str
    message: str

    def to_dict(self) -> dict[str, str]:
        return {"guard": self.guard, "message": self.message}


@dataclass(frozen=True)
class Warned:
    """What is right and yet worth a look; whether it was not there before."""

    problem: Problem
    new: bool


@dataclass(frozen=True, eq=False)
class Report:
    """Everything there is to tell. `groups` and `totals` are computed when somebody asks."""

    title: str
    against: str
    plan: Plan
    before: Snapshot
    after: Snapshot
    hosts: tuple[tuple[Target, ...], tuple[Target, ...]]
    impact: Impact
    unheld: Unheld
    warnings: tuple[Warned, ...]
    violations: tuple[Violation, ...]
    notes: tuple[str, ...]
    now: float

    @cached_property
    def _grouped(self) -> tuple[tuple[Group, ...], Mapping[Kind, Totals]]:
        return grouped(self.impact)

    @property
    def groups(self) -> tuple[Group, ...]:
        return self._grouped[0]

    @property
    def totals(self) -> Mapping[Kind, Totals]:
        return self._grouped[1]

    @cached_property
    def roles(self) -> tuple[Group, ...]:
        """The groups of those who might hold a role that nobody declared holds; their people are roles."""
        return grouped(self.unheld.impact)[0]

    def decision(self, snapshot: Snapshot, user: str, login: str, target: Target) -> Decision | None:
        """What decides for somebody, a second factor taken as shown; None for nobody there."""
        declared = snapshot.users.get(user)
        if declared is None:
            return None
        identity = Identity("user", user, declared.uid, "", mfa_verified=True)
        return decide(snapshot, AccessRequest(identity, target, login), now=self.now)

    @property
    def empty(self) -> bool:
        return self.plan.empty


def compared(old: State, new: State, *, inventory: Sequence[Node] | None, now: float) -> Report:
    """Put the new state in the old one's place. Raises Invalid with every fault of either."""
    _check_old(old)
    owned = {ref: one for ref, one in _refs(old.resources).items() if ref not in old.others}
    after = _after(old, new, owned)
    proposed = list(after.values())
    judgement = judge([*proposed, *new.loaded.remnants], broken=new.loaded.broken)
    problems = {*new.problems, *judgement.problems}
    if problems:
        raise Invalid(tuple(problems))
    made = plan(new.resources, owned, old.others)
    before = compile_snapshot(Declared(old.resources, old.unreadable))
    snapshot = compile_snapshot(Declared(proposed, old.unreadable), previous=before)
    known = inventory if inventory is not None else old.hosts
    hosts = (_hosts(before, known), _hosts(snapshot, known))
    warnings = _warnings(judgement.warnings, judge(old.resources).warnings, (before, snapshot), hosts)
    return Report(
        new.title, old.title, made, before, snapshot, hosts, impact(before, snapshot, hosts, now=now),
        changed_unheld(before, snapshot, hosts, now=now), warnings,
        (*_violations(new.resources, owned, made, by_label=old.ceiling is None),
         *_exceeding(old, new.resources, after)),
        (*old.notes, *(f"{ref} cannot be read by this tctl: {why}" for ref, why in old.unreadable.items())), now,
    )  # fmt: skip


def _after(old: State, new: State, owned: Mapping[Ref, AnyResource]) -> dict[Ref, AnyResource]:
    """Everything there would be, as a cluster makes it of what is declared."""
    settlement = settled(new.resources, owned)
    return {ref: one for ref, one in _refs(old.resources).items() if ref not in settlement.gone} | dict(
        settlement.wanted
    )


def _exceeding(old: State, desired: Sequence[AnyResource], after: Mapping[Ref, AnyResource]) -> Iterable[Violation]:
    """What the cluster's ceiling for the source does not permit."""
    if old.ceiling is None:
        return
    mine = {(one.kind, one.name): one.with_origin(replace(one.origin, source=old.source)) for one in desired}
    will = dict(after) | {ref: one for ref, one in mine.items() if not wishes(one, IGNORE)}
    check = within_ceilings({old.source: old.ceiling}.get)
    for one in check(Proposed(old.source, _refs(old.resources), will, now=0)).violations:
        yield Violation(one.guard, str(one.problem))


def _check_old(old: State) -> None:
    if old.problems:
        found = "\n".join(str(one) for one in sorted(old.problems)[:10])
        raise TeleportError(f"{old.title}, which is compared with, has faults:\n{found}")


def _refs(resources: Iterable[AnyResource]) -> dict[Ref, AnyResource]:
    return {(one.kind, one.name): one for one in resources}


def _hosts(snapshot: Snapshot, known: Sequence[Node] | None) -> tuple[Target, ...]:
    return tuple(declared_hosts(snapshot.nodes) if known is None else known_hosts(known, snapshot.nodes))


def _warnings(
    found: Sequence[Problem], earlier: Sequence[Problem], snapshots: tuple[Snapshot, Snapshot],
    hosts: tuple[tuple[Target, ...], tuple[Target, ...]],
) -> tuple[Warned, ...]:  # fmt: skip
    """Those of the proposed state; a line that moved makes none of them new."""
    before, after = (
        (*told, *idle(snapshot, Fleet("node", fleet)))
        for told, snapshot, fleet in zip((earlier, found), snapshots, hosts, strict=True)
    )
    known = {(one.file, one.message) for one in before}
    warned = (Warned(one, (one.file, one.message) not in known) for one in after)
    return tuple(sorted(warned, key=lambda one: (not one.new, one.problem)))


def _violations(
    desired: Sequence[AnyResource], owned: Mapping[Ref, AnyResource], made: Plan, *, by_label: bool
) -> Iterable[Violation]:
    """What a cluster refuses: a source that empties itself, and what belongs to somebody else.

    `by_label` says whether a label suffices to take over what belongs to the API.
    """
    refusal = guard(desired, owned)
    if refusal:
        yield Violation("emptied", refusal)
    labelled = {(one.kind, one.name) for one in desired if by_label and wishes(one, ADOPT)}
    for change in made.changes:
        if change.action == "adopt" and not (change.owner in ("", _API) and (change.kind, change.name) in labelled):
            name = f"{change.kind}/{shown(change.kind, change.name)}"
            yield Violation("owner", f"{name} belongs to the source {change.owner}; delete it there first")
