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
from teleport.store import sql
from teleport.store.base import Delete, Put, Store, StoreFull
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


async def test_a_backup_is_a_whole_store_as_it_was_at_its_revision(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "live")
    await store.put("a", b"before")
    (tmp_path / "copy").mkdir()

    revision = await store.backup(tmp_path / "copy" / DATABASE)
    await store.put("a", b"after")
    await store.close()

    copy = await SQLiteStore.open(tmp_path / "copy")
    listing = await copy.list()
    assert (listing.revision, [record.value for record in listing.records]) == (revision, [b"before"])
    await copy.close()


@pytest.mark.parametrize(("name", "why"), [("there", "File exists"), ("no/where", "No such file or directory")])
async def test_a_backup_that_cannot_be_written_is_told_and_harms_nothing(tmp_path: Path, name: str, why: str) -> None:
    store = await SQLiteStore.open(tmp_path / "live")
    (tmp_path / "there").write_text("precious")

    with pytest.raises(Unavailable, match=f"cannot be written: {why}"):
        await store.backup(tmp_path / name)

    assert (tmp_path / "there").read_text() == "precious"
    await store.put("a", b"1")
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
    store = await SQLiteStore.open(tmp_path)
    await store.put("a", b"1")
    await store.close()
    monkeypatch.setattr(sql, "MIGRATIONS", (*sql.MIGRATIONS, "CREATE TABLE later (x TEXT)"))

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


_VICTIMS = """
import asyncio, os, signal, sys
from pathlib import Path
from teleport.store.base import Put, Delete
from teleport.store import sql, sqlite

def fragile(path, countdown):
    db = sql.connect(path)
    def step():
        nonlocal countdown
        countdown -= 1
        if countdown <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
    db.set_progress_handler(step, 1)
    return db

async def work(directory, countdown):
    store = await sqlite.SQLiteStore.open(directory, connect=lambda path: fragile(path, countdown))
    for i in range(1, 4):
        number = b"%d" % i
        await store.txn([Put("left", number), Put("right", number), Put(f"k{i}", b""), Delete(f"k{i-1}")])
        (directory / "acknowledged").write_bytes(number)
    await store.close()

for line in sys.stdin:
    directory, countdown = line.split()
    if (victim := os.fork()) == 0:
        asyncio.run(work(Path(directory), int(countdown)))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1]), flush=True)
"""
"""For each line, a directory and a number: a process that dies at that step of SQLite's machine; its exit status."""


async def whole(directory: Path) -> int:
    """How many of the victim's transactions a store has, none of them halved."""
    store = await SQLiteStore.open(directory)
    values = {record.key: record.value for record in (await store.list()).records}
    await store.close()
    assert values.get("left") == values.get("right")
    reached = int(values.get("left", b"0"))
    assert [key for key in values if key.startswith("k")] == ([f"k{reached}"] if reached else [])
    return reached


async def test_kill_9_at_any_step_loses_nothing_acknowledged_and_halves_nothing(tmp_path: Path) -> None:
    """Steps spread over the whole run, from the making of the tables to the last commit."""
    step, status = 40, -signal.SIGKILL
    with subprocess.Popen(
        [sys.executable, "-c", _VICTIMS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as victims:
        assert victims.stdin is not None
        assert victims.stdout is not None
        while status == -signal.SIGKILL:
            directory = tmp_path / str(step)
            directory.mkdir()
            victims.stdin.write(f"{directory} {step}\n")
            victims.stdin.flush()
            status = int(victims.stdout.readline())

            acknowledged = directory / "acknowledged"
            reached = await whole(directory)

            assert reached >= (int(acknowledged.read_bytes() or b"0") if acknowledged.exists() else 0)
            step += 61
        assert status == 0
        victims.stdin.close()


async def test_a_log_cut_at_any_write_opens_at_a_whole_transaction(tmp_path: Path) -> None:
    """What a kill in the middle of a commit leaves: the write-ahead log up to some write."""
    source, wal = tmp_path / "source", f"{DATABASE}-wal"
    store = await SQLiteStore.open(source)
    for i in range(1, 4):
        number = b"%d" % i
        await store.txn([Put("left", number), Put("right", number), Put(f"k{i}", b""), Delete(f"k{i - 1}")])
    main, log = (source / DATABASE).read_bytes(), (source / wal).read_bytes()
    await store.close()
    reached = []

    for length in (*range(0, len(log), 2060), len(log)):
        directory = tmp_path / str(length)
        directory.mkdir()
        (directory / DATABASE).write_bytes(main)
        (directory / wal).write_bytes(log[:length])
        reached.append(await whole(directory))

    assert reached == sorted(reached)
    assert set(reached) == {0, 1, 2, 3}
