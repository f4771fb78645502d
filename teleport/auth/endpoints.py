"""Binds the auth service's parts to the routes. Each method is one route; the permission was checked before.

Every act leaves its audit event: what changed, who did it, and also what was refused.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import teleport
from teleport.access.decide import AccessRequest, decide, lock_in_force
from teleport.access.reach import reach
from teleport.access.rules import may
from teleport.api import models as m
from teleport.api.server import Caller, Handlers
from teleport.audit import chain
from teleport.audit.events import (
    AGENT_EVENTS,
    PROXY_EVENTS,
    Actor,
    BackupMade,
    CertificateCreated,
    InstanceJoined,
    InvitationCreated,
    MfaAdded,
    PasswordChanged,
    RecordingAccessed,
    SessionUploaded,
    UserLogin,
    actor_of,
)
from teleport.audit.log import AuditLog
from teleport.audit.verify import verify_directory
from teleport.auth.authorities import AuthoritySet
from teleport.auth.credentials import Credentials
from teleport.auth.feed import feed
from teleport.auth.hosts import Presence
from teleport.auth.issue import Issuer, PublicKeys, logins_of
from teleport.auth.join import JoinService
from teleport.auth.policy import PolicyWriter, Stored
from teleport.auth.recordings import RecordingStore
from teleport.auth.tokens import new_token
from teleport.core.aio import Clock, utc
from teleport.core.errors import AccessDenied, BadInput, Conflict, NotFound, TeleportError, Unauthenticated
from teleport.core.identity import Identity
from teleport.resources.codec import from_dict
from teleport.resources.kinds import KINDS, AnyResource, kind_named
from teleport.resources.lock import Lock
from teleport.resources.values import duration_text
from teleport.sessions.policy import LiveFleet, LivePolicy
from teleport.store.base import Store

__all__ = ["Auth", "Surroundings"]

_MAX_EVENT: Final = 64 * 1024


@dataclass
class Surroundings:
    """What the auth service cannot know by itself and tells in its answers; kept current by the process."""

    proxy_address: str = ""
    """Where people reach the proxy; empty where proxies are elsewhere and tell by themselves."""
    demo: bool = False
    sources: Mapping[str, m.SourceStatus] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass
class Auth:
    """All parts of the auth service; `handlers()` gives one handler a route."""

    store: Store
    audit: AuditLog
    authorities: AuthoritySet
    policy: LivePolicy
    fleet: LiveFleet
    writer: PolicyWriter
    credentials: Credentials
    issuer: Issuer
    joining: JoinService
    presence: Presence
    recordings: RecordingStore
    surroundings: Surroundings
    audit_key: str
    audit_directory: Path
    clock: Clock

    def handlers(self) -> Handlers:
        return {name.removeprefix("on_"): getattr(self, name) for name in dir(type(self)) if name.startswith("on_")}

    @property
    def proxy_address(self) -> str:
        """Where people reach the cluster."""
        return self.surroundings.proxy_address or self.presence.proxy_address()

    # -- for anybody

    async def on_ping(self, _caller: Caller, _request: m.Empty) -> m.Ping:
        return m.Ping(
            cluster=self.authorities.cluster,
            version=teleport.__version__,
            message_of_the_day=self.policy.current.auth.message_of_the_day,
            proxy_address=self.proxy_address,
        )

    async def on_authorities(self, _caller: Caller, _request: m.Empty) -> m.Authorities:
        public = tuple(one.encode().decode() for one in self.authorities.public)
        return m.Authorities(cluster=self.authorities.cluster, authorities=public)

    async def on_invitee(self, caller: Caller, request: m.Invitee) -> m.EnrolmentOffer:
        pending = await self.credentials.invitee(request.token, _address(caller, request.client_address))
        return m.EnrolmentOffer(user=pending.user, otpauth="")

    async def on_enrol(self, caller: Caller, request: m.EnrolmentRequest) -> m.EnrolmentOffer:
        address = _address(caller, request.client_address)
        user, uri = await self.credentials.set_password(request.token, request.password, address)
        return m.EnrolmentOffer(user=user, otpauth=uri)

    async def on_confirm(self, caller: Caller, request: m.Confirmation) -> m.Done:
        address = _address(caller, request.client_address)
        pending = await self.credentials.confirm(request.token, request.code, address)
        actor = Actor(pending.user, 1).fields()
        await self.audit.append(PasswordChanged(**actor, addr__remote=address))
        await self.audit.append(MfaAdded(**actor, addr__remote=address))
        return m.Done()

    async def on_login(self, caller: Caller, request: m.LoginRequest) -> m.Certificates:
        address = _address(caller, request.client_address)
        actor = Actor(request.user, 1).fields()
        try:
            certificates = await self._log_in(request, address)
        except TeleportError as error:
            await self.audit.append(
                UserLogin(
                    **actor, outcome="W", success=False, error=error.message, addr__remote=address,
                    user_agent=request.user_agent,
                )
            )  # fmt: skip
            raise
        await self.audit.append(UserLogin(**actor, success=True, addr__remote=address, user_agent=request.user_agent))
        return await self._issued(certificates, address)

    async def _log_in(self, request: m.LoginRequest, address: str) -> m.Certificates:
        snapshot = self.policy.current
        if not snapshot.auth.allow_local_auth:
            raise AccessDenied("this cluster does not let users log in with a password")
        declared = snapshot.users.get(request.user)
        await self.credentials.check(declared, request.user, request.password, request.code, address)
        keys = PublicKeys(request.ssh_public_key, request.tls_public_key)
        return self.issuer.login(request.user, keys, ttl=request.ttl, roles=request.roles, address=address)

    async def on_join(self, caller: Caller, request: m.JoinRequest) -> m.HostCertificates:
        address = _address(caller, request.client_address)
        about: dict[str, Any] = {
            "addr__remote": address, "role": ",".join(request.roles), "node_name": request.hostname,
            "token_name": f"{request.token[:2]}…", "user": request.hostname, "user_kind": 2,
        }  # fmt: skip
        try:
            joined = await self.joining.join(request.model_copy(update={"client_address": address}))
        except TeleportError as error:
            await self.audit.append(InstanceJoined(**about, outcome="E", success=False, error=error.message))
            raise
        await self.audit.append(InstanceJoined(**about, success=True, host_id=joined.host_id))
        return joined

    # -- for users

    async def on_me(self, caller: Caller, _request: m.Empty) -> m.Me:
        identity = caller.known
        user = self.policy.current.user(identity.name) if identity.is_user else None
        if user is None:
            return m.Me(user=identity.name, cluster=self.authorities.cluster, kind=identity.kind)
        return m.Me(
            user=user.name,
            cluster=identity.cluster,
            kind="user",
            roles=tuple(role.name for role in user.scoped(identity.requested_roles)),
            traits=dict(user.traits),
            logins=tuple(logins_of(user, identity.requested_roles)),
            expires=identity.expires,
        )

    async def on_hosts(self, caller: Caller, _request: m.Empty) -> m.Hosts:
        fleet = self.fleet.fleet
        if caller.known.kind == "admin":
            rows = sorted(((target, list[str]()) for target in fleet), key=lambda row: (row[0].name, row[0].uid))
        else:
            found = reach(self.policy.current, caller.known, fleet, now=self.clock.time())
            rows = list(found.rows())
        return m.Hosts(
            hosts=tuple(
                m.HostRow(hostname=target.name, uuid=target.uid, labels=dict(target.labels), logins=tuple(logins))
                for target, logins in rows
            )
        )

    async def on_check(self, caller: Caller, request: m.AccessCheck) -> m.AccessVerdict:
        targets = [one for one in self.fleet.fleet if request.host in (one.name, one.uid)]
        if not targets:
            raise NotFound(f"node {request.host} not found")
        question = AccessRequest(caller.known, targets[0], request.login)
        decision = decide(self.policy.current, question, now=self.clock.time())
        if decision.hidden:
            raise NotFound(f"node {request.host} not found")
        return m.AccessVerdict(allowed=decision.allowed, reasons=decision.reasons, needs=dict(decision.needs))

    async def on_renew(self, caller: Caller, request: m.RenewRequest) -> m.Certificates:
        keys = PublicKeys(request.ssh_public_key, request.tls_public_key)
        certificates = self.issuer.renew(_person(caller), keys, ttl=request.ttl, roles=request.roles)
        return await self._issued(certificates, caller.address)

    async def on_session_certificate(self, caller: Caller, request: m.SessionCertificateRequest) -> m.Certificates:
        identity = _person(caller)
        declared = self.policy.current.users[identity.name]
        await self.credentials.check_code(declared, request.code, caller.address)
        keys = PublicKeys(request.ssh_public_key, request.tls_public_key)
        return await self._issued(self.issuer.for_session(identity, keys, host=request.host), caller.address)

    async def on_sign(self, caller: Caller, request: m.IdentityRequest) -> m.Certificates:
        keys = PublicKeys(request.ssh_public_key, request.tls_public_key)
        certificates = self.issuer.sign(request.user, keys, ttl=request.ttl)
        return await self._issued(certificates, caller.address, issued_by=caller.known.name)

    async def _issued(self, certificates: m.Certificates, address: str, *, issued_by: str = "") -> m.Certificates:
        """A certificate is handed out only once its event is on disk."""
        about = {
            "user": certificates.user, "roles": list(certificates.roles), "logins": list(certificates.logins),
            "expires": utc(certificates.expires),
        }  # fmt: skip
        await self.audit.append(
            CertificateCreated(
                user=issued_by or certificates.user, user_kind=1, identity=about, addr__remote=address,
                impersonator=issued_by,
            )
        )  # fmt: skip
        return certificates

    # -- resources

    async def on_resources(self, caller: Caller, request: m.ResourceQuery) -> m.Resources:
        kind = kind_named(request.kind).kind
        generation, found = await self.writer.stored()
        shown = [one for (stored_kind, _), one in sorted(found.items()) if stored_kind == kind]
        resources = [
            await self._row(one, secrets=request.secrets)
            for one in shown
            if self._may(caller, "list", kind, one.resource)
        ]
        if kind == "node":
            resources += [
                m.Resource(resource=host.to_dict(), source="presence") for host in await self.presence.hosts()
            ]
        return m.Resources(resources=tuple(resources), revision=generation)

    async def on_resource(self, caller: Caller, request: m.ResourceName) -> m.Resource:
        kind = kind_named(request.kind).kind
        found = (await self.writer.stored())[1].get((kind, request.name))
        if found is None and kind == "node":
            for host in await self.presence.hosts():
                if request.name in (host.name, host.hostname):
                    return m.Resource(resource=host.to_dict(), source="presence")
        if found is None or not self._may(caller, "read", kind, found.resource):
            raise NotFound(f"{kind}/{request.name} does not exist")
        return await self._row(found, secrets=True)

    async def _row(self, stored: Stored, *, secrets: bool) -> m.Resource:
        resource = stored.resource
        body = resource.to_dict()
        revision = stored.revision or await self.writer.revision_of(resource.kind, resource.name)
        body["metadata"] = {**body["metadata"], "revision": str(revision)}
        if resource.secret and not secrets:
            body["metadata"]["name"] = f"{resource.name[:2]}…"
        origin = resource.origin
        return m.Resource(resource=body, revision=revision, source=stored.owner, file=origin.file, line=origin.line)

    async def on_create(self, caller: Caller, request: m.ResourceWrite) -> m.Resource:
        return await self._write(
            caller, request, "create", 0 if request.expected_revision is None else request.expected_revision
        )

    async def on_update(self, caller: Caller, request: m.ResourceWrite) -> m.Resource:
        return await self._write(caller, request, "update", request.expected_revision)

    async def _write(self, caller: Caller, request: m.ResourceWrite, verb: str, expected: int | None) -> m.Resource:
        resource = _written(request)
        if not self._may(caller, verb, resource.kind, resource):
            raise AccessDenied(f"{caller.known.name} may not {verb} {resource.ref}")
        if isinstance(resource, Lock):
            spec = resource.spec.model_copy(
                update={"created_by": caller.known.name, "created_at": utc(self.clock.time())}
            )
            resource = resource.model_copy(update={"spec": spec})
        current = (await self.writer.stored())[1].get((resource.kind, resource.name))
        if verb == "create" and expected == 0 and current is not None:
            raise Conflict(f"{resource.ref} exists already", hint="tctl create -f replaces it")
        if current is not None and not self._may(caller, "update", resource.kind, current.resource):
            raise AccessDenied(f"{caller.known.name} may not update {resource.ref}")
        await self.writer.put(resource, self._actor(caller), expected=expected)
        stored = (await self.writer.stored())[1][resource.kind, resource.name]
        return await self._row(stored, secrets=True)

    async def on_delete(self, caller: Caller, request: m.ResourceName) -> m.Done:
        kind = kind_named(request.kind).kind
        found = (await self.writer.stored())[1].get((kind, request.name))
        if found is not None and not self._may(caller, "delete", kind, found.resource):
            raise AccessDenied(f"{caller.known.name} may not delete {kind}/{request.name}")
        applied = await self.writer.delete(kind, request.name, self._actor(caller), expected=request.expected_revision)
        return m.Done(revision=applied.revision)

    def _may(self, caller: Caller, verb: str, noun: str, subject: AnyResource) -> bool:
        return may(self.policy.current, caller.known, verb, noun, now=self.clock.time(), subject=subject).allowed

    def _actor(self, caller: Caller) -> Actor:
        user = self.policy.current.user(caller.known.name)
        return actor_of(caller.known, user.role_names if user is not None else ())

    async def on_token(self, caller: Caller, request: m.TokenRequest) -> m.TokenSecret:
        expires = self.clock.time() + request.ttl
        token = new_token(request, expires)
        await self.writer.put(token, self._actor(caller), expected=0)
        return m.TokenSecret(
            token=token.name, expires=expires, roles=token.spec.roles, ca_pins=self.authorities.pins,
            proxy_address=self.proxy_address,
        )  # fmt: skip

    # -- users and their credentials

    async def on_invite(self, caller: Caller, request: m.InvitationRequest) -> m.Invitation:
        user = self.policy.current.users.get(request.user)
        if user is None:
            raise NotFound(f"user {request.user} does not exist", hint="declare it first: kind: user")
        token, expires = await self.credentials.invite(user, ttl=request.ttl, reset=request.reset)
        await self.audit.append(
            InvitationCreated(**self._actor(caller).fields(), name=user.name, ttl=duration_text(request.ttl))
        )
        address = self.proxy_address
        return m.Invitation(
            user=user.name, token=token, expires=expires, ca_pins=self.authorities.pins, proxy_address=address,
            url=f"https://{address}/web/invite/{token}" if address else "",
        )  # fmt: skip

    async def on_users(self, _caller: Caller, _request: m.Empty) -> m.Users:
        enrolled, snapshot, now = await self.credentials.enrolled(), self.policy.current, self.clock.time()
        locked = {
            lock.spec.target.user
            for lock in snapshot.locks
            if set(dict(lock.spec.target.set_fields())) == {"user"} and lock_in_force(lock, now)
        }
        return m.Users(
            users=tuple(
                m.UserRow(
                    name=user.name, roles=user.spec.roles, source=user.origin.file or user.origin.source,
                    enrolled=user.uid in enrolled, locked=user.name in locked,
                )
                for _, user in sorted(snapshot.users.items())
            )
        )  # fmt: skip

    # -- the state of the cluster

    async def on_status(self, _caller: Caller, _request: m.Empty) -> m.Status:
        events, head = self.audit.position
        warnings = list(self.surroundings.warnings)
        if self.audit.failure:
            warnings.append(self.audit.failure)
        return m.Status(
            cluster=self.authorities.cluster, version=teleport.__version__, ca_pins=self.authorities.pins,
            policy_revision=self.policy.current.revision, audit_events=events, audit_head=head,
            audit_key=self.audit_key, demo=self.surroundings.demo, proxy_address=self.proxy_address,
            warnings=tuple(warnings), hosts=len(self.fleet.fleet),
        )  # fmt: skip

    async def on_policy_status(self, _caller: Caller, _request: m.Empty) -> m.PolicyStatus:
        services = self.presence.services()
        revision = self.policy.current.revision
        return m.PolicyStatus(
            revision=revision,
            oldest_acknowledged=min((one.revision for one in services), default=revision),
            sources=tuple(self.surroundings.sources.values()),
            services=tuple(services),
        )

    async def on_events(self, _caller: Caller, request: m.EventQuery) -> m.EventPage:
        def matches(event: Mapping[str, Any]) -> bool:
            return (
                (not request.event or event["event"] == request.event)
                and (not request.user or event.get("user") == request.user)
                and (not request.session or event.get("sid") == request.session)
                and (not request.since or event["time"] >= request.since)
            )

        found = [event async for event in self.audit.search(matches, since=request.since)]
        return m.EventPage(events=tuple(found[-request.limit :]))

    async def on_verify(self, _caller: Caller, request: m.AuditCheck) -> m.AuditVerdict:
        try:
            kept = [chain.Checkpoint.of_line(line) for line in request.checkpoints]
        except ValueError as error:
            raise BadInput(str(error)) from None
        newest = await self.audit.checkpoint()
        verdict = await verify_directory(self.audit_directory, kept, key=self.audit_key)
        return m.AuditVerdict(
            events=verdict.events, first=verdict.first, last=verdict.last, head=verdict.head, faults=verdict.faults,
            checkpoints=verdict.checkpoints, key=self.audit_key, checkpoint=newest.to_line().decode().strip(),
        )  # fmt: skip

    async def on_backup(self, caller: Caller, request: m.BackupRequest) -> m.Done:
        path = Path(request.path)
        if not path.is_absolute() or not path.parent.is_dir():
            raise BadInput(f"{path} is not a file in an existing directory")
        if path.exists():
            raise Conflict(f"{path} exists already", hint="name a new file")
        revision = await self.store.backup(path)
        await self.audit.append(BackupMade(**self._actor(caller).fields(), name=str(path), revision=revision))
        return m.Done(revision=revision)

    # -- recordings

    async def on_recordings(self, caller: Caller, request: m.RecordingQuery) -> m.Recordings:
        rows: list[m.RecordingRow] = []
        for meta in await self.recordings.all():
            if len(rows) < request.limit and self._may_recording(caller, "list", meta):
                rows.append(_recording_row(meta))
        return m.Recordings(recordings=tuple(rows))

    async def on_recording(self, caller: Caller, request: m.RecordingFile) -> AsyncIterator[bytes]:
        meta = await self.recordings.meta(request.sid)
        if not self._may_recording(caller, "read", meta):
            raise NotFound(f"recording {request.sid} does not exist")
        if request.offset == 0 and request.name == "output":
            await self.audit.append(
                RecordingAccessed(**self._actor(caller).fields(), sid=request.sid, format=request.format)
            )
        return self.recordings.read(request.sid, request.name, request.offset)

    def _may_recording(self, caller: Caller, verb: str, meta: Mapping[str, Any]) -> bool:
        attributes: dict[str, str | tuple[str, ...]] = {
            "session.participants": (str(meta["user"]),), "session.user": str(meta["user"]),
            "session.login": str(meta["login"]), "session.sid": str(meta["sid"]),
            "session.server_id": str(meta["server_id"]), "session.server_hostname": str(meta["server_hostname"]),
            "session.kind": "ssh", "session.cluster": self.authorities.cluster,
        }  # fmt: skip
        now = self.clock.time()
        return may(self.policy.current, caller.known, verb, "session", now=now, attributes=attributes).allowed

    # -- for services

    async def on_watch(self, caller: Caller, request: m.WatchQuery) -> AsyncIterator[bytes]:
        return feed(self.store, caller.known, request.after)

    async def on_heartbeat(self, caller: Caller, request: m.Heartbeat) -> m.Ack:
        await self.presence.beat(caller.known, request)
        return m.Ack(policy_revision=self.policy.current.revision)

    async def on_renew_host(self, caller: Caller, request: m.RenewHost) -> m.HostCertificates:
        return self.joining.renew(caller.known, request)

    async def on_emit(self, caller: Caller, request: m.EventBatch) -> m.Done:
        """A service reports only what it is there for, and only of itself."""
        for event in request.events:
            _check_report(caller.known, event)
        await self.audit.append_dicts(request.events)
        return m.Done()

    async def on_upload(self, caller: Caller, request: m.RecordingPart, body: bytes) -> m.Done:
        size = await self.recordings.append(request.sid, caller.known.uid, request.name, request.offset, body)
        return m.Done(revision=size)

    async def on_seal(self, caller: Caller, request: m.SealRequest) -> m.Done:
        await self.recordings.seal(request.sid, caller.known.uid, request.meta)
        meta = request.meta
        await self.audit.append(
            SessionUploaded(
                user=str(meta.get("user", "")), user_kind=1, sid=request.sid, server_id=caller.known.uid,
                server_hostname=caller.known.name, login=str(meta.get("login", "")), url=f"recording:{request.sid}",
            )
        )  # fmt: skip
        return m.Done()


def _address(caller: Caller, told: str) -> str:
    """The client's address: as a proxy tells it, otherwise as the connection shows it."""
    if caller.identity is not None and caller.identity.has_role("Proxy"):
        return told or caller.address
    return caller.address


def _person(caller: Caller) -> Identity:
    if not caller.known.is_user:
        raise Unauthenticated("only users have certificates to renew")
    return caller.known


def _written(request: m.ResourceWrite) -> AnyResource:
    """The resource of a write, without what the cluster itself sets."""
    body = dict(request.resource)
    metadata = body.get("metadata")
    if isinstance(metadata, dict):
        body["metadata"] = {key: value for key, value in metadata.items() if key != "revision"}
    kind = kind_named(request.kind).kind
    if body.get("kind") != kind:
        raise BadInput(f"a {body.get('kind')} cannot be written as {kind}")
    cls = KINDS[kind]
    if body.get("version") not in cls.versions:
        raise BadInput(f"unknown version {body.get('version')} of {kind}", hint=f"one of {', '.join(cls.versions)}")
    try:
        return from_dict(body)
    except ValueError as error:
        raise BadInput(str(error)) from None


def _recording_row(meta: Mapping[str, Any]) -> m.RecordingRow:
    return m.RecordingRow(
        sid=meta["sid"], user=meta["user"], login=meta["login"], server_hostname=meta["server_hostname"],
        started=meta["started"], stopped=meta["stopped"], interactive=meta["interactive"],
        bytes=meta.get("bytes_seen", meta["output_bytes"]), command=meta.get("command", ""),
    )  # fmt: skip


def _check_report(caller: Identity, event: Mapping[str, Any]) -> None:
    permitted = PROXY_EVENTS if caller.has_role("Proxy") else AGENT_EVENTS
    if event.get("event") not in permitted:
        raise AccessDenied(f"this service may not report events of the type {event.get('event')}")
    if event.get("server_id", "") != caller.uid and not caller.has_role("Proxy"):
        raise AccessDenied("a service may report only of itself")
    for key in ("uid", "time", "code"):
        if not isinstance(event.get(key), str) or not event[key]:
            raise BadInput(f"an event without {key}")
    if len(str(event)) > _MAX_EVENT:
        raise BadInput("an event is too large")
    reserved: Iterable[str] = ("seq", "prev", "cluster_name")
    if any(key in event for key in reserved):
        raise BadInput("an event with a field that only the log sets")
