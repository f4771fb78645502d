"""Role: what its holders may reach, and under which conditions.

Every version of the format loads into this one model; what a version leaves implicit (see `docs/access.md`)
is filled in where the role is compiled, so that a role is always written back as it was written.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from teleport.resources.faults import Fault, raise_faults, unknown_words
from teleport.resources.model import Metadata, Model, Resource, Spec
from teleport.resources.nouns import NOUNS, VERBS
from teleport.resources.values import Duration, Labels, Switch, Text, Texts, text_faults

__all__ = [
    "Allow",
    "Condition",
    "Impersonate",
    "JoinSession",
    "KubernetesResource",
    "RequestConditions",
    "ReviewConditions",
    "Role",
    "RoleOptions",
    "RoleSpec",
    "Rule",
    "SessionJoinPolicy",
]

SYSTEM_ROLES = frozenset(
    {
        "Auth", "Node", "Proxy", "Admin", "Provision", "ProvisionToken", "SignUp", "Trusted_cluster", "App", "Db",
        "Kube", "WindowsDesktop", "Discovery", "Bot", "Instance", "Okta", "MDM", "RemoteProxy", "Nop",
        "AccessGraphPlugin", "Relay",
    }
)  # fmt: skip
"""Names of built-in roles of services: no declared role may bear one."""


_WINDOWS_FORBIDDEN = frozenset('"/\\[]:;|=,+*?<>')


def _spell(value: object) -> object:
    """Words that YAML reads as booleans, as the words they were."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value


def _off(value: object) -> object:
    """`off` is one of the words of some options; YAML reads it as false."""
    return "off" if value is False else value


class Rule(Model):
    """Which administrative verbs are granted on which kinds of resource."""

    resources: Texts = Field(description="kinds of resource, or `*`", min_length=1)
    verbs: Texts = Field(
        description="list, create, read, readnosecrets, update, delete, rotate, use, or `*`", min_length=1
    )
    where: Text = Field(default="", description="a condition on the user and the resource")
    actions: Texts = Field(default=(), description="accepted for the format; nothing acts on it")

    @field_validator("verbs")
    @classmethod
    def _known_verbs(cls, verbs: tuple[str, ...]) -> tuple[str, ...]:
        raise_faults(unknown_words("verb", verbs, VERBS))
        return verbs

    @field_validator("resources")
    @classmethod
    def _known_nouns(cls, nouns: tuple[str, ...]) -> tuple[str, ...]:
        raise_faults(unknown_words("resource kind", nouns, NOUNS))
        return nouns


class KubernetesResource(Model):
    """Objects inside a Kubernetes cluster."""

    kind: Text = Field(default="", description="kind of object; plural from v8 on; `*` for every kind")
    namespace: Text = Field(default="", description="namespace, with wildcards")
    name: Text = Field(default="", description="name, with wildcards")
    verbs: Texts = Field(default=(), description="get, list, watch, create, ..., or `*`")
    api_group: Text = Field(default="", description="API group (v8)")

    @model_validator(mode="after")
    def _complete(self, info: ValidationInfo) -> "KubernetesResource":
        version = (info.context or {}).get("version", "")
        raise_faults(self._faults(version))
        return self

    def _faults(self, version: str) -> Iterator[Fault]:
        if not self.kind:
            yield Fault((), "a kubernetes_resources entry needs kind")
        if version == "v6":
            for name in ("namespace", "name"):
                if not getattr(self, name):
                    yield Fault((), f"a kubernetes_resources entry of role version v6 needs {name}")
        if self.api_group and version not in ("", "v8"):
            yield Fault(("api_group",), f"api_group needs role version v8, this role is {version}")


class Impersonate(Model):
    """Whom holders may obtain certificates for."""

    users: Texts = Field(default=(), description="user names, with wildcards")
    roles: Texts = Field(default=(), description="role names, with wildcards")
    where: Text = Field(default="", description="a condition on the user and the impersonated one")


class ClaimMapping(Model):
    """From a trait to roles."""

    claim: Text
    value: Text
    roles: Texts


class Threshold(Model):
    """How many reviews decide a request."""

    name: Text = ""
    filter: Text = ""
    approve: int = Field(default=1, ge=0)
    deny: int = Field(default=1, ge=0)


class RequestReason(Model):
    """Whether a request must say why."""

    mode: Literal["", "optional", "required"] = ""
    prompt: Text = ""


class RequestKubernetesResource(Model):
    kind: Text
    api_group: Text = ""


class RequestConditions(Model):
    """What holders may ask for beyond what they have."""

    roles: Texts = Field(default=(), description="roles that may be requested, with wildcards")
    claims_to_roles: tuple[ClaimMapping, ...] = ()
    search_as_roles: Texts = Field(default=(), description="roles whose resources may be searched and requested")
    suggested_reviewers: Texts = ()
    thresholds: tuple[Threshold, ...] = ()
    annotations: Mapping[str, Texts] = Field(default_factory=dict)
    max_duration: Duration = Field(default=0.0, description="longest grant, at most 14 days")
    reason: RequestReason | None = None
    kubernetes_resources: tuple[RequestKubernetesResource, ...] = ()


class ReviewConditions(Model):
    """Whose requests holders may approve or deny."""

    roles: Texts = ()
    claims_to_roles: tuple[ClaimMapping, ...] = ()
    preview_as_roles: Texts = ()
    where: Text = ""


class JoinSession(Model):
    """Which live sessions holders may join, and how."""

    name: Text
    roles: Texts = Field(description="roles of the session's owner, with wildcards")
    kinds: Texts = Field(description="ssh, k8s, desktop, db, app")
    modes: Texts = Field(description="peer, observer, moderator")


class SessionJoinPolicy(Model):
    """Who must be present in holders' own sessions."""

    name: Text
    filter: Text
    kinds: Texts
    modes: Texts = ()
    count: int = Field(default=1, ge=0)
    on_leave: Literal["", "terminate", "pause"] = ""


class McpPermissions(Model):
    tools: Texts = ()


class GithubPermission(Model):
    orgs: Texts = ()


class SpiffeCondition(Model):
    path: Text
    dns_sans: Texts = ()
    ip_sans: Texts = ()


class DatabasePermission(Model):
    permissions: Texts
    match: Labels = Field(default_factory=dict)


class AccountAssignment(Model):
    account: Text
    permission_set: Text


class Condition(Model):
    """One side of a role: `allow` or `deny`. Both have the same fields."""

    logins: Texts = Field(default=(), description="operating system logins; templates; in deny `*` is every login")
    node_labels: Labels | None = Field(default=None, description="SSH hosts")
    node_labels_expression: Text = Field(default="", description="a label expression for SSH hosts")
    app_labels: Labels | None = Field(default=None, description="web and TCP applications")
    app_labels_expression: Text = ""
    kubernetes_labels: Labels | None = Field(default=None, description="Kubernetes clusters")
    kubernetes_labels_expression: Text = ""
    db_labels: Labels | None = Field(default=None, description="databases")
    db_labels_expression: Text = ""
    db_service_labels: Labels | None = Field(default=None, description="database services")
    db_service_labels_expression: Text = ""
    windows_desktop_labels: Labels | None = Field(default=None, description="Windows desktops")
    windows_desktop_labels_expression: Text = ""
    cluster_labels: Labels | None = Field(default=None, description="trusted (leaf) clusters")
    cluster_labels_expression: Text = ""
    group_labels: Labels | None = Field(default=None, description="user groups")
    group_labels_expression: Text = ""
    workload_identity_labels: Labels | None = Field(default=None, description="workload identities")
    workload_identity_labels_expression: Text = ""
    kubernetes_groups: Texts = Field(default=(), description="impersonated Kubernetes groups; templates")
    kubernetes_users: Texts = Field(default=(), description="impersonated Kubernetes users; templates")
    kubernetes_resources: tuple[KubernetesResource, ...] | None = Field(
        default=None, description="objects within the clusters; left out, the version's default applies"
    )
    db_names: Texts = Field(default=(), description="database names; templates; `*` is every name")
    db_users: Texts = Field(default=(), description="database users; templates; `*` is every user")
    db_roles: Texts = Field(default=(), description="roles granted to automatically created database users")
    db_permissions: tuple[DatabasePermission, ...] = ()
    windows_desktop_logins: Texts = Field(default=(), description="Windows logins; templates")
    desktop_groups: Texts = ()
    host_groups: Texts = Field(default=(), description="groups of automatically created host users")
    host_sudoers: Texts = Field(default=(), description="sudoers lines of automatically created host users")
    aws_role_arns: Texts = ()
    azure_identities: Texts = ()
    gcp_service_accounts: Texts = ()
    mcp: McpPermissions | None = None
    github_permissions: tuple[GithubPermission, ...] = ()
    spiffe: tuple[SpiffeCondition, ...] = ()
    account_assignments: tuple[AccountAssignment, ...] = ()
    rules: tuple[Rule, ...] = Field(default=(), description="administrative permissions")
    impersonate: Impersonate | None = None
    request: RequestConditions | None = None
    review_requests: ReviewConditions | None = None
    join_sessions: tuple[JoinSession, ...] = ()
    require_session_join: tuple[SessionJoinPolicy, ...] = ()
    namespaces: Texts = Field(default=(), description="a legacy of the format: only `default`")

    @field_validator("windows_desktop_logins")
    @classmethod
    def _windows_characters(cls, logins: tuple[str, ...]) -> tuple[str, ...]:
        raise_faults(
            Fault((index,), f"Windows login {login} contains {char}")
            for index, login in enumerate(logins)
            for char in sorted(_WINDOWS_FORBIDDEN & set(login))
            if "{{" not in login and login != "*"
        )
        return logins

    @field_validator("namespaces")
    @classmethod
    def _one_namespace(cls, namespaces: tuple[str, ...]) -> tuple[str, ...]:
        raise_faults(
            Fault((index,), f"unknown namespace {name}", "only default exists")
            for index, name in enumerate(namespaces)
            if name not in ("default", "*")
        )
        return namespaces

    def labels(self, target: str) -> Labels | None:
        """The selector for a kind of target (`node`, `app`, ...), None where the role says nothing."""
        selector: Labels | None = getattr(self, f"{target}_labels")
        return selector

    def expression(self, target: str) -> str:
        """The label expression for a kind of target, empty where there is none."""
        text: str = getattr(self, f"{target}_labels_expression")
        return text


class Allow(Condition):
    """What the role grants: here every login and database role is named."""

    @field_validator("logins", "db_roles", mode="before")
    @classmethod
    def _named(cls, value: object, info: ValidationInfo) -> object:
        faults = text_faults(value) if value is not None else []
        items = value if isinstance(value, list | tuple) else (value,)
        faults += (
            Fault((index,), f"* is not permitted in allow.{info.field_name}", "name each one")
            for index, item in enumerate(items)
            if item == "*"
        )
        raise_faults(faults)
        return value


class ForwardingSwitch(Model):
    enabled: Switch = Field(description="whether this direction is permitted")


class SshPortForwarding(Model):
    """Port forwarding by direction; replaces `port_forwarding`."""

    local: ForwardingSwitch | None = None
    remote: ForwardingSwitch | None = None


class RecordSession(Model):
    """What happens when a recording cannot be made; and whether desktops are recorded."""

    default: Literal["", "best_effort", "strict"] = ""
    ssh: Literal["", "best_effort", "strict"] = ""
    desktop: Switch | None = None


class CertExtension(Model):
    """One extension added to SSH certificates."""

    type: Literal["ssh"] = "ssh"
    mode: Literal["extension"] = "extension"
    name: Text
    value: Text = Field(default="", description="template")


class SamlOption(Model):
    enabled: Switch


class IdpOption(Model):
    saml: SamlOption | None = None


class RoleOptions(Model):
    """Conditions on what the role allows; `docs/access.md` says how a set of roles combines them."""

    max_session_ttl: Duration | None = Field(default=None, description="longest life of a certificate (30h)")
    forward_agent: Switch | None = Field(default=None, description="SSH agent forwarding (no)")
    port_forwarding: Switch | None = Field(default=None, description="SSH port forwarding (yes)")
    ssh_port_forwarding: SshPortForwarding | None = Field(default=None, description="port forwarding by direction")
    ssh_file_copy: Switch | None = Field(default=None, description="scp, sftp and rsync (yes)")
    permit_x11_forwarding: Switch | None = Field(default=None, description="X11 forwarding (no)")
    client_idle_timeout: Duration | None = Field(default=None, description="disconnect after silence (never)")
    disconnect_expired_cert: Switch | None = Field(default=None, description="end sessions with their certificate (no)")
    max_connections: int | None = Field(default=None, ge=0, description="concurrent connections of one user; 0 is any")
    max_sessions: int | None = Field(default=None, ge=0, description="sessions per connection; 0 is any")
    max_kubernetes_connections: int | None = Field(default=None, ge=0)
    require_session_mfa: Annotated[
        Literal["no", "yes", "hardware_key", "hardware_key_touch", "hardware_key_pin", "hardware_key_touch_and_pin"]
        | None,
        BeforeValidator(_spell),
    ] = Field(default=None, description="a second factor for each session (no)")
    mfa_verification_interval: Duration | None = None
    device_trust_mode: Annotated[Literal["off", "optional", "required"] | None, BeforeValidator(_off)] = None
    lock: Literal["best_effort", "strict"] | None = Field(
        default=None, description="what live sessions do when the policy is too old to trust"
    )
    record_session: RecordSession | None = None
    enhanced_recording: Texts | None = Field(default=None, description="command, disk, network")
    pin_source_ip: Switch | None = Field(default=None, description="certificates bound to the client's address (no)")
    desktop_clipboard: Switch | None = None
    desktop_directory_sharing: Switch | None = None
    create_desktop_user: Switch | None = None
    create_host_user: Switch | None = Field(default=None, description="the older spelling of create_host_user_mode")
    create_host_user_mode: Annotated[
        Literal["off", "keep", "insecure-drop"] | None, BeforeValidator(_off)
    ] = None  # fmt: skip
    create_host_user_default_shell: Text | None = None
    create_db_user: Switch | None = None
    create_db_user_mode: Annotated[
        Literal["off", "keep", "best_effort_drop"] | None, BeforeValidator(_off)
    ] = None  # fmt: skip
    cert_format: Literal["standard", "oldssh"] | None = None
    cert_extensions: tuple[CertExtension, ...] = ()
    request_access: Literal["optional", "always", "reason"] | None = None
    request_prompt: Text | None = None
    idp: IdpOption | None = None

    @field_validator("enhanced_recording")
    @classmethod
    def _known_events(cls, events: tuple[str, ...] | None) -> tuple[str, ...] | None:
        raise_faults(unknown_words("recorded event", events or (), ("command", "disk", "network")))
        return events


class RoleSpec(Spec):
    options: RoleOptions = Field(default_factory=RoleOptions, description="conditions on what is allowed")
    allow: Allow = Field(default_factory=Allow, description="what holders may do")
    deny: Condition = Field(default_factory=Condition, description="what holders may not do, whatever allows it")


class Role(Resource[RoleSpec]):
    kind = "role"
    versions = ("v3", "v4", "v5", "v6", "v7", "v8")
    summary = "what its holders may reach, and under which conditions"

    @field_validator("metadata")
    @classmethod
    def _own_name(cls, metadata: Metadata) -> Metadata:
        if metadata.name in SYSTEM_ROLES:
            raise_faults([Fault(("name",), f"{metadata.name} is the name of a built-in role of services")])
        return metadata
