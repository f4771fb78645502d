"""Presence: which services are alive, which hosts they offer, which policy they enforce. Never policy itself.

Who is alive is a matter of time that has passed, not of the time of day: neither a clock that is set nor an auth
service that was away makes hosts disappear, or keeps those that are gone.
"""

import contextlib
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import ValidationError

from teleport.access.readers import Reader
from teleport.api.models import Heartbeat, ProxyAt, ReadsFormat, ServiceStatus
from teleport.auth import keys
from teleport.core.aio import Clock
from teleport.core.errors import BadInput
from teleport.core.identity import Identity
from teleport.resources.codec import decode, encode
from teleport.resources.model import Metadata
from teleport.resources.node import Node, NodeSpec
from teleport.resources.reading import Reads, own_reads
from teleport.store.base import Delete, Store, StoreFull

__all__ = ["Presence"]

_MAX_LABELS: Final = 256
_FIRST_SECONDS: Final = 30.0
"""How long hosts that an earlier run knew have until they must have told us of themselves."""
_LOOK_SECONDS: Final = 1.0
_MAX_FORMATS: Final = 64
"""Programs of so many versions are told apart; whoever joined may claim any number."""


@dataclass
class _Seen:
    status: ServiceStatus
    until: float
    """By the monotonic clock."""
    address: str = ""
    tunnel_address: str = ""
    clusters: frozenset[tuple[str, str]] = frozenset()
    """Leaves and roots with which it has a tunnel."""


class Presence:
    """Keeps heartbeats. Hosts go to the store, where the proxies see them; acknowledgements stay in memory."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._services: dict[tuple[str, tuple[str, ...]], _Seen] = {}
        self._hosts: dict[str, float] = {}
        """Until when each listed host is taken to be alive, by the monotonic clock."""
        self._told: dict[str, tuple[bytes, int]] = {}
        """What each listed host told of itself, and the revision since when it is written so."""
        own = own_reads()
        self._own, self._formats = own.format, {own.format: own}

    async def resume(self) -> None:
        """Go on with the hosts that were listed when auth stopped. Call once, before anything else."""
        until = self._clock.monotonic() + _FIRST_SECONDS
        self._hosts = {host.name: until for host in await self.hosts()}

    async def run(self) -> None:
        """Take hosts off the list that have been silent for too long, until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            with contextlib.suppress(StoreFull):
                await self._forget_silent()

    async def _forget_silent(self) -> None:
        now = self._clock.monotonic()
        silent = {uid: until for uid, until in self._hosts.items() if until <= now}
        for uid in silent:
            self._told.pop(uid, None)
        if silent:
            await self._store.txn([Delete(keys.host(uid)) for uid in silent])
        for uid in silent:
            if self._hosts.get(uid) == silent[uid]:
                del self._hosts[uid]

    async def beat(self, caller: Identity, heartbeat: Heartbeat) -> int:
        """Note that a service is alive. A service speaks only of itself: its host id is that of its certificate.

        Returns the revision of the store from which on a host is listed; 0 for other services.
        """
        until = self._clock.monotonic() + heartbeat.ttl
        status = ServiceStatus(
            host_id=caller.uid, hostname=heartbeat.hostname, roles=caller.system_roles, version=heartbeat.version,
            revision=heartbeat.revision, last_seen=self._clock.time(), problems=heartbeat.problems,
            format=self._format(heartbeat),
        )  # fmt: skip
        address = heartbeat.address if caller.has_role("Proxy") else ""
        tunnel = heartbeat.tunnel_address if address else ""
        clusters = (("leaf", heartbeat.leaves), ("root", heartbeat.roots)) if caller.has_role("Proxy") else ()
        others = frozenset((kind, name) for kind, names in clusters for name in names)
        self._services[caller.uid, caller.system_roles] = _Seen(status, until, address, tunnel or address, others)
        if heartbeat.labels is None or not caller.has_role("Node"):
            return 0
        node = _node(caller, heartbeat)
        self._hosts[caller.uid], written = until, encode(node)
        told, revision = self._told.get(caller.uid, (b"", 0))
        if told != written:
            revision = await self._store.put(keys.host(caller.uid), written)
            self._told[caller.uid] = written, revision
        return revision

    def _format(self, heartbeat: Heartbeat) -> str:
        """What the service reads; by the name that its fields give, whatever it claims."""
        if heartbeat.reads is None:
            return heartbeat.format
        reads = Reads.of(heartbeat.reads.versions, heartbeat.reads.fields)
        used = {self._own, *(seen.status.format for seen in self._services.values())}
        self._formats = {name: one for name, one in self._formats.items() if name in used}
        if len(self._formats) < _MAX_FORMATS:
            self._formats[reads.format] = reads
        return reads.format

    def foreign_readers(self) -> list[Reader]:
        """The services that do not read what this program reads, or do not say."""
        return [
            Reader(one.hostname, one.version, self._formats.get(one.format))
            for one in self.services()
            if one.format != self._own
        ]

    def formats(self) -> dict[str, ReadsFormat]:
        """What connected services read, and this program."""
        used = {self._own, *(one.format for one in self.services())}
        return {
            name: ReadsFormat(versions=one.versions, fields=tuple(sorted(one.fields)))
            for name, one in self._formats.items()
            if name in used
        }

    async def leave(self, caller: Identity) -> None:
        """A service has stopped in an orderly way: nobody waits until its last heartbeat runs out."""
        self._services.pop((caller.uid, caller.system_roles), None)
        if caller.has_role("Node"):
            await self.forget(caller.uid)

    async def forget(self, uid: str) -> None:
        """Take a host off the list at once."""
        self._hosts.pop(uid, None)
        self._told.pop(uid, None)
        await self._store.delete(keys.host(uid))

    def proxy_address(self) -> str:
        """Where people reach a proxy that is alive; empty where none has told."""
        now = self._clock.monotonic()
        alive = [seen for seen in self._services.values() if seen.address and seen.until > now]
        return max(alive, key=lambda seen: seen.until).address if alive else ""

    def reaches(self, kind: Literal["leaf", "root"], cluster: str) -> bool:
        """Whether a proxy that is alive has a tunnel with another cluster."""
        now = self._clock.monotonic()
        return any((kind, cluster) in seen.clusters for seen in self._services.values() if seen.until > now)

    def proxies(self) -> tuple[ProxyAt, ...]:
        """The proxies that are alive, and where agents reach each."""
        now = self._clock.monotonic()
        alive = [one for one in self._services.values() if one.tunnel_address and one.until > now]
        return tuple(ProxyAt(host_id=one.status.host_id, address=one.tunnel_address) for one in alive)

    def services(self) -> list[ServiceStatus]:
        """The services that are alive, by name."""
        now = self._clock.monotonic()
        self._services = {key: seen for key, seen in self._services.items() if seen.until > now}
        return sorted((seen.status for seen in self._services.values()), key=lambda one: (one.hostname, one.host_id))

    async def hosts(self) -> list[Node]:
        return [
            one
            for record in (await self._store.list(keys.host(""))).records
            if isinstance(one := decode(record.value), Node)
        ]


def _node(caller: Identity, heartbeat: Heartbeat) -> Node:
    """The host as it reports itself. Raises BadInput for labels and words that no resource may have."""
    labels = dict(list((heartbeat.labels or {}).items())[:_MAX_LABELS])
    try:
        return Node(
            version="v2",
            sub_kind="teleport",
            metadata=Metadata(name=caller.uid, labels=labels),
            spec=NodeSpec(hostname=caller.name, version=heartbeat.version, use_tunnel=True),
        )
    except ValidationError as error:
        raise BadInput(f"what the host says of itself cannot be kept: {error.errors()[0]['msg']}") from None
