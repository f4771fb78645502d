"""A store's file while nobody serves it: what is taken for one, what a copy holds, and what amending leaves."""

import sqlite3
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from teleport.core.errors import BadInput, Refused
from teleport.store import offline
from teleport.store.base import Compacted
from teleport.store.sqlite import DATABASE, SQLiteStore


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A store with three records, closed."""
    store = await SQLiteStore.open(tmp_path)
    for key in ("a/1", "a/2", "b/1"):
        await store.put(key, key.encode())
    await store.close()
    return tmp_path / DATABASE


async def test_looking_says_what_it_holds_and_changes_nothing(file: Path) -> None:
    before = file.read_bytes()

    contents = offline.look(file)

    assert (contents.revision, contents.records) == (3, 3)
    assert offline.values(file, "a/", limit=5) == [("a/1", b"a/1"), ("a/2", b"a/2")]
    assert file.read_bytes() == before


def test_what_is_no_store_is_told_apart(tmp_path: Path) -> None:
    text, other = tmp_path / "text", tmp_path / "other"
    text.write_text("nothing like a database, and long enough to be looked at " * 20)
    with closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE songs (name TEXT)")

    for path, why in ((tmp_path / "none", "is not a file"), (text, "not a database"), (other, "not a store of this")):
        with pytest.raises(BadInput, match=why):
            offline.look(path)


async def test_a_store_of_a_newer_program_is_left_to_it(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 99")

    with pytest.raises(Refused, match="schema version 99"):
        offline.look(file)


async def test_a_damaged_store_is_noticed(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[4096 : 4096 + 512] = bytes(512)
    file.write_bytes(data)

    with pytest.raises(BadInput, match=r"is damaged|malformed"):
        offline.look(file)


async def test_a_copy_holds_also_what_is_only_in_the_write_ahead_log(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path)
    await store.put("a", b"1")
    assert (tmp_path / f"{DATABASE}-wal").stat().st_size > 0

    offline.copy(tmp_path / DATABASE, tmp_path / "copy")

    assert offline.values(tmp_path / "copy", "a") == [("a", b"1")]
    await store.close()


async def test_amending_drops_writes_and_makes_every_watcher_list_anew(file: Path) -> None:
    revision = offline.amend(file, discard=("a/",), put={"c": b"new"})

    store = await SQLiteStore.open(file.parent)
    listing = await store.list()
    assert (listing.revision, [record.key for record in listing.records]) == (revision, ["b/1", "c"])
    with pytest.raises(Compacted):
        async with aclosing(store.watch(after=3)) as commits:
            await anext(commits)
    await store.close()
    assert b"a/2" not in file.read_bytes()
