"""Token: how a service, a bot or a leaf cluster may join. With the method `token` its name is the secret."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, field_validator

from teleport.resources.faults import Fault, raise_faults, unknown_words
from teleport.resources.model import Metadata, Model, Resource, Spec
from teleport.resources.values import Duration, Labels, Switch, Text, Texts, Timestamp

__all__ = ["SYSTEM_TOKEN_ROLES", "Token", "TokenSpec"]

SYSTEM_TOKEN_ROLES = (
    "Node", "Proxy", "Auth", "Kube", "App", "Db", "WindowsDesktop", "Discovery", "Bot", "Trusted_cluster",
    "Okta", "MDM", "Instance", "Relay",
)  # fmt: skip

JoinMethod = Literal[
    "token", "bound_keypair", "kubernetes", "github", "gitlab", "iam", "ec2", "azure", "gcp", "circleci",
    "spacelift", "tpm", "terraform_cloud", "bitbucket", "azure_devops", "oracle", "env0",
]  # fmt: skip


class AwsRule(Model):
    """An AWS account, region or role that may join (`iam`, `ec2`)."""

    aws_account: Text = ""
    aws_regions: Texts = ()
    aws_role: Text = ""
    aws_arn: Text = ""
    aws_organization_id: Text = ""


class KubernetesRule(Model):
    service_account: Text = Field(description="namespace:name")


class StaticJwks(Model):
    jwks: Text


class KubernetesOidc(Model):
    issuer: Text
    insecure_allow_http_issuer: Switch = False


class KubernetesJoin(Model):
    type: Literal["in_cluster", "static_jwks", "oidc"] = "in_cluster"
    static_jwks: StaticJwks | None = None
    oidc: KubernetesOidc | None = None
    allow: tuple[KubernetesRule, ...] = ()


class GithubRule(Model):
    sub: Text = ""
    repository: Text = ""
    repository_owner: Text = ""
    workflow: Text = ""
    environment: Text = ""
    actor: Text = ""
    ref: Text = ""
    ref_type: Text = ""


class GithubJoin(Model):
    enterprise_server_host: Text = ""
    enterprise_slug: Text = ""
    static_jwks: Text = ""
    allow: tuple[GithubRule, ...] = ()


class GitlabRule(Model):
    sub: Text = ""
    ref: Text = ""
    ref_type: Text = ""
    namespace_path: Text = ""
    project_path: Text = ""
    pipeline_source: Text = ""
    environment: Text = ""
    user_login: Text = ""
    user_id: Text = ""
    user_email: Text = ""
    ref_protected: Switch | None = None
    environment_protected: Switch | None = None
    ci_config_sha: Text = ""
    ci_config_ref_uri: Text = ""
    deployment_tier: Text = ""
    project_visibility: Text = ""


class GitlabJoin(Model):
    domain: Text = ""
    static_jwks: Text = ""
    allow: tuple[GitlabRule, ...] = ()


class AzureRule(Model):
    subscription: Text
    resource_groups: Texts = ()


class AzureJoin(Model):
    allow: tuple[AzureRule, ...] = ()


class GcpRule(Model):
    project_ids: Texts
    locations: Texts = ()
    service_accounts: Texts = ()


class GcpJoin(Model):
    allow: tuple[GcpRule, ...] = ()


class TpmRule(Model):
    description: Text = ""
    ek_public_hash: Text = ""
    ek_certificate_serial: Text = ""


class TpmJoin(Model):
    ekcert_allowed_cas: Texts = ()
    allow: tuple[TpmRule, ...] = ()


class ClaimRule(Model):
    """Claims of a delegated method that must be equal; which ones exist depends on the provider."""

    project_id: Text = ""
    context_id: Text = ""
    space_id: Text = ""
    caller_id: Text = ""
    caller_type: Text = ""
    scope: Text = ""
    organization_id: Text = ""
    organization_name: Text = ""
    project_name: Text = ""
    workspace_id: Text = ""
    workspace_name: Text = ""
    run_phase: Text = ""
    workspace_uuid: Text = ""
    repository_uuid: Text = ""
    deployment_environment_uuid: Text = ""
    branch_name: Text = ""
    sub: Text = ""
    pipeline_name: Text = ""
    definition_id: Text = ""
    repository_uri: Text = ""
    repository_version: Text = ""
    repository_ref: Text = ""
    tenancy: Text = ""
    parent_compartments: Texts = ()
    regions: Texts = ()
    instances: Texts = ()
    environment_id: Text = ""
    environment_name: Text = ""
    template_id: Text = ""
    template_name: Text = ""
    deployment_type: Text = ""
    deployer_email: Text = ""
    env0_tag: Text = ""


class DelegatedJoin(Model):
    """The block of the methods that trust an outside issuer's claims."""

    organization_id: Text = ""
    audience: Text = ""
    hostname: Text = ""
    enable_glob_matching: Switch = False
    identity_provider_url: Text = ""
    allow: tuple[ClaimRule, ...] = ()


class Onboarding(Model):
    initial_public_key: Text = ""
    registration_secret: Text = ""
    must_register_before: Timestamp | None = None


class Recovery(Model):
    limit: int = Field(default=1, ge=0)
    mode: Literal["standard", "relaxed", "insecure"] = "standard"


class BoundKeypairJoin(Model):
    onboarding: Onboarding | None = None
    recovery: Recovery | None = None
    rotate_after: Timestamp | None = None


class TokenSpec(Spec):
    roles: Texts = Field(min_length=1, description="what the joining service may act as: Node, Proxy, ...")
    join_method: JoinMethod = Field(default="token", description="how the joining side proves itself")
    bot_name: Text = Field(default="", description="the bot that joins with it")
    suggested_labels: Labels = Field(default_factory=dict, description="labels a host gets when it joins with it")
    suggested_agent_matcher_labels: Labels = Field(default_factory=dict)
    allow: tuple[AwsRule, ...] = ()
    aws_iid_ttl: Duration = Field(default=0.0, description="age limit of an EC2 identity document")
    kubernetes: KubernetesJoin | None = None
    github: GithubJoin | None = None
    gitlab: GitlabJoin | None = None
    azure: AzureJoin | None = None
    gcp: GcpJoin | None = None
    tpm: TpmJoin | None = None
    circleci: DelegatedJoin | None = None
    spacelift: DelegatedJoin | None = None
    terraform_cloud: DelegatedJoin | None = None
    bitbucket: DelegatedJoin | None = None
    azure_devops: DelegatedJoin | None = None
    oracle: DelegatedJoin | None = None
    env0: DelegatedJoin | None = None
    bound_keypair: BoundKeypairJoin | None = None

    @field_validator("roles")
    @classmethod
    def _known_roles(cls, roles: tuple[str, ...]) -> tuple[str, ...]:
        raise_faults(_role_faults(roles))
        return roles


def _role_faults(roles: tuple[str, ...]) -> Iterator[Fault]:
    known = {name.lower(): name for name in SYSTEM_TOKEN_ROLES}
    for fault in unknown_words("service role", [role.lower() for role in roles], known):
        index = fault.path[0]
        assert isinstance(index, int)
        yield Fault(fault.path, f"unknown service role {roles[index]}", f"one of {', '.join(SYSTEM_TOKEN_ROLES)}")


class Token(Resource[TokenSpec]):
    kind = "token"
    aliases = ("provision_token", "tokens")
    versions = ("v2",)
    summary = "how a service, a bot or a leaf cluster may join"
    secret = True

    @field_validator("metadata")
    @classmethod
    def _strong_name(cls, metadata: Metadata) -> Metadata:
        if not all(char.isascii() and (char.isalnum() or char in "-_.") for char in metadata.name):
            raise_faults([Fault(("name",), "token name with characters other than letters, digits and - _ .")])
        return metadata

    @property
    def secret_name(self) -> bool:
        """Whether knowing the name is enough to join."""
        return self.spec.join_method == "token"
