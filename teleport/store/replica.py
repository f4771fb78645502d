"""Follows a store, or the API in front of one, as typed immutable tables that are swapped as a whole.

A transaction becomes visible at once and entire. What cannot be decoded is kept out and named in `unreadable`.
While the source is away the tables stay as they are and `age` grows; whoever decides by them looks at that.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from teleport.core.aio import Backoff, Clock
from teleport.core.errors import TeleportError
from teleport.store.base import Change, Commit, Compacted, Record, Watchable

__all__ = ["Decoder", "Replica", "Tables"]

log = logging.getLogger(__name__)

_STABLE: Final = 10.0
"""Seconds of following after which a loss is a new one."""
_LONGEST_PAUSE: Final = 10.0
"""Between attempts: rights that were withdrawn while the source was away must not live on for long once it is back."""

Decoder = Callable[[str, bytes], Any]
"""From the key below the prefix and the stored bytes to a value; raises ValueError for what it cannot read."""


@dataclass(frozen=True)
class Tables:
    """Every followed record at one revision: prefix to the rest of the key to its value."""

    revision: int = 0
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Whole key to the reason."""

    def under(self, prefix: str) -> Mapping[str, Any]:
        return self.values.get(prefix, {})


Listener = Callable[[Tables, frozenset[str]], None]


class Replica:
    """Run `run()` as a task; `wait_ready()` before the first use of `tables`."""

    def __init__(self, source: Watchable, decoders: Mapping[str, Decoder], *, clock: Clock) -> None:
        self._source, self._decoders, self._clock = source, decoders, clock
        self._listeners: list[Listener] = []
        self._ready = asyncio.Event()
        self._moved = asyncio.Condition()
        self._contact = float("-inf")
        self.tables = Tables()
        self.failure = ""
        """Why the source cannot be followed at the moment."""

    def age(self) -> float:
        """Seconds since the source was last heard of."""
        return self._clock.monotonic() - self._contact

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call back after each swap with the tables and the prefixes that changed; returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def wait_ready(self) -> None:
        await self._ready.wait()

    async def wait_for(self, revision: int) -> Tables:
        """The tables once they have reached a revision."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.tables.revision >= revision)
        return self.tables

    async def run(self) -> None:
        """Follow the source until cancelled; what fails is tried again, ever more slowly only if it keeps failing."""
        while True:
            async for _ in Backoff(limit=_LONGEST_PAUSE).attempts(self._clock):
                if await self._was_followed():
                    break

    async def _was_followed(self) -> bool:
        """Whether the source was there for a while, before it was lost."""
        began = self._clock.monotonic()
        try:
            await self._follow()
        except Compacted:
            log.info("the change log was compacted; listing again")
        except (TeleportError, OSError) as error:
            self.failure = str(error)
            log.warning("the policy cannot be followed: %s", error)
        return self._contact - began >= _STABLE

    async def _follow(self) -> None:
        listing = await self._source.list()
        await self._swap(self._build(listing.revision, listing.records), frozenset(self._decoders))
        self._ready.set()
        self.failure = ""
        async with aclosing(self._source.watch(after=listing.revision)) as commits:
            async for commit in commits:
                self._contact = self._clock.monotonic()
                if commit.changes or commit.revision > self.tables.revision:
                    await self._swap(*self._apply(commit))

    def _build(self, revision: int, records: Iterable[Record]) -> Tables:
        values: dict[str, dict[str, Any]] = {prefix: {} for prefix in self._decoders}
        unreadable: dict[str, str] = {}
        for record in records:
            self._put(values, unreadable, Change(record.key, record))
        return Tables(revision, values, unreadable)

    def _apply(self, commit: Commit) -> tuple[Tables, frozenset[str]]:
        touched = frozenset(
            prefix for prefix in (self._prefix(change.key) for change in commit.changes) if prefix is not None
        )
        values = {prefix: dict(table) if prefix in touched else table for prefix, table in self.tables.values.items()}
        unreadable = dict(self.tables.unreadable)
        for change in commit.changes:
            self._put(values, unreadable, change)  # type: ignore[arg-type]
        return Tables(commit.revision, values, unreadable), touched

    def _put(self, values: dict[str, dict[str, Any]], unreadable: dict[str, str], change: Change) -> None:
        prefix = self._prefix(change.key)
        if prefix is None:
            return
        name = change.key.removeprefix(prefix)
        unreadable.pop(change.key, None)
        values[prefix].pop(name, None)
        if change.record is None:
            return
        try:
            values[prefix][name] = self._decoders[prefix](name, change.record.value)
        except (ValueError, KeyError, TypeError) as error:
            unreadable[change.key] = str(error)
            log.error("%s cannot be read: %s", change.key, error)

    def _prefix(self, key: str) -> str | None:
        return next((prefix for prefix in self._decoders if key.startswith(prefix)), None)

    async def _swap(self, tables: Tables, touched: frozenset[str]) -> None:
        self._contact = self._clock.monotonic()
        self.tables = tables
        for listener in tuple(self._listeners):
            listener(tables, touched)
        async with self._moved:
            self._moved.notify_all()
