"""Builds the auth service: store, authorities, audit log, policy and the handlers of the API."""

import asyncio
import base64
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from teleport.api.models import SourceStatus
from teleport.audit.chain import CheckpointSigner
from teleport.audit.events import SERVICE, Actor, PolicyApplied, PolicyStalled
from teleport.audit.log import AuditLog
from teleport.auth import keys
from teleport.auth.approvals import Approvals, GuardRefused
from teleport.auth.authorities import AuthoritySet, ensure_authorities
from teleport.auth.clusters import Leaves
from teleport.auth.credentials import Credentials
from teleport.auth.emergency import Emergencies
from teleport.auth.endpoints import Auth, Surroundings
from teleport.auth.enlisted import Enlisted
from teleport.auth.host_locks import shut_out_copied
from teleport.auth.hosts import Presence
from teleport.auth.issue import Issuer
from teleport.auth.join import JoinService
from teleport.auth.live import LiveTable
from teleport.auth.openssh import PlainHosts
from teleport.auth.outbox import Outbox
from teleport.auth.policy import API_SOURCE, PolicyWriter
from teleport.auth.recordings import RecordingStore
from teleport.auth.references import References
from teleport.core.aio import Clock, cancel_and_wait, utc
from teleport.core.errors import Problem, TeleportError
from teleport.gitops.ceiling import Ceiling
from teleport.gitops.fields import differing
from teleport.gitops.loop import Guarded, SourceState
from teleport.gitops.review import Check
from teleport.resources.kinds import AnyResource
from teleport.resources.load import Loaded
from teleport.service.review import Reviewer
from teleport.service.secrets import SecretsCheck, default_references
from teleport.service.token_review import InCluster
from teleport.sessions.policy import LiveFleet, LivePolicy, decoders
from teleport.store.base import ABSENT, Store
from teleport.store.replica import Replica
from teleport.store.sealed import SealedStore, load_sealer
from teleport.store.sqlite import SQLiteStore

__all__ = ["AuthService", "open_auth"]

log = logging.getLogger(__name__)

_CHECKPOINT_SECONDS: Final = 300.0


@dataclass
class AuthService:
    """A running auth service; close it by closing the stack it was opened on."""

    auth: Auth
    store: Store
    replica: Replica
    authorities: AuthoritySet
    reviewer: Reviewer
    permitted: References
    """Which secrets policy may refer to."""
    watchers: list[Callable[[SourceState], None]] = field(default_factory=list)
    """Called whenever a source was looked at."""

    async def apply(
        self, source: str, desired: Sequence[AnyResource], *, commit: str = "", at: int | None = None
    ) -> tuple[int, int, tuple[Problem, ...]]:
        """See `gitops.loop.PolicyService`; and `PolicyWriter.replace` for `at`."""
        try:
            applied = await self.auth.writer.replace(source, desired, _actor(source), commit=commit, at=at)
        except GuardRefused as error:
            raise Guarded(error.problems, error.guards) from None
        if applied.changed and not applied.repaired:
            await self.auth.audit.append(
                PolicyApplied(
                    **_actor(source).fields(), source=source, revision=applied.revision,
                    created=len(applied.created), updated=len(applied.updated), deleted=len(applied.deleted),
                    commit=commit,
                )
            )  # fmt: skip
        return applied.revision, applied.changed, applied.warnings

    async def faults(self, source: str, loaded: Loaded) -> tuple[Problem, ...]:
        """See `gitops.loop.PolicyService`."""
        files = {resource.origin.file for resource in (*loaded.resources, *loaded.remnants)}
        judgement = await self.auth.writer.judged(source, loaded)
        return tuple(problem for problem in judgement.problems if problem.file in files)

    async def stalled(self, source: str, problems: Sequence[Problem], *, commit: str = "") -> None:
        """See `gitops.loop.PolicyService`."""
        texts = tuple(str(problem)[:500] for problem in problems[:50])
        event = PolicyStalled(**_actor(source).fields(), source=source, problems=texts, commit=commit)
        await self.auth.audit.append(event)

    def show_source(self, state: SourceState, ceiling: Ceiling | None = None) -> None:
        """Keep what `tctl policy status` shows of a source."""
        status = SourceStatus(
            name=state.name, kind=state.kind, place=state.place, state=state.state, message=state.message,
            reason=state.reason, since=state.since, unapplied_since=state.unapplied_since,
            last_seen=state.last_seen, last_applied=state.last_applied, revision=state.revision, objects=state.objects,
            problems=tuple(problem.to_wire() for problem in state.problems),
            warnings=tuple(problem.to_wire() for problem in state.warnings),
            attempted_commit=state.attempted_commit, applied_commit=state.applied_commit,
            ceiling=ceiling.to_wire() if ceiling is not None else None,
        )  # fmt: skip
        self.auth.surroundings.sources = {**self.auth.surroundings.sources, state.name: status}
        for watcher in self.watchers:
            watcher(state)


def _actor(source: str) -> Actor:
    return Actor(f"source:{source}", SERVICE)


async def open_auth(
    data_dir: Path, cluster: str, stack: AsyncExitStack, *, clock: Clock, retention: float, newborn: str = "",
    hasher: PasswordHasher | None = None, closed: Sequence[str] = (), checks: Sequence[Check] = (),
    people: Mapping[str, str] | None = None,
    may_adopt: Callable[[str, str], bool] = lambda _source, owner: owner == API_SOURCE,
    permitted: References | None = None,
) -> AuthService:  # fmt: skip
    """Open everything in a data directory. What is opened is closed with the stack, in reverse order.

    `checks` judge each write of policy; `people` says who those are who sign what is written; `may_adopt`, which
    source takes over what of another by a label alone; `permitted`, which secrets policy may refer to, the usual ones
    by default.
    `cluster` may be empty: then it is the one that was born here, or a new one by the name of `newborn`.
    Raises Unavailable if another process has the directory, Refused if its secrets cannot be opened.
    """
    plain = await SQLiteStore.open(data_dir, clock=clock)
    stack.push_async_callback(plain.close)
    has_secrets = bool((await plain.list("secret/")).records)
    store: Store = await SealedStore.open(plain, load_sealer(data_dir, os.environ, make=not has_secrets))
    born = await store.get(keys.CLUSTER)
    cluster = cluster or (born.value.decode() if born is not None else newborn)
    authorities = await ensure_authorities(store, cluster, now=clock.time())
    signer = CheckpointSigner(await _audit_key(store))
    audit = await AuditLog.open(data_dir / "audit", cluster=cluster, clock=clock, signer=signer)
    stack.push_async_callback(audit.close)
    replica = Replica(store, decoders(hosts=True), clock=clock)
    policy = LivePolicy(replica, clock=clock)
    fleet = LiveFleet(replica, policy)
    following = asyncio.create_task(replica.run(), name="replica")
    stack.push_async_callback(cancel_and_wait, following)
    await replica.wait_ready()
    outbox = Outbox(store, audit, clock=clock)
    await outbox.flush()
    credentials = Credentials(store, clock=clock, cluster=cluster, hasher=hasher)
    stack.callback(credentials.close)
    presence = Presence(store, clock=clock)
    await presence.resume()
    approvals = Approvals(store, clock=clock)
    permitted = permitted or default_references(data_dir)
    reviewer = Reviewer(
        approvals, policy, presence.hosts, clock, checks, people or {}, always=(SecretsCheck(permitted),)
    )
    writer = PolicyWriter(
        store, replica, policy, outbox, clock=clock, closed=closed, review=reviewer, may_adopt=may_adopt
    )
    around = InCluster.found()
    enlisted = Enlisted(store, partial(shut_out_copied, writer, audit), clock=clock)
    joining = JoinService(
        store,
        authorities,
        enlisted,
        clock=clock,
        references=permitted,
        review=around.review if around is not None else None,
    )
    emergencies = Emergencies(store, replica, policy, writer, outbox, clock=clock, differences=_differences)
    auth = Auth(
        store=store, audit=audit, authorities=authorities, policy=policy, fleet=fleet, writer=writer,
        credentials=credentials, approvals=approvals, emergencies=emergencies,
        issuer=Issuer(authorities, policy, clock=clock), enlisted=enlisted, joining=joining,
        leaves=Leaves(store, authorities, policy, joining, clock=clock),
        plain=PlainHosts(authorities, policy, fleet, clock=clock),
        presence=presence, live=LiveTable(clock=clock), recordings=RecordingStore(data_dir / "recordings"),
        surroundings=Surroundings(), audit_key=signer.public, audit_directory=data_dir / "audit", clock=clock,
    )  # fmt: skip
    works = (
        (_upkeep(audit, outbox, retention, clock=clock), "audit upkeep"), (presence.run(), "presence"),
        (emergencies.run(), "emergencies"),
    )  # fmt: skip
    for work, name in works:
        stack.push_async_callback(cancel_and_wait, asyncio.create_task(work, name=name))
    return AuthService(auth, store, replica, authorities, reviewer, permitted)


def _differences(before: AnyResource, after: AnyResource) -> Iterator[dict[str, Any]]:
    return (one.to_dict() for one in differing(before.to_dict(), after.to_dict()))


async def _audit_key(store: Store) -> Ed25519PrivateKey:
    record = await store.get(keys.AUDIT_KEY)
    if record is not None:
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(record.value))
    key = Ed25519PrivateKey.generate()
    raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    await store.put(keys.AUDIT_KEY, base64.b64encode(raw), expected=ABSENT)
    return key


async def _upkeep(audit: AuditLog, outbox: Outbox, retention: float, *, clock: Clock) -> None:
    """Checkpoints, retention, and events that could not be written when they happened."""
    while True:
        await clock.sleep(_CHECKPOINT_SECONDS)
        try:
            await outbox.flush()
            await audit.checkpoint()
            if retention:
                await asyncio.to_thread(audit.forget_before, utc(clock.time() - retention)[:10])
        except (OSError, TeleportError) as error:
            log.error("the audit log's upkeep failed: %s", error)
