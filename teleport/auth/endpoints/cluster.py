"""Routes for the state of the cluster: what runs, which policy governs it, and a copy of the store."""

from pathlib import Path

import teleport
from teleport.api import models as m
from teleport.api.server import Caller
from teleport.audit.events import BackupMade, RollbackAccepted
from teleport.auth.endpoints.emergencies import rows
from teleport.auth.endpoints.parts import Parts
from teleport.core.errors import BadInput, Conflict, NotFound

__all__ = ["ClusterState"]


class ClusterState:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def on_status(self, _caller: Caller, _request: m.Empty) -> m.Status:
        parts = self._parts
        events, head = parts.audit.position
        warnings = [*parts.surroundings.warnings, *filter(None, [parts.audit.failure])]
        return m.Status(
            cluster=parts.authorities.cluster, version=teleport.__version__, ca_pins=parts.authorities.pins,
            policy_revision=parts.policy.current.revision, audit_events=events, audit_head=head,
            audit_key=parts.audit_key, demo=parts.surroundings.demo, proxy_address=parts.proxy_address,
            warnings=tuple(warnings), hosts=len(parts.fleet.fleet),
        )  # fmt: skip

    async def on_policy_status(self, _caller: Caller, _request: m.Empty) -> m.PolicyStatus:
        services = self._parts.presence.services()
        revision = self._parts.policy.current.revision
        return m.PolicyStatus(
            revision=revision,
            oldest_acknowledged=min((one.revision for one in services), default=revision),
            sources=tuple(self._parts.surroundings.sources.values()),
            services=tuple(services),
            emergencies=tuple(await rows(self._parts)),
        )

    async def on_accept_rollback(self, caller: Caller, request: m.RollbackRequest) -> m.RollbackAnswer:
        rollbacks = self._parts.surroundings.rollbacks
        name = request.source or (next(iter(rollbacks)) if len(rollbacks) == 1 else "")
        if name not in rollbacks:
            known = ", ".join(sorted(rollbacks)) or "none"
            raise NotFound(f"no source {name!r} has commits", hint=f"sources that have: {known}")
        commit = await rollbacks[name](request.commit)
        actor = self._parts.actor(caller).fields()
        await self._parts.audit.append(RollbackAccepted(**actor, source=name, commit=commit, reason=request.reason))
        return m.RollbackAnswer(source=name, commit=commit)

    async def on_backup(self, caller: Caller, request: m.BackupRequest) -> m.Done:
        path = Path(request.path)
        if not path.is_absolute() or not path.parent.is_dir():
            raise BadInput(f"{path} is not a file in an existing directory")
        if path.exists():
            raise Conflict(f"{path} exists already", hint="name a new file")
        revision = await self._parts.store.backup(path)
        actor = self._parts.actor(caller).fields()
        await self._parts.audit.append(BackupMade(**actor, name=str(path), revision=revision))
        return m.Done(revision=revision)
