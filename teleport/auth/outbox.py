"""Audit events that belong to a transaction: committed with it, then moved to the log; none lost, none twice."""

import asyncio
import json
import logging
from collections.abc import Sequence

from teleport.audit.events import Event
from teleport.audit.log import AuditLog
from teleport.auth.keys import OUTBOX
from teleport.core.aio import Clock, utc
from teleport.core.errors import Unavailable
from teleport.store.base import Delete, Operation, Put, Store

__all__ = ["Outbox"]

log = logging.getLogger(__name__)


class Outbox:
    """`operations` go into the transaction; `flush` afterwards, and at start."""

    def __init__(self, store: Store, audit: AuditLog, *, clock: Clock) -> None:
        self._store, self._audit, self._clock = store, audit, clock
        self._flushing = asyncio.Lock()

    def operations(self, events: Sequence[Event]) -> list[Operation]:
        """What commits these events together with what they tell of, in their order."""
        now = utc(self._clock.time())
        return [
            Put(f"{OUTBOX}{position:06d}-{event.uid}", json.dumps({"time": now, **event.to_dict()}).encode())
            for position, event in enumerate(events)
        ]

    async def flush(self) -> None:
        """Move committed events to the log. What cannot be written stays for the next time."""
        async with self._flushing:
            records = sorted((await self._store.list(OUTBOX)).records, key=lambda record: (record.revision, record.key))
            if not records:
                return
            try:
                await self._audit.append_dicts([json.loads(record.value) for record in records])
                await self._store.txn([Delete(record.key) for record in records])
            except Unavailable as error:
                log.error("%d audit events wait to be written: %s", len(records), error)
