"""Presence: which services are alive, which hosts they offer, which policy they enforce. Never policy itself."""

from dataclasses import dataclass

from teleport.api.models import Heartbeat, ServiceStatus
from teleport.auth import keys
from teleport.core.aio import Clock
from teleport.core.identity import Identity
from teleport.resources.codec import decode, encode
from teleport.resources.model import Metadata
from teleport.resources.node import Node, NodeSpec
from teleport.store.base import Store

__all__ = ["Presence"]

_MAX_LABELS = 256


@dataclass
class _Seen:
    status: ServiceStatus
    until: float
    address: str = ""


class Presence:
    """Keeps heartbeats. Hosts go to the store, where the proxies see them; acknowledgements stay in memory."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._services: dict[tuple[str, tuple[str, ...]], _Seen] = {}

    async def beat(self, caller: Identity, heartbeat: Heartbeat) -> int:
        """Note that a service is alive. A service speaks only of itself: its host id is that of its certificate.

        Returns the revision of the store from which on a host is listed; 0 for other services.
        """
        now = self._clock.time()
        status = ServiceStatus(
            host_id=caller.uid, hostname=heartbeat.hostname, roles=caller.system_roles, version=heartbeat.version,
            revision=heartbeat.revision, last_seen=now, problems=heartbeat.problems,
        )  # fmt: skip
        address = heartbeat.address if caller.has_role("Proxy") else ""
        self._services[caller.uid, caller.system_roles] = _Seen(status, now + heartbeat.ttl, address)
        if heartbeat.labels is None or not caller.has_role("Node"):
            return 0
        node = _node(caller, heartbeat)
        key = keys.host(caller.uid)
        return await self._store.put(key, encode(node), expires=now + heartbeat.ttl)

    async def leave(self, caller: Identity) -> None:
        """A service has stopped in an orderly way: nobody waits until its last heartbeat runs out."""
        self._services.pop((caller.uid, caller.system_roles), None)
        if caller.has_role("Node"):
            await self._store.delete(keys.host(caller.uid))

    def proxy_address(self) -> str:
        """Where people reach a proxy that is alive; empty where none has told."""
        now = self._clock.time()
        alive = [seen for seen in self._services.values() if seen.address and seen.until > now]
        return max(alive, key=lambda seen: seen.status.last_seen).address if alive else ""

    def services(self) -> list[ServiceStatus]:
        """The services that are alive, by name."""
        now = self._clock.time()
        self._services = {key: seen for key, seen in self._services.items() if seen.until > now}
        return sorted((seen.status for seen in self._services.values()), key=lambda one: (one.hostname, one.host_id))

    async def hosts(self) -> list[Node]:
        return [
            one
            for record in (await self._store.list(keys.host(""))).records
            if isinstance(one := decode(record.value), Node)
        ]


def _node(caller: Identity, heartbeat: Heartbeat) -> Node:
    labels = dict(list((heartbeat.labels or {}).items())[:_MAX_LABELS])
    return Node(
        version="v2",
        sub_kind="teleport",
        metadata=Metadata(name=caller.uid, labels=labels),
        spec=NodeSpec(hostname=caller.name, version=heartbeat.version, use_tunnel=True),
    )
