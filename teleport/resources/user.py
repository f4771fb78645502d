"""User: the roles and traits of a person; never credentials."""

from collections.abc import Iterator

from pydantic import Field, field_validator, model_validator

from teleport.resources.faults import Fault, raise_faults
from teleport.resources.model import Metadata, Model, Resource, Spec
from teleport.resources.values import Switch, Text, Texts, Timestamp, Traits

__all__ = ["User", "UserSpec"]


class ExternalIdentity(Model):
    """An account at an identity provider that belongs to this user."""

    connector_id: Text = Field(default="", description="name of the connector")
    username: Text = Field(default="", description="the account's name there")
    user_id: Text = Field(default="", description="the account's id there, where it has one")
    samlSingleLogoutUrl: Text = Field(default="", description="where a logout is announced (SAML)")


class ConnectorRef(Model):
    """The connector through which a user was made."""

    type: Text = Field(default="", description="kind of connector")
    id: Text = Field(default="", description="name of the connector")
    identity: Text = Field(default="", description="the account's name there")


class UserRef(Model):
    """Somebody by name."""

    name: Text = Field(default="", description="name of a user")


class CreatedBy(Model):
    """Accepted for the format; the audit log is what says who created a user."""

    connector: ConnectorRef | None = Field(default=None, description="through which connector")
    time: Timestamp = Field(default=None, description="when")
    user: UserRef | None = Field(default=None, description="by whom")


class LoginStatus(Model):
    """Accepted for the format: the cluster keeps its own record of failed logins."""

    is_locked: Switch = Field(default=False, description="only `no`: a lock is a resource of its own")
    locked_message: Text = Field(default="", description="why the user was locked")
    locked_time: Timestamp = Field(default=None, description="when the user was locked")
    lock_expires: Timestamp = Field(default=None, description="until when the user was locked")
    recovery_attempt_lock_expires: Timestamp = Field(default=None, description="until when recovery was locked")

    @model_validator(mode="after")
    def _open(self) -> "LoginStatus":
        if self.is_locked:
            raise_faults([Fault(("is_locked",), "a user's file locks nobody", "declare a lock: kind: lock")])
        return self


class UserSpec(Spec):
    """What the user holds."""

    roles: Texts = Field(default=(), description="names of the user's roles")
    traits: Traits = Field(default_factory=dict, description="attributes that templates and expressions read")
    github_identities: tuple[ExternalIdentity, ...] = Field(default=(), description="GitHub accounts of the user")
    oidc_identities: tuple[ExternalIdentity, ...] = Field(default=(), description="OpenID Connect accounts of the user")
    saml_identities: tuple[ExternalIdentity, ...] = Field(default=(), description="SAML accounts of the user")
    trusted_device_ids: Texts = Field(default=(), description="devices of the user")
    expires: Timestamp = Field(default=None, description="when a user made at login ceases to exist")
    created_by: CreatedBy | None = Field(default=None, description="who created the user")
    status: LoginStatus | None = Field(default=None, description="failed logins")


class User(Resource[UserSpec]):
    kind = "user"
    aliases = ("users",)
    versions = ("v2",)
    summary = "the roles and traits of a person"
    example = """\
kind: user
version: v2
metadata:
  name: ann@example.com
spec:
  roles: [access]
  traits:
    logins: [ann]
    team: [web]
"""

    @field_validator("metadata")
    @classmethod
    def _plain_name(cls, metadata: Metadata) -> Metadata:
        raise_faults(_name_faults(metadata.name))
        return metadata


def _name_faults(name: str) -> Iterator[Fault]:
    for char in sorted({char for char in name if char.isspace() or char in "/\\,"}):
        yield Fault(("name",), f"user name with {char!r}", "letters, digits and . _ - @ + are fine")
    if name.startswith("remote-"):
        yield Fault(("name",), f"user name {name}", "names that start with remote- stand for users of other clusters")
