"""Restoring: what is put in place, what is moved aside, and what is refused before anything is touched."""

import base64
import json
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from teleport.auth import keys
from teleport.core.errors import BadInput, Conflict, Refused, Unavailable
from teleport.service.auth import open_auth
from teleport.service.restore import Restored, restore
from teleport.store import offline
from teleport.store.lock import lock_directory
from teleport.store.sealed import SEALING_KEY_VARIABLE
from teleport.store.sqlite import DATABASE, SQLiteStore
from tests.builders import CHEAP, FakeClock

NOW = 1_700_000_000.0
OTHER_KEY = base64.b64encode(bytes(32)).decode()


@dataclass
class Backup:
    """A backup of the cluster acme, and the key of its secrets."""

    file: Path
    key: bytes


@pytest.fixture
async def backup(tmp_path: Path) -> Backup:
    async with AsyncExitStack() as stack:
        data = tmp_path / "original"
        service = await open_auth(data, "acme", stack, clock=FakeClock(), retention=0, hasher=CHEAP)
        await service.store.put("presence/node/x", b"{}")
        for key in (keys.overlay("role", "dev"), keys.overlay_witness("role", "dev")):
            await service.store.put(key, b"{}")
        await service.store.backup(tmp_path / "backup")
    return Backup(tmp_path / "backup", (data / "sealing.key").read_bytes())


def restored(
    backup: Backup, place: Path, *, discard: bool = False, force: bool = False, key: str | None = None
) -> Restored:
    environment = {SEALING_KEY_VARIABLE: key} if key is not None else {}
    return restore(backup.file, place, discard_secrets=discard, force=force, now=NOW, environment=environment)


async def opened(place: Path) -> dict[str, bytes]:
    """What auth finds there when it opens it."""
    async with AsyncExitStack() as stack:
        service = await open_auth(place, "", stack, clock=FakeClock(), retention=0, hasher=CHEAP)
        return {record.key: record.value for record in (await service.store.list()).records}


async def test_a_backup_becomes_a_private_store_that_auth_opens_with_its_key(backup: Backup, tmp_path: Path) -> None:
    place = tmp_path / "new"

    done = restored(backup, place)

    assert (done.cluster, done.aside, done.key_missing) == ("acme", (), True)
    assert (place / DATABASE).stat().st_mode & 0o777 == 0o600
    (place / "sealing.key").write_bytes(backup.key)
    (place / "sealing.key").chmod(0o600)
    found = await opened(place)
    assert found["cluster"] == b"acme"
    assert "secret/ca/user" in found
    assert "presence/node/x" not in found


async def test_the_audit_log_will_say_who_restored_what(backup: Backup, tmp_path: Path) -> None:
    restored(backup, tmp_path / "new")

    [(_, value)] = offline.values(tmp_path / "new" / DATABASE, "outbox/")
    event = json.loads(value)
    assert (event["event"], event["name"], event["time"][:4]) == ("backup.restore", str(backup.file), "2023")
    assert f"uid {os.getuid()}" in event["user"]


async def test_a_store_that_is_there_stays_unless_it_may_be_moved_aside(backup: Backup, tmp_path: Path) -> None:
    place = tmp_path / "new"
    store = await SQLiteStore.open(place)
    await store.put("mine", b"1")
    await store.close()

    with pytest.raises(Conflict, match="exists already"):
        restored(backup, place)
    done = restored(backup, place, force=True)

    assert [path.name for path in done.aside] == [f"{DATABASE}.before-2023-11-14T221320"]
    assert offline.values(done.aside[0], "mine") == [("mine", b"1")]


async def test_a_directory_that_a_process_has_is_left_to_it(backup: Backup, tmp_path: Path) -> None:
    with lock_directory(tmp_path / "new"), pytest.raises(Unavailable, match="in use by process"):
        restored(backup, tmp_path / "new", force=True)

    assert not (tmp_path / "new" / DATABASE).exists()


async def test_a_key_that_does_not_open_it_is_refused_before_anything_happens(backup: Backup, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="does not open this backup") as caught:
        restored(backup, tmp_path / "new", key=OTHER_KEY)

    assert "--discard-secrets" in caught.value.hint
    assert not (tmp_path / "new" / DATABASE).exists()


async def test_with_secrets_discarded_auth_starts_with_new_authorities_under_the_old_name(
    backup: Backup, tmp_path: Path
) -> None:
    place = tmp_path / "new"
    (place / "audit").mkdir(parents=True)
    (place / "audit" / "checkpoints.jsonl").write_text("signed with a key that is lost\n")

    done = restored(backup, place, discard=True)

    assert [path.name for path in done.aside] == ["checkpoints.jsonl.before-2023-11-14T221320"]
    assert offline.values(place / DATABASE, "secret/") == []
    found = await opened(place)
    assert found["cluster"] == b"acme"
    assert "secret/ca/user" in found


async def test_a_store_of_no_cluster_is_no_backup(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "empty")
    await store.close()

    with pytest.raises(BadInput, match="of no cluster"):
        restored(Backup(tmp_path / "empty" / DATABASE, b""), tmp_path / "new")


async def test_a_backup_brings_no_emergency_change_back(backup: Backup, tmp_path: Path) -> None:
    """One that was in force at that time may have been ended since."""
    place = tmp_path / "new"
    place.mkdir()
    (place / "sealing.key").write_bytes(backup.key)
    (place / "sealing.key").chmod(0o600)

    restored(backup, place)

    assert not [key for key in await opened(place) if "overlay" in key]
