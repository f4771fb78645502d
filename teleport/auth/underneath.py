"""Finds what was written into the store past every door: records that differ from what everybody follows.

A writer that leaves no trace in the log of changes is seen by no replica, until the next start would put it in force.
Looking is a hash of the stored policy; only if that moved by itself is anything compared one by one.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from teleport.auth import keys
from teleport.resources.codec import decode, encode
from teleport.resources.kinds import KINDS, AnyResource
from teleport.store.base import ABSENT, Record, Store

__all__ = ["Underneath"]

_POLICY: Final = "policy/"


@dataclass(frozen=True)
class _Sight:
    generation: int
    hash: str


class Underneath:
    """Remembers how the stored policy looked at a generation of it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: _Sight | None = None

    async def moved(
        self, generation: int, shown: Mapping[tuple[str, str], AnyResource]
    ) -> tuple[frozenset[str], tuple[AnyResource, ...]]:
        """Keys whose records are not what is shown, and resources that nobody is shown; nothing is the rule."""
        records = (await self._store.list(_POLICY)).records
        current = await self._store.get(keys.GENERATION)
        if (current.revision if current is not None else ABSENT) != generation:
            return frozenset(), ()
        sight = _Sight(generation, await asyncio.to_thread(_hash, records))
        if self._seen == sight:
            return frozenset(), ()
        found = await asyncio.to_thread(_compared, records, shown)
        if not any(found):
            self._seen = sight
        return found


def _hash(records: Sequence[Record]) -> str:
    found = sha256()
    for record in records:
        found.update(f"{record.key}\0{len(record.value)}\0".encode())
        found.update(record.value)
    return found.hexdigest()


def _compared(
    records: Sequence[Record], shown: Mapping[tuple[str, str], AnyResource]
) -> tuple[frozenset[str], tuple[AnyResource, ...]]:
    expected = {keys.policy(*ref): one for ref, one in shown.items() if not KINDS[ref[0]].secret}
    stored = {record.key: record.value for record in records}
    moved = {key for key, one in expected.items() if stored.get(key) != encode(one)}
    unseen = []
    for key in sorted(stored.keys() - expected.keys()):
        try:
            unseen.append(decode(stored[key]))
        except (ValueError, KeyError, TypeError):
            continue
    return frozenset(moved), tuple(unseen)
