"""The one table: method, path, models, and the permission each route needs.

`server` makes handlers of it, `client` calls by it, `openapi` documents it. A route without a permission cannot
be written down.
"""

import re
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, TypeVar

from teleport.api import history as h
from teleport.api import models as m
from teleport.core.identity import HostRole

__all__ = ["ROUTES", "Admin", "Anybody", "EachObject", "Hosts", "LocalAdmin", "Permission", "Route", "Users"]


@dataclass(frozen=True)
class Anybody:
    """No certificate needed. Proxies pass these on for clients that have none yet."""


@dataclass(frozen=True)
class Users:
    """Any user of this cluster, about that user's own affairs; never with a certificate for one session."""


@dataclass(frozen=True)
class Hosts:
    """A joined service in one of these roles, about its own affairs."""

    roles: tuple[HostRole, ...]


@dataclass(frozen=True)
class Admin:
    """Whoever the admin rules permit: a verb on a noun. An empty noun is the `kind` in the path."""

    verb: str
    noun: str = ""


@dataclass(frozen=True)
class EachObject:
    """Whoever the admin rules permit one of these verbs on every object in the request: the handler asks for each."""

    verbs: tuple[str, ...]


@dataclass(frozen=True)
class LocalAdmin:
    """The administration socket on the auth host only."""


Permission = Anybody | Users | Hosts | Admin | EachObject | LocalAdmin

RequestT = TypeVar("RequestT", bound=m.Message)
ResponseT = TypeVar("ResponseT", bound=m.Message)


@dataclass(frozen=True)
class Route(Generic[RequestT, ResponseT]):
    """One thing that can be asked."""

    name: str
    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    permission: Permission
    request: type[RequestT]
    response: type[ResponseT]
    summary: str
    streams: Literal["", "request", "response"] = ""
    """`request`: the body is raw bytes, the model comes from path and query. `response`: the answer is a stream."""
    limit: int = 1 << 20
    """Bytes of request body accepted."""
    parameters: tuple[str, ...] = field(init=False)
    """Fields of the request that stand in the path."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", tuple(re.findall(r"{(\w+)}", self.path)))


PING: Final = Route("ping", "GET", "/v1/ping", Anybody(), m.Empty, m.Ping, "which cluster this is")
AUTHORITIES: Final = Route(
    "authorities", "GET", "/v1/authorities", Anybody(), m.Empty, m.Authorities, "the public certificate authorities"
)
OPENAPI: Final = Route(
    "openapi", "GET", "/v1/openapi.json", Anybody(), m.Empty, m.ApiDocument, "this API as an OpenAPI document"
)
INVITEE: Final = Route(
    "invitee", "POST", "/v1/enrolments/look", Anybody(), m.Invitee, m.EnrolmentOffer, "whose invitation a token is"
)
ENROL: Final = Route(
    "enrol", "POST", "/v1/enrolments", Anybody(), m.EnrolmentRequest, m.EnrolmentOffer, "set a password by invitation"
)
CONFIRM: Final = Route(
    "confirm", "POST", "/v1/enrolments/confirm", Anybody(), m.Confirmation, m.Done, "confirm the second factor"
)
LOGIN: Final = Route("login", "POST", "/v1/login", Anybody(), m.LoginRequest, m.Certificates, "log in")
JOIN: Final = Route("join", "POST", "/v1/join", Anybody(), m.JoinRequest, m.HostCertificates, "join as a service")
JOIN_CLUSTER: Final = Route(
    "join_cluster", "POST", "/v1/clusters/join", Anybody(), m.ClusterIntroduction, m.Authorities,
    "join as a cluster that trusts this one",
)  # fmt: skip

ME: Final = Route("me", "GET", "/v1/me", Users(), m.Empty, m.Me, "who the caller is, by the policy in force")
HOSTS: Final = Route("hosts", "GET", "/v1/hosts", Users(), m.Empty, m.Hosts, "the hosts the caller reaches")
CHECK: Final = Route("check", "POST", "/v1/access/check", Users(), m.AccessCheck, m.AccessVerdict, "may the caller")
RENEW: Final = Route("renew", "POST", "/v1/certificates", Users(), m.RenewRequest, m.Certificates, "renew certificates")
SESSION_CERTIFICATE: Final = Route(
    "session_certificate", "POST", "/v1/certificates/session", Users(), m.SessionCertificateRequest, m.Certificates,
    "a certificate for one session, against a second factor",
)  # fmt: skip
CLUSTERS: Final = Route(
    "clusters", "GET", "/v1/clusters", Users(), m.Empty, m.Clusters, "the clusters the caller can go to"
)
LIVE_SESSIONS: Final = Route(
    "live_sessions", "GET", "/v1/sessions", Users(), m.Empty, m.LiveSessions, "live sessions the caller may see"
)

RESOURCES: Final = Route(
    "resources", "GET", "/v1/resources/{kind}", Admin("list"), m.ResourceQuery, m.Resources, "list a kind"
)
RESOURCE: Final = Route(
    "resource",
    "GET",
    "/v1/resources/{kind}/{name}",
    Admin("readnosecrets"),
    m.ResourceRead,
    m.Resource,
    "read a resource",
)
CREATE: Final = Route(
    "create", "POST", "/v1/resources/{kind}", Admin("create"), m.ResourceWrite, m.Resource, "create a resource"
)
UPDATE: Final = Route(
    "update", "PUT", "/v1/resources/{kind}", Admin("update"), m.ResourceWrite, m.Resource, "replace a resource"
)
APPLY: Final = Route(
    "apply", "POST", "/v1/resources", EachObject(("create", "update")), m.ApplyRequest, m.ApplyAnswer,
    "judge and write a set of resources in one transaction", limit=4 << 20,
)  # fmt: skip
DELETE: Final = Route(
    "delete", "DELETE", "/v1/resources/{kind}/{name}", Admin("delete"), m.ResourceName, m.Done, "delete a resource"
)
INVITE: Final = Route(
    "invite", "POST", "/v1/invitations", Admin("update", "user"), m.InvitationRequest, m.Invitation, "invite a user"
)
USERS: Final = Route("users", "GET", "/v1/users", Admin("list", "user"), m.Empty, m.Users, "users and their state")
TOKEN: Final = Route(
    "token", "POST", "/v1/tokens", Admin("create", "token"), m.TokenRequest, m.TokenSecret, "make a join token"
)
SIGN: Final = Route(
    "sign", "POST", "/v1/identities", LocalAdmin(), m.IdentityRequest, m.Certificates, "certificates without a login"
)
EVENTS: Final = Route("events", "GET", "/v1/events", Admin("list", "event"), m.EventQuery, m.EventPage, "search events")
VERIFY: Final = Route(
    "verify", "POST", "/v1/events/verify", Admin("read", "event"), m.AuditCheck, m.AuditVerdict, "verify the audit log"
)
CHECKPOINT: Final = Route(
    "checkpoint", "POST", "/v1/events/checkpoint", Admin("read", "event"), m.Empty, m.AuditCheckpoint,
    "the head of the audit log, signed",
)  # fmt: skip
STATUS: Final = Route(
    "status", "GET", "/v1/status", Admin("read", "cluster_name"), m.Empty, m.Status, "the state of the cluster"
)
POLICY_STATUS: Final = Route(
    "policy_status",
    "GET",
    "/v1/policy/status",
    Admin("read", "policy"),
    m.Empty,
    m.PolicyStatus,
    "the policy's sources",
)
POLICY_COMMIT: Final = Route(
    "policy_commit", "GET", "/v1/policy/commit", Admin("read", "policy"), m.CommitQuery, m.CommitStandings,
    "how far a commit has come",
)  # fmt: skip
FORMATS: Final = Route(
    "formats", "GET", "/v1/policy/formats", Admin("read", "policy"), m.Empty, m.Formats, "what connected services read"
)
ACCEPT_ROLLBACK: Final = Route(
    "accept_rollback",
    "POST",
    "/v1/policy/rollback",
    Admin("update", "policy"),
    m.RollbackRequest,
    m.RollbackAnswer,
    "let a source of policy go back to a commit",
)
SUSPEND: Final = Route(
    "suspend", "POST", "/v1/policy/suspend", Admin("update", "policy"), m.SuspendRequest, m.SourceNames,
    "apply and repair nothing of a source of policy",
)  # fmt: skip
RESUME: Final = Route(
    "resume", "POST", "/v1/policy/resume", Admin("update", "policy"), m.ResumeRequest, m.SourceNames,
    "let a suspended source of policy go on",
)  # fmt: skip
ADOPT: Final = Route(
    "adopt", "POST", "/v1/policy/adopt", Admin("update", "policy"), m.AdoptRequest, m.AdoptAnswer,
    "let a source of policy take over what belongs to another",
)  # fmt: skip
APPROVE: Final = Route(
    "approve", "POST", "/v1/policy/approvals", Admin("update", "policy"), m.ApprovalRequest, m.ApprovalAnswer,
    "approve of a change that a guard refuses",
)  # fmt: skip
EMERGENCIES: Final = Route(
    "emergencies", "GET", "/v1/policy/emergencies", Admin("read", "policy"), m.Empty, m.EmergencyChanges,
    "emergency changes that are in force",
)  # fmt: skip
BEGIN_EMERGENCY: Final = Route(
    "begin_emergency", "POST", "/v1/policy/emergencies", EachObject(("break_glass",)), m.EmergencyRequest,
    m.EmergencyRow, "change a declared resource for a while, past its source",
)  # fmt: skip
END_EMERGENCY: Final = Route(
    "end_emergency", "POST", "/v1/policy/emergencies/end", EachObject(("break_glass",)), m.EmergencyEnd, m.Done,
    "end an emergency change before its time",
)  # fmt: skip
EXPLAIN: Final = Route(
    "explain", "POST", "/v1/policy/explain", Admin("read", "policy"), h.ExplainQuestion, h.ExplainAnswer,
    "may a user log in to a host, and by which rule",
)  # fmt: skip
RULE_TEXT: Final = Route(
    "rule_text", "POST", "/v1/policy/text", Admin("read", "policy"), h.RulePlace, h.RuleText,
    "the text of a rule, and the commit that wrote it",
)  # fmt: skip
OBJECT_HISTORY: Final = Route(
    "object_history", "POST", "/v1/policy/history", Admin("read", "policy"), h.ObjectQuery, h.ObjectHistory,
    "the commits that changed an object",
)  # fmt: skip
SINCE: Final = Route(
    "since", "POST", "/v1/policy/since", Admin("read", "policy"), h.SinceQuestion, h.SinceAnswer,
    "since which commit a user may log in to a host",
)  # fmt: skip
PEOPLE: Final = Route(
    "people", "POST", "/v1/policy/people", Admin("read", "policy"), h.PeopleQuery, h.People,
    "who reached a host at a commit or a time",
)  # fmt: skip
BACKUP: Final = Route("backup", "POST", "/v1/backup", LocalAdmin(), m.BackupRequest, m.Done, "copy the store to a file")

RECORDINGS: Final = Route(
    "recordings",
    "GET",
    "/v1/recordings",
    Admin("list", "session"),
    m.RecordingQuery,
    m.Recordings,
    "recordings the caller may list",
)
RECORDING: Final = Route(
    "recording", "GET", "/v1/recordings/{sid}/{name}", Admin("read", "session"), m.RecordingFile, m.Empty,
    "a file of a recording", streams="response",
)  # fmt: skip

_SERVICES: Final = Hosts(("Node", "Proxy"))
WATCH: Final = Route(
    "watch", "GET", "/v1/watch", _SERVICES, m.WatchQuery, m.Empty, "the policy: a listing, then changes as NDJSON",
    streams="response",
)  # fmt: skip
FED_SOURCES: Final = Route(
    "fed_sources", "GET", "/v1/sources", Hosts(("Operator",)), m.Empty, m.FedSources,
    "the sources that the operator feeds",
)  # fmt: skip
FEED: Final = Route(
    "feed", "POST", "/v1/sources", Hosts(("Operator",)), m.FeedRequest, m.FeedAnswer,
    "everything that a source declares, and what becomes of it", limit=64 << 20,
)  # fmt: skip
HEARTBEAT: Final = Route("heartbeat", "POST", "/v1/heartbeat", _SERVICES, m.Heartbeat, m.Ack, "a service is alive")
LIVE: Final = Route(
    "live", "POST", "/v1/sessions", _SERVICES, m.LiveReport, m.Done, "the live sessions of a host",
    limit=8 << 20,
)  # fmt: skip
LIVE_FACTS: Final = Route(
    "live_facts", "GET", "/v1/sessions/{sid}", Hosts(("Proxy",)), m.LiveSid, m.LiveFacts, "whose a live session is"
)
PASSAGE: Final = Route(
    "passage", "POST", "/v1/passages", Hosts(("Proxy",)), m.PassageRequest, m.PassageAnswer,
    "let a user into another cluster, for one connection",
)  # fmt: skip
OPENSSH_CHALLENGE: Final = Route(
    "openssh_challenge", "POST", "/v1/openssh/challenges", Hosts(("Proxy",)), m.PlainChallengeRequest,
    m.PlainChallenge, "a host certificate to show in place of a host with only OpenSSH",
)  # fmt: skip
OPENSSH_LOGIN: Final = Route(
    "openssh_login", "POST", "/v1/openssh/logins", Hosts(("Proxy",)), m.PlainLoginRequest, m.PlainLogin,
    "a certificate for one login on one host with only OpenSSH, against the user's own login", limit=1 << 18,
)  # fmt: skip
WEBHOOK: Final = Route(
    "webhook", "POST", "/v1/policy/webhooks", Hosts(("Proxy",)), m.WebhookDelivery, m.WebhookAnswer,
    "what a server of repositories told the proxy", limit=2 << 20,
)  # fmt: skip
LEAVE: Final = Route("leave", "DELETE", "/v1/heartbeat", _SERVICES, m.Empty, m.Done, "a service has stopped")
RENEW_HOST: Final = Route(
    "renew_host",
    "POST",
    "/v1/hosts/renew",
    Hosts(("Node", "Proxy", "Operator")),
    m.RenewHost,
    m.HostCertificates,
    "renew a service's certificates",
)
EMIT: Final = Route(
    "emit", "POST", "/v1/events", _SERVICES, m.EventBatch, m.Done, "report events of the service's own sessions",
    limit=8 << 20,
)  # fmt: skip
UPLOAD: Final = Route(
    "upload", "PUT", "/v1/recordings/{sid}/{name}", _SERVICES, m.RecordingPart, m.Done,
    "bytes of a recording, at an offset", streams="request", limit=4 << 20,
)  # fmt: skip
SEAL: Final = Route("seal", "POST", "/v1/recordings/{sid}", _SERVICES, m.SealRequest, m.Done, "a recording is complete")

ROUTES: Final[tuple[Route[m.Message, m.Message], ...]] = tuple(
    value for value in list(globals().values()) if isinstance(value, Route)
)
