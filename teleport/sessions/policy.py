"""The policy as services see it: a replica's tables compiled into a snapshot whenever they change.

Emergency changes are part of it while their time lasts, by the clock of this very process: nobody has to be reached
for one to end. Also the fleet: the hosts that report themselves, with the labels that declared nodes give them.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from teleport.access.decide import Target
from teleport.access.inventory import declared_hosts, labelled, plain_hosts
from teleport.access.overlays import Laid, Overlay, lay
from teleport.access.reach import Fleet
from teleport.access.snapshot import Snapshot, compile_snapshot
from teleport.core.aio import Clock
from teleport.core.identity import Identity
from teleport.pki.authority import TrustedAuthority
from teleport.pki.foreign import Foreign
from teleport.resources.codec import decode
from teleport.resources.kinds import KINDS, AnyResource
from teleport.resources.node import Node
from teleport.store.replica import Decoder, Replica, Tables

__all__ = [
    "AUTHORITIES", "HOSTS", "LEAVES", "OVERLAYS", "ROOTS", "LiveFleet", "LivePolicy", "declared_tables", "decoders",
    "host_target", "policy_prefix",
]  # fmt: skip

log = logging.getLogger(__name__)

AUTHORITIES: Final = "ca/"
ROOTS: Final = "trust/root/"
"""Clusters that are trusted here, as they were when they were joined."""
LEAVES: Final = "trust/leaf/"
"""Clusters that have joined this one."""
HOSTS: Final = "presence/node/"
OVERLAYS: Final = "overlay/"
"""Where emergency changes are stored, apart from what is declared."""
_LOOK_SECONDS: Final = 1.0
"""Between looks at the clock while there are any: it may have jumped."""


def policy_prefix(kind: str) -> str:
    """Where resources of a kind are stored."""
    return f"policy/{kind}/"


def _decode_resource(_name: str, value: bytes) -> AnyResource:
    return decode(value)


def _decode_authority(_name: str, value: bytes) -> TrustedAuthority:
    return TrustedAuthority.decode(value)


def _decode_foreign(_name: str, value: bytes) -> Foreign:
    return Foreign.decode(value)


def decoders(*, hosts: bool) -> Mapping[str, Decoder]:
    """What a service's replica follows: the policy and the authorities, and the hosts where they are needed."""
    found: dict[str, Decoder] = {policy_prefix(kind): _decode_resource for kind in KINDS if not KINDS[kind].secret}
    found[AUTHORITIES] = _decode_authority
    found[OVERLAYS] = Overlay.decode
    found[ROOTS] = found[LEAVES] = _decode_foreign
    if hosts:
        found[HOSTS] = _decode_resource
    return found


class _PolicyTables:
    """A replica's tables as `access` wants them."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.revision = tables.revision
        self.unreadable = {
            key.removeprefix("policy/"): reason
            for key, reason in tables.unreadable.items()
            if key.startswith("policy/")
        }

    def of_kind(self, kind: str) -> Mapping[str, Any]:
        return self._tables.under(policy_prefix(kind))


def declared_tables(tables: Tables) -> "_PolicyTables":
    """What is declared, as `access` wants it: without emergency changes."""
    return _PolicyTables(tables)


class LivePolicy:
    """See `sessions.gate.Snapshots`; also the authorities that certificates are verified by."""

    def __init__(self, replica: Replica, *, clock: Clock) -> None:
        self._replica, self._clock = replica, clock
        self._listeners: list[Callable[[Snapshot], None]] = []
        self._ends: dict[str, float] = {}
        self._told: tuple[Overlay, ...] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._current = compile_snapshot(self._laid())
        self._told = self._current.overlays
        self._look_later()
        replica.subscribe(self._changed)

    @property
    def current(self) -> Snapshot:
        """Never with an emergency change that has ended, whether or not its listeners know already."""
        if self._current.overlays and self._is_over(self._current):
            self._compile()
        return self._current

    @property
    def overlays(self) -> tuple[Overlay, ...]:
        """Every emergency change that is stored, in force or not."""
        return tuple(self._replica.tables.under(OVERLAYS).values())

    def look(self) -> None:
        """Tell the listeners if an emergency change has ended, or begins to count, by the clock alone."""
        laid = self._laid()
        if [one.id for one in laid.overlays] != [one.id for one in self._told]:
            self._compile(laid)
            self._tell()

    def age(self) -> float:
        return self._replica.age()

    def subscribe(self, changed: Callable[[Snapshot], None]) -> Callable[[], None]:
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed)

    @property
    def authorities(self) -> tuple[TrustedAuthority, ...]:
        return tuple(self._replica.tables.under(AUTHORITIES).values())

    @property
    def roots(self) -> Mapping[str, Foreign]:
        """Clusters that were joined because they are trusted, by name: whose passages may be believed."""
        found: Mapping[str, Foreign] = self._replica.tables.under(ROOTS)
        return found

    @property
    def leaves(self) -> Mapping[str, Foreign]:
        """Clusters that have joined this one, by name: whose proxies may keep tunnels."""
        found: Mapping[str, Foreign] = self._replica.tables.under(LEAVES)
        return found

    def roles_of(self, user: str) -> tuple[str, ...]:
        """The names of a user's live roles, as audit events tell them; none for whom this cluster does not know."""
        bound = self.current.user(user)
        return bound.role_names if bound is not None else ()

    def roles_held(self, identity: Identity) -> tuple[str, ...]:
        """The same for whoever an identity names, also for somebody from another cluster."""
        bound = self.current.holder(identity)
        return bound.role_names if bound is not None else ()

    async def wait_for(self, revision: int) -> Snapshot:
        """The snapshot once it includes a revision."""
        await self._replica.wait_for(revision)
        return self.current

    def _changed(self, tables: Tables, touched: frozenset[str]) -> None:
        if not any(prefix.startswith(("policy/", AUTHORITIES, OVERLAYS, ROOTS, LEAVES)) for prefix in touched):
            return
        self._compile()
        for ref, reason in self._current.unreadable.items():
            log.error("policy revision %d: %s cannot be read, so it denies: %s", tables.revision, ref, reason)
        self._tell()
        self._look_later()

    def _laid(self) -> Laid:
        """What is declared, under the emergency changes that count now.

        How long one is left is reckoned when it is first seen, so that a clock that is put back prolongs nothing.
        """
        tables, now, ticks = self._replica.tables, self._clock.time(), self._clock.monotonic()
        known: Mapping[str, Overlay] = tables.under(OVERLAYS)
        self._ends = {
            one.id: min(self._ends.get(one.id, math.inf), ticks + one.expires - now) for one in known.values()
        }
        return lay(_PolicyTables(tables), [one for one in known.values() if self._ends[one.id] > ticks], now)

    def _is_over(self, snapshot: Snapshot) -> bool:
        ticks = self._clock.monotonic()
        return self._clock.time() >= snapshot.until or any(
            self._ends.get(one.id, -math.inf) <= ticks for one in snapshot.overlays
        )

    def _compile(self, laid: Laid | None = None) -> None:
        fresh = compile_snapshot(laid or self._laid(), previous=self._current)
        kept = {one.id for one in fresh.overlays}
        self._current = replace(fresh, ended=tuple(one for one in self._told if one.id not in kept))

    def _tell(self) -> None:
        self._told = self._current.overlays
        for listener in tuple(self._listeners):
            listener(self._current)

    def _look_later(self) -> None:
        """Be there when the next one ends, and before that now and then."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.overlays:
            wait = min(max(0.0, self._current.until - self._clock.time()), _LOOK_SECONDS)
            self._timer = asyncio.get_running_loop().call_later(wait, self._tick)

    def _tick(self) -> None:
        try:
            self.look()
        finally:
            self._look_later()


def host_target(snapshot: Snapshot, host: Node) -> Target:
    """A host that reported itself, as decisions see it: a declared node of its name gives labels that win."""
    return labelled(host, snapshot.nodes)


class LiveFleet:
    """The index of reporting hosts, and of those that are there by being declared; kept current."""

    def __init__(self, replica: Replica, policy: LivePolicy) -> None:
        self._replica, self._policy = replica, policy
        self._declared = policy.current.nodes
        self._seen: Mapping[str, Any] = {}
        self._listeners: list[Callable[[], None]] = []
        self.fleet = Fleet("node")
        self.plain: Mapping[str, Node] = {}
        """By id, the declared hosts that have no agent: whose SSH ends at the proxy."""
        self._refresh(everything=True)
        replica.subscribe(self._changed)
        policy.subscribe(self._policy_changed)

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call back when hosts came, went or have other labels; returns what ends the subscription.

        A policy's own listeners are called before the fleet has followed: who judges by it wants to judge again.
        """
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed)

    def _changed(self, _tables: Tables, touched: frozenset[str]) -> None:
        if HOSTS not in touched and policy_prefix("node") not in touched:
            return
        self._follow(self._policy.current)

    def _policy_changed(self, snapshot: Snapshot) -> None:
        """An emergency change of a host's labels ends without anything having been written."""
        if snapshot.nodes != self._declared:
            self._follow(snapshot)

    def _follow(self, snapshot: Snapshot) -> None:
        declared, version = snapshot.nodes, self.fleet.version
        self._refresh(everything=declared != self._declared)
        self._declared = declared
        if self.fleet.version != version:
            for listener in tuple(self._listeners):
                listener()

    def _refresh(self, *, everything: bool) -> None:
        hosts: Mapping[str, Node] = self._replica.tables.under(HOSTS)
        for uid in self._seen:
            if uid not in hosts:
                self.fleet.remove(uid)
        for uid, host in hosts.items():
            if everything or self._seen.get(uid) is not host:
                self.fleet.put(host_target(self._policy.current, host))
        self._seen = hosts
        self._refresh_plain()

    def _refresh_plain(self) -> None:
        if not self.plain and not any(node.is_plain for node in self._policy.current.nodes.values()):
            return
        taken = {name for uid, host in self._seen.items() for name in (uid, host.hostname)}
        plain = plain_hosts(self._policy.current.nodes, taken)
        for uid in self.plain:
            if uid not in plain and uid not in self._seen:
                self.fleet.remove(uid)
        for target in declared_hosts({node.hostname: node for node in plain.values()}):
            self.fleet.put(target)
        self.plain = plain
