"""User: the roles and traits of a person; never credentials."""

from pydantic import Field, field_validator

from teleport.resources.faults import Fault, raise_faults
from teleport.resources.model import Metadata, Model, Resource, Spec
from teleport.resources.values import Text, Texts, Timestamp, Traits

__all__ = ["User", "UserSpec"]


class ExternalIdentity(Model):
    """An account at an identity provider that belongs to this user."""

    connector_id: Text = ""
    username: Text = ""
    user_id: Text = ""
    samlSingleLogoutUrl: Text = ""


class CreatedBy(Model):
    """Accepted for the format; the audit log is what says who created a user."""

    connector: ExternalIdentity | None = None
    time: Timestamp | None = None
    user: Text = ""


class UserSpec(Spec):
    roles: Texts = Field(default=(), description="names of the user's roles")
    traits: Traits = Field(default_factory=dict, description="attributes that templates and expressions read")
    github_identities: tuple[ExternalIdentity, ...] = ()
    oidc_identities: tuple[ExternalIdentity, ...] = ()
    saml_identities: tuple[ExternalIdentity, ...] = ()
    trusted_device_ids: Texts = ()
    expires: Timestamp | None = Field(default=None, description="when a user made at login ceases to exist")
    created_by: CreatedBy | None = None


class User(Resource[UserSpec]):
    kind = "user"
    versions = ("v2",)
    summary = "the roles and traits of a person"

    @field_validator("metadata")
    @classmethod
    def _plain_name(cls, metadata: Metadata) -> Metadata:
        raise_faults(_name_faults(metadata.name))
        return metadata


def _name_faults(name: str) -> list[Fault]:
    bad = sorted({char for char in name if not char.isprintable() or char in "/\\, \t"})
    faults = [Fault(("name",), f"user name with {char!r}", "letters, digits and . _ - @ + are fine") for char in bad]
    if name.startswith("remote-"):
        faults.append(
            Fault(("name",), f"user name {name}", "names that start with remote- stand for users of other clusters")
        )
    return faults
