"""Routes for the sources of policy: suspend, resume, let them take over objects, and hear of what was pushed."""

import hmac
import json
import secrets

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.audit.events import AdoptionPermitted, SourceResumed, SourceSuspended
from teleport.auth import keys
from teleport.auth.credentials import Throttle
from teleport.auth.endpoints.parts import Governed, Parts, address_of
from teleport.auth.policy import shown
from teleport.core.aio import utc
from teleport.core.errors import AccessDenied, Conflict, NotFound
from teleport.net.addresses import holder
from teleport.resources.kinds import kind_named

__all__ = ["PolicySources"]

_FREE_FAILURES, _PAUSE_SECONDS = 20, 60.0


class PolicySources:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._throttle = Throttle(parts.clock, free=_FREE_FAILURES, limit=_PAUSE_SECONDS)
        self._nobodys = secrets.token_bytes(32)

    async def on_suspend(self, caller: Caller, request: m.SuspendRequest) -> m.SourceNames:
        """Persisted before it acts, so that it outlasts whatever happens next."""
        parts = self._parts
        chosen, actor = self._chosen(request.source), parts.actor(caller)
        note = {"reason": request.reason, "by": actor.user, "since": utc(parts.clock.time())}
        for name, source in chosen.items():
            await parts.store.put(keys.suspended(name), json.dumps(note).encode())
            await parts.audit.append(SourceSuspended(**actor.fields(), source=name, reason=request.reason))
            await source.suspend(suspension(note))
        return m.SourceNames(sources=tuple(chosen))

    async def on_resume(self, caller: Caller, request: m.ResumeRequest) -> m.SourceNames:
        parts = self._parts
        chosen = {name: one for name, one in self._chosen(request.source).items() if one.suspended}
        if not chosen:
            raise Conflict("no such source is suspended", hint="see tctl policy status")
        for name, source in chosen.items():
            await parts.store.delete(keys.suspended(name))
            await parts.audit.append(SourceResumed(**parts.actor(caller).fields(), source=name))
            source.resume()
        return m.SourceNames(sources=tuple(chosen))

    def _chosen(self, name: str) -> dict[str, Governed]:
        governed = self._parts.surroundings.governed
        if name and name not in governed:
            known = ", ".join(sorted(governed)) or "none"
            raise NotFound(f"there is no source {name}", hint=f"sources: {known}; the API is closed by closed_kinds")
        if not governed:
            raise NotFound("this cluster has no source of policy")
        return {name: governed[name]} if name else dict(governed)

    async def on_adopt(self, caller: Caller, request: m.AdoptRequest) -> m.AdoptAnswer:
        """Permits it; the source does it when it is read next, which is now."""
        parts, kind = self._parts, kind_named(request.kind).kind
        (source,) = self._chosen(request.source).values()
        what = f"{kind}/{shown(kind, request.name)}"
        if not source.declares(kind, request.name):
            raise Conflict(f"the source {request.source} does not declare {what}", hint="declare it there first")
        found = (await parts.writer.stored())[1].get((kind, request.name))
        owner = parts.surroundings.governed.get(found.owner) if found is not None else None
        if owner is not None and owner is not source and owner.declares(kind, request.name):
            raise Conflict(
                f"another source still declares {what}",
                hint="let it keep the object when it gives it up: the label teleport.dev/keep, then remove it there",
            )
        before = await parts.writer.permit_adoption((kind, request.name), request.source)
        actor = parts.actor(caller).fields()
        await parts.audit.append(AdoptionPermitted(**actor, name=what, before=before, source=request.source))
        source.poke()
        return m.AdoptAnswer(resource=what, before=before, source=request.source)

    async def on_webhook(self, caller: Caller, request: m.WebhookDelivery) -> m.WebhookAnswer:
        """The answer does not tell which sources there are: who has no secret learns nothing."""
        key = holder(address_of(caller, request.client_address))
        self._throttle.check(key)
        source = self._parts.surroundings.governed.get(request.source)
        try:
            if source is None:
                hmac.digest(self._nobodys, request.body.encode(), "sha256")
                raise AccessDenied("this is not signed with the secret of a source")
            answer = await source.told(request)
        except AccessDenied:
            self._throttle.failed(key)
            raise
        self._throttle.succeeded(key)
        return answer


def suspension(note: dict[str, str]) -> str:
    """Why a source is suspended, in a line."""
    return f"{note['reason']} (by {note['by']}, {note['since']})"
