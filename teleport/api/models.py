"""What goes over the wire: the bodies of requests and answers, by area."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = [
    "AccessCheck",
    "AccessVerdict",
    "Ack",
    "AdoptAnswer",
    "AdoptRequest",
    "ApiDocument",
    "Applied",
    "ApplyAnswer",
    "ApplyRequest",
    "ApprovalAnswer",
    "ApprovalRequest",
    "AuditCheck",
    "AuditCheckpoint",
    "AuditVerdict",
    "Authorities",
    "BackupRequest",
    "Certificates",
    "CommitQuery",
    "CommitStanding",
    "CommitStandings",
    "Confirmation",
    "Done",
    "EmergencyChanges",
    "EmergencyEnd",
    "EmergencyRequest",
    "EmergencyRow",
    "Empty",
    "EnrolmentOffer",
    "EnrolmentRequest",
    "EventBatch",
    "EventPage",
    "EventQuery",
    "Formats",
    "Heartbeat",
    "HostCertificates",
    "HostRow",
    "Hosts",
    "IdentityRequest",
    "Invitation",
    "InvitationRequest",
    "Invitee",
    "JoinRequest",
    "Line",
    "LiveFacts",
    "LiveReport",
    "LiveReported",
    "LiveRow",
    "LiveSessions",
    "LiveSid",
    "LoginRequest",
    "Me",
    "Message",
    "Ping",
    "PolicyFile",
    "PolicyStatus",
    "ReadsFormat",
    "RecordingFile",
    "RecordingPart",
    "RecordingQuery",
    "RecordingRow",
    "Recordings",
    "RenewHost",
    "RenewRequest",
    "Resource",
    "ResourceName",
    "ResourceQuery",
    "ResourceRead",
    "ResourceWrite",
    "Resources",
    "ResumeRequest",
    "SealRequest",
    "Secret",
    "ServiceStatus",
    "SessionCertificateRequest",
    "Short",
    "Sid",
    "SourceNames",
    "SourceStatus",
    "Status",
    "SuspendRequest",
    "TokenRequest",
    "TokenSecret",
    "UserRow",
    "Users",
    "WatchQuery",
    "WebhookAnswer",
    "WebhookDelivery",
]

SHORT = 256
KEY = 8192


class Message(BaseModel):
    """Frozen; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Short = Annotated[str, StringConstraints(max_length=SHORT)]
Line = Annotated[str, StringConstraints(max_length=KEY)]
Secret = Annotated[str, StringConstraints(max_length=1024)]
Proof = Annotated[str, StringConstraints(max_length=16 * 1024)]
Sid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class Empty(Message):
    """Nothing to say."""


class Done(Message):
    """It happened."""

    revision: int = 0


# -- for anybody


class Ping(Message):
    cluster: str
    version: str
    second_factors: tuple[str, ...] = ("otp",)
    message_of_the_day: str = ""
    proxy_address: str = ""


class ApiDocument(Message):
    """The OpenAPI document of these routes."""

    openapi: str
    info: Mapping[str, Any]
    paths: Mapping[str, Any]
    components: Mapping[str, Any]
    tags: tuple[Mapping[str, Any], ...] = ()


class Authorities(Message):
    """The public halves of the certificate authorities, as `TrustedAuthority.encode` writes them."""

    cluster: str
    authorities: tuple[str, ...]


class EnrolmentRequest(Message):
    """Redeem an invitation: set a password. The answer offers a second factor to be confirmed."""

    token: Secret
    password: Secret
    client_address: Short = ""


class EnrolmentOffer(Message):
    user: str
    otpauth: str
    """The `otpauth://` URI for an authenticator."""


class Confirmation(Message):
    """Prove that the second factor works; only then does the account."""

    token: Secret
    code: Short
    client_address: Short = ""


class Invitee(Message):
    """Whose invitation a token is, for the page that asks for the password."""

    token: Secret
    client_address: Short = ""


class LoginRequest(Message):
    user: Short
    password: Secret
    code: Short = ""
    ssh_public_key: Line
    tls_public_key: Line
    ttl: float = Field(default=0.0, ge=0, le=40 * 365 * 86400)
    """Seconds; 0 for the cluster's default."""
    roles: tuple[Short, ...] | None = None
    client_address: Short = ""
    user_agent: Short = ""


class Certificates(Message):
    """What a user gets."""

    user: str
    cluster: str
    ssh_certificate: str
    tls_certificate: str
    authorities: tuple[str, ...]
    expires: float
    logins: tuple[str, ...]
    roles: tuple[str, ...]
    traits: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    message_of_the_day: str = ""


class JoinRequest(Message):
    token: Secret
    ssh_public_key: Line
    tls_public_key: Line
    hostname: Short
    roles: tuple[Literal["Node", "Proxy", "Operator"], ...]
    proof: Proof = ""
    """What the join method wants beside the token's name: a service account's token, for example."""
    addresses: tuple[Short, ...] = ()
    client_address: Short = ""


class ClusterIntroduction(Message):
    """A leaf introduces itself to the root that it trusts."""

    token: Secret
    cluster: Short
    authority: Proof
    """Its host authority, as `TrustedAuthority.encode` writes it."""
    proofs: tuple[Line, ...] = Field(max_length=8)
    """By each key of that authority, over all of this; in base64."""
    client_address: Short = ""


class PassageRequest(Message):
    """A proxy asks for one connection of a user to another cluster, with the certificate that the user showed it."""

    cluster: Short
    host: Short
    login: Short = ""
    session: Sid
    tls_certificate: Proof = ""
    """DER in base64; or"""
    ssh_certificate: Proof = ""
    client_address: Short = ""


PassageText = Annotated[str, StringConstraints(max_length=32 * 1024)]
"""A passage in PEM."""


class PassageAnswer(Message):
    passage: str
    expires: float


class ClusterRow(Message):
    """A cluster that a user can go to."""

    name: str
    kind: Literal["root", "leaf"]
    status: Literal["online", "offline"]
    labels: Mapping[str, str] = Field(default_factory=dict)
    ssh_authorities: tuple[str, ...] = ()
    """Keys that vouch for its hosts, as OpenSSH lines: for names below its own, and no others."""


class Clusters(Message):
    clusters: tuple[ClusterRow, ...]


class TrustStatus(Message):
    """How far trust in a cluster has come, as the leaf sees it."""

    state: Literal["joining", "trusted", "disabled", "stalled"]
    message: str = ""
    since: float = 0.0


class HostCertificates(Message):
    host_id: str
    cluster: str
    ssh_certificate: str
    tls_certificate: str
    authorities: tuple[str, ...]
    expires: float
    suggested_labels: Mapping[str, str] = Field(default_factory=dict)


# -- for users


class Me(Message):
    user: str
    cluster: str
    kind: str
    roles: tuple[str, ...] = ()
    traits: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    logins: tuple[str, ...] = ()
    expires: float = 0.0


class HostRow(Message):
    hostname: str
    uuid: str
    labels: Mapping[str, str]
    logins: tuple[str, ...]


class Hosts(Message):
    hosts: tuple[HostRow, ...]


class AccessCheck(Message):
    host: Short
    login: Short


class AccessVerdict(Message):
    allowed: bool
    reasons: tuple[str, ...]
    needs: Mapping[str, str] = Field(default_factory=dict)


class RenewRequest(Message):
    """New certificates for the keys of those in hand; nothing is widened."""

    ssh_public_key: Line
    tls_public_key: Line
    roles: tuple[Short, ...] | None = None
    ttl: float = Field(default=0.0, ge=0, le=40 * 365 * 86400)


class SessionCertificateRequest(Message):
    """A certificate for one session, against a fresh code."""

    code: Short
    ssh_public_key: Line
    tls_public_key: Line
    host: Short = ""


# -- for administrators


class ResourceName(Message):
    kind: Short
    name: Annotated[str, StringConstraints(max_length=1000)]
    expected_revision: int | None = Field(default=None, ge=0)


class ResourceRead(Message):
    kind: Short
    name: Annotated[str, StringConstraints(max_length=1000)]
    secrets: bool = False
    """Also what is secret; needs the verb `read`, where without it `readnosecrets` is enough."""


class ResourceQuery(Message):
    kind: Short
    secrets: bool = False
    """Also what is secret, such as the names of join tokens; needs the verb `read` besides `list`."""


class Resource(Message):
    resource: dict[str, Any]
    revision: int = 0
    source: str = ""
    file: str = ""
    line: int = 0
    commit: str = ""
    """The commit that changed its file last, of a source that has commits."""
    status: dict[str, Any] = Field(default_factory=dict)
    """How things stand, of those that have a state; nobody declares it."""


class Resources(Message):
    resources: tuple[Resource, ...]
    revision: int = 0


class ResourceWrite(Message):
    """One resource, and for a replacement the revision it was read at."""

    kind: Short
    resource: dict[str, Any]
    expected_revision: int | None = Field(default=None, ge=0)


class PolicyFile(Message):
    """A file of resources, as YAML or JSON; the name is for the places of its faults."""

    file: Annotated[str, StringConstraints(max_length=4096)]
    text: str


class ApplyRequest(Message):
    """Files whose resources are to be written in one transaction."""

    files: tuple[PolicyFile, ...] = Field(min_length=1, max_length=10_000)
    replace: bool = False
    """Replace what exists; a `metadata.revision` in the file must then be the one in force."""
    expected_revision: int | None = Field(default=None, ge=0)
    """With `replace`: the revision that every resource must have, whatever the files say."""
    dry_run: bool = False
    """Judge, and say what would happen."""


class Applied(Message):
    resource: str
    """`kind/name`, a secret name masked."""
    change: Literal["created", "updated", "unchanged"]


class ApplyAnswer(Message):
    results: tuple[Applied, ...]
    warnings: tuple[dict[str, Any], ...] = ()
    revision: int = 0


class InvitationRequest(Message):
    user: Short
    ttl: float = Field(default=3600.0, gt=0, le=48 * 3600)
    reset: bool = False
    """Also take away the password and second factor that exist."""


class Invitation(Message):
    user: str
    token: str
    url: str
    expires: float
    ca_pins: tuple[str, ...]
    proxy_address: str


class TokenRequest(Message):
    roles: tuple[Short, ...]
    ttl: float = Field(default=1800.0, gt=0, le=365 * 86400)
    value: Secret = ""
    labels: Mapping[Short, Short] = Field(default_factory=dict)
    sources: tuple[Short, ...] = ()
    """For operators: the sources of policy that they may feed."""


class TokenSecret(Message):
    token: str
    expires: float
    roles: tuple[str, ...]
    ca_pins: tuple[str, ...]
    proxy_address: str
    cluster: str = ""


class IdentityRequest(Message):
    """Certificates for a user without a login: `tctl auth sign`."""

    user: Short
    ssh_public_key: Line
    tls_public_key: Line
    ttl: float = Field(default=3600.0, gt=0, le=365 * 86400)


class UserRow(Message):
    name: str
    roles: tuple[str, ...]
    source: str
    enrolled: bool
    locked: bool


class Users(Message):
    users: tuple[UserRow, ...]


class Status(Message):
    cluster: str
    version: str
    ca_pins: tuple[str, ...]
    policy_revision: int
    audit_events: int
    audit_head: str
    audit_key: str
    demo: bool = False
    proxy_address: str = ""
    warnings: tuple[str, ...] = ()
    hosts: int = 0


class SourceStatus(Message):
    name: str
    kind: str
    place: str
    state: Literal["Ready", "Reconciling", "Stalled", "Suspended"]
    reason: str = ""
    """The state's cause in one word."""
    since: float = 0.0
    """Since when it is in this state for this reason."""
    message: str = ""
    last_seen: float = 0.0
    last_applied: float = 0.0
    revision: int = 0
    objects: int = 0
    problems: tuple[dict[str, Any], ...] = ()
    warnings: tuple[dict[str, Any], ...] = ()
    attempted_commit: str = ""
    """The commit that was read last, of a source that has commits."""
    applied_commit: str = ""
    unapplied_since: float = 0.0
    """When something that is not in force yet was first seen; 0 while all that was read is in force."""
    ceiling: dict[str, Any] | None = None
    """What the source may own and give at most; None for one without a ceiling."""


class SuspendRequest(Message):
    """Suspends a source of policy; all of them if none is named."""

    reason: str = Field(min_length=1, max_length=1000)
    source: Short = ""


class ResumeRequest(Message):
    """Resumes a source of policy; all that are suspended if none is named."""

    source: Short = ""


class SourceNames(Message):
    sources: tuple[str, ...]


class AdoptRequest(Message):
    """Lets a source take over an object that belongs to the API or to another source."""

    kind: Short
    name: str = Field(min_length=1, max_length=1000)
    source: Short


class AdoptAnswer(Message):
    resource: str
    before: str
    """To whom it belonged."""
    source: str


class WebhookDelivery(Message):
    """What a server of repositories sent to the proxy."""

    source: Short
    headers: dict[str, str]
    """By lower-case name; only those that say what it is and prove who sent it."""
    body: str = Field(max_length=2 << 20)
    """In base64."""
    client_address: Short = ""


class WebhookAnswer(Message):
    message: str
    fetches: bool
    """Whether the repository is asked for news now."""


class CommitQuery(Message):
    """A commit, or the beginning of its name."""

    commit: str = Field(min_length=7, max_length=64, pattern="^[0-9a-fA-F]+$")


class CommitStanding(Message):
    """How far a commit has come at a source that knows it."""

    source: str
    commit: str
    applied: bool
    """It is in force, by itself or within a later commit."""
    attempted: bool
    """The commit that was read last is it, or contains it."""


class CommitStandings(Message):
    """The sources that have the commit; none if it is known to none of them."""

    sources: tuple[CommitStanding, ...]


class RollbackRequest(Message):
    """Lets a source follow a commit that it refuses because it is a way back."""

    commit: str = Field(min_length=7, max_length=64, pattern="^[0-9a-fA-F]+$")
    reason: str = Field(min_length=1, max_length=1000)
    source: str = ""
    """May be left out where only one source has commits."""


class RollbackAnswer(Message):
    source: str
    commit: str


class ApprovalRequest(Message):
    """Approves of a change that a guard refuses."""

    guard: str = Field(min_length=1, max_length=64, pattern="^[a-z_]+$")
    source: str = ""
    proposal: str = ""
    """As the refusal names it; may be left out where only one is refused by this guard."""
    reason: str = Field(default="", max_length=1000)


class ApprovalAnswer(Message):
    """What was approved, and until when that holds; seconds since the epoch."""

    source: str
    proposal: str
    guard: str
    finding: str
    expires: float


class ServiceStatus(Message):
    """The policy revision that a service has acknowledged."""

    host_id: str
    hostname: str
    roles: tuple[str, ...]
    version: str
    revision: int
    last_seen: float
    problems: tuple[str, ...] = ()
    format: str = ""
    """What it reads: the name of a format that `formats` explains; empty if it does not say."""


class EmergencyRow(Message):
    """An emergency change that is in force: drift from what is declared, until a moment."""

    id: str
    kind: str
    name: str
    actor: str
    reason: str
    since: float
    expires: float
    fields: tuple[str, ...]
    source: str = ""
    """Who declares what lies beneath, in which file, on which line and by which commit."""
    file: str = ""
    line: int = 0
    commit: str = ""
    resource: dict[str, Any] | None = None
    """What is in force, and beneath it what is declared: for those who may read it, where they ask for it."""
    beneath: dict[str, Any] | None = None


class PolicyStatus(Message):
    revision: int
    oldest_acknowledged: int
    sources: tuple[SourceStatus, ...]
    services: tuple[ServiceStatus, ...]
    emergencies: tuple[EmergencyRow, ...] = ()


class EmergencyRequest(Message):
    """A declared resource as it shall be for a while."""

    file: PolicyFile
    """Declares this resource and nothing else."""
    reason: str = Field(min_length=1, max_length=1000, pattern=r"\S")
    ttl: float = Field(gt=0, le=365 * 86400)
    code: Short = ""
    """A code of the caller's second factor, of now."""
    expected_revision: int | None = Field(default=None, ge=0)
    """Of the declaration, as the caller read it."""
    replaces: Short = ""
    """The id of the emergency change of the same resource that the caller saw in force."""


class EmergencyEnd(Message):
    """Ends an emergency change before its time."""

    kind: Short
    name: Short


class EmergencyChanges(Message):
    emergencies: tuple[EmergencyRow, ...]


class ReadsFormat(Message):
    """The kinds with their versions, and the paths of the fields, that a service reads."""

    versions: Mapping[Short, tuple[Short, ...]] = Field(default_factory=dict, max_length=200)
    fields: tuple[Line, ...] = Field(default=(), max_length=10_000)


class Formats(Message):
    """By name, what connected services read."""

    formats: Mapping[str, ReadsFormat]


class EventQuery(Message):
    event: Short = ""
    user: Short = ""
    session: Short = ""
    since: Short = ""
    limit: int = Field(default=1000, ge=1, le=100_000)


class EventPage(Message):
    events: tuple[dict[str, Any], ...]


class AuditVerdict(Message):
    events: int
    first: int
    last: int
    head: str
    faults: tuple[str, ...]
    checkpoints: int
    key: str
    checkpoint: str = ""
    """The newest signed checkpoint, for keeping elsewhere."""


class AuditCheckpoint(Message):
    """The head of the audit log, signed: kept elsewhere, it shows later whether the log was changed."""

    checkpoint: str
    events: int
    key: str


class AuditCheck(Message):
    checkpoints: tuple[Line, ...] = ()
    """Checkpoints kept elsewhere, to hold the log against."""


class BackupRequest(Message):
    path: Line


# -- recordings


class RecordingQuery(Message):
    prefix: Short = ""
    """The beginning of the session ids wanted."""
    limit: int = Field(default=1000, ge=1, le=100_000)


class RecordingRow(Message):
    sid: str
    user: str
    login: str
    server_hostname: str
    started: str
    stopped: str
    interactive: bool
    bytes: int
    command: str = ""
    interrupted: bool = False
    """The host went away during the session; what it had kept until then is here."""
    truncated: bool = False
    """The output was longer than what is kept."""


class Recordings(Message):
    recordings: tuple[RecordingRow, ...]


class RecordingFile(Message):
    sid: Sid
    name: Literal["output", "timing", "meta.json"]
    offset: int = Field(default=0, ge=0)
    format: Short = ""


# -- live sessions


class LiveRow(Message):
    """A session that is going on, as its host reported it."""

    sid: str
    user: str
    login: str
    server_id: str
    server_hostname: str
    started: str
    kind: str = "ssh"
    participants: tuple[str, ...]
    modes: tuple[str, ...] = ()
    """As what the caller may join."""
    needs: Mapping[str, str] = Field(default_factory=dict)
    """What the caller would have to show in order to join."""


class LiveSessions(Message):
    sessions: tuple[LiveRow, ...]


# -- for services


class Heartbeat(Message):
    """A service is alive: which policy it enforces, and the host it offers."""

    revision: int
    version: Short
    hostname: Short
    problems: tuple[Line, ...] = ()
    labels: Mapping[Short, Line] | None = None
    """Labels of the SSH host, its dynamic ones included; None for a service that is none."""
    address: Annotated[str, StringConstraints(max_length=SHORT, pattern=r"^[A-Za-z0-9_.:\[\]-]*$")] = ""
    """HOST:PORT under which people reach it, of a proxy."""
    leaves: tuple[Short, ...] = ()
    """Clusters that keep a tunnel to it, of a proxy."""
    roots: tuple[Short, ...] = ()
    """Clusters to which it keeps one."""
    tunnel_address: Annotated[str, StringConstraints(max_length=SHORT, pattern=r"^[A-Za-z0-9_.:\[\]-]*$")] = ""
    """HOST:PORT under which agents reach this very proxy."""
    format: Short = ""
    """What the service reads of the policy, in short."""
    reads: ReadsFormat | None = None
    """And in full, now and then."""
    ttl: float = Field(default=120.0, gt=0, le=3600)


class ProxyAt(Message):
    """A proxy that is alive, and where agents reach it."""

    host_id: str
    address: str


class Ack(Message):
    policy_revision: int
    proxies: tuple[ProxyAt, ...] = ()


class LiveReported(Message):
    """A session on a terminal that somebody has on the host which reports it."""

    sid: Sid
    user: Short
    user_uid: Short
    login: Short
    started: float = Field(ge=0, le=4e9)
    observers: tuple[Short, ...] = Field(default=(), max_length=100)
    server_id: Short = ""
    """Where a proxy has it: the host with only OpenSSH that it serves. Of an agent, its own host is meant."""


class LiveReport(Message):
    """All sessions on terminals that a host has now; what is not among them has ended."""

    sessions: tuple[LiveReported, ...] = Field(default=(), max_length=10_000)
    ttl: float = Field(default=30.0, gt=0, le=300)


class LiveSid(Message):
    sid: Sid


class LiveFacts(Message):
    """What a proxy must know of a live session to judge who may join it."""

    sid: str
    user: str
    user_uid: str
    login: str
    server_id: str
    observers: tuple[str, ...] = ()


class PlainChallengeRequest(Message):
    """A proxy is about to serve a client of a host with only OpenSSH."""

    host_id: Short
    ssh_public_key: Line
    root: Short = ""
    """Of a client from another cluster, which."""
    passage: PassageText = ""
    """And what lets that client in: for this one challenge."""


class PlainChallenge(Message):
    ssh_certificate: str
    """What the proxy shows the client as the host's key: for this one connection."""


Bytes = Annotated[str, StringConstraints(max_length=16 * 1024)]
"""In base64."""


class LoginProved(Message):
    """What a client said in order to log in; see `wire.ssh_userauth`."""

    hash_name: Short
    client_version: Bytes
    server_version: Bytes
    client_init: Bytes
    server_init: Bytes
    host_key: Bytes
    public_values: Bytes
    secret: Bytes
    request: Bytes
    signature: Bytes


class PlainLoginRequest(Message):
    """A certificate for the host is wanted, as the login that the client is at."""

    proof: LoginProved
    ssh_public_key: Line
    client_address: Short


class PlainLogin(Message):
    ssh_certificate: str
    expires: float


class RenewHost(Message):
    ssh_public_key: Line
    tls_public_key: Line
    hostname: Short
    addresses: tuple[Short, ...] = ()


class EventBatch(Message):
    events: tuple[dict[str, Any], ...] = Field(max_length=1000)


class RecordingPart(Message):
    """Where the bytes of a request's body belong in a recording."""

    sid: Sid
    name: Literal["output", "timing"]
    offset: int = Field(ge=0)


class SealRequest(Message):
    sid: Sid
    meta: dict[str, Any]


class WatchQuery(Message):
    after: int = Field(default=0, ge=0)


# -- for operators


class FedSource(Message):
    """A source of policy that an operator feeds, and where its manifests are."""

    name: str
    namespace: str


class FedSources(Message):
    sources: tuple[FedSource, ...]


class FeedRequest(Message):
    """Everything that a source declares now."""

    source: Short
    manifests: tuple[dict[str, Any], ...]
    withheld: tuple[Short, ...] = ()
    """Kinds of manifests that cannot be seen at the moment: that one is absent says nothing."""
    refused: dict[Line, Line] = Field(default_factory=dict)
    """By `KIND/NAME`, why the operator does not bring what a manifest refers to."""
    secrets: dict[Line, Secret] = Field(default_factory=dict, repr=False)
    """By NAME/KEY, what the Secrets hold that manifests refer to and may."""


class ObjectVerdict(Message):
    """What became of one manifest."""

    place: str
    """`KIND/NAME`."""
    state: Literal["Ready", "Reconciling", "Stalled"]
    reason: str
    """One word, for programs."""
    message: str = ""
    valid: bool = True
    """Whether it could be read."""
    owned: bool = True
    """Whether the resource belongs to this source, or could."""
    reach: str = ""
    """Of a role: how many people reach how many hosts."""


class FeedAnswer(Message):
    revision: int
    objects: tuple[ObjectVerdict, ...]
    kept: tuple[ObjectVerdict, ...] = ()
    """What is declared no longer and is in force nevertheless, and why."""
