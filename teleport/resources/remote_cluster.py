"""Remote cluster: how a root sees a leaf that trusts it. Declared, it gives the leaf labels that roles select by."""

from pydantic import Field, field_validator

from teleport.resources.faults import raise_faults
from teleport.resources.model import Metadata, Resource, Spec
from teleport.resources.trusted_cluster import cluster_name_faults

__all__ = ["RemoteCluster", "RemoteClusterSpec"]


class RemoteClusterSpec(Spec):
    """Nothing: what a leaf is it says itself when it joins."""


class RemoteCluster(Resource[RemoteClusterSpec]):
    kind = "remote_cluster"
    aliases = ("rc", "remote_clusters")
    versions = ("v3",)
    summary = "labels of a cluster that trusts this one"
    example = """\
kind: remote_cluster
version: v3
metadata:
  name: leaf.example.com
  labels:
    env: prod
"""

    spec: RemoteClusterSpec = Field(default_factory=RemoteClusterSpec, description="nothing")

    @field_validator("metadata")
    @classmethod
    def _cluster_name(cls, metadata: Metadata) -> Metadata:
        raise_faults(cluster_name_faults(metadata.name))
        return metadata
