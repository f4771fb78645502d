"""Routes for the state of the cluster: what runs, which policy governs it, and a copy of the store."""

from collections.abc import Sequence
from pathlib import Path

import teleport
from teleport.access.readers import not_read_by
from teleport.api import models as m
from teleport.api.server import Caller
from teleport.audit.events import BackupMade, RollbackAccepted
from teleport.auth.endpoints.emergencies import rows
from teleport.auth.endpoints.parts import Parts
from teleport.core.errors import BadInput, Conflict, NotFound, Problem
from teleport.resources.kinds import AnyResource

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
        warnings = await self._not_read()
        return m.PolicyStatus(
            revision=revision,
            oldest_acknowledged=min((one.revision for one in services), default=revision),
            sources=tuple(_warned(one, warnings) for one in self._in_order()),
            services=tuple(services),
            emergencies=tuple(await rows(self._parts)),
        )

    def _in_order(self) -> list[m.SourceStatus]:
        """The sources as teleport.yaml names them, whichever was read first."""
        found, order = self._parts.surroundings.sources, list(self._parts.surroundings.governed)
        return sorted(found.values(), key=lambda one: order.index(one.name) if one.name in order else len(order))

    async def _not_read(self) -> Sequence[tuple[str, Problem]]:
        """Source and warning of what is in force and not read by a connected service."""
        readers = self._parts.presence.foreign_readers()
        if not readers:
            return ()
        _, found = await self._parts.writer.stored()
        by_source: dict[str, list[AnyResource]] = {}
        for stored in found.values():
            by_source.setdefault(stored.owner, []).append(stored.resource)
        return [(source, one) for source, owned in by_source.items() for one in not_read_by(readers, owned)]

    async def on_formats(self, _caller: Caller, _request: m.Empty) -> m.Formats:
        return m.Formats(formats=self._parts.presence.formats())

    async def on_policy_commit(self, _caller: Caller, request: m.CommitQuery) -> m.CommitStandings:
        found = []
        for name, within in self._parts.surroundings.commits.items():
            status = self._parts.surroundings.sources.get(name)
            if status is not None:
                applied = await within(request.commit.lower(), status.applied_commit)
                attempted = await within(request.commit.lower(), status.attempted_commit)
                if applied or attempted:
                    found.append(
                        m.CommitStanding(
                            source=name, commit=attempted or applied, applied=bool(applied), attempted=bool(attempted)
                        )
                    )
        return m.CommitStandings(sources=tuple(found))

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


def _warned(source: m.SourceStatus, warnings: Sequence[tuple[str, Problem]]) -> m.SourceStatus:
    own = tuple(problem.to_wire() for name, problem in warnings if name == source.name)
    return source.model_copy(update={"warnings": (*source.warnings, *own)}) if own else source
