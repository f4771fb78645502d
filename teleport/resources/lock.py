"""Lock: shuts somebody or something out at once, live sessions included, until it expires or is removed."""

from collections.abc import Iterator

from pydantic import Field, model_validator

from teleport.resources.faults import Fault, raise_faults
from teleport.resources.model import Model, Resource, Spec
from teleport.resources.values import Text, Timestamp

__all__ = ["Lock", "LockSpec", "LockTarget"]


class LockTarget(Model):
    """Whom or what the lock is for; every field that is set must match."""

    user: Text = ""
    role: Text = ""
    login: Text = ""
    mfa_device: Text = ""
    windows_desktop: Text = ""
    access_request: Text = ""
    device: Text = ""
    server_id: Text = Field(default="", description="a host, by its UUID")
    node: Text = Field(default="", description="the older spelling of server_id; a host name is accepted too")
    bot_instance_id: Text = ""
    join_token: Text = ""

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
    target: LockTarget
    message: Text = Field(default="", description="shown to those locked out")
    expires: Timestamp | None = Field(default=None, description="when the lock ceases, RFC 3339")
    created_at: Timestamp | None = None
    created_by: Text = ""


class Lock(Resource[LockSpec]):
    kind = "lock"
    aliases = ("locks",)
    versions = ("v2",)
    summary = "shuts somebody or something out at once"
