"""What every store back end must do. A back end's test module subclasses `StoreContract` and opens stores."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teleport.store.base import ABSENT, Commit, Compacted, Delete, Mismatch, Operation, Put, Store
from tests.builders import FakeClock


async def take(store: Store, *, after: int, until: int) -> list[Commit]:
    """The non-empty commits a watcher sees after a revision, up to one."""
    seen: list[Commit] = []
    if after >= until:
        return seen
    async with aclosing(store.watch(after=after)) as commits:
        async for commit in commits:
            if commit.changes:
                seen.append(commit)
            if commit.revision >= until:
                break
    return seen


class StoreContract:
    """Tests that hold for every back end."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock(1_000_000.0)

    @pytest.fixture
    async def store(self, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
        store = await self.open(tmp_path, clock)
        yield store
        await store.close()

    async def open(self, directory: Path, clock: FakeClock, *, log_limit: int = 1000) -> Store:
        raise NotImplementedError

    async def expire(self, store: Store) -> None:
        """Have the back end look for expired records now."""
        raise NotImplementedError

    async def compact(self, store: Store, *, keep: int) -> None:
        raise NotImplementedError

    async def test_what_is_put_is_read_back_with_its_revision(self, store: Store) -> None:
        revision = await store.put("a", b"1")

        record = await store.get("a")

        assert record is not None
        assert (record.key, record.value, record.revision) == ("a", b"1", revision)

    async def test_a_key_that_was_never_put_does_not_exist(self, store: Store) -> None:
        assert await store.get("a") is None

    async def test_a_listing_holds_exactly_the_prefix_in_order(self, store: Store) -> None:
        for key in ("b/2", "a", "b/1", "b", "b0", "c", "b/é", "b/\U0001f600"):
            await store.put(key, b"")

        listing = await store.list("b/")

        assert [record.key for record in listing.records] == ["b/1", "b/2", "b/é", "b/\U0001f600"]
        assert listing.revision == 8

    async def test_an_expected_revision_that_is_not_there_changes_nothing(self, store: Store) -> None:
        revision = await store.put("a", b"1")

        with pytest.raises(Mismatch) as caught:
            await store.put("a", b"2", expected=revision + 5)

        record = await store.get("a")
        assert caught.value.actual == revision
        assert record is not None
        assert record.value == b"1"

    async def test_absent_means_there_must_be_none(self, store: Store) -> None:
        await store.put("a", b"1", expected=ABSENT)

        with pytest.raises(Mismatch):
            await store.put("a", b"2", expected=ABSENT)

    async def test_a_transaction_is_all_or_nothing(self, store: Store) -> None:
        first = await store.put("a", b"1")

        with pytest.raises(Mismatch):
            await store.txn([Put("b", b"2"), Delete("a"), Put("c", b"3", expected=first)])

        listing = await store.list()
        assert [record.key for record in listing.records] == ["a"]
        assert listing.revision == first

    async def test_a_transaction_has_one_revision(self, store: Store) -> None:
        revision = await store.txn([Put("a", b"1"), Put("b", b"2"), Delete("a")])

        commits = await take(store, after=0, until=revision)

        assert [commit.revision for commit in commits] == [revision]
        assert [(change.key, change.record is not None) for change in commits[0].changes] == [
            ("a", True),
            ("b", True),
            ("a", False),
        ]

    async def test_deleting_what_does_not_exist_writes_nothing(self, store: Store) -> None:
        revision = await store.put("a", b"1")

        assert await store.delete("nothing") == revision
        assert await store.txn([]) == revision

    async def test_a_deletion_expects_a_revision_too(self, store: Store) -> None:
        first = await store.put("a", b"1")
        second = await store.put("a", b"2")

        with pytest.raises(Mismatch) as caught:
            await store.delete("a", expected=first)

        assert (caught.value.key, caught.value.expected, caught.value.actual) == ("a", first, second)
        await store.delete("a", expected=second)
        assert await store.get("a") is None

    async def test_an_expired_record_is_gone_before_anything_sweeps(self, store: Store, clock: FakeClock) -> None:
        await store.put("a", b"1", expires=clock.time() + 10)

        clock.advance(10)

        assert await store.get("a") is None
        assert (await store.list()).records == ()
        await store.put("a", b"2", expected=ABSENT)

    async def test_watchers_see_an_expiry_as_a_deletion(self, store: Store, clock: FakeClock) -> None:
        revision = await store.put("a", b"1", expires=clock.time() + 10)

        clock.advance(11)
        await self.expire(store)

        commits = await take(store, after=revision, until=revision + 1)
        assert [(change.key, change.record) for change in commits[0].changes] == [("a", None)]

    async def test_two_tasks_writing_at_once_lose_nothing(self, store: Store) -> None:
        await store.put("counter", b"0")

        async def add(times: int) -> None:
            for _ in range(times):
                while True:
                    record = await store.get("counter")
                    assert record is not None
                    try:
                        await store.put("counter", b"%d" % (int(record.value) + 1), expected=record.revision)
                        break
                    except Mismatch:
                        continue

        await asyncio.gather(add(40), add(40))

        record = await store.get("counter")
        assert record is not None
        assert record.value == b"80"

    async def test_a_watcher_slower_than_the_writer_misses_and_repeats_nothing(self, store: Store) -> None:
        seen: list[int] = []

        async def watch() -> None:
            async with aclosing(store.watch(after=0)) as commits:
                async for commit in commits:
                    seen.extend([commit.revision] if commit.changes else [])
                    await asyncio.sleep(0)
                    if commit.revision >= 300:
                        return

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(store.put(f"k{i % 7}", b"%d" % i) for i in range(300)))
        await watching

        assert seen == list(range(1, 301))

    async def test_a_big_transaction_reaches_watchers_whole(self, store: Store) -> None:
        revision = await store.txn([Put(f"k{i}", b"") for i in range(1700)])
        await store.put("last", b"")

        commits = await take(store, after=0, until=revision + 1)

        assert [len(commit.changes) for commit in commits] == [1700, 1]

    async def test_a_watch_from_before_the_log_is_told_to_list(self, store: Store) -> None:
        for i in range(20):
            await store.put("a", b"%d" % i)

        await self.compact(store, keep=5)

        with pytest.raises(Compacted):
            await take(store, after=3, until=20)
        assert len(await take(store, after=15, until=20)) == 5

    async def test_a_watcher_that_the_log_has_outrun_is_told_to_list(self, store: Store) -> None:
        await store.put("a", b"0")
        async with aclosing(store.watch(after=0)) as commits:
            await anext(commits)
            for i in range(20):
                await store.put("a", b"%d" % i)

            await self.compact(store, keep=5)

            with pytest.raises(Compacted):
                await anext(commits)

    async def test_a_waiting_watcher_hears_of_a_commit_at_once(self, store: Store) -> None:
        async with aclosing(store.watch(after=0)) as commits:
            waiting = asyncio.ensure_future(anext(commits))
            await asyncio.sleep(0)

            revision = await store.put("a", b"1")

            async with asyncio.timeout(2):
                assert (await waiting).revision == revision

    async def test_a_watch_from_the_future_is_told_to_list(self, store: Store) -> None:
        with pytest.raises(Compacted):
            await take(store, after=99, until=100)

    async def test_everything_is_there_after_reopening(self, tmp_path: Path, clock: FakeClock) -> None:
        store = await self.open(tmp_path / "x", clock)
        revision = await store.txn([Put("a", b"1"), Put("b", b"2", expires=clock.time() + 100)])
        await store.close()

        again = await self.open(tmp_path / "x", clock)

        listing = await again.list()
        assert [(record.key, record.expires) for record in listing.records] == [("a", None), ("b", clock.time() + 100)]
        assert listing.revision == revision
        assert len(await take(again, after=0, until=revision)) == 1
        await again.close()

    async def test_a_backup_is_a_new_file_for_its_owner_alone(self, store: Store, tmp_path: Path) -> None:
        revision = await store.put("a", b"1")

        assert await store.backup(tmp_path / "copy.sqlite") == revision

        assert (tmp_path / "copy.sqlite").stat().st_mode & 0o777 == 0o600

    @given(
        script=st.lists(
            st.lists(
                st.tuples(st.sampled_from("abc"), st.sampled_from([None, b"1", b"2"]), st.booleans()),
                min_size=1,
                max_size=4,
            ),
            max_size=12,
        )
    )
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    async def test_folding_the_watch_gives_what_a_listing_shows(
        self, store: Store, script: list[list[tuple[str, bytes | None, bool]]]
    ) -> None:
        before = await store.txn([Delete(key) for key in "abc"])
        for group in script:
            operations: list[Operation] = [
                Delete(key) if value is None else Put(key, value, ABSENT if must_be_absent else None)
                for key, value, must_be_absent in group
            ]
            try:
                await store.txn(operations)
            except Mismatch:
                continue

        listing = await store.list()
        folded: dict[str, tuple[bytes, int]] = {}
        for commit in await take(store, after=before, until=listing.revision):
            for change in commit.changes:
                if change.record is None:
                    folded.pop(change.key, None)
                else:
                    folded[change.key] = (change.record.value, change.record.revision)

        assert folded == {record.key: (record.value, record.revision) for record in listing.records}
