"""Policies for tests: a handful of resources, compiled, and changed while sessions live."""

from collections.abc import Callable, Mapping
from typing import Any

from teleport.access.snapshot import Snapshot, compile_snapshot
from teleport.resources.codec import from_dict
from teleport.resources.kinds import AnyResource
from teleport.resources.model import Origin

CLUSTER = "example.com"


def role(name: str, *, logins: str = "root", labels: Mapping[str, str] | None = None, **more: Any) -> AnyResource:
    """A role that allows logins on hosts; `deny` and `options` as in the file format."""
    allow = {"logins": logins.split(), "node_labels": dict(labels if labels is not None else {"*": "*"})}
    spec = {"allow": allow, **more}
    return from_dict({"kind": "role", "version": "v8", "metadata": {"name": name}, "spec": spec}).with_origin(
        Origin(file=f"roles/{name}.yaml"), ""
    )


def user(name: str = "ann", *, roles: str = "dev", uid: str = "", **metadata: Any) -> AnyResource:
    body = {"kind": "user", "version": "v2", "metadata": {"name": name, **metadata}, "spec": {"roles": roles.split()}}
    return from_dict(body).with_origin(Origin(), uid or f"u-{name}")


def lock(name: str = "freeze", *, message: str = "", expires: str | None = None, **target: str) -> AnyResource:
    spec: dict[str, Any] = {"target": target, "message": message}
    if expires is not None:
        spec["expires"] = expires
    return from_dict({"kind": "lock", "version": "v2", "metadata": {"name": name}, "spec": spec})


def node(name: str = "db-1", *, uid: str = "", **labels: str) -> AnyResource:
    """A host: declared under its name, or reporting itself under its uid."""
    metadata = {"name": uid or name, "labels": labels}
    return from_dict({"kind": "node", "version": "v2", "metadata": metadata, "spec": {"hostname": name}})


def setting(kind: str, **spec: Any) -> AnyResource:
    """One of the singletons: cluster_auth_preference, session_recording_config, cluster_networking_config."""
    names = {
        "cluster_auth_preference": "cluster-auth-preference",
        "session_recording_config": "session-recording-config",
        "cluster_networking_config": "cluster-networking-config",
    }
    return from_dict({"kind": kind, "version": "v2", "metadata": {"name": names[kind]}, "spec": spec})


class Tables:
    """Resources as a snapshot is compiled from."""

    def __init__(self, revision: int, resources: tuple[AnyResource, ...]) -> None:
        self.revision, self._resources = revision, resources
        self.unreadable: Mapping[str, str] = {}

    def of_kind(self, kind: str) -> Mapping[str, AnyResource]:
        return {one.name: one for one in self._resources if one.kind == kind}


class Policy:
    """What a gate follows (`sessions.gate.Snapshots`), installed by tests as a whole."""

    def __init__(self, *resources: AnyResource) -> None:
        self.current: Snapshot = compile_snapshot(Tables(1, resources))
        self.seconds_old = 0.0
        self._listeners: list[Callable[[Snapshot], None]] = []

    def age(self) -> float:
        return self.seconds_old

    def subscribe(self, changed: Callable[[Snapshot], None]) -> Callable[[], None]:
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed)

    def install(self, *resources: AnyResource) -> None:
        """This and nothing else is the policy from now on."""
        self.current = compile_snapshot(Tables(self.current.revision + 1, resources), previous=self.current)
        for listener in tuple(self._listeners):
            listener(self.current)
