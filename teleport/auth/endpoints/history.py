"""Routes for the past of policy: which rule decides and who wrote it, what changed when, since when somebody may.

They tell of users, roles and hosts at once: whoever asks must be permitted to read all of these. The text of a rule
needs the right to read what it declares.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from teleport.access.decide import AccessRequest, decide, place_of
from teleport.access.people import host_named, supposed
from teleport.api import history as h
from teleport.api.server import Caller
from teleport.auth.endpoints.parts import Parts, PolicyHistory
from teleport.core.errors import AccessDenied, NotFound
from teleport.resources.kinds import KINDS, AnyResource, kind_named
from teleport.resources.node import Node

__all__ = ["TellingHistory"]

_CONCERNED: Final = ("user", "role", "node", "lock")


class TellingHistory:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def on_explain(self, caller: Caller, request: h.ExplainQuestion) -> h.ExplainAnswer:
        """By the policy in force, a second factor assumed."""
        self._demand(caller, _CONCERNED)
        parts = self._parts
        snapshot = parts.policy.current
        if request.user not in snapshot.users:
            raise NotFound(f"user {request.user} does not exist")
        target = host_named(request.node, snapshot.nodes, await parts.presence.hosts())
        if target is None:
            raise NotFound(f"node {request.node} not found")
        asked = AccessRequest(supposed(snapshot, request.user), target, request.login)
        decision = decide(snapshot, asked, now=parts.clock.time())
        held = h.RulePlace(**place_of(snapshot.users[request.user].origin, ("spec", "roles")))
        return h.ExplainAnswer(
            user=request.user, login=request.login, node=target.name, verdict=h.Verdict.of(decision), held=held
        )

    async def on_rule_text(self, caller: Caller, request: h.RulePlace) -> h.RuleText:
        text, resource = await self._history(request.source).text(request)
        if not text.text:
            return text
        verb = "readnosecrets" if resource is None or not KINDS[resource.kind].secret else "read"
        if resource is None or not self._parts.may(caller, verb, resource):
            return h.RuleText(commit=text.commit, note=f"{caller.known.name} may not read what is declared there")
        return text

    async def on_object_history(self, caller: Caller, request: h.ObjectQuery) -> h.ObjectHistory:
        kind = kind_named(request.kind).kind
        self._demand(caller, [kind])
        history, beside = await self._asked(request.source)
        return await history.changes(request.model_copy(update={"kind": kind}), beside)

    async def on_since(self, caller: Caller, request: h.SinceQuestion) -> h.SinceAnswer:
        self._demand(caller, _CONCERNED)
        history, beside = await self._asked(request.source)
        return await history.since(request, await self._hosts(), beside)

    async def on_people(self, caller: Caller, request: h.PeopleQuery) -> h.People:
        self._demand(caller, _CONCERNED)
        history, beside = await self._asked(request.source)
        return await history.people(request, await self._hosts(), beside)

    def _demand(self, caller: Caller, kinds: Iterable[str]) -> None:
        """The past of a kind as a whole: a condition on single objects cannot hold for it."""
        for kind in kinds:
            verb = "read" if KINDS[kind].secret else "readnosecrets"
            if not self._parts.may_on(caller, verb, kind, {}):
                raise AccessDenied(f"{caller.known.name} may not read every {kind}, which this would tell of")

    async def _asked(self, source: str) -> tuple[PolicyHistory, Sequence[AnyResource]]:
        """A history, and what is declared besides."""
        histories = self._parts.surroundings.histories
        name = source or (next(iter(histories)) if len(histories) == 1 else "")
        _, found = await self._parts.writer.stored()
        beside = [one.resource for one in found.values() if one.owner != name and not KINDS[one.resource.kind].secret]
        return self._history(name), beside

    def _history(self, source: str) -> PolicyHistory:
        histories = self._parts.surroundings.histories
        if source not in histories:
            known = ", ".join(sorted(histories)) or "none"
            raise NotFound(f"no source {source!r} has commits", hint=f"sources that have: {known}")
        return histories[source]

    async def _hosts(self) -> list[Node]:
        return await self._parts.presence.hosts()
