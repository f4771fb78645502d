"""Routes for declared resources: read, judge and write them, within the admin rules and their conditions.

Reading needs `list` or `readnosecrets` on each resource shown, and `read` where secrets are shown with it.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from teleport.access.judge import judge
from teleport.api import models as m
from teleport.api.server import Caller
from teleport.auth.approvals import GuardRefused
from teleport.auth.endpoints.parts import Parts
from teleport.auth.policy import API_SOURCE, Ref, Stored, Wanted, shown
from teleport.auth.tokens import new_token
from teleport.core.aio import utc
from teleport.core.errors import AccessDenied, BadInput, Conflict, Invalid, NotFound, Problem, Refused
from teleport.resources.codec import from_dict
from teleport.resources.kinds import KINDS, AnyResource, kind_named
from teleport.resources.load import Loaded, Loader
from teleport.resources.lock import Lock
from teleport.resources.node import Node
from teleport.resources.presets import preset_roles
from teleport.resources.role import Role

__all__ = ["ResourceAccess"]

_PRESENCE, _PRESET = "presence", "preset"
"""Shown as the sources of hosts that report themselves, and of roles that every cluster has."""


class ResourceAccess:
    """The API as a source of policy, and the way to look at all sources."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    # -- reading

    async def on_resources(self, caller: Caller, request: m.ResourceQuery) -> m.Resources:
        """Those of a kind that the caller may both list and read; secret names masked unless asked for."""
        parts, kind = self._parts, kind_named(request.kind).kind
        verb = "read" if request.secrets else "readnosecrets"
        generation, found = await parts.writer.stored()
        revisions = await parts.writer.revisions_of(kind)
        declared = [one for (stored_kind, _), one in sorted(found.items()) if stored_kind == kind]
        rows = [
            _row(one, one.revision or revisions.get(one.resource.name, 0), secrets=request.secrets)
            for one in declared
            if parts.may(caller, "list", one.resource) and parts.may(caller, verb, one.resource)
        ]
        names = {one.resource.name for one in declared}
        rows += [
            _undeclared(one, source)
            for one, source in await self._undeclared(kind)
            if one.name not in names and parts.may(caller, "list", one) and parts.may(caller, verb, one)
        ]
        return m.Resources(resources=tuple(rows), revision=generation)

    async def on_resource(self, caller: Caller, request: m.ResourceRead) -> m.Resource:
        """One by name. What the caller may not read does not exist for them."""
        parts, kind = self._parts, kind_named(request.kind).kind
        verb = "read" if request.secrets else "readnosecrets"
        found = (await parts.writer.stored())[1].get((kind, request.name))
        if found is not None and parts.may(caller, verb, found.resource):
            revision = await parts.writer.revision_of(kind, request.name)
            return _row(found, revision, secrets=request.secrets)
        if found is None:
            for one, source in await self._undeclared(kind, request.name):
                if parts.may(caller, verb, one):
                    return _undeclared(one, source)
        raise NotFound(f"{kind}/{request.name} does not exist")

    async def _undeclared(self, kind: str, name: str = "") -> list[tuple[AnyResource, str]]:
        """What exists without being declared: preset roles, and hosts that report themselves."""
        if kind == Role.kind:
            return [(one, _PRESET) for one in preset_roles() if name in ("", one.name)]
        if kind == Node.kind:
            hosts = await self._parts.presence.hosts()
            return [(one, _PRESENCE) for one in hosts if name in ("", one.name, one.hostname)]
        return []

    # -- writing

    async def on_create(self, caller: Caller, request: m.ResourceWrite) -> m.Resource:
        return await self._write(caller, request, verb="create", expected=request.expected_revision or 0)

    async def on_update(self, caller: Caller, request: m.ResourceWrite) -> m.Resource:
        return await self._write(caller, request, verb="update", expected=request.expected_revision)

    async def _write(self, caller: Caller, request: m.ResourceWrite, *, verb: str, expected: int | None) -> m.Resource:
        found = (await self._parts.writer.stored())[1]
        resource = self._permitted(caller, _written(request), found, new=verb == "create")
        await self._parts.writer.put([Wanted(resource, expected)], self._parts.actor(caller))
        stored = (await self._parts.writer.stored())[1][resource.kind, resource.name]
        revision = await self._parts.writer.revision_of(resource.kind, resource.name)
        return _row(stored, revision, secrets=True)

    async def on_apply(self, caller: Caller, request: m.ApplyRequest) -> m.ApplyAnswer:
        """Load, judge and write a whole set: every fault of all of it is reported, and nothing is half applied."""
        writer = self._parts.writer
        files = [(one.file, one.text.encode()) for one in request.files]
        loaded = await asyncio.to_thread(Loader(source=API_SOURCE).load, files)
        found = (await writer.stored())[1]
        wanted = [
            Wanted(
                self._permitted(caller, _without_revision(one), found, new=not request.replace), _expected(request, one)
            )
            for one in loaded.resources
        ]
        if loaded.problems:
            raise Invalid([*loaded.problems, *_other_problems(request, loaded, found)])
        if not wanted:
            raise BadInput("nothing is declared there", hint="a resource has kind, version, metadata and spec")
        if not request.replace:
            _refuse_existing(loaded.resources, found)
        applied = await writer.put(wanted, self._parts.actor(caller), dry_run=request.dry_run)
        changes = dict.fromkeys(applied.created, "created") | dict.fromkeys(applied.updated, "updated")
        names = [f"{one.kind}/{shown(one.kind, one.name)}" for one in loaded.resources]
        return m.ApplyAnswer(
            results=tuple(m.Applied(resource=name, change=changes.get(name, "unchanged")) for name in names),
            warnings=tuple(warning.to_wire() for warning in applied.warnings if _concerns(request, warning.file)),
            revision=applied.revision,
        )

    async def on_delete(self, caller: Caller, request: m.ResourceName) -> m.Done:
        kind = kind_named(request.kind).kind
        found = (await self._parts.writer.stored())[1].get((kind, request.name))
        if found is not None and not self._parts.may(caller, "delete", found.resource):
            what = f"{kind}/{shown(kind, request.name)}"
            if not self._parts.may(caller, "readnosecrets", found.resource):
                raise NotFound(f"{what} does not exist")
            raise AccessDenied(f"{caller.known.name} may not delete {what}")
        try:
            applied = await self._parts.writer.delete(
                kind, request.name, self._parts.actor(caller), expected=request.expected_revision
            )
        except GuardRefused:
            raise
        except Invalid as error:
            raise Refused(error.message) from None
        return m.Done(revision=applied.revision)

    async def on_token(self, caller: Caller, request: m.TokenRequest) -> m.TokenSecret:
        parts, expires = self._parts, self._parts.clock.time() + request.ttl
        token = new_token(request, expires)
        self._permitted(caller, token, {}, new=True)
        await parts.writer.put([Wanted(token, 0)], parts.actor(caller))
        return m.TokenSecret(
            token=token.name, expires=expires, roles=token.spec.roles, ca_pins=parts.authorities.pins,
            proxy_address=parts.proxy_address, cluster=parts.authorities.cluster,
        )  # fmt: skip

    def _permitted(
        self, caller: Caller, resource: AnyResource, found: Mapping[Ref, Stored], *, new: bool
    ) -> AnyResource:
        """The resource to write. The caller must be permitted what it is to be, and what it replaces."""
        current = found.get((resource.kind, resource.name))
        if new or current is None:
            self._demand(caller, "create", resource)
            return self._signed(caller, resource, None)
        self._demand(caller, "update", resource)
        self._demand(caller, "update", current.resource)
        return self._signed(caller, resource, current.resource)

    def _demand(self, caller: Caller, verb: str, resource: AnyResource) -> None:
        """The message does not tell whether the resource exists already."""
        if not self._parts.may(caller, verb, resource):
            what = f"{resource.kind}/{shown(resource.kind, resource.name)}"
            raise AccessDenied(f"{caller.known.name} may not create or update {what}")

    def _signed(self, caller: Caller, resource: AnyResource, before: AnyResource | None) -> AnyResource:
        """A lock says who made it, and when; later changes leave that."""
        if not isinstance(resource, Lock):
            return resource
        author = {"created_by": caller.known.name, "created_at": utc(self._parts.clock.time())}
        if isinstance(before, Lock) and before.spec.created_by:
            author = {"created_by": before.spec.created_by, "created_at": str(before.spec.created_at)}
        spec = resource.spec.model_copy(update=author)
        return resource.model_copy(update={"spec": spec}).with_origin(resource.origin)


def _row(stored: Stored, revision: int, *, secrets: bool) -> m.Resource:
    resource = stored.resource
    body = resource.to_dict()
    body["metadata"] = {**body["metadata"], "revision": str(revision)}
    if not secrets:
        body["metadata"]["name"] = shown(resource.kind, resource.name)
    origin = resource.origin
    return m.Resource(
        resource=body, revision=revision, source=stored.owner, file=origin.file, line=origin.line, commit=origin.commit
    )


def _undeclared(resource: AnyResource, source: str) -> m.Resource:
    return m.Resource(resource=resource.to_dict(), source=source)


def _written(request: m.ResourceWrite) -> AnyResource:
    """The resource of a write, without what the cluster itself sets."""
    kind = kind_named(request.kind).kind
    if request.resource.get("kind") != kind:
        raise BadInput(f"a {request.resource.get('kind')} cannot be written as {kind}")
    cls = KINDS[kind]
    if request.resource.get("version") not in cls.versions:
        raise BadInput(
            f"unknown version {request.resource.get('version')} of {kind}", hint=f"one of {', '.join(cls.versions)}"
        )
    try:
        return from_dict(_stripped(request.resource))
    except ValueError as error:
        raise BadInput(str(error)) from None


def _without_revision(resource: AnyResource) -> AnyResource:
    if not resource.metadata.revision:
        return resource
    return from_dict(_stripped(resource.to_dict())).with_origin(resource.origin)


def _stripped(body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = body.get("metadata")
    if not isinstance(metadata, Mapping):
        return dict(body)
    return {**body, "metadata": {key: value for key, value in metadata.items() if key != "revision"}}


def _expected(request: m.ApplyRequest, resource: AnyResource) -> int | None:
    """The revision that must be in force: as the request says, or the document; absent for what is to be new."""
    if not request.replace:
        return 0
    if request.expected_revision is not None:
        return request.expected_revision
    text = resource.metadata.revision
    if text and not text.isdigit():
        raise BadInput(f"{resource.ref}: {text} is not a revision", hint="leave metadata.revision out")
    return int(text) if text else None


def _refuse_existing(resources: Iterable[AnyResource], found: Mapping[Ref, Stored]) -> None:
    existing = [stored for one in resources if (stored := found.get((one.kind, one.name))) is not None]
    if not existing:
        return
    declared = next((one.resource.origin for one in existing if one.owner != API_SOURCE), None)
    hint = "tctl create --force replaces what exists; tctl edit changes it"
    if declared is not None:
        hint = f"edit {declared.file} in the source {declared.source}"
    raise Conflict("\n".join(map(_existing, existing)), hint=hint)


def _existing(stored: Stored) -> str:
    resource, origin = stored.resource, stored.resource.origin
    place = "" if stored.owner == API_SOURCE else f", declared in {origin.file}:{origin.line}"
    commit = f" (commit {origin.commit})" if place and origin.commit else ""
    return f"{resource.kind}/{shown(resource.kind, resource.name)} exists already{place}{commit}"


def _other_problems(request: m.ApplyRequest, loaded: Loaded, found: Mapping[Ref, Stored]) -> Iterator[Problem]:
    """What the judge finds in those documents that could be read; the others count as if they were right."""
    proposed = {ref: stored.resource for ref, stored in found.items()}
    proposed |= {(one.kind, one.name): one for one in loaded.resources}
    judgement = judge([*proposed.values(), *loaded.remnants], broken=loaded.broken)
    yield from (one for one in judgement.problems if _concerns(request, one.file))


def _concerns(request: m.ApplyRequest, file: str) -> bool:
    return any(one.file == file for one in request.files)
