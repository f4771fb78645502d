"""The route for a second person: approving what a guard refuses."""

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.audit.events import PolicyApproved
from teleport.auth.endpoints.parts import Parts
from teleport.auth.policy import API_SOURCE
from teleport.core.aio import utc

__all__ = ["Approving"]


class Approving:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def on_approve(self, caller: Caller, request: m.ApprovalRequest) -> m.ApprovalAnswer:
        """Let a refused change come into force when it is proposed again: exactly that one, once."""
        parts = self._parts
        refusal = parts.approvals.refused(
            request.guard, source=request.source, proposal=request.proposal, many=API_SOURCE
        )
        expires = await parts.approvals.approve(refusal, caller.known, reason=request.reason)
        await parts.audit.append(
            PolicyApproved(
                **parts.actor(caller).fields(), source=refusal.source, commit=refusal.commit, guard=refusal.guard,
                finding=refusal.message, proposal=refusal.id, reason=request.reason, expires=utc(expires),
            )
        )  # fmt: skip
        for again in parts.surroundings.again.get(refusal.source, ()):
            again()
        return m.ApprovalAnswer(
            source=refusal.source, proposal=refusal.id, guard=refusal.guard, finding=refusal.message, expires=expires
        )
