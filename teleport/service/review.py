"""Puts a write of policy before the checks of this cluster, with what they need to know of it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from teleport.auth.policy import Proposal
from teleport.core.aio import Clock
from teleport.core.errors import Invalid, Problem
from teleport.gitops.review import Check, Proposed, review
from teleport.resources.node import Node

__all__ = ["reviewer"]


def reviewer(
    checks: Sequence[Check], hosts: Callable[[], Awaitable[Sequence[Node]]], *, clock: Clock
) -> Callable[[Proposal], Awaitable[tuple[Problem, ...]]]:
    """What `PolicyWriter` asks: warnings are returned, violations raise Invalid. Judged aside of the event loop."""

    async def ask(proposal: Proposal) -> tuple[Problem, ...]:
        proposed = Proposed(
            source=proposal.source,
            before={ref: stored.resource for ref, stored in proposal.found.items()},
            after=proposal.after,
            now=clock.time(),
            hosts=await hosts(),
            commit=proposal.commit,
            actor=proposal.actor.user,
        )
        verdict = await asyncio.to_thread(review, proposed, checks)
        if verdict.violations:
            raise Invalid([one.to_problem() for one in verdict.violations])
        return verdict.warnings

    return ask
