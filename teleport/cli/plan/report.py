"""What taking one state for the other comes to: the changes, who gains and loses, and what is worth a look."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from teleport.access.decide import AccessRequest, Decision, decide
from teleport.access.fleet import Fleet
from teleport.access.groups import Group, Totals, grouped
from teleport.access.idle import idle
from teleport.access.impact import Change as Kind
from teleport.access.impact import Impact
from teleport.access.judge import judge
from teleport.access.readers import not_read_by
from teleport.access.snapshot import Snapshot
from teleport.access.target import Target
from teleport.access.unheld import Unheld, changed_partners, changed_unheld
from teleport.cli.plan.states import State
from teleport.core.errors import Invalid, Problem, TeleportError
from teleport.core.identity import Identity
from teleport.gitops.ceiling_check import within_ceilings
from teleport.gitops.order import Ref
from teleport.gitops.plan import Plan, plan
from teleport.gitops.policytest import Judged, Outcome, judged
from teleport.gitops.policytest import State as Promises
from teleport.gitops.review import Check, Proposed, Violation, review
from teleport.resources.kinds import AnyResource
from teleport.resources.model import Origin
from teleport.resources.node import Node
from teleport.resources.wishes import ADOPT, settled, wishes

__all__ = ["Report", "Warned", "compared"]

_API: Final = "api"
_PLANNED: Final = "folder"
"""The name of the source that is planned for, where it has none."""


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
    partners: Unheld
    """What changes for whoever holds a role of a cluster that is trusted."""
    warnings: tuple[Warned, ...]
    violations: tuple[Violation, ...]
    tests: tuple[Outcome, ...]
    """What came of the tests and invariants that the change brings."""
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

    @cached_property
    def partner_groups(self) -> tuple[Group, ...]:
        """The groups of those who hold a role of another cluster; their people are such roles."""
        return grouped(self.partners.impact)[0]

    def then(self, target: Target) -> Target | None:
        """A host as it is after the change, if it is there."""
        return self._hosts[1].get(target.uid)

    def earlier(self, target: Target) -> Target | None:
        """A host as it was before the change, if it was there."""
        return self._hosts[0].get(target.uid)

    @cached_property
    def _hosts(self) -> tuple[Mapping[str, Target], Mapping[str, Target]]:
        was, will = ({one.uid: one for one in hosts} for hosts in self.hosts)
        return was, will

    def decision(self, snapshot: Snapshot, user: str, login: str, target: Target | None) -> Decision | None:
        """What decides for somebody, a second factor taken as shown; None for nobody or nothing there."""
        declared = snapshot.users.get(user)
        if declared is None or target is None:
            return None
        identity = Identity("user", user, declared.uid, "", mfa_verified=True)
        return decide(snapshot, AccessRequest(identity, target, login), now=self.now)

    @property
    def empty(self) -> bool:
        return self.plan.empty


def compared(
    old: State, new: State, *, inventory: Sequence[Node] | None, now: float, checks: Sequence[Check] = ()
) -> Report:
    """Put the new state in the old one's place. Raises Invalid with every fault of either."""
    _check_old(old)
    owned = {ref: one for ref, one in _refs(old.resources).items() if ref not in old.others}
    written = _written(old, new, owned, inventory, now=now)
    judgement = judge([*written.after.values(), *new.loaded.remnants], broken=new.loaded.broken)
    problems = {*new.problems, *judgement.problems}
    if problems:
        raise Invalid(tuple(problems))
    made = plan(new.resources, owned, old.others)
    (before, after), hosts = written.snapshots, written.targets
    promised = judged(
        Promises(written.before, before, hosts[0]), Promises(written.after, after, hosts[1]), now=now,
        writer=written.source, bounded=old.bounded.__contains__,
    )  # fmt: skip
    verdict = review(written, [*checks, *_ceiling(old)])
    told = ((*judge(old.resources).warnings, *not_read_by(old.readers, old.resources)),
            (*judgement.warnings, *verdict.warnings, *not_read_by(old.readers, written.after.values())))  # fmt: skip
    warnings = _warnings(told, (before, after), hosts)
    foreign = _foreign(new.resources, made, by_label=old.ceiling is None)
    return Report(
        new.title, old.title, made, before, after, hosts, written.impact,
        changed_unheld(before, after, hosts, now=now), changed_partners(before, after, hosts, now=now),
        (*warnings, *_standing(promised)),
        (*verdict.violations, *promised.verdict.violations, *foreign), promised.outcomes,
        (*old.notes, *(f"{ref} cannot be read by this tctl: {why}" for ref, why in old.unreadable.items())), now,
    )  # fmt: skip


def _written(
    old: State, new: State, owned: Mapping[Ref, AnyResource], inventory: Sequence[Node] | None, *, now: float
) -> Proposed:
    """Everything there is and everything there would be, as a cluster makes it of what is declared."""
    source, settlement = old.owner or _PLANNED, settled(new.resources, owned)
    left = {ref: one for ref, one in old.others.items() if ref not in settlement.wanted}
    stays = {ref: one for ref, one in owned.items() if ref in settlement.ignored}
    kept = {ref: owned[ref].with_origin(Origin(source=_API)) for ref in settlement.kept}
    return Proposed(
        source=source,
        before={**old.others, **_owned_by(source, owned.values())},
        after={**left, **_owned_by(source, stays.values()), **kept, **_owned_by(source, settlement.wanted.values())},
        now=now,
        hosts=inventory if inventory is not None else old.hosts,
        unreadable=old.unreadable,
    )


def _ceiling(old: State) -> Iterator[Check]:
    """What the cluster's ceiling for the source permits, where it has one."""
    if old.ceiling is not None:
        yield within_ceilings({old.owner or _PLANNED: old.ceiling}.get)


def _check_old(old: State) -> None:
    if old.problems:
        found = "\n".join(str(one) for one in sorted(old.problems)[:10])
        raise TeleportError(f"{old.title}, which is compared with, has faults:\n{found}")


def _refs(resources: Iterable[AnyResource]) -> dict[Ref, AnyResource]:
    return {(one.kind, one.name): one for one in resources}


def _warnings(
    told: tuple[Sequence[Problem], Sequence[Problem]], snapshots: tuple[Snapshot, Snapshot],
    hosts: tuple[tuple[Target, ...], tuple[Target, ...]],
) -> tuple[Warned, ...]:  # fmt: skip
    """Those of the proposed state; a line that moved makes none of them new."""
    before, after = (
        (*known, *idle(snapshot, Fleet("node", fleet)))
        for known, snapshot, fleet in zip(told, snapshots, hosts, strict=True)
    )
    known = {(one.file, one.message) for one in before}
    warned = (Warned(one, (one.file, one.message) not in known) for one in after)
    return tuple(sorted(warned, key=lambda one: (not one.new, one.problem)))


def _standing(promised: Judged) -> Iterator[Warned]:
    """What is not as promised, and is no reason to refuse."""
    return (Warned(one, one not in promised.standing) for one in promised.verdict.warnings)


def _foreign(desired: Sequence[AnyResource], made: Plan, *, by_label: bool) -> Iterator[Violation]:
    """What belongs to somebody else is refused. `by_label`: a label suffices to take over what the API owns."""
    labelled = {(one.kind, one.name) for one in desired if by_label and wishes(one, ADOPT)}
    for change in made.changes:
        if change.action == "adopt" and not (change.owner in ("", _API) and (change.kind, change.name) in labelled):
            message = f"{change.shown} belongs to the source {change.owner}; delete it there first"
            yield Violation("owner", Problem("", 0, 0, message))


def _owned_by(source: str, resources: Iterable[AnyResource]) -> dict[Ref, AnyResource]:
    """As if one source declared them."""
    return {(one.kind, one.name): one.with_origin(replace(one.origin, source=source)) for one in resources}
