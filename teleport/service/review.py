"""Puts a write of policy before the checks of this cluster, with what they need to know of it, and before whoever
overrides them: the signatures of a source that is signed, the approvals of administrators for all others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from teleport.audit.events import HUMAN, Actor, PolicyOverridden
from teleport.auth.approvals import Approvals, GuardRefused, Refusal
from teleport.auth.policy import Proposal, Reviewed
from teleport.core.aio import Clock
from teleport.core.errors import Problem
from teleport.gitops.guards.overriding import Administrator, by_administrator, by_signature, digest, objections
from teleport.gitops.provenance import Override, Provenance
from teleport.gitops.review import API, Check, Proposed, Violation, review
from teleport.resources.node import Node
from teleport.sessions.policy import LivePolicy

__all__ = ["CONFIGURATION", "Endorsed", "Reviewer"]

CONFIGURATION: Final = "teleport.yaml"
"""The source that teleport.yaml is. Whoever writes that sets the guards, and is not held to them."""


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
    """What `PolicyWriter` asks. `checks` and `people` may be replaced while it runs."""

    approvals: Approvals
    policy: LivePolicy
    hosts: Callable[[], Awaitable[Sequence[Node]]]
    clock: Clock
    checks: Sequence[Check] = ()
    people: Mapping[str, str] = field(default_factory=dict)
    """Principals of signatures, and the users they are."""
    signed: dict[str, Endorsed] = field(default_factory=dict)
    """By name, the sources that are."""

    async def __call__(self, proposal: Proposal) -> Reviewed:
        """Warnings are returned, violations that nobody overrides raise GuardRefused. Judged aside of the loop."""
        if proposal.source == CONFIGURATION:
            return Reviewed()
        proposed = await self._proposed(proposal)
        verdict = await asyncio.to_thread(review, proposed, self.checks)
        refused: list[Problem] = []
        reviewed = Reviewed(verdict.warnings)
        for violation in verdict.violations:
            waived = await self._waived(proposed, violation)
            if isinstance(waived, Problem):
                refused.append(waived)
            else:
                reviewed = _both(reviewed, waived)
        if refused:
            raise GuardRefused(refused)
        return reviewed

    async def _proposed(self, proposal: Proposal) -> Proposed:
        actor, endorsed = proposal.actor, self.signed.get(proposal.source)
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

    async def _waived(self, proposed: Proposed, violation: Violation) -> Reviewed | Problem:
        """What comes of an override; or why it is refused, and what would override that."""
        if violation.final:
            return violation.to_problem()
        endorsed = self.signed.get(proposed.source)
        if endorsed is not None:
            return await self._signed(endorsed, proposed, violation)
        return await self._approved(proposed, violation)

    async def _signed(self, endorsed: Endorsed, proposed: Proposed, violation: Violation) -> Reviewed | Problem:
        tag = f"override/{violation.guard}/{proposed.commit}"
        vain = []
        for one in await endorsed.overrides(proposed.commit):
            if one.guard == violation.guard:
                objection = await asyncio.to_thread(by_signature, one.signer, proposed, self.people)
                if not objection:
                    user = self.people[one.signer.principal]
                    return _overridden(proposed, violation, Actor(user, HUMAN), principal=one.signer.principal)
                vain.append(f"; the override by {one.signer.principal} does not count: {objection}")
        return _refused(violation, f"another signer overrides it: git tag -s {tag} {proposed.commit}", "".join(vain))

    async def _approved(self, proposed: Proposed, violation: Violation) -> Reviewed | Problem:
        name = digest(proposed, violation)
        approval = await self.approvals.of(name)
        vain = ""
        if approval is not None:
            approver = Administrator(approval.approver, approval.uid, approval.local)
            vain = await asyncio.to_thread(by_administrator, approver, proposed)
            if not vain:
                made = _overridden(proposed, violation, Actor(approval.approver, HUMAN), reason=approval.reason)
                return Reviewed(made.warnings, (approval.spent,), made.events)
            vain = f"; the approval by {approval.approver} does not count: {vain}"
        known = await asyncio.to_thread(objections, proposed)
        local = by_administrator(Administrator("", local=True), proposed)
        refusal = self.approvals.refuse(
            Refusal(name, proposed.source, violation.guard, violation.message, proposed.commit, known, local)
        )
        command = f"tctl policy approve --guard {violation.guard} --proposal {refusal.id}"
        return _refused(violation, f"another administrator overrides it: {command}", vain)


def _overridden(
    proposed: Proposed, violation: Violation, by: Actor, *, principal: str = "", reason: str = ""
) -> Reviewed:
    event = PolicyOverridden(
        **by.fields(), source=proposed.source, commit=proposed.commit, guard=violation.guard,
        finding=violation.message, principal=principal, reason=reason,
    )  # fmt: skip
    one, who = violation.problem, principal or by.user
    told = Problem(one.file, one.line, one.column, f"{one.message}; {who} overrode the guard {violation.guard}")
    return Reviewed((told,), (), (event,))


def _refused(violation: Violation, how: str, vain: str) -> Problem:
    one = violation.to_problem()
    hint = f"{one.hint}; {how}" if one.hint else how
    return Problem(one.file, one.line, one.column, f"{one.message}{vain}", hint)


def _both(one: Reviewed, other: Reviewed) -> Reviewed:
    return Reviewed(
        (*one.warnings, *other.warnings), (*one.operations, *other.operations), (*one.events, *other.events)
    )
