"""Puts a write of policy before the checks of this cluster, with what they need to know of it, and before whoever
overrides them: the signatures of a source that is signed, the approvals of administrators for all others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Protocol

from teleport.audit.events import HUMAN, Actor, PolicyOverridden
from teleport.auth.approvals import Approvals, GuardRefused, Refusal
from teleport.auth.policy import Proposal, Reviewed
from teleport.core.aio import Clock
from teleport.core.errors import Problem
from teleport.gitops.guards.overriding import (
    OVERRIDABLE,
    Administrator,
    by_administrator,
    by_signature,
    digest,
    objections,
)
from teleport.gitops.provenance import Override, Provenance
from teleport.gitops.review import API, Check, Proposed, Violation, review
from teleport.resources.node import Node
from teleport.service.policies import SETTINGS
from teleport.sessions.policy import LivePolicy

__all__ = ["Endorsed", "Reviewer"]


class Endorsed(Protocol):
    """A source that is signed."""

    async def provenance(self, commit: str) -> Provenance:
        """Who signed what comes into force with a commit."""
        ...

    async def overrides(self, commit: str) -> Sequence[Override]:
        """The well signed overrides of a commit."""
        ...


@dataclass
class Reviewer:
    """What `PolicyWriter` asks."""

    approvals: Approvals
    policy: LivePolicy
    hosts: Callable[[], Awaitable[Sequence[Node]]]
    clock: Clock
    checks: Sequence[Check] = ()
    """Guards, ceilings and promises, as teleport.yaml has them now; replaced, like `people`, when it is read again."""
    people: Mapping[str, str] = field(default_factory=dict)
    """Principals of signatures, and the users they are."""
    always: Sequence[Check] = ()
    """What is asked besides, whatever teleport.yaml says."""
    signed: dict[str, Endorsed] = field(default_factory=dict)
    """By name, the sources that are."""

    async def __call__(self, proposal: Proposal) -> Reviewed:
        """Warnings are returned, violations that nobody overrides raise GuardRefused. Judged aside of the loop."""
        if proposal.source == SETTINGS:  # whoever writes teleport.yaml sets the guards, and is not held to them
            return Reviewed()
        proposed = await self._proposed(proposal)
        verdict = await asyncio.to_thread(review, proposed, (*self.always, *self.checks))
        refused: list[Problem] = []
        guards = []
        reviewed = Reviewed(verdict.warnings)
        for guard, found in groupby(verdict.violations, key=lambda one: one.guard):
            finding = _Finding(guard, tuple(found))
            waived = await self._waived(proposed, finding)
            if isinstance(waived, Reviewed):
                reviewed = _both(reviewed, waived)
            else:
                refused += waived
                guards.append(guard)
        if refused:
            raise GuardRefused(refused, guards)
        return reviewed

    async def _proposed(self, proposal: Proposal) -> Proposed:
        actor, endorsed = proposal.actor, self._endorsed(proposal.source, proposal.commit)
        return Proposed(
            source=proposal.source,
            before={ref: stored.resource for ref, stored in proposal.found.items()},
            after=proposal.after,
            now=self.clock.time(),
            hosts=await self.hosts(),
            commit=proposal.commit,
            actor=actor.user,
            user=actor.user if proposal.source == API and actor.user_kind == HUMAN and not actor.local else "",
            compiled=self.policy.current,
            provenance=await endorsed.provenance(proposal.commit) if endorsed is not None else None,
        )

    def _endorsed(self, source: str, commit: str) -> Endorsed | None:
        """Who can say who signed it. What comes past a source, in an emergency, has no commit that anybody signed."""
        return self.signed.get(source) if commit else None

    async def _waived(self, proposed: Proposed, found: "_Finding") -> Reviewed | list[Problem]:
        """What comes of an override; or why it is refused, and what would override that."""
        if found.guard not in OVERRIDABLE:
            return [one.to_problem() for one in found.violations]
        endorsed = self._endorsed(proposed.source, proposed.commit)
        if endorsed is not None:
            return await self._signed(endorsed, proposed, found)
        return await self._approved(proposed, found)

    async def _signed(self, endorsed: Endorsed, proposed: Proposed, found: "_Finding") -> Reviewed | list[Problem]:
        vain = ""
        for one in await endorsed.overrides(proposed.commit):
            if one.guard == found.guard:
                principal = one.signer.principal
                objection = await asyncio.to_thread(by_signature, one.signer, found.guard, proposed, self.people)
                if not objection:
                    return found.overridden(proposed, Actor(self.people[principal], HUMAN), principal=principal)
                vain += f"; the override by {principal} does not count: {objection}"
        tag = f"override/{found.guard}/{proposed.commit}"
        return found.refused(f"another signer overrides it: git tag -s {tag} {proposed.commit}", vain)

    async def _approved(self, proposed: Proposed, found: "_Finding") -> Reviewed | list[Problem]:
        name = digest(proposed, found.guard, found.violations)
        approval = await self.approvals.of(name)
        vain = ""
        if approval is not None:
            approver = Administrator(approval.approver, approval.uid, approval.local)
            vain = await asyncio.to_thread(by_administrator, approver, found.guard, proposed)
            if not vain:
                made = found.overridden(proposed, Actor(approval.approver, HUMAN), reason=approval.reason)
                return replace(made, operations=(approval.spent,))
            vain = f"; the approval by {approval.approver} does not count: {vain}"
        known = await asyncio.to_thread(objections, found.guard, proposed)
        local = by_administrator(Administrator("", local=True), found.guard, proposed)
        refusal = self.approvals.refuse(
            Refusal(name, proposed.source, found.guard, found.message, proposed.commit, known, local)
        )
        command = f"tctl policy approve --guard {found.guard} --proposal {refusal.id}"
        return found.refused(f"another administrator overrides it: {command}", vain)


@dataclass(frozen=True)
class _Finding:
    """All that one guard found: it is overridden as a whole or not at all."""

    guard: str
    violations: tuple[Violation, ...]

    @property
    def message(self) -> str:
        return "; ".join(one.message for one in self.violations)

    def overridden(self, proposed: Proposed, by: Actor, *, principal: str = "", reason: str = "") -> Reviewed:
        event = PolicyOverridden(
            **by.fields(), source=proposed.source, commit=proposed.commit, guard=self.guard, finding=self.message,
            principal=principal, reason=reason,
        )  # fmt: skip
        told = f"; {principal or by.user} overrode the guard {self.guard}"
        warnings = (replace(one.problem, message=f"{one.message}{told}") for one in self.violations)
        return Reviewed(tuple(warnings), (), (event,))

    def refused(self, how: str, vain: str) -> list[Problem]:
        """Each violation as a problem; what would override them is told with the last."""
        *most, last = [one.to_problem() for one in self.violations]
        hint = f"{last.hint}; {how}" if last.hint else how
        return [*most, replace(last, message=f"{last.message}{vain}", hint=hint)]


def _both(one: Reviewed, other: Reviewed) -> Reviewed:
    return Reviewed(
        (*one.warnings, *other.warnings), (*one.operations, *other.operations), (*one.events, *other.events)
    )
