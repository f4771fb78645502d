"""Locks on hosts that the auth service writes itself: on one whose identity was copied, on one that was removed."""

from teleport.audit.events import SERVICE, Actor, GenerationMismatch
from teleport.audit.log import AuditLog
from teleport.auth.hosts import Presence
from teleport.auth.policy import Applied, PolicyWriter, Wanted
from teleport.core.identity import Identity
from teleport.resources.lock import Lock
from teleport.resources.node import Node

__all__ = ["remove_host", "shut_out_copied"]

_AUTH = Actor("auth", SERVICE)


def _host_lock(name: str, uid: str, message: str, *, by: str) -> Lock:
    """A lock without an end on one host."""
    spec = {"target": {"server_id": uid}, "message": message, "created_by": by}
    return Lock.model_validate({"version": "v2", "metadata": {"name": f"{name}-{uid}"}, "spec": spec})


async def shut_out_copied(writer: PolicyWriter, audit: AuditLog, host: Identity) -> None:
    """Lock a host whose identity exists twice, and write down that it was noticed."""
    message = f"the identity of {host.name} exists twice; join it again"
    await writer.shut_out(_host_lock("copied-host", host.uid, message, by=_AUTH.user), _AUTH)
    await audit.append(
        GenerationMismatch(
            outcome="W", user=host.name, user_kind=SERVICE, host_id=host.uid, node_name=host.name, success=False
        )
    )


async def remove_host(writer: PolicyWriter, presence: Presence, host: Node, actor: Actor) -> Applied:
    """Take a host that joined out of the cluster: it is locked for good, and off the list. Raises as any write."""
    message = f"{host.hostname} was removed from the cluster"
    lock = _host_lock("removed-host", host.name, message, by=actor.user)
    applied = await writer.put([Wanted(lock, None)], actor)
    await presence.forget(host.name)
    return applied
