"""A replica: what it shows of its source, how it follows, and what it does while the source is away."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from teleport.core.aio import cancel_and_wait
from teleport.core.errors import Unavailable
from teleport.store.base import Commit, Compacted, Delete, Listing, Put
from teleport.store.replica import Replica, Tables
from teleport.store.sqlite import SQLiteStore
from tests.builders import FakeClock


def number(_name: str, value: bytes) -> int:
    return int(value)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    store = await SQLiteStore.open(tmp_path)
    yield store
    await store.close()


@asynccontextmanager
async def following(source: "SQLiteStore | Wayward", clock: FakeClock | None = None) -> AsyncIterator[Replica]:
    """A replica of the numbers under `n/` and `m/`, once it knows them."""
    replica = Replica(source, {"n/": number, "m/": number}, clock=clock or FakeClock())
    run = asyncio.create_task(replica.run())
    async with asyncio.timeout(5):
        await replica.wait_ready()
    yield replica
    await cancel_and_wait(run)


class Wayward:
    """A source that can be cut off, and that can claim that its log was compacted."""

    def __init__(self, store: SQLiteStore) -> None:
        self._store = store
        self.away = asyncio.Event()
        self.compacted = asyncio.Event()
        self.listed = 0

    async def list(self, prefix: str = "") -> Listing:
        if self.away.is_set():
            raise Unavailable("nobody answers")
        self.listed += 1
        return await self._store.list(prefix)

    async def watch(self, *, after: int) -> AsyncGenerator[Commit]:
        if self.compacted.is_set():
            self.compacted.clear()
            raise Compacted
        if self.away.is_set():
            raise Unavailable("nobody answers")
        async for commit in self._store.watch(after=after):
            yield commit
            if self.away.is_set() or self.compacted.is_set():
                break


async def test_what_was_there_before_is_shown_below_its_prefix(store: SQLiteStore) -> None:
    revision = await store.txn([Put("n/a", b"1"), Put("m/b", b"2"), Put("other", b"text")])

    async with following(store) as replica:
        tables = replica.tables

    assert (tables.revision, tables.under("n/"), tables.under("m/")) == (revision, {"a": 1}, {"b": 2})
    assert tables.under("other") == {}


async def test_a_transaction_becomes_visible_at_once_and_entire(store: SQLiteStore) -> None:
    await store.put("n/old", b"1")
    async with following(store) as replica:
        seen: list[tuple[Tables, frozenset[str]]] = []
        replica.subscribe(lambda tables, touched: seen.append((tables, touched)))

        await replica.wait_for(await store.txn([Delete("n/old"), Put("n/new", b"2")]))

    assert [(dict(tables.under("n/")), touched) for tables, touched in seen] == [({"new": 2}, frozenset({"n/"}))]


async def test_tables_that_somebody_holds_do_not_change(store: SQLiteStore) -> None:
    await store.put("n/a", b"1")
    async with following(store) as replica:
        held = replica.tables

        await replica.wait_for(await store.put("n/a", b"2"))

        assert (held.under("n/"), replica.tables.under("n/")) == ({"a": 1}, {"a": 2})
        assert held.under("m/") is replica.tables.under("m/")


async def test_what_cannot_be_read_is_kept_out_and_named_until_it_can(store: SQLiteStore) -> None:
    await store.put("n/a", b"1")
    async with following(store) as replica:
        broken = await replica.wait_for(await store.put("n/a", b"one"))
        mended = await replica.wait_for(await store.put("n/a", b"3"))

    assert (broken.under("n/"), list(broken.unreadable)) == ({}, ["n/a"])
    assert (mended.under("n/"), mended.unreadable) == ({"a": 3}, {})


async def test_a_compacted_log_is_survived_by_listing_anew(store: SQLiteStore) -> None:
    source, clock = Wayward(store), FakeClock()
    async with following(source, clock) as replica:
        source.compacted.set()
        await store.put("n/a", b"1")

        await moved_on(clock, lambda: source.listed == 2)

        assert replica.tables.under("n/") == {"a": 1}
        assert replica.failure == ""


async def test_while_the_source_is_away_the_tables_stay_and_grow_old_and_then_catch_up(store: SQLiteStore) -> None:
    source, clock = Wayward(store), FakeClock()
    async with following(source, clock) as replica:
        source.away.set()
        await replica.wait_for(await store.put("n/a", b"1"))
        await moved_on(clock, lambda: replica.failure != "")

        await store.put("n/a", b"2")
        clock.advance(100)

        assert (replica.failure, replica.tables.under("n/")) == ("nobody answers", {"a": 1})
        assert replica.age() >= 100
        source.away.clear()
        await moved_on(clock, lambda: replica.tables.under("n/") == {"a": 2})
        assert (replica.failure, replica.age() < 100) == ("", True)


async def test_a_source_that_is_lost_now_and_then_is_found_again_soon_each_time(store: SQLiteStore) -> None:
    source, clock = Wayward(store), FakeClock()
    async with following(source, clock) as replica:
        for times in range(1, 12):
            clock.advance(3600)
            source.compacted.set()
            await replica.wait_for(await store.put("n/a", b"%d" % times))
            lost = clock.time()

            await moved_on(clock, lambda listed=times + 1: source.listed == listed)  # type: ignore[misc]

            assert clock.time() - lost <= 2


async def test_a_source_that_was_away_for_long_is_found_soon_when_it_is_back(store: SQLiteStore) -> None:
    source, clock = Wayward(store), FakeClock()
    async with following(source, clock) as replica:
        source.away.set()
        await replica.wait_for(await store.put("n/a", b"1"))
        gone = clock.time()
        await moved_on(clock, lambda: clock.time() - gone > 600)
        await store.put("n/a", b"2")

        source.away.clear()
        back = clock.time()
        await moved_on(clock, lambda: replica.tables.under("n/") == {"a": 2})

    assert clock.time() - back <= 11


async def test_a_listener_that_has_left_hears_nothing_more(store: SQLiteStore) -> None:
    async with following(store) as replica:
        seen: list[Tables] = []
        leave = replica.subscribe(lambda tables, _: seen.append(tables))

        leave()
        await replica.wait_for(await store.put("n/a", b"1"))

    assert seen == []


async def moved_on(clock: FakeClock, holds: Callable[[], bool]) -> None:
    """Let pauses between attempts pass until something holds."""
    async with asyncio.timeout(5):
        while not holds():
            clock.advance(1)
            await asyncio.sleep(0.001)
