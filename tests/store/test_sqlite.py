"""The SQLite back end: the contract, and what only a file can suffer."""

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from teleport.core.errors import Refused, Unavailable
from teleport.store.base import Put, Store, StoreFull
from teleport.store.sqlite import DATABASE, SQLiteStore
from tests.builders import FakeClock
from tests.store.conformance import StoreContract


class TestSQLite(StoreContract):
    async def open(self, directory: Path, clock: FakeClock, *, log_limit: int = 1000) -> Store:
        return await SQLiteStore.open(directory, clock=clock, log_limit=log_limit)

    async def expire(self, store: Store) -> None:
        assert isinstance(store, SQLiteStore)
        await store.sweep()

    async def compact(self, store: Store, *, keep: int) -> None:
        assert isinstance(store, SQLiteStore)
        await store.compact(keep=keep)


async def test_a_second_process_is_told_who_has_the_directory(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path)

    with pytest.raises(Unavailable, match=f"in use by process {os.getpid()}"):
        await SQLiteStore.open(tmp_path)

    await store.close()


async def test_a_store_of_a_newer_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path)
    await store.close()
    with sqlite3.connect(tmp_path / DATABASE) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(Refused, match="schema version 99"):
        await SQLiteStore.open(tmp_path)


async def test_an_older_schema_is_brought_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from teleport.store import sqlite

    store = await SQLiteStore.open(tmp_path)
    await store.put("a", b"1")
    await store.close()
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*sqlite.MIGRATIONS, "CREATE TABLE later (x TEXT)"))

    store = await SQLiteStore.open(tmp_path)

    assert await store.get("a") is not None
    await store.close()
    with sqlite3.connect(tmp_path / DATABASE) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == 2
    db.close()


async def test_a_full_disk_fails_the_write_and_keeps_what_was_there(tmp_path: Path) -> None:
    def connect_small(path: Path) -> sqlite3.Connection:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA max_page_count = 40")
        return db

    store = await SQLiteStore.open(tmp_path, connect=connect_small)
    await store.put("a", b"1")

    with pytest.raises(StoreFull):
        await store.txn([Put("a", b"2"), *(Put(f"big{i}", bytes(20_000)) for i in range(40))])

    record = await store.get("a")
    assert record is not None
    assert record.value == b"1"
    await store.put("small", b"fits")
    await store.close()


async def test_a_file_size_limit_is_like_a_full_disk(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path)
    await store.put("a", b"1")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(StoreFull):
            await store.put("big", bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)

    await store.put("a", b"2")
    assert await store.get("big") is None
    await store.close()


async def test_a_caller_that_gives_up_does_not_undo_its_write(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path)
    writing = asyncio.create_task(store.put("a", b"1"))
    await asyncio.sleep(0)

    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    await store.put("b", b"2")
    assert await store.get("a") is not None
    await store.close()


_VICTIM = """
import asyncio, os, signal, sqlite3, sys
from pathlib import Path
from teleport.store.base import Put, Delete
from teleport.store import sqlite

steps, countdown = int(sys.argv[2]), [int(sys.argv[2])]

def connect(path):
    db = sqlite._connect(path)
    def step():
        countdown[0] -= 1
        if countdown[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
    db.set_progress_handler(step, 1)
    return db

async def main():
    store = await sqlite.SQLiteStore.open(Path(sys.argv[1]), connect=connect)
    for i in range(1, 4):
        number = b"%d" % i
        await store.txn([Put("left", number), Put("right", number), Put(f"k{i}", b""), Delete(f"k{i-1}")])
        os.write(1, b"%d\\n" % i)
    await store.close()
    os.write(1, b"done\\n")

asyncio.run(main())
"""


async def test_kill_9_at_any_step_loses_nothing_acknowledged_and_halves_nothing(tmp_path: Path) -> None:
    """Kills the process at the n-th step of SQLite's machine, for n spread over the whole run."""
    steps, finished = 40, False
    while not finished:
        directory = tmp_path / str(steps)
        result = subprocess.run(
            [sys.executable, "-c", _VICTIM, str(directory), str(steps)], capture_output=True, text=True, check=False
        )
        acknowledged = [line for line in result.stdout.split() if line != "done"]
        finished = "done" in result.stdout
        assert finished or result.returncode == -signal.SIGKILL, result.stderr

        store = await SQLiteStore.open(directory)
        values = {record.key: record.value for record in (await store.list()).records}
        await store.close()

        assert values.get("left") == values.get("right")
        reached = int(values.get("left", b"0"))
        assert reached >= len(acknowledged)
        assert [key for key in values if key.startswith("k")] == ([f"k{reached}"] if reached else [])
        steps += 97
