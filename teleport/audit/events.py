"""The catalogue of audit events: one frozen class a type, under the names and codes that users know.

Times are RFC 3339 with milliseconds. Secrets (passwords, secret token names, keys) have no field to appear in.
`docs/audit-events.md` is generated from here; `reference` says what the fields mean.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Final

from teleport.core.identity import Identity

__all__ = ["CATALOGUE", "HUMAN", "SERVICE", "Actor", "Event", "actor_of"]


def _new_uid() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True, kw_only=True)
class Event:
    """What every event says. `time` is stamped by whoever emits it."""

    event: ClassVar[str]
    codes: ClassVar[tuple[str, ...]]
    """One for each outcome, which is its last letter: I happened, S stopped, W was refused or failed, E is an error.

    A type with several actions has one for each outcome of each of them.
    """
    summary: ClassVar[str]

    uid: str = field(default_factory=_new_uid)
    time: str = ""
    cluster_name: str = ""
    outcome: str = "I"
    user: str = ""
    user_kind: int = 0
    user_roles: tuple[str, ...] = ()
    impersonator: str = ""
    success: bool | None = None
    error: str = ""

    @property
    def code(self) -> str:
        return next(code for code in self.codes if code.endswith(self.outcome))

    def to_dict(self) -> dict[str, Any]:
        """The event as written: set fields only, `__` in a field's name as a dot."""
        body: dict[str, Any] = {"event": self.event, "code": self.code}
        for one in fields(self):
            if one.name == "outcome":
                continue
            value = getattr(self, one.name)
            if value is None or (not isinstance(value, bool) and value in ("", (), {}, 0) and one.name not in _ALWAYS):
                continue
            body[one.name.replace("__", ".")] = list(value) if isinstance(value, tuple) else value
        return body


_ALWAYS: Final = frozenset({"exitCode", "tx", "rx", "sid", "ei"})
"""Fields whose zero says something."""


@dataclass(frozen=True)
class Actor:
    """Who did it, as events name people: a user, a service, or somebody at the local administration socket."""

    user: str
    user_kind: int
    user_roles: tuple[str, ...] = ()
    local: bool = False
    """Somebody at the local administration socket, who is no user of the cluster."""

    def fields(self) -> dict[str, Any]:
        return {"user": self.user, "user_kind": self.user_kind, "user_roles": self.user_roles}


HUMAN, SERVICE = 1, 2


def actor_of(identity: Identity, roles: tuple[str, ...] = ()) -> Actor:
    """`user_kind` is 1 for people and 2 for services."""
    if identity.kind == "host":
        return Actor(identity.name, SERVICE, identity.system_roles)
    return Actor(identity.name, HUMAN, roles, local=identity.kind == "admin")


@dataclass(frozen=True, kw_only=True)
class _Remote(Event):
    addr__remote: str = ""


@dataclass(frozen=True, kw_only=True)
class _Session(_Remote):
    sid: str = ""
    ei: int = 0
    server_id: str = ""
    server_hostname: str = ""
    server_sub_kind: str = ""
    """`openssh` for a host without an agent, whose sessions a proxy serves."""
    login: str = ""
    proto: str = "ssh"
    with_mfa: bool | None = None


@dataclass(frozen=True, kw_only=True)
class _Decided(_Session):
    """What the policy decided: the rule, and where that is written."""

    role: str = ""
    source: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    commit: str = ""
    policy_revision: int = 0
    connection: str = ""
    """The connection that it was on, as `sid` of `session.connect` calls it in the log of the user's own cluster."""


@dataclass(frozen=True, kw_only=True)
class UserLogin(_Remote):
    event = "user.login"
    codes = ("T1000I", "T1000W")
    summary = "somebody logged in, or tried to"
    method: str = "local"
    user_agent: str = ""


@dataclass(frozen=True, kw_only=True)
class ResourceChanged(Event):
    """A change of a resource."""

    name: str = ""
    source: str = ""
    """Where the change came from: the name of a policy source."""
    file: str = ""
    line: int = 0
    commit: str = ""
    revision: int = 0
    expires: str = ""


@dataclass(frozen=True, kw_only=True)
class UserCreated(ResourceChanged):
    event = "user.create"
    codes = ("T1002I",)
    summary = "a user was created"
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class UserUpdated(ResourceChanged):
    event = "user.update"
    codes = ("T1003I",)
    summary = "a user was changed"
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class UserDeleted(ResourceChanged):
    event = "user.delete"
    codes = ("T1004I",)
    summary = "a user was deleted, with all credentials"


@dataclass(frozen=True, kw_only=True)
class PasswordChanged(_Remote):
    event = "user.password_change"
    codes = ("T1005I",)
    summary = "a password was set"


@dataclass(frozen=True, kw_only=True)
class MfaAdded(_Remote):
    event = "mfa.add"
    codes = ("T1006I",)
    summary = "a second factor was registered"
    mfa_device_type: str = "TOTP"


@dataclass(frozen=True, kw_only=True)
class MfaDeleted(_Remote):
    event = "mfa.delete"
    codes = ("T1007I",)
    summary = "a second factor was removed"
    mfa_device_type: str = "TOTP"


@dataclass(frozen=True, kw_only=True)
class InvitationCreated(Event):
    event = "reset_password_token.create"
    codes = ("T6000I",)
    summary = "an invitation to set a password and a second factor was issued"
    name: str = ""
    ttl: str = ""


@dataclass(frozen=True, kw_only=True)
class RoleCreated(ResourceChanged):
    event = "role.created"
    codes = ("T9000I",)
    summary = "a role was created"


@dataclass(frozen=True, kw_only=True)
class RoleUpdated(ResourceChanged):
    event = "role.updated"
    codes = ("T9002I",)
    summary = "a role was changed"


@dataclass(frozen=True, kw_only=True)
class RoleDeleted(ResourceChanged):
    event = "role.deleted"
    codes = ("T9001I",)
    summary = "a role was deleted"


@dataclass(frozen=True, kw_only=True)
class LockCreated(ResourceChanged):
    event = "lock.created"
    codes = ("TLK00I",)
    summary = "somebody or something was locked out; also when a lock was changed"
    target: Mapping[str, str] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class LockDeleted(ResourceChanged):
    event = "lock.deleted"
    codes = ("TLK01I",)
    summary = "a lock was removed"


@dataclass(frozen=True, kw_only=True)
class TokenCreated(ResourceChanged):
    event = "join_token.create"
    codes = ("TJT00I",)
    summary = "a join token was made or changed; its name is masked"
    roles: tuple[str, ...] = ()
    join_method: str = ""


@dataclass(frozen=True, kw_only=True)
class TokenDeleted(ResourceChanged):
    event = "join_token.delete"
    codes = ("TJT01I",)
    summary = "a join token was removed; its name is masked"


@dataclass(frozen=True, kw_only=True)
class NodeChanged(ResourceChanged):
    event = "node.update"
    codes = ("TND00I",)
    summary = "a declared host was created, changed or deleted"
    action: str = ""


@dataclass(frozen=True, kw_only=True)
class TrustedClusterChanged(ResourceChanged):
    event = "trusted_cluster.create"
    codes = ("T7000I",)
    summary = "a cluster is trusted, or trusted otherwise than before"
    action: str = ""
    enabled: bool | None = None


@dataclass(frozen=True, kw_only=True)
class TrustedClusterDeleted(ResourceChanged):
    event = "trusted_cluster.delete"
    codes = ("T7001I",)
    summary = "a cluster is trusted no more"


@dataclass(frozen=True, kw_only=True)
class RemoteClusterChanged(ResourceChanged):
    event = "remote_cluster.update"
    codes = ("TRC00I",)
    summary = "the labels of a cluster that trusts this one were declared, changed or deleted"
    action: str = ""


@dataclass(frozen=True, kw_only=True)
class ClusterJoined(_Remote):
    """On the root the leaf's view of itself, on the leaf the root's; `role` says which of the two this cluster is."""

    event = "trusted_cluster.join"
    codes = ("TTC00I", "TTC00E")
    summary = "authorities were exchanged with another cluster, or that was refused"
    name: str = ""
    role: str = ""
    token_name: str = ""
    pins: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClusterForgotten(Event):
    event = "trusted_cluster.forget"
    codes = ("TTC01I",)
    summary = "the authorities of another cluster were removed"
    name: str = ""
    role: str = ""


@dataclass(frozen=True, kw_only=True)
class TunnelRefused(_Remote):
    event = "trusted_cluster.tunnel"
    codes = ("TTC02W",)
    summary = "a tunnel of another cluster was refused"
    outcome: str = "W"
    name: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class PassageIssued(_Remote):
    """`name` is the cluster that the user goes to."""

    event = "trusted_cluster.passage"
    codes = ("TTC03I", "TTC03W")
    summary = "a user was certified for one connection to another cluster, or refused"
    name: str = ""
    server_hostname: str = ""
    login: str = ""
    sid: str = ""
    expires: str = ""


@dataclass(frozen=True, kw_only=True)
class AccessTestChanged(ResourceChanged):
    event = "access_test.update"
    codes = ("TAT00I",)
    summary = "a test of the policy was created, changed or deleted"
    action: str = ""


@dataclass(frozen=True, kw_only=True)
class AccessInvariantChanged(ResourceChanged):
    event = "access_invariant.update"
    codes = ("TAI00I",)
    summary = "an invariant of the policy was created, changed or deleted"
    action: str = ""


@dataclass(frozen=True, kw_only=True)
class AuthPreferenceUpdated(ResourceChanged):
    event = "auth_preference.update"
    codes = ("TCAUTH001I",)
    summary = "the settings of authentication were changed"
    action: str = ""


@dataclass(frozen=True, kw_only=True)
class NetworkingConfigUpdated(ResourceChanged):
    event = "cluster_networking_config.update"
    codes = ("TCNET002I",)
    summary = "the settings of the network were changed"
    action: str = ""


@dataclass(frozen=True, kw_only=True)
class RecordingConfigUpdated(ResourceChanged):
    event = "session_recording_config.update"
    codes = ("TCREC003I",)
    summary = "the settings of session recording were changed"
    action: str = ""


@dataclass(frozen=True, kw_only=True)
class PolicyApplied(Event):
    event = "policy.applied"
    codes = ("TPY00I",)
    summary = "a source's policy was applied as one transaction"
    source: str = ""
    revision: int = 0
    created: int = 0
    updated: int = 0
    deleted: int = 0
    commit: str = ""


@dataclass(frozen=True, kw_only=True)
class PolicyStalled(Event):
    event = "policy.stalled"
    codes = ("TPY00W",)
    summary = "a source's policy was refused; the last good state stays in force"
    outcome: str = "W"
    source: str = ""
    problems: tuple[str, ...] = ()
    commit: str = ""


@dataclass(frozen=True, kw_only=True)
class PolicyDrifted(Event):
    event = "policy.drift"
    codes = ("TPY04W",)
    summary = "what a source owns was changed underneath it, and is again as the source declares it"
    outcome: str = "W"
    source: str = ""
    commit: str = ""
    created: tuple[str, ...] = ()
    """What had vanished."""
    updated: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    """What the source never declared."""


@dataclass(frozen=True, kw_only=True)
class BreakGlass(Event):
    event = "policy.break_glass"
    codes = ("TPY05I", "TPY05W")
    summary = "somebody changed a declared resource for an emergency, past its source, or was refused to"
    name: str = ""
    id: str = ""
    reason: str = ""
    expires: str = ""
    fields: tuple[str, ...] = ()
    """What differs from the declaration."""
    changes: tuple[Mapping[str, Any], ...] = ()
    """For each of these, `path`, `old` and `new`; nothing where that would be very much."""
    with_mfa: bool = False
    source: str = ""
    """Who declares the resource; with file, line and commit the declaration that it was made over."""
    file: str = ""
    line: int = 0
    commit: str = ""
    replaces: str = ""
    """The id of an emergency change of the same resource that this one takes the place of."""


@dataclass(frozen=True, kw_only=True)
class BreakGlassEnded(Event):
    event = "policy.break_glass.end"
    codes = ("TPY06I",)
    summary = "an emergency change is over, and the declaration is in force again"
    name: str = ""
    id: str = ""
    reason: str = ""
    """Why it ended."""
    begun_by: str = ""


@dataclass(frozen=True, kw_only=True)
class RollbackAccepted(Event):
    event = "policy.rollback_accepted"
    codes = ("TPY01I",)
    summary = "an administrator let a source go back to a commit, or to a rewritten branch"
    source: str = ""
    commit: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class OwnerChanged(Event):
    event = "policy.owner_changed"
    codes = ("TPY10I",)
    summary = "an object of the policy belongs to another source from now on; why: adopted, kept or ignored"
    name: str = ""
    before: str = ""
    source: str = ""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class AdoptionPermitted(Event):
    event = "policy.adoption_permitted"
    codes = ("TPY11I",)
    summary = "an administrator let a source take over an object that belongs to another one"
    name: str = ""
    before: str = ""
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class SourceSuspended(Event):
    event = "policy.suspended"
    codes = ("TPY12I",)
    summary = "an administrator suspended a source of policy: nothing of it is applied or repaired"
    source: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class PolicyApproved(Event):
    event = "policy.approved"
    codes = ("TPY02I",)
    summary = "an administrator approved of a change that a guard refuses; it holds for that change, once"
    source: str = ""
    commit: str = ""
    guard: str = ""
    finding: str = ""
    proposal: str = ""
    reason: str = ""
    expires: str = ""


@dataclass(frozen=True, kw_only=True)
class PolicyOverridden(Event):
    event = "policy.override"
    codes = ("TPY03I",)
    summary = "a change came into force that a guard refuses, because somebody else signed or approved that"
    source: str = ""
    commit: str = ""
    guard: str = ""
    finding: str = ""
    principal: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class SourceResumed(Event):
    event = "policy.resumed"
    codes = ("TPY13I",)
    summary = "an administrator resumed a source of policy"
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class CertificateCreated(_Remote):
    event = "cert.create"
    codes = ("TC000I",)
    summary = "a certificate was issued to a user"
    cert_type: str = "user"
    identity: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    commit: str = ""
    grants: tuple[Mapping[str, Any], ...] = ()
    """For each role that is in the certificate: its name, and where it is declared."""


@dataclass(frozen=True, kw_only=True)
class InstanceJoined(_Remote):
    event = "instance.join"
    codes = ("TJ002I", "TJ002E")
    summary = "a service joined the cluster, or failed to; a secret token's name is masked"
    method: str = "token"
    token_name: str = ""
    role: str = ""
    host_id: str = ""
    node_name: str = ""


@dataclass(frozen=True, kw_only=True)
class GenerationMismatch(Event):
    event = "cert.generation_mismatch"
    codes = ("TCB00W",)
    summary = "a host's identity is in use in two places; it was locked"
    host_id: str = ""
    node_name: str = ""


@dataclass(frozen=True, kw_only=True)
class AuthFailed(_Remote):
    event = "auth"
    codes = ("T3007W",)
    summary = "an SSH or TLS peer was refused before a session"
    outcome: str = "W"
    server_id: str = ""
    server_hostname: str = ""
    server_sub_kind: str = ""
    login: str = ""


@dataclass(frozen=True, kw_only=True)
class SessionConnected(_Decided):
    event = "session.connect"
    codes = ("T2010I",)
    summary = "the proxy joined a client to a host; written by the proxy on its own account"


@dataclass(frozen=True, kw_only=True)
class SessionRejected(_Decided):
    event = "session.rejected"
    codes = ("T1006W",)
    summary = "a session was refused"
    outcome: str = "W"
    reason: str = ""
    max: int = 0


@dataclass(frozen=True, kw_only=True)
class SessionStarted(_Decided):
    event = "session.start"
    codes = ("T2000I",)
    summary = "a session began; written before its first byte"
    size: str = ""
    interactive: bool | None = None
    initial_command: tuple[str, ...] = ()
    session_recording: str = ""


@dataclass(frozen=True, kw_only=True)
class SessionResized(_Session):
    event = "session.resize"
    codes = ("T2002I",)
    summary = "the terminal of a session changed its size"
    size: str = ""


@dataclass(frozen=True, kw_only=True)
class SessionJoined(_Decided):
    """`login` is that of the session; `mode` as what `user` takes part."""

    event = "session.join"
    codes = ("T2001I",)
    summary = "somebody joined a live session; written before the first byte is shown"
    owner: str = ""
    mode: str = ""


@dataclass(frozen=True, kw_only=True)
class SessionLeft(_Session):
    event = "session.leave"
    codes = ("T2003I",)
    summary = "a participant left a session"
    owner: str = ""
    mode: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class SessionEnded(_Session):
    event = "session.end"
    codes = ("T2004I",)
    summary = "a session ended, by itself or by the policy; written also when the client vanished"
    interactive: bool | None = None
    participants: tuple[str, ...] = ()
    session_start: str = ""
    session_stop: str = ""
    session_recording: str = ""
    initial_command: tuple[str, ...] = ()
    reason: str = ""
    recording_sha256: str = ""
    recording_bytes: int = 0
    recording_error: str = ""
    policy_revision: int = 0


@dataclass(frozen=True, kw_only=True)
class SessionData(_Session):
    event = "session.data"
    codes = ("T2006I",)
    summary = "how many bytes an SSH connection carried"
    tx: int = 0
    rx: int = 0


@dataclass(frozen=True, kw_only=True)
class SessionUploaded(_Session):
    event = "session.upload"
    codes = ("T2005I",)
    summary = "a recording arrived at the auth service"
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class RecordingAccessed(Event):
    event = "session.recording.access"
    codes = ("T2012I",)
    summary = "somebody read a recording"
    sid: str = ""
    session_type: str = "ssh"
    format: str = ""


@dataclass(frozen=True, kw_only=True)
class CommandExecuted(_Session):
    event = "exec"
    codes = ("T3002I", "T3002E")
    summary = "a command was run without a terminal"
    command: str = ""
    exitCode: int = 0
    exitError: str = ""


@dataclass(frozen=True, kw_only=True)
class SubsystemRequested(_Session):
    event = "subsystem"
    codes = ("T3001I", "T3001E")
    summary = "an SSH subsystem was started, or refused"
    name: str = ""
    exitError: str = ""


_TRANSFERS: Final = {
    "open": 1, "close": 2, "setstat": 7, "fsetstat": 8, "opendir": 9, "remove": 11, "mkdir": 12, "rmdir": 13,
    "rename": 16, "symlink": 18, "link": 19, "copy": 30,
}  # fmt: skip
"""Actions of SFTP, and the numbers that their codes have."""


@dataclass(frozen=True, kw_only=True)
class FileTransferred(_Session):
    """One operation, or with the action `disallowed` the refusal of all."""

    event = "sftp"
    codes = (*(f"TS{number:03}{outcome}" for number in _TRANSFERS.values() for outcome in "IE"), "TS020E")
    summary = "something was done to files over SFTP, or tried; `action` says what"
    action: str
    path: str = ""
    target_path: str = ""
    working_directory: str = ""
    flags: int = 0
    attributes: Mapping[str, int] = field(default_factory=dict)
    bytes_read: int = 0
    bytes_written: int = 0

    @property
    def code(self) -> str:
        return f"TS{_TRANSFERS[self.action]:03}{self.outcome}" if self.action in _TRANSFERS else "TS020E"


@dataclass(frozen=True, kw_only=True)
class FileCopied(_Session):
    """A copy by the older protocol of scp. `action` is download, upload or disallowed."""

    event = "scp"
    codes = ("T3004I", "T3004E", "T3005I", "T3005E", "T3010E")
    summary = "files were copied by scp's own protocol, or that was refused"
    action: str
    path: str = ""
    exitCode: int = 0
    exitError: str = ""

    @property
    def code(self) -> str:
        number = {"download": "T3004", "upload": "T3005"}.get(self.action)
        return f"{number}{self.outcome}" if number else "T3010E"


@dataclass(frozen=True, kw_only=True)
class Forwarded(_Session):
    """Something that was forwarded."""

    addr: str = ""
    kind: str = ""
    reason: str = ""
    tx: int = 0
    rx: int = 0


@dataclass(frozen=True, kw_only=True)
class PortForwarded(Forwarded):
    event = "port"
    codes = ("T3003I", "T3003S", "T3003E")
    summary = "a port, a socket or the agent was forwarded, ceased to be, or was refused"


@dataclass(frozen=True, kw_only=True)
class X11Forwarded(Forwarded):
    event = "x11-forward"
    codes = ("T3008I", "T3008S", "T3008W")
    summary = "the display of a client was forwarded, ceased to be, or was refused"


@dataclass(frozen=True, kw_only=True)
class ClientDisconnected(_Session):
    event = "client.disconnect"
    codes = ("T3006I",)
    summary = "a client was disconnected by the cluster"
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class RecordingLost(_Session):
    event = "session.recording.lost"
    codes = ("T2013E",)
    summary = "a recording could not be written to its end"
    outcome: str = "E"


@dataclass(frozen=True, kw_only=True)
class BackupRestored(Event):
    event = "backup.restore"
    codes = ("TBK01I",)
    summary = "a backup took the place of the store, at the revision it was made at"
    name: str = ""
    revision: int = 0
    secrets_discarded: bool = False


@dataclass(frozen=True, kw_only=True)
class BackupMade(Event):
    event = "backup.create"
    codes = ("TBK00I",)
    summary = "a copy of the store was made"
    name: str = ""
    revision: int = 0


def _catalogue() -> Iterator[type[Event]]:
    todo: list[type[Event]] = [Event]
    while todo:
        cls = todo.pop()
        todo.extend(cls.__subclasses__())
        if "event" in vars(cls):
            yield cls


CATALOGUE: Final[Mapping[str, type[Event]]] = {cls.event: cls for cls in sorted(_catalogue(), key=lambda c: c.event)}

AGENT_EVENTS: Final = frozenset(
    {
        "auth", "client.disconnect", "exec", "port", "scp", "session.data", "session.end", "session.join",
        "session.leave", "session.recording.lost", "session.rejected", "session.resize", "session.start", "sftp",
        "subsystem", "x11-forward",
    }
)  # fmt: skip
"""The types that an agent may report, of its own host; everything else only auth itself writes."""
PLAIN: Final = "openssh"
"""The kind of host of whose sessions a proxy reports what otherwise agents do."""
PROXY_EVENTS: Final = frozenset(
    {"auth", "session.connect", "session.rejected", "client.disconnect", "trusted_cluster.tunnel"}
)
"""The types that a proxy may report."""
