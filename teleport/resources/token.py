"""Token: how a service, a bot or a leaf cluster may join.

With the method `token` its name is the secret, as upstream has it, unless `spec.secret` says where the secret is.
"""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from teleport.resources.faults import Fault, raise_faults
from teleport.resources.join_methods import (
    AwsRule,
    AzureDevopsJoin,
    AzureJoin,
    BitbucketJoin,
    BoundKeypairJoin,
    CircleciJoin,
    Env0Join,
    GcpJoin,
    GithubJoin,
    GitlabJoin,
    KubernetesJoin,
    OracleJoin,
    SpaceliftJoin,
    TerraformJoin,
    TpmJoin,
)
from teleport.resources.model import Metadata, Resource, Spec
from teleport.resources.secret_ref import SecretRef
from teleport.resources.values import Duration, Labels, Text, Texts, Vocabulary

__all__ = ["SYSTEM_TOKEN_ROLES", "Token", "TokenSpec"]

SYSTEM_TOKEN_ROLES: Final = (
    "Node", "Proxy", "Auth", "Kube", "App", "Db", "WindowsDesktop", "Discovery", "Bot", "Trusted_cluster",
    "Okta", "MDM", "Instance", "Relay", "Operator",
)  # fmt: skip

JoinMethod = Literal[
    "token", "bound_keypair", "kubernetes", "github", "gitlab", "iam", "ec2", "azure", "gcp", "circleci",
    "spacelift", "tpm", "terraform_cloud", "bitbucket", "azure_devops", "oracle", "env0",
]  # fmt: skip

ServiceRoles = Annotated[Texts, Vocabulary("service role", SYSTEM_TOKEN_ROLES, anycase=True)]


class TokenSpec(Spec):
    """Who may join, as what, and by which proof."""

    roles: ServiceRoles = Field(min_length=1, description="what the joining service may act as; case does not count")
    join_method: JoinMethod = Field(default="token", description="how the joining side proves itself")
    secret: SecretRef | None = Field(
        default=None, description="for the method `token`: where the secret is kept; the token's name is none then"
    )
    bot_name: Text = Field(default="", description="the bot that joins with it")
    suggested_labels: Labels = Field(default_factory=dict, description="labels a host gets when it joins with it")
    suggested_agent_matcher_labels: Labels = Field(
        default_factory=dict, description="labels of the resources that a joining agent should serve"
    )
    allow: tuple[AwsRule, ...] = Field(default=(), description="who may join (`iam`, `ec2`); one rule must match")
    aws_iid_ttl: Duration = Field(default=0.0, description="age limit of an EC2 identity document; 5m if 0")
    policy_sources: Texts = Field(
        default=(), description="for operators: the sources of policy that they may feed, as teleport.yaml names them"
    )
    integration: Text = Field(default="", description="integration that looks up AWS organisations (`iam`)")
    kubernetes: KubernetesJoin | None = Field(default=None, description="for the method `kubernetes`")
    github: GithubJoin | None = Field(default=None, description="for the method `github`")
    gitlab: GitlabJoin | None = Field(default=None, description="for the method `gitlab`")
    azure: AzureJoin | None = Field(default=None, description="for the method `azure`")
    gcp: GcpJoin | None = Field(default=None, description="for the method `gcp`")
    tpm: TpmJoin | None = Field(default=None, description="for the method `tpm`")
    circleci: CircleciJoin | None = Field(default=None, description="for the method `circleci`")
    spacelift: SpaceliftJoin | None = Field(default=None, description="for the method `spacelift`")
    terraform_cloud: TerraformJoin | None = Field(default=None, description="for the method `terraform_cloud`")
    bitbucket: BitbucketJoin | None = Field(default=None, description="for the method `bitbucket`")
    azure_devops: AzureDevopsJoin | None = Field(default=None, description="for the method `azure_devops`")
    oracle: OracleJoin | None = Field(default=None, description="for the method `oracle`")
    env0: Env0Join | None = Field(default=None, description="for the method `env0`")
    bound_keypair: BoundKeypairJoin | None = Field(default=None, description="for the method `bound_keypair`")

    @model_validator(mode="after")
    def _secret_counts(self) -> "TokenSpec":
        if self.secret is not None and self.join_method != "token":
            raise_faults([Fault(("secret",), f"the join method {self.join_method} has no secret", "remove it")])
        return self


class Token(Resource[TokenSpec]):
    kind = "token"
    aliases = ("provision_token", "tokens")
    versions = ("v2",)
    summary = "how a service, a bot or a leaf cluster may join"
    example = """\
kind: token
version: v2
metadata:
  name: ci-deploy
spec:
  roles: [Bot]
  bot_name: deploy
  join_method: github
  github:
    allow:
      - repository: example/shop
        ref: refs/heads/main
"""
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
        return self.spec.join_method == "token" and self.spec.secret is None

    def written_secrets(self) -> Iterator[tuple[tuple[str, ...], str]]:
        if self.secret_name:
            yield (
                ("metadata", "name"),
                "name it otherwise and say where its secret is, spec.secret: {file: /PATH} or {env: NAME}; or make it "
                "with `tctl tokens add`",
            )
        keypair = self.spec.bound_keypair
        if keypair is not None and keypair.onboarding is not None and keypair.onboarding.registration_secret:
            yield (
                ("spec", "bound_keypair", "onboarding", "registration_secret"),
                "name the machine's public key instead, onboarding.initial_public_key; or make the token with "
                "`tctl create`",
            )
