"""Forgets a leaf whose declaration was taken back: who removes a remote cluster's file means the cluster."""

import asyncio
import logging

from teleport.audit.events import SERVICE, ClusterForgotten
from teleport.core.errors import TeleportError
from teleport.service.auth import AuthService

__all__ = ["forget_undeclared"]

log = logging.getLogger(__name__)


async def forget_undeclared(service: AuthService) -> None:
    """Until cancelled. A leaf that was never declared stays: it has no labels, and is removed with `tctl rm`."""
    policy, changed = service.auth.policy, asyncio.Event()
    policy.subscribe(lambda _: changed.set())
    declared = frozenset(policy.current.remotes)
    while True:
        await changed.wait()
        changed.clear()
        present = frozenset(policy.current.remotes)
        unread = {ref.partition("/")[2] for ref in policy.current.unreadable if ref.startswith("remote_cluster/")}
        for name in declared - present - unread:
            try:
                if await service.auth.leaves.forget(name):
                    log.info("the remote cluster %s was removed", name)
                    event = ClusterForgotten(user="trust", user_kind=SERVICE, name=name, role="leaf")
                    await service.auth.audit.append(event)
            except TeleportError as error:
                log.warning("the remote cluster %s was not removed: %s", name, error)
                present |= {name}
        declared = present | unread
