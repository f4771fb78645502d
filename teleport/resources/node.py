"""Node: an SSH host. A declared one gives labels to the host of that name, or describes a plain sshd."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final

from pydantic import Field, field_validator, model_validator

from teleport.resources.faults import Fault, raise_faults
from teleport.resources.model import Metadata, Model, Resource, Spec
from teleport.resources.values import Duration, LabelSet, Switch, Text, Texts, Timestamp

__all__ = ["CommandLabel", "Node", "NodeSpec", "host_name_faults"]

_ADDRESS: Final = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]\s/@]+)):([0-9]{1,5})")
_HOST_KEYS: Final = (
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa",
)  # fmt: skip


class CommandLabel(Model):
    """A label whose value is what a command prints."""

    period: Duration = Field(default=60.0, description="how often the command runs")
    command: Texts = Field(min_length=1, description="program and arguments; no shell")
    result: Text = Field(default="", description="what it printed last")


class AwsInfo(Model):
    """The EC2 instance that the host is."""

    account_id: Text = Field(default="", description="AWS account")
    instance_id: Text = Field(default="", description="instance")
    region: Text = Field(default="", description="region")
    vpc_id: Text = Field(default="", description="virtual private cloud")
    integration: Text = Field(default="", description="integration whose credentials open the connection")
    subnet_id: Text = Field(default="", description="subnet")


class CloudMetadata(Model):
    """Where the host runs."""

    aws: AwsInfo | None = Field(default=None, description="as an EC2 instance")


class GithubServer(Model):
    """An organisation of a Git hosting service, in the guise of a host."""

    organization: Text = Field(default="", description="name of the organisation")
    integration: Text = Field(default="", description="integration that reaches it")


class RotationSchedule(Model):
    """When the phases of a rotation begin."""

    update_clients: Timestamp = Field(default=None, description="begin of update_clients")
    update_servers: Timestamp = Field(default=None, description="begin of update_servers")
    standby: Timestamp = Field(default=None, description="begin of standby")


class RotationInfo(Model):
    """Accepted for the format: what a host says about the rotation of its certificates."""

    state: Text = Field(default="", description="standby or in_progress")
    phase: Text = Field(default="", description="phase")
    mode: Text = Field(default="", description="manual or auto")
    current_id: Text = Field(default="", description="the rotation's id")
    started: Timestamp = Field(default=None, description="when it began")
    last_rotated: Timestamp = Field(default=None, description="when the last one ended")
    grace_period: Duration = Field(default=0.0, description="how long both authorities are trusted")
    schedule: RotationSchedule | None = Field(default=None, description="when its phases begin")


class NodeSpec(Spec):
    """How the host is reached, and by what name."""

    addr: Text = Field(default="", description="HOST:PORT of a plain sshd")
    hostname: Text = Field(default="", description="the name people use; metadata.name if empty")
    host_keys: Texts = Field(
        default=(),
        description="public keys of a plain sshd; if there are none, it must show a certificate of the host authority",
    )
    public_addr: Text = Field(default="", description="HOST:PORT under which others reach it")
    public_addrs: Texts = Field(default=(), description="the same, several")
    cmd_labels: dict[str, CommandLabel] = Field(default_factory=dict, description="labels that commands print")
    immutable_labels: LabelSet = Field(default_factory=dict, description="labels fixed when the host joined")
    use_tunnel: Switch = Field(default=False, description="whether the host is reached through its own connection")
    proxy_ids: Texts = Field(default=(), description="proxies that the host is connected to")
    peer_addr: Text = Field(default="", description="where other proxies reach it")
    relay_group: Text = Field(default="", description="group of relays that the host is connected to")
    relay_ids: Texts = Field(default=(), description="relays that the host is connected to")
    rotation: RotationInfo | None = Field(default=None, description="rotation of the host's certificates")
    version: Text = Field(default="", description="version of the host's program")
    cloud_metadata: CloudMetadata | None = Field(default=None, description="where the host runs")
    github: GithubServer | None = Field(default=None, description="for hosts that stand for a Git hosting service")

    @field_validator("hostname")
    @classmethod
    def _host_name(cls, hostname: str) -> str:
        raise_faults(host_name_faults(hostname, ()))
        return hostname

    @field_validator("host_keys")
    @classmethod
    def _host_keys(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        raise_faults(_key_faults(lines))
        return lines


class Node(Resource[NodeSpec]):
    kind = "node"
    aliases = ("server", "nodes")
    versions = ("v2",)
    sub_kinds = ("teleport", "openssh", "openssh-ec2-ice")
    summary = "an SSH host"
    example = """\
kind: node
version: v2
metadata:
  name: web-1
  labels:
    env: prod
    team: web
"""

    spec: NodeSpec = Field(default_factory=NodeSpec, description="how the host is reached")

    @field_validator("metadata")
    @classmethod
    def _host_name(cls, metadata: Metadata) -> Metadata:
        raise_faults(host_name_faults(metadata.name, ("name",)))
        return metadata

    @model_validator(mode="after")
    def _is_reached(self) -> "Node":
        if self.sub_kind == "openssh":
            raise_faults(_address_faults(self.spec.addr))
        return self

    @property
    def hostname(self) -> str:
        return self.spec.hostname or self.metadata.name

    @property
    def is_plain(self) -> bool:
        """Whether the host has no agent: only OpenSSH's sshd, which proxies reach at `spec.addr`."""
        return self.sub_kind == "openssh"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of a plain sshd."""
        match = _ADDRESS.fullmatch(self.spec.addr)
        assert match is not None
        return match[1] or match[2], int(match[3])


def host_name_faults(name: str, path: tuple[str | int, ...]) -> list[Fault]:
    """Faults of a name that people will type after `ssh`."""
    bad = sorted({char for char in name if not (char.isalnum() or char in "-_.")})
    faults = [Fault(path, f"host name with {char!r}", "letters, digits and - _ . are fine") for char in bad]
    if name.startswith(("-", ".")):
        faults.append(Fault(path, f"host name {name} starts with {name[0]}"))
    return faults


def _address_faults(addr: str) -> Iterator[Fault]:
    match = _ADDRESS.fullmatch(addr)
    if not addr:
        yield Fault(("spec", "addr"), "a host with sub_kind openssh needs an address", "addr: HOST:PORT of its sshd")
    elif match is None or not 0 < int(match[3]) < 65536:
        yield Fault(("spec", "addr"), f"{addr!r} is not HOST:PORT", "such as db-1.internal:22")


def _key_faults(lines: tuple[str, ...]) -> Iterator[Fault]:
    for index, line in enumerate(lines):
        kind, _, rest = line.partition(" ")
        try:
            blob = base64.b64decode(rest.split(" ")[0], validate=True)
        except binascii.Error:
            blob = b""
        if kind not in _HOST_KEYS or blob[4 : 4 + len(kind)] != kind.encode():
            yield Fault((index,), "not a host's public key", "a line such as in /etc/ssh/ssh_host_ed25519_key.pub")
