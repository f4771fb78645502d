"""The policy as services see it: a replica's tables compiled into a snapshot whenever they change.

Also the fleet: the hosts that report themselves, with the labels that declared nodes give them.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from teleport.access.decide import Target
from teleport.access.inventory import labelled
from teleport.access.reach import Fleet
from teleport.access.snapshot import Snapshot, compile_snapshot
from teleport.pki.authority import TrustedAuthority
from teleport.resources.codec import decode
from teleport.resources.kinds import KINDS, AnyResource
from teleport.resources.node import Node
from teleport.store.replica import Decoder, Replica, Tables

__all__ = ["AUTHORITIES", "HOSTS", "LiveFleet", "LivePolicy", "decoders", "host_target", "policy_prefix"]

log = logging.getLogger(__name__)

AUTHORITIES: Final = "ca/"
HOSTS: Final = "presence/node/"


def policy_prefix(kind: str) -> str:
    """Where resources of a kind are stored."""
    return f"policy/{kind}/"


def _decode_resource(_name: str, value: bytes) -> AnyResource:
    return decode(value)


def _decode_authority(_name: str, value: bytes) -> TrustedAuthority:
    return TrustedAuthority.decode(value)


def decoders(*, hosts: bool) -> Mapping[str, Decoder]:
    """What a service's replica follows: the policy and the authorities, and the hosts where they are needed."""
    found: dict[str, Decoder] = {policy_prefix(kind): _decode_resource for kind in KINDS if not KINDS[kind].secret}
    found[AUTHORITIES] = _decode_authority
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


class LivePolicy:
    """See `sessions.gate.Snapshots`; also the authorities that certificates are verified by."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._listeners: list[Callable[[Snapshot], None]] = []
        self.current = compile_snapshot(_PolicyTables(replica.tables))
        replica.subscribe(self._changed)

    def age(self) -> float:
        return self._replica.age()

    def subscribe(self, changed: Callable[[Snapshot], None]) -> Callable[[], None]:
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed)

    @property
    def authorities(self) -> tuple[TrustedAuthority, ...]:
        return tuple(self._replica.tables.under(AUTHORITIES).values())

    def roles_of(self, user: str) -> tuple[str, ...]:
        """The names of a user's live roles, as audit events tell them; none for whom this cluster does not know."""
        bound = self.current.user(user)
        return bound.role_names if bound is not None else ()

    async def wait_for(self, revision: int) -> Snapshot:
        """The snapshot once it includes a revision."""
        await self._replica.wait_for(revision)
        return self.current

    def _changed(self, tables: Tables, touched: frozenset[str]) -> None:
        if not any(prefix.startswith(("policy/", AUTHORITIES)) for prefix in touched):
            return
        self.current = compile_snapshot(_PolicyTables(tables), previous=self.current)
        for ref, reason in self.current.unreadable.items():
            log.error("policy revision %d: %s cannot be read, so it denies: %s", tables.revision, ref, reason)
        for listener in tuple(self._listeners):
            listener(self.current)


def host_target(snapshot: Snapshot, host: Node) -> Target:
    """A host that reported itself, as decisions see it: a declared node of its name gives labels that win."""
    return labelled(host, snapshot.nodes)


class LiveFleet:
    """The index of reporting hosts, kept current."""

    def __init__(self, replica: Replica, policy: LivePolicy) -> None:
        self._replica, self._policy = replica, policy
        self._declared = policy.current.nodes
        self._seen: Mapping[str, Any] = {}
        self._listeners: list[Callable[[], None]] = []
        self.fleet = Fleet("node")
        self._refresh(everything=True)
        replica.subscribe(self._changed)

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call back when hosts came, went or have other labels; returns what ends the subscription.

        A policy's own listeners are called before the fleet has followed: who judges by it wants to judge again.
        """
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed)

    def _changed(self, _tables: Tables, touched: frozenset[str]) -> None:
        if HOSTS not in touched and policy_prefix("node") not in touched:
            return
        declared, version = self._policy.current.nodes, self.fleet.version
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
