"""The default back end: one SQLite file in WAL mode, served by one thread of its own.

Every call becomes a job for that thread. Writes that wait together are committed together, each in a savepoint,
so one that fails harms no other; callers hear of success only after the commit is on disk. Watchers read the
`log` table, so a slow one loses nothing and holds nothing up.
"""

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from teleport.core.aio import Clock, SystemClock, cancel_and_wait
from teleport.core.errors import Refused, Unavailable
from teleport.store.base import (
    ABSENT,
    Change,
    Commit,
    Compacted,
    Delete,
    Listing,
    Mismatch,
    Operation,
    Put,
    Record,
    StoreFull,
)
from teleport.store.lock import lock_directory

__all__ = ["DATABASE", "MIGRATIONS", "SQLiteStore", "migrate"]

DATABASE: Final = "store.sqlite"

MIGRATIONS: Final[Sequence[str]] = (
    """
    CREATE TABLE records (
        key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL, expires REAL
    ) WITHOUT ROWID;
    CREATE INDEX records_expiry ON records (expires) WHERE expires IS NOT NULL;
    CREATE TABLE log (
        revision INTEGER NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL, value BLOB, expires REAL,
        PRIMARY KEY (revision, position)
    ) WITHOUT ROWID;
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO counters VALUES ('revision', 0), ('compacted', 0);
    """,
)
"""Step n brings the schema from version n to n+1. Steps are only ever appended."""

_TICK: Final = 5.0
"""Seconds after which a quiet watch yields an empty commit, as a sign that it is current."""
_SWEEP: Final = 1.0
"""Seconds between looks for expired records."""
_READ_BATCH: Final = 500
"""Log rows a watcher takes at a time."""
_GROUP: Final = 256
"""Writes committed together at most."""

T = TypeVar("T")


@dataclass(frozen=True)
class _Job:
    """Something for the thread to do; without `run` it is told to stop."""

    run: Callable[[sqlite3.Connection], Any] | None
    future: "asyncio.Future[Any]"
    write: bool = False


class SQLiteStore:
    """See `teleport.store.base.Store`. Open with `await SQLiteStore.open(directory)`."""

    def __init__(self, directory: Path, *, clock: Clock, log_limit: int) -> None:
        self._path = directory / DATABASE
        self._clock = clock
        self._log_limit = log_limit
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._revision = 0
        self._news = asyncio.Event()
        self._closed = False
        self._lock = lock_directory(directory)
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._sweeper: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        clock: Clock | None = None,
        log_limit: int = 20_000,
        connect: Callable[[Path], sqlite3.Connection] | None = None,
    ) -> "SQLiteStore":
        """Open or create the store of a data directory.

        Raises Unavailable when another process has it, Refused when a newer program wrote it.
        """
        store = cls(directory, clock=clock or SystemClock(), log_limit=log_limit)
        try:
            opened: asyncio.Future[sqlite3.Connection] = store._loop.create_future()
            store._connect = connect or _connect
            store._opened = opened
            store._thread.start()
            await opened
        except sqlite3.Error as error:
            store._lock.close()
            raise Unavailable(
                f"{store._path} cannot be opened: {error}", hint="restore a backup of it: teleport restore FILE"
            ) from error
        except BaseException:
            store._lock.close()
            raise
        store._sweeper = asyncio.create_task(store._sweep_forever())
        return store

    _connect: Callable[[Path], sqlite3.Connection]
    _opened: "asyncio.Future[sqlite3.Connection]"

    async def get(self, key: str) -> Record | None:
        now = self._clock.time()
        row = await self._read(
            lambda db: db.execute(
                "SELECT key, value, revision, expires FROM records WHERE key = ? AND (expires IS NULL OR expires > ?)",
                (key, now),
            ).fetchone()
        )
        return Record(*row) if row else None

    async def list(self, prefix: str = "") -> Listing:
        now = self._clock.time()

        def job(db: sqlite3.Connection) -> Listing:
            rows = db.execute(
                "SELECT key, value, revision, expires FROM records"
                " WHERE key >= ? AND key < ? AND (expires IS NULL OR expires > ?) ORDER BY key",
                (prefix, _after_prefix(prefix), now),
            ).fetchall()
            return Listing(_counter(db, "revision"), tuple(Record(*row) for row in rows))

        return await self._read(job)

    async def put(self, key: str, value: bytes, *, expected: int | None = None, expires: float | None = None) -> int:
        return await self.txn([Put(key, value, expected, expires)])

    async def delete(self, key: str, *, expected: int | None = None) -> int:
        return await self.txn([Delete(key, expected)])

    async def txn(self, operations: Sequence[Operation]) -> int:
        operations, now = tuple(operations), self._clock.time()
        return await self._submit(lambda db: _apply(db, operations, now), write=True)

    async def watch(self, *, after: int) -> AsyncGenerator[Commit]:
        current = after
        while True:
            news = self._news
            position = current
            commits = await self._read(lambda db: _read_log(db, position))  # noqa: B023
            for commit in commits:
                current = commit.revision
                yield commit
            if commits:
                continue
            try:
                async with asyncio.timeout(_TICK):
                    await news.wait()
            except TimeoutError:
                yield Commit(current, ())

    async def sweep(self) -> int:
        """Remove expired records, which watchers see as deletions; the revision afterwards."""
        now = self._clock.time()
        due = await self._read(lambda db: _due(db, now))
        if due:
            await self._submit(lambda db: _expire(db, now), write=True)
        await self._submit(lambda db: _compact(db, self._log_limit), write=True)
        return self._revision

    async def compact(self, *, keep: int) -> None:
        """Forget all but the last `keep` revisions of the log."""
        await self._submit(lambda db: _compact(db, keep), write=True)

    async def backup(self, path: Path) -> int:
        return await self._read(partial(_copy, path=path))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._sweeper is not None:
            await cancel_and_wait(self._sweeper)
        self._jobs.put(_Job(None, self._loop.create_future()))
        await asyncio.to_thread(self._thread.join)
        self._lock.close()

    # -- the loop's side

    async def _read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        return await self._submit(job, write=False)

    async def _submit(self, job: Callable[[sqlite3.Connection], T], *, write: bool) -> T:
        if self._closed:
            raise Unavailable("the store is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(job, future, write))
        return await asyncio.shield(future)

    async def _sweep_forever(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP)
            with contextlib.suppress(StoreFull):
                await self.sweep()

    def _announce(self, revision: int) -> None:
        self._revision = revision
        news, self._news = self._news, asyncio.Event()
        news.set()

    # -- the thread's side

    def _work(self) -> None:
        try:
            db = self._connect(self._path)
            migrate(db)
            known = _counter(db, "revision")
        except BaseException as error:
            self._settle(self._opened, None, error)
            return
        self._revision = known
        self._settle(self._opened, db, None)
        self._serve(db, known)
        db.close()

    def _serve(self, db: sqlite3.Connection, known: int) -> None:
        """Take jobs until told to stop: reads one by one, writes that wait together as one group."""
        held: _Job | None = None
        while True:
            job, held = held or self._jobs.get(), None
            if job.run is None:
                return
            if not job.write:
                self._settle(job.future, *_attempt(job.run, db))
                continue
            group = [job]
            while len(group) < _GROUP and held is None and not self._jobs.empty():
                following = self._jobs.get()
                if following.write:
                    group.append(following)
                else:
                    held = following
            known = self._write(db, group, known)

    def _write(self, db: sqlite3.Connection, group: Sequence["_Job"], known: int) -> int:
        """Commit a group of writes; the revision afterwards."""
        outcomes: list[tuple[Any, BaseException | None]] = []
        try:
            db.execute("BEGIN IMMEDIATE")
            for job in group:
                assert job.run is not None
                db.execute("SAVEPOINT one")
                outcome = _attempt(job.run, db)
                if isinstance(outcome[1], sqlite3.Error):
                    raise outcome[1]
                if outcome[1] is not None:
                    db.execute("ROLLBACK TO one")
                db.execute("RELEASE one")
                outcomes.append(outcome)
            revision = _counter(db, "revision")
            db.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            failure = StoreFull(f"the store cannot be written: {error}", hint="free disk space, or mount it writable")
            for job in group:
                self._settle(job.future, None, failure)
            return known
        for job, (value, failed) in zip(group, outcomes, strict=True):
            self._settle(job.future, value, failed)
        if revision != known:
            self._call(self._announce, revision)
        return revision

    def _settle(self, future: "asyncio.Future[Any]", value: Any, error: BaseException | None) -> None:
        def settle() -> None:
            if not future.done():
                if error is not None:
                    future.set_exception(error)
                    future.exception()  # a caller that was cancelled does not ask any more
                else:
                    future.set_result(value)

        self._call(settle)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
            self._loop.call_soon_threadsafe(function, *args)


def _attempt(run: Callable[[sqlite3.Connection], Any], db: sqlite3.Connection) -> tuple[Any, BaseException | None]:
    try:
        return run(db), None
    except Exception as error:
        return None, error


def _connect(path: Path) -> sqlite3.Connection:
    fresh = not path.exists()
    if fresh:
        path.touch(mode=0o600)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA busy_timeout = 5000")
    return db


def migrate(db: sqlite3.Connection) -> None:
    """Bring a store to the present schema. Raises Refused for one that a newer program wrote."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise Refused(
            f"the store has schema version {version}; this program knows up to {len(MIGRATIONS)}",
            hint="start the newer program, or restore a backup made by this one",
        )
    for step in range(version, len(MIGRATIONS)):
        db.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[step]}; PRAGMA user_version = {step + 1}; COMMIT;")


def _copy(db: sqlite3.Connection, *, path: Path) -> int:
    """Everything in a new file, private from its first byte and durable; the revision of it. Raises Unavailable."""
    revision = _counter(db, "revision")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            db.execute("VACUUM INTO ?", (str(path),))
            os.fsync(descriptor)
        except (OSError, sqlite3.Error):
            path.unlink()
            raise
        finally:
            os.close(descriptor)
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise Unavailable(f"the backup {path} cannot be written: {why}") from None
    return revision


def _counter(db: sqlite3.Connection, name: str) -> int:
    value: int = db.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()[0]
    return value


def _apply(db: sqlite3.Connection, operations: Sequence[Operation], now: float) -> int:
    revision = _counter(db, "revision") + 1
    position = 0
    for operation in operations:
        row = db.execute("SELECT revision, expires FROM records WHERE key = ?", (operation.key,)).fetchone()
        alive = row is not None and (row[1] is None or row[1] > now)
        actual = row[0] if alive else ABSENT
        if operation.expected is not None and operation.expected != actual:
            raise Mismatch(operation.key, expected=operation.expected, actual=actual)
        if isinstance(operation, Put):
            db.execute(
                "INSERT INTO records VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE"
                " SET value = excluded.value, revision = excluded.revision, expires = excluded.expires",
                (operation.key, operation.value, revision, operation.expires),
            )
            entry: tuple[Any, ...] = (revision, position, operation.key, operation.value, operation.expires)
        elif row is not None:
            db.execute("DELETE FROM records WHERE key = ?", (operation.key,))
            entry = (revision, position, operation.key, None, None)
        else:
            continue
        db.execute("INSERT INTO log VALUES (?, ?, ?, ?, ?)", entry)
        position += 1
    if position == 0:
        return revision - 1
    db.execute("UPDATE counters SET value = ? WHERE name = 'revision'", (revision,))
    return revision


def _due(db: sqlite3.Connection, now: float) -> bool:
    return db.execute("SELECT 1 FROM records WHERE expires <= ? LIMIT 1", (now,)).fetchone() is not None


def _expire(db: sqlite3.Connection, now: float) -> None:
    keys = [row[0] for row in db.execute("SELECT key FROM records WHERE expires <= ? ORDER BY key", (now,))]
    _apply(db, [Delete(key) for key in keys], now)


def _compact(db: sqlite3.Connection, keep: int) -> None:
    limit = _counter(db, "revision") - keep
    if limit > _counter(db, "compacted"):
        db.execute("DELETE FROM log WHERE revision <= ?", (limit,))
        db.execute("UPDATE counters SET value = ? WHERE name = 'compacted'", (limit,))


def _read_log(db: sqlite3.Connection, after: int) -> list[Commit]:
    if after < _counter(db, "compacted") or after > _counter(db, "revision"):
        raise Compacted
    rows = db.execute(
        "SELECT revision, key, value, expires FROM log WHERE revision > ? ORDER BY revision, position LIMIT ?",
        (after, _READ_BATCH),
    ).fetchall()
    if len(rows) == _READ_BATCH:
        rows = _whole_commits(db, rows)
    commits: dict[int, list[Change]] = {}
    for revision, key, value, expires in rows:
        record = None if value is None else Record(key, value, revision, expires)
        commits.setdefault(revision, []).append(Change(key, record))
    return [Commit(revision, tuple(changes)) for revision, changes in commits.items()]


def _whole_commits(db: sqlite3.Connection, rows: list[Any]) -> list[Any]:
    """Rows cut at a transaction's end; where the first one alone is longer, all of that."""
    last = rows[-1][0]
    whole = [row for row in rows if row[0] != last]
    return (
        whole
        or db.execute(
            "SELECT revision, key, value, expires FROM log WHERE revision = ? ORDER BY position", (last,)
        ).fetchall()
    )


def _after_prefix(prefix: str) -> str:
    """A text that sorts after every key with this prefix."""
    return prefix + "\U0010ffff"
