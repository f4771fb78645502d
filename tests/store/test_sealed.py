"""Sealing: what lies in the file, and what happens when the key is another one."""

from pathlib import Path

import pytest

from teleport.core.errors import BadInput, Refused
from teleport.store.base import Store
from teleport.store.sealed import SEALING_KEY_FILE, SEALING_KEY_VARIABLE, SealedStore, Sealer, load_sealer
from teleport.store.sqlite import DATABASE, SQLiteStore
from tests.builders import FakeClock
from tests.store.conformance import StoreContract

KEY, OTHER = Sealer(bytes(32)), Sealer(bytes([1] * 32))


class TestSealed(StoreContract):
    """With everything sealed, it is a store like any other."""

    async def open(self, directory: Path, clock: FakeClock, *, log_limit: int = 1000) -> Store:
        plain = await SQLiteStore.open(directory, clock=clock, log_limit=log_limit)
        return SealedStore(plain, KEY, prefixes=("",))

    async def expire(self, store: Store) -> None:
        assert isinstance(store, SealedStore)
        assert isinstance(store._store, SQLiteStore)
        await store._store.sweep()

    async def compact(self, store: Store, *, keep: int) -> None:
        assert isinstance(store, SealedStore)
        assert isinstance(store._store, SQLiteStore)
        await store._store.compact(keep=keep)


async def test_a_secret_is_readable_through_the_store_and_not_in_the_file(tmp_path: Path) -> None:
    store = await SealedStore.open(await SQLiteStore.open(tmp_path), KEY)

    await store.put("secret/ca", b"PRIVATE KEY")
    await store.put("policy/role", b"public text")

    record = await store.get("secret/ca")
    assert record is not None
    assert record.value == b"PRIVATE KEY"
    assert (await store.list("secret/ca")).records[0].value == b"PRIVATE KEY"
    await store.close()
    raw = b"".join(path.read_bytes() for path in tmp_path.glob(f"{DATABASE}*"))
    assert b"PRIVATE KEY" not in raw
    assert b"public text" in raw


async def test_another_key_is_refused_at_start(tmp_path: Path) -> None:
    store = await SealedStore.open(await SQLiteStore.open(tmp_path), KEY)
    await store.put("secret/ca", b"x")
    await store.close()
    plain = await SQLiteStore.open(tmp_path)

    with pytest.raises(Refused, match="another key"):
        await SealedStore.open(plain, OTHER)

    await plain.close()


async def test_a_sealed_value_moved_to_another_key_does_not_open(tmp_path: Path) -> None:
    plain = await SQLiteStore.open(tmp_path)
    store = await SealedStore.open(plain, KEY)
    await store.put("secret/guest", b"x")
    record = await plain.get("secret/guest")
    assert record is not None

    await plain.put("secret/root", record.value)

    with pytest.raises(Refused, match="altered"):
        await store.get("secret/root")
    await store.close()


def test_the_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    first = load_sealer(tmp_path, {})
    second = load_sealer(tmp_path, {})

    assert first.key_id == second.key_id
    assert (tmp_path / SEALING_KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    load_sealer(tmp_path, {})
    (tmp_path / SEALING_KEY_FILE).chmod(0o644)

    with pytest.raises(Refused, match="readable by others"):
        load_sealer(tmp_path, {})


def test_the_environment_beats_the_file_and_must_be_a_key(tmp_path: Path) -> None:
    load_sealer(tmp_path, {SEALING_KEY_VARIABLE: "A" * 43 + "="})

    assert not (tmp_path / SEALING_KEY_FILE).exists()
    with pytest.raises(BadInput, match=SEALING_KEY_VARIABLE):
        load_sealer(tmp_path, {SEALING_KEY_VARIABLE: "short"})
