"""Trusted cluster: declared on a leaf, it says which root it trusts and what the root's roles are here.

`teleport.access.trust` says what a role map means; here is only what a file can get wrong by itself.
"""

import re
from collections.abc import Iterator
from typing import Final

from pydantic import Field, field_validator

from teleport.resources.faults import Fault, raise_faults
from teleport.resources.model import Metadata, Model, Resource, Spec
from teleport.resources.secret_ref import SecretRef
from teleport.resources.values import Switch, Text, Texts

__all__ = ["RoleMapping", "TrustedCluster", "TrustedClusterSpec", "cluster_name_faults"]

_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.-]{0,199}")
_PIN: Final = re.compile(r"sha256:[0-9a-f]{64}\Z")
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+):([0-9]{1,5})\Z")


class RoleMapping(Model):
    """What holders of some of the root's roles hold here."""

    remote: Text = Field(min_length=1, description="roles of the root: a name, a pattern with *, or ^an expression$")
    local: Texts = Field(default=(), description="roles here; $1 is what the first * or group of `remote` stands for")
    traits: Texts = Field(default=(), description="traits of the root's user that may be used here; none by default")


class TrustedClusterSpec(Spec):
    """How the root is reached and recognised, and what its users are here."""

    enabled: Switch = Field(default=False, description="whether its users are let in; no ends what they have open")
    web_proxy_addr: Text = Field(description="HOST:PORT of the root's proxy")
    tunnel_addr: Text = Field(default="", description="accepted; there is one port, that of web_proxy_addr")
    ca_pin: Texts = Field(default=(), description="pins of the root's authority, as `tctl status` prints them there")
    token: SecretRef | None = Field(default=None, description="where the token is kept with which this cluster joins")
    role_map: tuple[RoleMapping, ...] = Field(default=(), description="what the root's roles are here; all that match")

    @field_validator("token", mode="before")
    @classmethod
    def _by_reference(cls, value: object) -> object:
        if isinstance(value, str):
            hint = "write {file: /PATH} or {env: NAME}, and put it there"
            raise_faults([Fault((), "the token is a secret, which does not belong in a declaration", hint)])
        return value

    @field_validator("web_proxy_addr", "tunnel_addr")
    @classmethod
    def _address(cls, text: str) -> str:
        match = _ADDRESS.match(text)
        if text and (match is None or not 0 < int(match[2]) < 65536):
            raise_faults([Fault((), f"{text} is not HOST:PORT", "for example teleport.example.com:443")])
        return text

    @field_validator("ca_pin")
    @classmethod
    def _pins(cls, pins: tuple[str, ...]) -> tuple[str, ...]:
        raise_faults(
            Fault((index,), f"{pin} is not a pin", "sha256: and 64 hexadecimal digits, as `tctl status` prints it")
            for index, pin in enumerate(pins)
            if not _PIN.match(pin)
        )
        return pins

    @field_validator("role_map")
    @classmethod
    def _once(cls, entries: tuple[RoleMapping, ...]) -> tuple[RoleMapping, ...]:
        raise_faults(_repeated(entries))
        return entries


def _repeated(entries: tuple[RoleMapping, ...]) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        if entry.remote in seen:
            yield Fault((index, "remote"), f"a second entry for {entry.remote}", "write all its local roles in one")
        seen.add(entry.remote)


class TrustedCluster(Resource[TrustedClusterSpec]):
    kind = "trusted_cluster"
    aliases = ("trusted_clusters",)
    versions = ("v2",)
    summary = "a cluster whose users may come here, and what its roles are here"
    example = """\
kind: trusted_cluster
version: v2
metadata:
  name: root.example.com
spec:
  enabled: yes
  web_proxy_addr: root.example.com:443
  ca_pin: sha256:7e12c17c20d9cb504bbcb3f0236be3f446861f1396dcbb44425fe28ec1c108f1
  token:
    file: /var/lib/teleport/secrets/root-token
  role_map:
    - remote: "support-*"
      local: [visitor]
      traits: [logins]
"""

    @field_validator("metadata")
    @classmethod
    def _cluster_name(cls, metadata: Metadata) -> Metadata:
        raise_faults(cluster_name_faults(metadata.name))
        return metadata


def cluster_name_faults(name: str) -> Iterator[Fault]:
    """What keeps a text from being the name of a cluster."""
    if not _NAME.fullmatch(name):
        yield Fault(("name",), f"{name} is no name for a cluster", "letters, digits, - and . as in a domain")
