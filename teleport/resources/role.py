"""Role: what its holders may reach, and under which conditions.

Every version of the format loads into this one model; what a version leaves implicit (see `docs/access.md`)
is filled in where the role is compiled, so that a role is always written back as it was written.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, ValidationInfo, field_validator, model_validator

from teleport.resources.faults import Fault, raise_faults, unknown_words
from teleport.resources.model import Metadata, Model, Resource, Spec
from teleport.resources.nouns import NOUNS, VERBS
from teleport.resources.requests import RequestConditions, ReviewConditions
from teleport.resources.role_options import CertExtension, IdpOption, RoleOptions
from teleport.resources.values import Count, Labels, Text, Texts, Vocabulary, text_faults

__all__ = [
    "Allow",
    "CertExtension",
    "Condition",
    "IdpOption",
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

SYSTEM_ROLES: Final = frozenset(
    {
        "Auth", "Node", "Proxy", "Admin", "Provision", "ProvisionToken", "SignUp", "Trusted_cluster", "App", "Db",
        "Kube", "WindowsDesktop", "Discovery", "Bot", "Instance", "Okta", "MDM", "RemoteProxy", "Nop",
        "AccessGraphPlugin", "Relay", "Operator",
    }
)  # fmt: skip
"""Names of built-in roles of services: no declared role may bear one."""

_WINDOWS_FORBIDDEN: Final = frozenset('"/\\[]:;|=,+*?<>')

_KUBERNETES_VERBS: Final = (
    "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "exec", "portforward", "*",
)  # fmt: skip
_KUBERNETES_KINDS: Final = (
    "*", "pod", "secret", "configmap", "namespace", "service", "serviceaccount", "kube_node", "persistentvolume",
    "persistentvolumeclaim", "deployment", "replicaset", "statefulset", "daemonset", "clusterrole", "kube_role",
    "clusterrolebinding", "rolebinding", "cronjob", "job", "certificatesigningrequest", "ingress",
)  # fmt: skip
"""Kinds of object that a v7 role may name. Earlier versions know pods alone; v8 takes the plural of any kind."""

_V3: Final[dict[str, JsonValue]] = {"versions": "left out in allow, it is everything in v3, nothing from v4 on"}
_V3_LOGINS: Final[dict[str, JsonValue]] = {
    "versions": "left out in allow, it is everything in v3 if there are logins, nothing from v4 on"
}

Nouns = Annotated[Texts, Vocabulary("resource kind", NOUNS)]
Verbs = Annotated[Texts, Vocabulary("verb", VERBS)]
KubernetesVerbs = Annotated[Texts, Vocabulary("Kubernetes verb", _KUBERNETES_VERBS)]
SessionKinds = Annotated[Texts, Vocabulary("kind of session", ("ssh", "k8s", "desktop", "db", "app", "*"))]
JoinModes = Annotated[Texts, Vocabulary("way to join", ("peer", "observer", "moderator", "*"))]


class Rule(Model):
    """Which administrative verbs are granted on which kinds of resource."""

    resources: Nouns = Field(min_length=1, description="kinds of resource; `*` is every kind")
    verbs: Verbs = Field(min_length=1, description="what may be done; `*` is everything but `break_glass`")
    where: Text = Field(default="", description="a condition on the user and the resource")
    actions: Texts = Field(default=(), description="accepted for the format; nothing acts on it")


class KubernetesResource(Model):
    """Objects inside a Kubernetes cluster."""

    kind: Text = Field(description="kind of object; its plural from v8 on; `*` is every kind")
    namespace: Text = Field(default="", description="namespace; a pattern")
    name: Text = Field(default="", description="name; a pattern")
    verbs: KubernetesVerbs = Field(default=(), description="what may be done; `*` is everything")
    api_group: Text = Field(
        default="", description="API group; a pattern (v8)", json_schema_extra={"versions": "v8 alone"}
    )

    @model_validator(mode="after")
    def _fits_version(self, info: ValidationInfo) -> "KubernetesResource":
        raise_faults(self._faults((info.context or {}).get("version", "")))
        return self

    def _faults(self, version: str) -> Iterator[Fault]:
        entry = f"a kubernetes_resources entry of role version {version}"
        if version == "v6":
            for name in ("namespace", "name"):
                if not getattr(self, name):
                    yield Fault((), f"{entry} needs {name}")
        if version == "v8":
            yield from self._plural_faults(entry)
        elif version:
            known = _KUBERNETES_KINDS if version == "v7" else ("pod",)
            for fault in unknown_words("kind of Kubernetes object", (self.kind,), known):
                yield Fault(("kind",), fault.message, fault.hint, fault.word, fault.known)
            if self.api_group:
                yield Fault(("api_group",), f"{entry} has no api_group", "it needs version v8")

    def _plural_faults(self, entry: str) -> Iterator[Fault]:
        if self.kind == "*" and not self.api_group:
            yield Fault(("kind",), f"{entry} with kind * needs api_group", 'write api_group: "*" for every group')
        elif self.kind != "*" and self.kind in _KUBERNETES_KINDS:
            yield Fault(("kind",), f"{entry} names kinds in the plural", f"{self.kind} is the v7 spelling")


class Impersonate(Model):
    """Whom holders may obtain certificates for."""

    users: Texts = Field(default=(), description="user names; patterns")
    roles: Texts = Field(default=(), description="role names; patterns")
    where: Text = Field(default="", description="a condition on the user and the impersonated one")


class JoinSession(Model):
    """Which live sessions holders may join, and how."""

    name: Text = Field(description="name of this policy, for people")
    roles: Texts = Field(description="roles of the session's owner; patterns")
    kinds: SessionKinds = Field(description="kinds of session")
    modes: JoinModes = Field(description="as what they may join")


class SessionJoinPolicy(Model):
    """Who must be present in holders' own sessions."""

    name: Text = Field(description="name of this policy, for people")
    filter: Text = Field(description="a condition that those who count must meet")
    kinds: SessionKinds = Field(description="kinds of session")
    modes: JoinModes = Field(default=(), description="as what those who count must have joined")
    count: Count = Field(default=1, description="how many must be present")
    on_leave: Literal["", "terminate", "pause"] = Field(
        default="", description="what happens when they leave; `terminate` if empty"
    )


class McpPermissions(Model):
    """Model Context Protocol servers."""

    tools: Texts = Field(default=(), description="names of tools; patterns")


class GithubPermission(Model):
    """Git over SSH to a hosting service."""

    orgs: Texts = Field(default=(), description="organisations whose repositories may be reached")


class SpiffeCondition(Model):
    """Workload identities that may be issued."""

    path: Text = Field(description="path of the SPIFFE id; a pattern")
    dns_sans: Texts = Field(default=(), description="DNS names that may be added; patterns")
    ip_sans: Texts = Field(default=(), description="IP addresses that may be added; networks")


class DatabasePermission(Model):
    """Permissions on objects inside databases."""

    permissions: Texts = Field(description="such as SELECT or INSERT")
    match: Labels = Field(default_factory=dict, description="labels of the objects")


class AccountAssignment(Model):
    """An account of an identity centre, and what may be done there."""

    account: Text = Field(description="the account's id")
    permission_set: Text = Field(description="the permission set's id")


class Condition(Model):
    """One side of a role: `allow` or `deny`. Both have the same fields."""

    logins: Texts = Field(default=(), description="operating system logins; templates; in deny `*` is every login")
    node_labels: Labels | None = Field(default=None, description="SSH hosts", json_schema_extra=_V3_LOGINS)
    node_labels_expression: Text = Field(default="", description="SSH hosts, by a label expression")
    app_labels: Labels | None = Field(default=None, description="web and TCP applications", json_schema_extra=_V3)
    app_labels_expression: Text = Field(default="", description="applications, by a label expression")
    kubernetes_labels: Labels | None = Field(default=None, description="Kubernetes clusters", json_schema_extra=_V3)
    kubernetes_labels_expression: Text = Field(default="", description="Kubernetes clusters, by a label expression")
    db_labels: Labels | None = Field(default=None, description="databases", json_schema_extra=_V3)
    db_labels_expression: Text = Field(default="", description="databases, by a label expression")
    db_service_labels: Labels | None = Field(default=None, description="database services")
    db_service_labels_expression: Text = Field(default="", description="database services, by a label expression")
    windows_desktop_labels: Labels | None = Field(default=None, description="Windows desktops")
    windows_desktop_labels_expression: Text = Field(default="", description="Windows desktops, by a label expression")
    cluster_labels: Labels | None = Field(default=None, description="trusted (leaf) clusters")
    cluster_labels_expression: Text = Field(default="", description="trusted clusters, by a label expression")
    group_labels: Labels | None = Field(default=None, description="user groups")
    group_labels_expression: Text = Field(default="", description="user groups, by a label expression")
    workload_identity_labels: Labels | None = Field(default=None, description="workload identities")
    workload_identity_labels_expression: Text = Field(default="", description="the same, by a label expression")
    kubernetes_groups: Texts = Field(default=(), description="Kubernetes groups that are impersonated; templates")
    kubernetes_users: Texts = Field(default=(), description="Kubernetes users that are impersonated; templates")
    kubernetes_resources: tuple[KubernetesResource, ...] | None = Field(
        default=None,
        description="objects within the clusters; left out, the role version's default applies",
        json_schema_extra={
            "versions": "left out in allow, it is every pod in v3 to v5, nothing in v6, everything in v7 and v8"
        },
    )
    db_names: Texts = Field(default=(), description="database names; templates; `*` is every name")
    db_users: Texts = Field(default=(), description="database users; templates; `*` is every user")
    db_roles: Texts = Field(default=(), description="roles granted to automatically created database users")
    db_permissions: tuple[DatabasePermission, ...] = Field(
        default=(), description="permissions granted to automatically created database users"
    )
    windows_desktop_logins: Texts = Field(default=(), description="Windows logins; templates")
    desktop_groups: Texts = Field(default=(), description="groups of automatically created desktop users")
    host_groups: Texts = Field(default=(), description="groups of automatically created host users")
    host_sudoers: Texts = Field(default=(), description="sudoers lines of automatically created host users")
    aws_role_arns: Texts = Field(default=(), description="AWS roles; templates")
    azure_identities: Texts = Field(default=(), description="Azure identities; templates")
    gcp_service_accounts: Texts = Field(default=(), description="Google Cloud service accounts; templates")
    mcp: McpPermissions | None = Field(default=None, description="tools of Model Context Protocol servers")
    github_permissions: tuple[GithubPermission, ...] = Field(default=(), description="Git hosting services")
    spiffe: tuple[SpiffeCondition, ...] = Field(default=(), description="workload identities; the older way")
    account_assignments: tuple[AccountAssignment, ...] = Field(default=(), description="identity centre accounts")
    rules: tuple[Rule, ...] = Field(default=(), description="administrative permissions")
    impersonate: Impersonate | None = Field(default=None, description="certificates on behalf of others")
    request: RequestConditions | None = Field(default=None, description="what may be asked for")
    review_requests: ReviewConditions | None = Field(default=None, description="whose requests may be decided")
    join_sessions: tuple[JoinSession, ...] = Field(
        default=(), description="live sessions that may be joined",
        json_schema_extra={"versions": "holders of roles of v3 and v4 alone join where they may log in, without it"},
    )  # fmt: skip
    require_session_join: tuple[SessionJoinPolicy, ...] = Field(
        default=(), description="who must be present in holders' own sessions"
    )
    namespaces: Annotated[Texts, Vocabulary("namespace", ("default", "*"))] = Field(
        default=(), description="a legacy of the format: there is only `default`"
    )

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

    def labels(self, target: str) -> Mapping[str, tuple[str, ...]] | None:
        """The selector for a kind of target (`node`, `app`, ...), None where the role says nothing."""
        selector: Mapping[str, tuple[str, ...]] | None = getattr(self, f"{target}_labels")
        return selector

    def expression(self, target: str) -> str:
        """The label expression for a kind of target, empty where there is none."""
        text: str = getattr(self, f"{target}_labels_expression")
        return text


class Allow(Condition):
    """Where holders may go, and as whom. Here every login and database role is named; in `deny`, `*` is all."""

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


class RoleSpec(Spec):
    """What the role declares."""

    options: RoleOptions = Field(default_factory=RoleOptions, description="conditions on what is allowed")
    allow: Allow = Field(default_factory=Allow, description="what holders may do")
    deny: Condition = Field(default_factory=Condition, description="what holders may not do, whatever allows it")


class Role(Resource[RoleSpec]):
    kind = "role"
    versions = ("v3", "v4", "v5", "v6", "v7", "v8")
    summary = "what its holders may reach, and under which conditions"
    example = """\
kind: role
version: v7
metadata:
  name: developer
  description: Shells on the development hosts of one's own team.
spec:
  options:
    max_session_ttl: 8h
  allow:
    logins: [ubuntu, "{{internal.logins}}"]
    node_labels:
      env: [dev, staging]
      team: "{{external.team}}"
  deny:
    node_labels:
      env: prod
"""

    @field_validator("metadata")
    @classmethod
    def _own_name(cls, metadata: Metadata) -> Metadata:
        if metadata.name in SYSTEM_ROLES:
            raise_faults([Fault(("name",), f"{metadata.name} is the name of a built-in role of services")])
        return metadata
