"""The parts of a token that belong to one way of joining each: which outside issuer is believed, and which claims."""

from typing import Literal

from pydantic import Field

from teleport.resources.model import Model
from teleport.resources.values import Count, Switch, Text, Texts, Timestamp

__all__ = [
    "AwsRule", "AzureDevopsJoin", "AzureJoin", "BitbucketJoin", "BoundKeypairJoin", "CircleciJoin", "Env0Join",
    "GcpJoin", "GithubJoin", "GitlabJoin", "KubernetesJoin", "OracleJoin", "SpaceliftJoin", "TerraformJoin", "TpmJoin",
]  # fmt: skip


class AwsRule(Model):
    """An AWS account, region or role that may join (`iam`, `ec2`)."""

    aws_account: Text = Field(default="", description="account id")
    aws_regions: Texts = Field(default=(), description="regions (`ec2`)")
    aws_role: Text = Field(default="", description="role with which instances are looked up (`ec2`)")
    aws_arn: Text = Field(default="", description="ARN that must match; `*` and `?` are wildcards (`iam`)")
    aws_organization_id: Text = Field(default="", description="organisation of the account (`iam`)")


class KubernetesRule(Model):
    """A service account that may join."""

    service_account: Text = Field(description="namespace:name")


class StaticJwks(Model):
    """The keys of a cluster whose issuer cannot be reached."""

    jwks: Text = Field(description="the JSON Web Key Set, as text")


class KubernetesOidc(Model):
    """The issuer of a cluster's tokens."""

    issuer: Text = Field(description="URL; it equals the tokens' `iss`")
    insecure_allow_http_issuer: Switch = Field(default=False, description="whether the URL may be http")


class KubernetesJoin(Model):
    """Joining with a Kubernetes service account's token."""

    type: Literal["in_cluster", "static_jwks", "oidc"] = Field(
        default="in_cluster", description="how tokens are verified"
    )
    static_jwks: StaticJwks | None = Field(default=None, description="for the type `static_jwks`")
    oidc: KubernetesOidc | None = Field(default=None, description="for the type `oidc`")
    allow: tuple[KubernetesRule, ...] = Field(default=(), description="who may join; one rule must match")


class GithubRule(Model):
    """A GitHub workflow that may join; every field that is set must equal the claim."""

    sub: Text = Field(default="", description="subject")
    repository: Text = Field(default="", description="OWNER/NAME")
    repository_owner: Text = Field(default="", description="owner of the repository")
    workflow: Text = Field(default="", description="name of the workflow")
    environment: Text = Field(default="", description="environment of the job")
    actor: Text = Field(default="", description="account that started the workflow")
    ref: Text = Field(default="", description="git reference, such as refs/heads/main")
    ref_type: Text = Field(default="", description="branch or tag")


class GithubJoin(Model):
    """Joining from GitHub Actions."""

    enterprise_server_host: Text = Field(default="", description="host name of an enterprise server")
    enterprise_slug: Text = Field(default="", description="enterprise whose name the issuer contains")
    static_jwks: Text = Field(default="", description="keys of an enterprise server that cannot be reached, as text")
    allow: tuple[GithubRule, ...] = Field(default=(), description="who may join; one rule must match")


class GitlabRule(Model):
    """A GitLab job that may join; every field that is set must match the claim."""

    sub: Text = Field(default="", description="subject; `*` and `?` are wildcards")
    ref: Text = Field(default="", description="git reference; `*` and `?` are wildcards")
    ref_type: Text = Field(default="", description="branch or tag")
    namespace_path: Text = Field(default="", description="group; `*` and `?` are wildcards")
    project_path: Text = Field(default="", description="project; `*` and `?` are wildcards")
    pipeline_source: Text = Field(default="", description="what started the pipeline")
    environment: Text = Field(default="", description="environment of the job")
    user_login: Text = Field(default="", description="user who started the job")
    user_id: Text = Field(default="", description="that user's id")
    user_email: Text = Field(default="", description="that user's address")
    ref_protected: Switch | None = Field(default=None, description="whether the reference is protected")
    environment_protected: Switch | None = Field(default=None, description="whether the environment is protected")
    ci_config_sha: Text = Field(default="", description="commit of the pipeline's definition")
    ci_config_ref_uri: Text = Field(default="", description="reference of the pipeline's definition")
    deployment_tier: Text = Field(default="", description="tier of the environment")
    project_visibility: Text = Field(default="", description="internal, private or public")


class GitlabJoin(Model):
    """Joining from GitLab CI."""

    domain: Text = Field(default="", description="host name of the GitLab; gitlab.com if empty")
    static_jwks: Text = Field(default="", description="keys of a GitLab that cannot be reached, as text")
    allow: tuple[GitlabRule, ...] = Field(default=(), description="who may join; one rule must match")


class AzureRule(Model):
    """Azure machines that may join."""

    subscription: Text = Field(description="subscription id")
    resource_groups: Texts = Field(default=(), description="resource groups; any if empty")


class AzureJoin(Model):
    """Joining with an Azure managed identity."""

    allow: tuple[AzureRule, ...] = Field(default=(), description="who may join; one rule must match")


class GcpRule(Model):
    """Google Cloud machines that may join."""

    project_ids: Texts = Field(description="projects")
    locations: Texts = Field(default=(), description="regions and zones; any if empty")
    service_accounts: Texts = Field(default=(), description="service accounts; any if empty")


class GcpJoin(Model):
    """Joining with a Google Cloud service account."""

    allow: tuple[GcpRule, ...] = Field(default=(), description="who may join; one rule must match")


class TpmRule(Model):
    """A TPM that may join."""

    description: Text = Field(default="", description="for people")
    ek_public_hash: Text = Field(default="", description="SHA-256 of its endorsement key")
    ek_certificate_serial: Text = Field(default="", description="serial number of its endorsement certificate")


class TpmJoin(Model):
    """Joining with a trusted platform module."""

    ekcert_allowed_cas: Texts = Field(default=(), description="authorities of endorsement certificates, in PEM")
    allow: tuple[TpmRule, ...] = Field(default=(), description="who may join; one rule must match")


class CircleciRule(Model):
    """A CircleCI job that may join."""

    project_id: Text = Field(default="", description="project")
    context_id: Text = Field(default="", description="context")


class CircleciJoin(Model):
    """Joining from CircleCI."""

    organization_id: Text = Field(default="", description="organisation")
    allow: tuple[CircleciRule, ...] = Field(default=(), description="who may join; one rule must match")


class SpaceliftRule(Model):
    """A Spacelift run that may join."""

    space_id: Text = Field(default="", description="space")
    caller_id: Text = Field(default="", description="stack or module")
    caller_type: Text = Field(default="", description="stack or module, which of them")
    scope: Text = Field(default="", description="read or write")


class SpaceliftJoin(Model):
    """Joining from Spacelift."""

    hostname: Text = Field(default="", description="host name of the tenant")
    enable_glob_matching: Switch = Field(
        default=False, description="whether `*` and `?` are wildcards in space_id and caller_id"
    )
    allow: tuple[SpaceliftRule, ...] = Field(default=(), description="who may join; one rule must match")


class TerraformRule(Model):
    """A Terraform Cloud run that may join."""

    organization_id: Text = Field(default="", description="organisation, by id")
    organization_name: Text = Field(default="", description="organisation, by name")
    project_id: Text = Field(default="", description="project, by id")
    project_name: Text = Field(default="", description="project, by name")
    workspace_id: Text = Field(default="", description="workspace, by id")
    workspace_name: Text = Field(default="", description="workspace, by name")
    run_phase: Text = Field(default="", description="plan or apply")


class TerraformJoin(Model):
    """Joining from Terraform Cloud."""

    audience: Text = Field(default="", description="audience of the tokens; the cluster's name if empty")
    hostname: Text = Field(default="", description="host name of a Terraform Enterprise")
    allow: tuple[TerraformRule, ...] = Field(default=(), description="who may join; one rule must match")


class BitbucketRule(Model):
    """A Bitbucket pipeline that may join."""

    workspace_uuid: Text = Field(default="", description="workspace")
    repository_uuid: Text = Field(default="", description="repository")
    deployment_environment_uuid: Text = Field(default="", description="deployment environment")
    branch_name: Text = Field(default="", description="branch")


class BitbucketJoin(Model):
    """Joining from Bitbucket Pipelines."""

    audience: Text = Field(default="", description="audience of the repository's tokens")
    identity_provider_url: Text = Field(default="", description="issuer of the repository's tokens")
    allow: tuple[BitbucketRule, ...] = Field(default=(), description="who may join; one rule must match")


class AzureDevopsRule(Model):
    """An Azure DevOps pipeline that may join."""

    sub: Text = Field(default="", description="subject")
    project_name: Text = Field(default="", description="project, by name")
    pipeline_name: Text = Field(default="", description="pipeline, by name")
    project_id: Text = Field(default="", description="project, by id")
    definition_id: Text = Field(default="", description="pipeline, by id")
    repository_uri: Text = Field(default="", description="repository")
    repository_version: Text = Field(default="", description="commit")
    repository_ref: Text = Field(default="", description="git reference")


class AzureDevopsJoin(Model):
    """Joining from Azure DevOps pipelines."""

    organization_id: Text = Field(default="", description="organisation, by its UUID")
    allow: tuple[AzureDevopsRule, ...] = Field(default=(), description="who may join; one rule must match")


class OracleRule(Model):
    """Oracle Cloud instances that may join."""

    tenancy: Text = Field(description="tenancy, by its OCID")
    parent_compartments: Texts = Field(default=(), description="compartments; any if empty")
    regions: Texts = Field(default=(), description="regions; any if empty")
    instances: Texts = Field(default=(), description="instances; any if empty")


class OracleJoin(Model):
    """Joining as an Oracle Cloud instance."""

    allow: tuple[OracleRule, ...] = Field(default=(), description="who may join; one rule must match")


class Env0Rule(Model):
    """An env0 deployment that may join."""

    organization_id: Text = Field(default="", description="organisation")
    project_id: Text = Field(default="", description="project, by id")
    project_name: Text = Field(default="", description="project, by name")
    template_id: Text = Field(default="", description="template, by id")
    template_name: Text = Field(default="", description="template, by name")
    environment_id: Text = Field(default="", description="environment, by id")
    environment_name: Text = Field(default="", description="environment, by name")
    workspace_name: Text = Field(default="", description="workspace")
    deployment_type: Text = Field(default="", description="such as deploy or destroy")
    deployer_email: Text = Field(default="", description="who started it")
    env0_tag: Text = Field(default="", description="tag set for tokens")


class Env0Join(Model):
    """Joining from env0."""

    allow: tuple[Env0Rule, ...] = Field(default=(), description="who may join; one rule must match")


class Onboarding(Model):
    """The first join with a bound key pair."""

    initial_public_key: Text = Field(default="", description="public key registered beforehand, as in authorized_keys")
    registration_secret: Text = Field(default="", description="secret with which a key is registered")
    must_register_before: Timestamp = Field(default=None, description="when registering with the secret ends")


class Recovery(Model):
    """Joining again after the identity expired."""

    limit: Count = Field(default=1, description="how often; the first join counts")
    mode: Literal["", "standard", "relaxed", "insecure"] = Field(default="", description="`standard` if empty")


class BoundKeypairJoin(Model):
    """Joining with a key pair that the machine keeps."""

    onboarding: Onboarding | None = Field(default=None, description="the first join")
    recovery: Recovery | None = Field(default=None, description="joining again")
    rotate_after: Timestamp = Field(default=None, description="a machine that joins after this makes a new key")
