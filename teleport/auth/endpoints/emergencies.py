"""Routes for emergency changes: who may make one, with which second factor, and what is in force.

Whoever makes one needs the verb `break_glass` on the resource, before and after, and a code of now. Administrators of
the auth host have no second factor and are believed: they could replace the whole store. What they do is written down
all the same.
"""

import asyncio

from teleport.access.overlays import BREAK_GLASS, Overlay
from teleport.api import models as m
from teleport.api.server import Caller
from teleport.audit.events import BreakGlass
from teleport.auth.emergency import Wish
from teleport.auth.endpoints.parts import Parts
from teleport.auth.policy import Stored
from teleport.core.errors import AccessDenied, BadInput, Invalid, TeleportError
from teleport.resources.kinds import AnyResource, kind_named, shown
from teleport.resources.load import Loader
from teleport.resources.nouns import BREAK_GLASS as VERB

__all__ = ["EmergencyAccess", "rows"]


class EmergencyAccess:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def on_emergencies(self, caller: Caller, _request: m.Empty) -> m.EmergencyChanges:
        """With the documents, for those who may read them."""
        return m.EmergencyChanges(emergencies=tuple(await rows(self._parts, caller)))

    async def on_begin_emergency(self, caller: Caller, request: m.EmergencyRequest) -> m.EmergencyRow:
        parts, actor = self._parts, self._parts.actor(caller)
        resource = await _declared(request.file)
        wish = Wish(
            resource, request.reason.strip(), request.ttl, replaces=request.replaces, revision=request.expected_revision
        )
        found = (await parts.writer.stored())[1]
        try:
            self._demand(caller, resource, found.get(wish.ref))
            judged = await parts.emergencies.judge(wish, actor)
            with_mfa = await self._second_factor(caller, request.code)
            overlay = await parts.emergencies.begin(judged, actor, with_mfa=with_mfa)
        except TeleportError as error:
            if not error.details.get("needs"):
                await self._refused(caller, resource, request, error)
            raise
        return _row(overlay, found.get(wish.ref))

    async def on_end_emergency(self, caller: Caller, request: m.EmergencyEnd) -> m.Done:
        kind = kind_named(request.kind).kind
        found = (await self._parts.writer.stored())[1].get((kind, request.name))
        if found is not None and not self._parts.may(caller, VERB, found.resource):
            raise AccessDenied(f"{caller.known.name} may not {VERB} {kind}/{shown(kind, request.name)}")
        await self._parts.emergencies.end(kind, request.name, self._parts.actor(caller))
        return m.Done(revision=self._parts.policy.current.revision)

    def _demand(self, caller: Caller, resource: AnyResource, current: Stored | None) -> None:
        """The message does not tell whether the resource exists."""
        if not all(self._parts.may(caller, VERB, one) for one in (resource, *([current.resource] if current else []))):
            raise AccessDenied(
                f"{caller.known.name} may not {VERB} {resource.kind}/{shown(resource.kind, resource.name)}",
                hint=f"a rule of some role must name the verb {VERB}; * does not include it",
            )

    async def _second_factor(self, caller: Caller, code: str) -> bool:
        """Whether a second factor was shown just now. Raises AccessDenied, Unauthenticated."""
        identity = caller.known
        if identity.kind == "admin" and identity.requested_roles is None:
            return False
        if not identity.is_user:
            raise AccessDenied(
                "an emergency change needs a second factor, and nobody can show one at the socket",
                hint="log in with tsh and do it with that login",
            )
        if not code:
            raise AccessDenied(
                "an emergency change needs a fresh code of the second factor", hint="--mfa-code CODE",
                details={"needs": {"mfa": "required"}},
            )  # fmt: skip
        await self._parts.credentials.check_code(self._parts.policy.current.users[identity.name], code, caller.address)
        return True

    async def _refused(
        self, caller: Caller, resource: AnyResource, request: m.EmergencyRequest, error: TeleportError
    ) -> None:
        await self._parts.audit.append(
            BreakGlass(
                **self._parts.actor(caller).fields(), outcome="W", success=False, error=error.message[:1000],
                name=f"{resource.kind}/{shown(resource.kind, resource.name)}", reason=request.reason,
            )
        )  # fmt: skip


async def rows(parts: Parts, caller: Caller | None = None) -> list[m.EmergencyRow]:
    """The emergency changes in force; with their documents where a caller is named who may read them."""
    found = (await parts.writer.stored())[1] if parts.emergencies.in_force else {}
    listed = []
    for overlay in parts.emergencies.in_force:
        beneath = found.get((overlay.kind, overlay.name))
        row = _row(overlay, beneath)
        if caller is not None and beneath is not None and parts.may(caller, "readnosecrets", beneath.resource):
            body = overlay.resource.to_dict() if overlay.resource is not None else None
            row = row.model_copy(update={"resource": body, "beneath": beneath.resource.to_dict()})
        listed.append(row)
    return listed


def _row(overlay: Overlay, beneath: Stored | None) -> m.EmergencyRow:
    origin = beneath.resource.origin if beneath is not None else None
    return m.EmergencyRow(
        id=overlay.id, kind=overlay.kind, name=overlay.name, actor=overlay.actor, reason=overlay.reason,
        since=overlay.since, expires=overlay.expires, fields=overlay.fields,
        source=beneath.owner if beneath is not None else "", file=origin.file if origin is not None else "",
        line=origin.line if origin is not None else 0, commit=origin.commit if origin is not None else "",
    )  # fmt: skip


async def _declared(file: m.PolicyFile) -> AnyResource:
    """The one resource of a file. Raises Invalid, BadInput."""
    loaded = await asyncio.to_thread(Loader(source=BREAK_GLASS).load, [(file.file, file.text.encode())])
    if loaded.problems:
        raise Invalid(loaded.problems)
    if len(loaded.resources) != 1:
        raise BadInput("an emergency change is of one resource", hint="declare that one and nothing else")
    return loaded.resources[0]
