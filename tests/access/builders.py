"""Policy for tests: builders that name only what matters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from teleport.access.decide import AccessRequest, Decision, Target, decide
from teleport.access.snapshot import Snapshot, compile_snapshot
from teleport.core.identity import Identity
from teleport.resources.codec import from_dict
from teleport.resources.kinds import KINDS, AnyResource
from teleport.resources.load import load
from teleport.resources.lock import Lock
from teleport.resources.role import Role
from teleport.resources.user import User

NOW = 1_800_000_000.0
"""The moment of every test: January 2027."""
PAST, FUTURE = "2026-01-01T00:00:00Z", "2030-01-01T00:00:00Z"


def role(name: str = "dev", *, version: str = "v7", options: Any = None, **sides: Any) -> Role:
    """`allow` and `deny` as in a file."""
    spec = {**sides, **({"options": options} if options is not None else {})}
    made = resource("role", name, spec, version=version)
    assert isinstance(made, Role)
    return made


def rule(*logins: str, **labels: Any) -> dict[str, Any]:
    """One side of a role: logins, and labels of hosts."""
    return {"logins": list(logins), "node_labels": labels} if labels else {"logins": list(logins)}


def user(name: str = "ann", roles: Iterable[str] = ("dev",), **traits: Any) -> User:
    made = resource("user", name, {"roles": list(roles), "traits": traits}, version="v2")
    assert isinstance(made, User)
    return made


def lock(name: str = "stop", *, message: str = "", expires: str | None = None, **target: str) -> Lock:
    spec: dict[str, Any] = {"target": target, "message": message}
    if expires is not None:
        spec["expires"] = expires
    made = resource("lock", name, spec, version="v2")
    assert isinstance(made, Lock)
    return made


def setting(kind: str, **spec: Any) -> AnyResource:
    """One of the kinds of which there is one."""
    return resource(kind, KINDS[kind].singleton, spec, version="v2")


def resource(kind: str, name: str, spec: Mapping[str, Any], *, version: str) -> AnyResource:
    return from_dict({"kind": kind, "version": version, "metadata": {"name": name}, "spec": dict(spec)})


def from_yaml(text: str, *, file: str = "policy.yaml") -> list[AnyResource]:
    """Resources with the lines they stand on."""
    loaded = load(text.encode(), file=file, source="test")
    assert not loaded.problems, [str(problem) for problem in loaded.problems]
    return list(loaded.resources)


def host(name: str = "db-1", uid: str = "", /, **labels: str) -> Target:
    return Target("node", name, uid or f"uid-{name}", labels)


@dataclass(frozen=True)
class FixedTables:
    """See `snapshot.Tables`."""

    resources: tuple[AnyResource, ...]
    revision: int = 7
    unreadable: Mapping[str, str] = field(default_factory=dict)

    def of_kind(self, kind: str) -> Mapping[str, AnyResource]:
        return {one.name: one for one in self.resources if one.kind == kind}


def policy(*resources: AnyResource, unreadable: Iterable[str] = ()) -> Snapshot:
    return compile_snapshot(FixedTables(resources, unreadable=dict.fromkeys(unreadable, "newer than known")))


def identity(name: str = "ann", **fields: Any) -> Identity:
    return Identity(kind="user", name=name, uid="", cluster="example", **fields)


def ask(
    snapshot: Snapshot, login: str = "root", target: Target | None = None, *, who: Identity | None = None
) -> Decision:
    """May ann (or `who`) log in as root (or `login`) on a host?"""
    target = host() if target is None else target
    return decide(snapshot, AccessRequest(who or identity(), target, login), now=NOW)


def ann_with(*roles: Role, **traits: Any) -> Snapshot:
    """A policy in which ann holds these roles, in this order."""
    return policy(*roles, user("ann", [one.name for one in roles], **traits))
