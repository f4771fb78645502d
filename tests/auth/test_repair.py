"""What is changed underneath a source is put back and told of; what is changed through the doors is no drift."""

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from teleport.auth import keys
from teleport.auth.policy import Applied
from teleport.core.errors import Invalid
from teleport.resources.codec import decode, encode
from teleport.resources.load import load
from teleport.resources.model import Origin
from teleport.store import offline
from teleport.store.sqlite import DATABASE
from tests.auth.cluster import PASSWORD, Cluster, role, user

POLICY = (role("dev"), user("ann"))
DEV, ANN = keys.policy("role", "dev"), keys.policy("user", "ann")


async def rewrite(cluster: Cluster, key: str, **changes: Any) -> None:
    """A write into the store that its watchers see: other spec, other incarnation, other owner."""
    record = await cluster.auth.store.get(key)
    assert record is not None
    body = json.loads(record.value)
    body["resource"]["spec"] |= changes.pop("spec", {})
    await cluster.auth.policy.wait_for(await cluster.auth.store.put(key, json.dumps(body | changes).encode()))


async def repaired(cluster: Cluster) -> Applied:
    """A pass of the source, which declares what it did."""
    applied = await cluster.declare(*POLICY)
    assert applied.repaired == bool(applied.changed)
    return applied


def drift(cluster: Cluster) -> list[dict[str, Any]]:
    return cluster.events("policy.drift")


async def test_an_owned_object_that_was_changed_is_as_declared_again(cluster: Cluster) -> None:
    await cluster.declare(*POLICY)
    await rewrite(cluster, DEV, spec={"allow": {"logins": ["root", "mallory"]}})

    applied = await repaired(cluster)

    assert applied.updated == ("role/dev",)
    assert cluster.auth.policy.current.roles["dev"].source.spec.allow.logins == ("root",)
    (told,) = drift(cluster)
    assert (told["source"], told["updated"], told["user"]) == ("folder", ["role/dev"], "source:folder")


async def test_what_vanished_is_back_and_a_person_keeps_password_and_certificates(cluster: Cluster) -> None:
    await cluster.declare(*POLICY)
    totp = await cluster.enrol()
    before = cluster.auth.policy.current.users["ann"].uid
    await cluster.auth.policy.wait_for(await cluster.auth.store.delete(ANN))

    await repaired(cluster)

    assert cluster.auth.policy.current.users["ann"].uid == before
    assert drift(cluster)[0]["created"] == ["user/ann"]
    cluster.clock.advance(30)
    assert (await cluster.login(totp, password=PASSWORD)).user == "ann"


async def test_what_was_added_in_the_name_of_the_source_goes(cluster: Cluster) -> None:
    await cluster.declare(*POLICY)
    (extra,) = load(user("mallory", "editor").encode(), file="policy.yaml", source="folder").resources
    key = keys.policy("user", "mallory")
    await cluster.auth.policy.wait_for(await cluster.auth.store.put(key, encode(extra)))

    await repaired(cluster)

    assert set(cluster.auth.policy.current.users) == {"ann"}
    assert drift(cluster)[0]["deleted"] == ["user/mallory"]


@pytest.mark.parametrize("change", [{"origin": {}}, {"origin": {"source": "another"}}, {"uid": "u-of-mallory"}])
async def test_an_object_is_not_taken_from_its_source_nor_given_to_somebody_else(
    cluster: Cluster, change: dict[str, Any]
) -> None:
    await cluster.declare(*POLICY)
    before = cluster.auth.policy.current.users["ann"]
    await rewrite(cluster, ANN, **change)

    await repaired(cluster)

    after = cluster.auth.policy.current.users["ann"]
    assert (after.uid, after.origin) == (before.uid, before.origin)


async def test_garbage_in_its_place_is_replaced(cluster: Cluster) -> None:
    await cluster.declare(*POLICY)
    await cluster.auth.policy.wait_for(await cluster.auth.store.put(DEV, b"{not json"))
    assert "role/dev" in cluster.auth.policy.current.unreadable

    await repaired(cluster)

    assert cluster.auth.policy.current.unreadable == {}


async def test_what_was_written_without_a_trace_in_the_log_is_put_back_before_anybody_follows_it(
    cluster: Cluster,
) -> None:
    """As by another program with the file at hand: no replica sees it, until a restart would."""
    await cluster.declare(*POLICY)
    await cluster.declare(*POLICY)
    record = await cluster.auth.store.get(ANN)
    assert record is not None
    altered = record.value.replace(b'"roles":"dev"', b'"roles":["dev","editor"]').replace(
        b'"roles":["dev"]', b'"roles":["dev","editor"]'
    )
    assert altered != record.value
    plant(cluster, ANN, altered)
    plant(cluster, keys.policy("role", "extra"), encode(_extra()))

    applied = await repaired(cluster)

    assert (applied.updated, applied.deleted) == (("user/ann",), ("role/extra",))
    found = await cluster.auth.store.get(ANN)
    assert found is not None
    assert decode(found.value).to_dict() == decode(record.value).to_dict()
    assert await cluster.auth.store.get(keys.policy("role", "extra")) is None
    assert (await repaired(cluster)).changed == 0


def _extra() -> Any:
    (extra,) = load(role("extra").encode(), file="policy.yaml", source="folder").resources
    return extra.with_origin(Origin("folder", "policy.yaml", 1), "u-1")


def plant(cluster: Cluster, key: str, value: bytes) -> None:
    """As who has the file, and neither the program nor the sealing key."""
    with contextlib.closing(sqlite3.connect(cluster.directory / DATABASE, timeout=10)) as db, db:
        db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, 1, NULL)", (key, value))


async def test_an_older_policy_that_came_back_with_a_backup_gives_way_to_the_present_one(tmp_path: Path) -> None:
    async with Cluster.open(tmp_path / "data") as cluster:
        await cluster.declare(role("dev"), user("ann"), user("left"))
        await cluster.auth.store.backup(tmp_path / "backup")
        await cluster.declare(*POLICY)
    for path in (tmp_path / "data").glob(f"{DATABASE}*"):
        path.unlink()
    offline.copy(tmp_path / "backup", tmp_path / "data" / DATABASE)

    async with Cluster.open(tmp_path / "data") as cluster:
        assert "left" in cluster.auth.policy.current.users
        applied = await cluster.declare(*POLICY)

        assert applied.deleted == ("user/left",)
        assert "left" not in cluster.auth.policy.current.users


async def test_who_cannot_seal_cannot_rewrite_what_was_applied(cluster: Cluster) -> None:
    await cluster.declare(*POLICY)
    plant(cluster, keys.last_applied("folder"), b'{"declared": "", "uids": {}}')
    await rewrite(cluster, DEV, origin={})

    with pytest.raises(Invalid, match="belongs to the source api"):
        await cluster.declare(*POLICY)


@pytest.mark.parametrize("traceless", [True, False])
async def test_somebody_planted_with_anothers_identity_goes_and_the_other_keeps_the_password(
    cluster: Cluster, traceless: bool
) -> None:
    await cluster.declare(*POLICY)
    await cluster.declare(*POLICY)
    totp = await cluster.enrol()
    (extra,) = load(user("mallory").encode(), file="policy.yaml", source="folder").resources
    body = encode(extra.with_origin(extra.origin, cluster.auth.policy.current.users["ann"].uid))
    if traceless:
        plant(cluster, keys.policy("user", "mallory"), body)
    else:
        await cluster.auth.policy.wait_for(await cluster.auth.store.put(keys.policy("user", "mallory"), body))

    applied = await repaired(cluster)

    assert applied.deleted == ("user/mallory",)
    cluster.clock.advance(30)
    assert (await cluster.login(totp)).user == "ann"


async def test_what_another_source_came_to_own_is_not_taken_back(cluster: Cluster) -> None:
    await cluster.declare(role("dev"), role("shared"))
    await cluster.declare(role("dev"))
    await cluster.declare(role("shared"), source="second")

    with pytest.raises(Invalid, match="role/shared belongs to the source second"):
        await cluster.declare(role("dev"), role("shared"))


# -- what is no drift


async def test_a_change_that_is_declared_is_no_drift(cluster: Cluster) -> None:
    await cluster.declare(*POLICY)

    applied = await cluster.declare(role("dev", logins="admin"), user("ann"))
    again = await cluster.declare(role("dev", logins="admin"), user("ann"))

    assert (applied.repaired, again.changed, drift(cluster)) == (False, 0, [])


async def test_what_goes_when_its_time_is_over_is_no_drift(cluster: Cluster) -> None:
    policy = (*POLICY, user("guest", expires="2023-11-14T23:00:00Z"))
    await cluster.declare(*policy)
    cluster.clock.advance(100_000)

    await cluster.declare(*policy)

    assert drift(cluster) == []


async def test_who_is_declared_anew_is_another_person(cluster: Cluster) -> None:
    await cluster.declare(*POLICY)
    before = cluster.auth.policy.current.users["ann"].uid
    await cluster.declare(role("dev"))

    await cluster.declare(*POLICY)

    assert cluster.auth.policy.current.users["ann"].uid != before
    assert drift(cluster) == []


async def test_a_lock_made_in_an_emergency_is_never_taken_back_by_a_source(cluster: Cluster) -> None:
    lock = "kind: lock\nversion: v2\nmetadata: {name: lost}\nspec: {target: {user: ann}}\n"
    await cluster.declare(*POLICY)
    await cluster.apply(lock)

    await cluster.declare(*POLICY)
    with pytest.raises(Invalid, match="lock/lost belongs to the source api"):
        await cluster.declare(*POLICY, lock.replace("ann", "nobody"))
    await cluster.declare(*POLICY)

    (found,) = cluster.auth.policy.current.locks
    assert found.spec.target.user == "ann"
    assert drift(cluster) == []
