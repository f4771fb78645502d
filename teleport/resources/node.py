"""Node: an SSH host. A declared one gives labels to the host of that name, or describes a plain sshd."""

from typing import Any

from pydantic import Field, field_validator

from teleport.resources.faults import Fault, raise_faults
from teleport.resources.model import Metadata, Model, Resource, Spec
from teleport.resources.values import Duration, Switch, Text, Texts

__all__ = ["CommandLabel", "Node", "NodeSpec"]


class CommandLabel(Model):
    """A label whose value is what a command prints."""

    period: Duration = Field(default=60.0, description="how often the command runs")
    command: Texts = Field(min_length=1, description="program and arguments; no shell")
    result: Text = Field(default="", description="what it printed last")


class AwsInfo(Model):
    account_id: Text = ""
    instance_id: Text = ""
    region: Text = ""
    vpc_id: Text = ""
    integration: Text = ""
    subnet_id: Text = ""


class CloudMetadata(Model):
    aws: AwsInfo | None = None


class RotationInfo(Model):
    """Accepted for the format."""

    state: Text = ""
    phase: Text = ""
    mode: Text = ""
    current_id: Text = ""
    started: Text = ""
    last_rotated: Text = ""
    grace_period: Text = ""
    schedule: dict[str, Any] | None = None


class NodeSpec(Spec):
    addr: Text = Field(default="", description="HOST:PORT of a plain sshd")
    hostname: Text = Field(default="", description="the name people use; default: metadata.name")
    public_addr: Text = ""
    public_addrs: Texts = ()
    cmd_labels: dict[str, CommandLabel] = Field(default_factory=dict, description="labels from commands")
    use_tunnel: Switch = False
    proxy_ids: Texts = ()
    rotation: RotationInfo | None = None
    version: Text = ""
    cloud_metadata: CloudMetadata | None = None


class Node(Resource[NodeSpec]):
    kind = "node"
    aliases = ("server", "nodes")
    versions = ("v2",)
    sub_kinds = ("teleport", "openssh", "openssh-ec2-ice")
    summary = "an SSH host"

    spec: NodeSpec = Field(default_factory=NodeSpec)

    @field_validator("metadata")
    @classmethod
    def _host_name(cls, metadata: Metadata) -> Metadata:
        raise_faults(host_name_faults(metadata.name, ("name",)))
        return metadata

    @property
    def hostname(self) -> str:
        return self.spec.hostname or self.metadata.name


def host_name_faults(name: str, path: tuple[str | int, ...]) -> list[Fault]:
    """Faults of a name that people will type after `ssh`."""
    bad = sorted({char for char in name if not (char.isalnum() or char in "-_.")})
    faults = [Fault(path, f"host name with {char!r}", "letters, digits and - _ . are fine") for char in bad]
    if name.startswith(("-", ".")):
        faults.append(Fault(path, f"host name {name} starts with {name[0]}"))
    return faults
