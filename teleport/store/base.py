"""The contract of a store: compare-and-set, transactions, expiry, and a watch that misses and repeats nothing."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from teleport.core.errors import Unavailable

__all__ = [
    "ABSENT", "Change", "Commit", "Compacted", "Delete", "Listing", "Mismatch", "Operation", "Put", "Record", "Store",
    "StoreFull", "Watchable",
]  # fmt: skip

ABSENT = 0
"""As the expected revision: there must be no such key."""


@dataclass(frozen=True)
class Record:
    """A key as it stands. `revision` is that of the transaction that wrote it last."""

    key: str
    value: bytes
    revision: int
    expires: float | None = None
    """Seconds since the epoch; from then on the key does not exist."""


@dataclass(frozen=True)
class Put:
    """Write a key. `expected` is the revision it must have, ABSENT for none, None for any."""

    key: str
    value: bytes
    expected: int | None = None
    expires: float | None = None


@dataclass(frozen=True)
class Delete:
    """Remove a key, which need not exist unless `expected` says so."""

    key: str
    expected: int | None = None


Operation = Put | Delete


@dataclass(frozen=True)
class Change:
    """What happened to one key: its new record, or None where it was deleted or expired."""

    key: str
    record: Record | None


@dataclass(frozen=True)
class Commit:
    """One transaction, whole."""

    revision: int
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Listing:
    """Records in order of key, as they were at one revision."""

    revision: int
    records: tuple[Record, ...]


class Mismatch(Exception):
    """A key was not at the expected revision; nothing of the transaction happened."""

    def __init__(self, key: str, *, expected: int, actual: int) -> None:
        super().__init__(f"{key} is at revision {actual}, not {expected}")
        self.key, self.expected, self.actual = key, expected, actual


class Compacted(Exception):
    """The log no longer reaches back as far as asked: list, then watch again."""


class StoreFull(Unavailable):
    """The disk is full or not writable; nothing of the transaction happened."""


class Watchable(Protocol):
    """What can be listed and followed: a store, or the API in front of one."""

    async def list(self, prefix: str = "") -> Listing:
        """Every record whose key starts with a prefix."""
        ...

    def watch(self, *, after: int) -> AsyncGenerator[Commit]:
        """Every transaction after a revision, in order, none twice, none missing; waits for more at the end.

        Raises Compacted if the log no longer reaches back that far, also later when the reader is too slow.
        """
        ...


class Store(Watchable, Protocol):
    """A back end. Methods are coroutine-safe; every write is durable before it returns."""

    async def get(self, key: str) -> Record | None: ...

    async def txn(self, operations: Sequence[Operation]) -> int:
        """Apply all or nothing; the revision at which it happened.

        An empty transaction, and one that only deletes what does not exist, writes nothing and returns the
        current revision. Raises Mismatch, StoreFull.
        """
        ...

    async def put(
        self, key: str, value: bytes, *, expected: int | None = None, expires: float | None = None
    ) -> int: ...

    async def delete(self, key: str, *, expected: int | None = None) -> int: ...

    async def backup(self, path: Path) -> int:
        """Write a consistent copy of everything to a new file; the revision of the copy."""
        ...

    async def close(self) -> None: ...
