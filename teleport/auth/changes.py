"""Which audit event tells of a change of a resource."""

from typing import Any, Literal

from teleport.audit import events as e
from teleport.resources.kinds import AnyResource
from teleport.resources.lock import Lock
from teleport.resources.token import Token
from teleport.resources.trusted_cluster import TrustedCluster
from teleport.resources.user import User

__all__ = ["change_event"]

Action = Literal["create", "update", "delete"]

_EVENTS: dict[str, dict[Action, type[e.ResourceChanged]]] = {
    "role": {"create": e.RoleCreated, "update": e.RoleUpdated, "delete": e.RoleDeleted},
    "user": {"create": e.UserCreated, "update": e.UserUpdated, "delete": e.UserDeleted},
    "lock": {"create": e.LockCreated, "update": e.LockCreated, "delete": e.LockDeleted},
    "token": {"create": e.TokenCreated, "update": e.TokenCreated, "delete": e.TokenDeleted},
    "node": dict.fromkeys(("create", "update", "delete"), e.NodeChanged),
    "trusted_cluster": {
        "create": e.TrustedClusterChanged,
        "update": e.TrustedClusterChanged,
        "delete": e.TrustedClusterDeleted,
    },
    "remote_cluster": dict.fromkeys(("create", "update", "delete"), e.RemoteClusterChanged),
    "access_test": dict.fromkeys(("create", "update", "delete"), e.AccessTestChanged),
    "access_invariant": dict.fromkeys(("create", "update", "delete"), e.AccessInvariantChanged),
    "cluster_auth_preference": dict.fromkeys(("create", "update", "delete"), e.AuthPreferenceUpdated),
    "cluster_networking_config": dict.fromkeys(("create", "update", "delete"), e.NetworkingConfigUpdated),
    "session_recording_config": dict.fromkeys(("create", "update", "delete"), e.RecordingConfigUpdated),
}


def change_event(action: str, resource: AnyResource, actor: e.Actor, *, source: str) -> e.Event:
    """The event for one change; the actor is whoever, or whichever source, made it."""
    cls = _EVENTS[resource.kind][action]  # type: ignore[index]
    more: dict[str, Any] = {}
    if action != "delete":
        if isinstance(resource, User):
            more["roles"] = resource.spec.roles
        elif isinstance(resource, Lock):
            more |= {"target": dict(resource.spec.target.set_fields()), "message": resource.spec.message}
        elif isinstance(resource, Token):
            more |= {"roles": resource.spec.roles, "join_method": resource.spec.join_method}
        elif isinstance(resource, TrustedCluster):
            more["enabled"] = resource.spec.enabled
    if "action" in cls.__dataclass_fields__:
        more["action"] = action
    name = f"{resource.name[:2]}…" if resource.secret else resource.name
    return cls(
        **actor.fields(),
        name=name,
        source=source,
        file=resource.origin.file,
        line=resource.origin.line,
        commit=resource.origin.commit,
        expires=resource.metadata.expires or "",
        **more,
    )
