"""Which of several operators works: the living one with the highest number, as kopf's peering object tells.

kopf rests the watch of the others; who rests must not feed either, for what it knows grows old meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

__all__ = ["Peering", "outranked"]

_LIFETIME = 60
"""Seconds that a peer which does not say otherwise is believed to live after it was seen; as in kopf."""


class PeeringApi(Protocol):
    """See `KubernetesApi`."""

    async def ensure_peering(self, namespace: str, name: str) -> None: ...
    async def peers(self, namespace: str, name: str) -> Mapping[str, Any] | None: ...


@dataclass(frozen=True)
class Peering:
    """This operator among its peers."""

    api: PeeringApi
    name: str
    priority: int

    async def leads(self, namespace: str, now: float) -> bool:
        """Whether nobody who lives comes first. Raises KubernetesError if that cannot be known."""
        peers = await self.api.peers(namespace, self.name)
        if peers is None:
            await self.api.ensure_peering(namespace, self.name)
        return not outranked(peers or {}, self.priority, now)


def outranked(peers: Mapping[str, Any], priority: int, now: float) -> bool:
    """Whether a living peer has a higher priority; `now` in seconds."""
    return any(
        isinstance(one, Mapping) and _number(one.get("priority"), 0) > priority and _lives(one, now)
        for one in peers.values()
    )


def _lives(peer: Mapping[str, Any], now: float) -> bool:
    try:
        seen = datetime.fromisoformat(str(peer.get("lastseen")))
    except ValueError:
        return False
    seen = seen if seen.tzinfo else seen.replace(tzinfo=UTC)
    return seen + timedelta(seconds=_number(peer.get("lifetime"), _LIFETIME)) > datetime.fromtimestamp(now, UTC)


def _number(value: Any, otherwise: int) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return otherwise
