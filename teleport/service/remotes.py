"""Forgets a leaf whose declaration was taken back: who removes a remote cluster's file means the cluster."""

import asyncio
import json
import logging

from teleport.audit.events import SERVICE, ClusterForgotten
from teleport.auth import keys
from teleport.core.errors import TeleportError
from teleport.service.auth import AuthService

__all__ = ["forget_undeclared"]

log = logging.getLogger(__name__)


async def forget_undeclared(service: AuthService) -> None:
    """Until cancelled. A leaf that was never declared stays: it has no labels, and is removed with `tctl rm`."""
    policy, changed = service.auth.policy, asyncio.Event()
    policy.subscribe(lambda _: changed.set())
    changed.set()
    while True:
        await changed.wait()
        changed.clear()
        try:
            await _look(service)
        except TeleportError as error:
            log.warning("remote clusters could not be looked after: %s", error)


async def _look(service: AuthService) -> None:
    """Compare what is declared with what was, also before this program began to run."""
    snapshot = service.auth.policy.current
    record = await service.store.get(keys.DECLARED_REMOTES)
    before = frozenset(json.loads(record.value)) if record is not None else frozenset[str]()
    unread = {ref.partition("/")[2] for ref in snapshot.unreadable if ref.startswith("remote_cluster/")}
    present = frozenset(snapshot.remotes) | unread
    for name in before - present:
        if await service.auth.leaves.forget(name):
            log.info("the remote cluster %s was removed", name)
            await service.auth.audit.append(ClusterForgotten(user="trust", user_kind=SERVICE, name=name, role="leaf"))
    if present != before:
        await service.store.put(keys.DECLARED_REMOTES, json.dumps(sorted(present)).encode())
