"""Lock: shuts somebody or something out at once, live sessions included, until it expires or is removed."""

from collections.abc import Iterator

from pydantic import ConfigDict, Field, model_validator

from teleport.resources.faults import Fault, raise_faults
from teleport.resources.model import Model, Resource, Spec
from teleport.resources.values import Text, Timestamp

__all__ = ["Lock", "LockSpec", "LockTarget"]


class LockTarget(Model):
    """Whom or what the lock is for; every field that is set must match."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    user: Text = Field(default="", description="a user, by name")
    role: Text = Field(default="", description="holders of a role")
    login: Text = Field(default="", description="sessions as an operating system login")
    mfa_device: Text = Field(default="", description="a second factor, by its UUID")
    windows_desktop: Text = Field(default="", description="a Windows desktop, by name")
    access_request: Text = Field(default="", description="an access request, by its UUID")
    device: Text = Field(default="", description="a trusted device, by its id")
    server_id: Text = Field(default="", description="a host, by its UUID")
    node: Text = Field(default="", description="the older spelling of server_id; a host name is accepted too")
    bot_instance_id: Text = Field(default="", description="one instance of a bot")
    join_token: Text = Field(default="", description="bots that joined with a token, by its name")

    @model_validator(mode="after")
    def _somebody(self) -> "LockTarget":
        if not any(self.set_fields()):
            raise_faults([Fault((), "a lock without a target", "set user, role, login, server_id, ...")])
        return self

    def set_fields(self) -> Iterator[tuple[str, str]]:
        """The fields that must match, with their values."""
        for name in type(self).model_fields:
            value: str = getattr(self, name)
            if value:
                yield name, value


class LockSpec(Spec):
    """Who is shut out, and for how long."""

    target: LockTarget = Field(description="whom or what the lock is for")
    message: Text = Field(default="", description="shown to those locked out")
    expires: Timestamp = Field(default=None, description="when the lock ceases")
    created_at: Timestamp = Field(default=None, description="when it was made")
    created_by: Text = Field(default="", description="who made it")


class Lock(Resource[LockSpec]):
    kind = "lock"
    aliases = ("locks",)
    versions = ("v2",)
    summary = "shuts somebody or something out at once, live sessions included"
    example = """\
kind: lock
version: v2
metadata:
  name: lost-laptop
spec:
  target:
    user: ann@example.com
  message: Your laptop was reported lost. Call the service desk.
  expires: 2030-01-31T12:00:00Z
"""
