"""The default back end: one SQLite file in WAL mode, served by one thread of its own.

Every call becomes a job for that thread. Writes that wait together are committed together, each in a savepoint,
so one that fails harms no other; callers hear of success only after the commit is on disk. Watchers read the
`log` table, so a slow one loses nothing and holds nothing up.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from teleport.core.aio import Clock, SystemClock, cancel_and_wait
from teleport.core.errors import Unavailable
from teleport.store import sql
from teleport.store.base import Commit, Delete, Listing, Operation, Put, Record, StoreFull
from teleport.store.lock import lock_directory

__all__ = ["DATABASE", "SQLiteStore"]

DATABASE: Final = "store.sqlite"

_TICK: Final = 5.0
"""Seconds after which a quiet watch yields an empty commit, as a sign that it is current."""
_SWEEP: Final = 1.0
"""Seconds between looks for expired records."""
_GROUP: Final = 256
"""Writes committed together at most."""

T = TypeVar("T")
Connect = Callable[[Path], sqlite3.Connection]


@dataclass(frozen=True)
class _Job:
    """Something for the thread to do; without `run` it is told to stop."""

    run: Callable[[sqlite3.Connection], Any] | None
    future: "asyncio.Future[Any]"
    write: bool = False


class SQLiteStore:
    """See `teleport.store.base.Store`. Open with `await SQLiteStore.open(directory)`."""

    def __init__(self, directory: Path, *, clock: Clock, log_limit: int, connect: Connect) -> None:
        self._path = directory / DATABASE
        self._clock = clock
        self._log_limit = log_limit
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
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
        connect: Connect = sql.connect,
    ) -> "SQLiteStore":
        """Open or create the store of a data directory.

        Raises Unavailable when another process has it, Refused when a newer program wrote it.
        """
        store = cls(directory, clock=clock or SystemClock(), log_limit=log_limit, connect=connect)
        store._thread.start()
        try:
            await store._opened
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
                (prefix, sql.after_prefix(prefix), now),
            ).fetchall()
            return Listing(sql.counter(db, "revision"), tuple(Record(*row) for row in rows))

        return await self._read(job)

    async def put(self, key: str, value: bytes, *, expected: int | None = None, expires: float | None = None) -> int:
        return await self.txn([Put(key, value, expected, expires)])

    async def delete(self, key: str, *, expected: int | None = None) -> int:
        return await self.txn([Delete(key, expected)])

    async def txn(self, operations: Sequence[Operation]) -> int:
        operations, now = tuple(operations), self._clock.time()
        return await self._submit(lambda db: sql.apply(db, operations, now), write=True)

    async def watch(self, *, after: int) -> AsyncGenerator[Commit]:
        current = after
        while True:
            news = self._news
            position = current
            commits = await self._read(lambda db: sql.read_log(db, position))  # noqa: B023
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

    async def sweep(self) -> None:
        """Remove expired records, which watchers see as deletions, and what the log need not keep."""
        now = self._clock.time()
        due = await self._read(lambda db: sql.due(db, now))
        if due:
            await self._submit(lambda db: sql.expire(db, now), write=True)
        await self._submit(lambda db: sql.compact(db, self._log_limit), write=True)

    async def compact(self, *, keep: int) -> None:
        """Forget all but the last `keep` revisions of the log."""
        await self._submit(lambda db: sql.compact(db, keep), write=True)

    async def backup(self, path: Path) -> int:
        return await self._read(partial(sql.copy, path=path))

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

    def _announce(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    # -- the thread's side

    def _work(self) -> None:
        try:
            db = self._connect(self._path)
            sql.migrate(db)
            known = sql.counter(db, "revision")
        except BaseException as error:
            self._settle(self._opened, None, error)
            return
        self._settle(self._opened, None, None)
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
            revision = sql.counter(db, "revision")
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
            self._call(self._announce)
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
