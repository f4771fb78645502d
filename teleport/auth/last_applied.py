"""What a source of policy declared when it was applied last: how a repair is told from a change.

Kept sealed in the store, so that whoever can write to the store alone cannot take an object from its source or give
somebody another incarnation.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

from teleport.auth import keys
from teleport.core.errors import Refused
from teleport.resources.kinds import AnyResource
from teleport.store.base import Put, Store

__all__ = ["LastApplied", "declared_hash"]


def declared_hash(desired: Iterable[AnyResource]) -> str:
    """Of a whole set, whatever its order and wherever its parts stand."""
    texts = sorted(json.dumps(one.to_dict(), sort_keys=True, ensure_ascii=False) for one in desired)
    return sha256("\n".join(texts).encode()).hexdigest()


@dataclass(frozen=True)
class LastApplied:
    """By key of the store, the incarnations of what was declared."""

    declared: str = ""
    uids: Mapping[str, str] = field(default_factory=dict)

    def has(self, resource: AnyResource) -> bool:
        """Whether the source declared it, whoever is said to own it now."""
        return keys.policy(resource.kind, resource.name) in self.uids

    def uid(self, resource: AnyResource) -> str:
        return self.uids.get(keys.policy(resource.kind, resource.name), "")

    @classmethod
    async def read(cls, store: Store, source: str) -> Self:
        """Nothing at all where it was altered: then no more is known than before the first time."""
        try:
            record = await store.get(keys.last_applied(source))
        except Refused:
            return cls()
        if record is None:
            return cls()
        body = json.loads(record.value)
        return cls(body["declared"], body["uids"])

    def operation(self, source: str) -> Put:
        body = {"declared": self.declared, "uids": dict(self.uids)}
        return Put(keys.last_applied(source), json.dumps(body, separators=(",", ":")).encode())
