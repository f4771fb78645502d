"""The one way policy is written: who owns what, the judge, races, incarnations, and one event a change."""

import asyncio
import json
from pathlib import Path

import pytest

from teleport.api import models as m
from teleport.audit.events import Actor
from teleport.auth import keys
from teleport.auth.policy import Applied, Wanted
from teleport.core.errors import Conflict, Invalid, NotFound, Refused, Unavailable
from teleport.resources.load import load
from tests.audit.logs import lines
from tests.auth.cluster import Cluster, role, user
from tests.builders import FakeClock

ROOT = Actor("root", 1)


async def put(cluster: Cluster, text: str, *, expected: int | None = None) -> Applied:
    wanted = [Wanted(one, expected) for one in load(text.encode(), file="file.yaml").resources]
    return await cluster.auth.writer.put(wanted, ROOT)


# -- ownership


async def test_a_source_owns_what_it_declares_and_prunes_what_it_no_longer_does(cluster: Cluster) -> None:
    await cluster.declare(role("dev"), role("old"))

    applied = await cluster.declare(role("dev"), role("new"))

    assert (applied.created, applied.deleted) == (("role/new",), ("role/old",))
    assert sorted(cluster.auth.policy.current.roles) == ["access", "auditor", "dev", "editor", "new"]


async def test_a_source_leaves_alone_what_others_own(cluster: Cluster) -> None:
    await put(cluster, role("made"))

    await cluster.declare(role("dev"))
    await cluster.declare(role("other"), source="second")
    await cluster.declare()

    assert {"made", "other"} <= set(cluster.auth.policy.current.roles)


async def test_the_last_commit_of_each_source_is_remembered_also_if_it_changes_nothing(cluster: Cluster) -> None:
    writer, source = cluster.auth.writer, Actor("source:git", 2)
    dev = load(role("dev").encode(), file="dev.yaml", source="git").resources
    await writer.replace("git", dev, source, commit="c1")

    applied = await writer.replace("git", dev, source, commit="c2")
    await cluster.declare(role("other"))

    assert applied.changed == 0
    assert [await writer.applied_commit(name) for name in ("git", "folder")] == ["c2", ""]


async def test_the_api_can_neither_change_nor_delete_what_a_folder_declares_and_names_the_file(
    cluster: Cluster,
) -> None:
    await cluster.declare(role("dev"))

    for attempt in (put(cluster, role("dev", logins="admin")), cluster.auth.writer.delete("role", "dev", ROOT)):
        with pytest.raises(Refused, match=r"role/dev is declared in policy\.yaml:1") as refused:
            await attempt
        assert refused.value.details["file"] == "policy.yaml"


async def test_a_source_cannot_take_over_what_another_owns(cluster: Cluster) -> None:
    await put(cluster, role("dev"))

    with pytest.raises(Invalid, match=r"policy\.yaml:3:18: role/dev belongs to the source api"):
        await cluster.declare(role("dev"))


async def test_a_kind_that_the_api_is_closed_for_is_written_by_sources_alone(tmp_path: Path) -> None:
    async with Cluster.open(tmp_path, closed=["role"]) as cluster:
        for attempt in (put(cluster, role("made")), put(cluster, user("joe", "access") + "---\n" + role("made"))):
            with pytest.raises(Refused, match="the API of this cluster is closed for the kind role"):
                await attempt
        with pytest.raises(Refused, match="closed for the kind role"):
            await cluster.auth.writer.delete("role", "made", ROOT)

        await cluster.declare(role("dev"))
        await put(cluster, user("ann"))

        assert "made" not in cluster.auth.policy.current.roles
        assert set(cluster.auth.policy.current.users) == {"ann"}


# -- the judge


async def test_nothing_is_written_if_anything_is_wrong_and_every_fault_is_told(cluster: Cluster) -> None:
    await cluster.declare(role("dev"))

    with pytest.raises(Invalid) as invalid:
        await put(cluster, "---\n".join([role("fine"), user("ann", "nope"), user("bob", "dve")]))

    assert [one.message for one in invalid.value.problems] == ["unknown role nope", "unknown role dve"]
    assert "fine" not in cluster.auth.policy.current.roles
    assert cluster.events("role.created")[-1]["name"] == "dev"


async def test_a_role_that_somebody_has_is_not_deleted(cluster: Cluster) -> None:
    await put(cluster, role("dev") + "---\n" + user("ann"))

    with pytest.raises(Invalid, match="role/dev is still used by user/ann"):
        await cluster.auth.writer.delete("role", "dev", ROOT)

    assert "dev" in cluster.auth.policy.current.roles


async def test_a_set_is_written_at_once_so_that_nobody_sees_half_of_it(cluster: Cluster) -> None:
    seen: list[tuple[bool, bool]] = []
    cluster.auth.policy.subscribe(lambda snapshot: seen.append(("dev" in snapshot.roles, "ann" in snapshot.users)))

    await put(cluster, user("ann") + "---\n" + role("dev"))

    assert seen == [(True, True)]


async def test_a_dry_run_writes_nothing_and_says_what_it_would(cluster: Cluster) -> None:
    wanted = [Wanted(one) for one in load(role("dev").encode(), file="f").resources]

    applied = await cluster.auth.writer.put(wanted, ROOT, dry_run=True)

    assert applied.created == ("role/dev",)
    assert "dev" not in cluster.auth.policy.current.roles
    assert cluster.events() == []


# -- races


async def test_a_revision_that_is_no_longer_in_force_is_a_conflict(cluster: Cluster) -> None:
    await put(cluster, role("dev"))
    revision = await cluster.auth.writer.revision_of("role", "dev")
    await put(cluster, role("dev", logins="a"), expected=revision)

    with pytest.raises(Conflict, match="was changed since it was read"):
        await put(cluster, role("dev", logins="b"), expected=revision)
    with pytest.raises(Conflict, match="exists already"):
        await put(cluster, role("dev", logins="c"), expected=0)


async def test_of_many_that_write_at_the_same_revision_one_wins(cluster: Cluster) -> None:
    await put(cluster, role("dev"))
    revision = await cluster.auth.writer.revision_of("role", "dev")

    outcomes = await asyncio.gather(
        *(put(cluster, role("dev", logins=f"l{number}"), expected=revision) for number in range(5)),
        return_exceptions=True,
    )

    assert sum(isinstance(one, Applied) for one in outcomes) == 1
    assert sum(isinstance(one, Conflict) for one in outcomes) == 4


async def test_writes_of_different_things_at_once_all_happen_and_each_is_judged_with_the_others(
    cluster: Cluster,
) -> None:
    await asyncio.gather(*(put(cluster, role(f"r{number}")) for number in range(6)))

    assert {f"r{number}" for number in range(6)} <= set(cluster.auth.policy.current.roles)


async def test_a_role_is_not_deleted_while_somebody_is_being_given_it(cluster: Cluster) -> None:
    """Either the user exists and the role stays, or the role is gone and the user was refused."""
    await put(cluster, role("dev"))

    outcomes = await asyncio.gather(
        cluster.auth.writer.delete("role", "dev", ROOT), put(cluster, user("ann")), return_exceptions=True
    )

    assert sum(isinstance(one, Applied) for one in outcomes) == 1
    snapshot = cluster.auth.policy.current
    assert ("ann" in snapshot.users) == ("dev" in snapshot.roles)


async def test_deleting_what_does_not_exist_says_so(cluster: Cluster) -> None:
    with pytest.raises(NotFound, match="role/dev does not exist"):
        await cluster.auth.writer.delete("role", "dev", ROOT)


# -- incarnations


async def test_a_user_keeps_the_incarnation_through_updates(cluster: Cluster) -> None:
    await cluster.declare(role(), user("ann"))
    before = cluster.auth.policy.current.users["ann"].uid

    await cluster.declare(role(), user("ann", traits="team: [web]"))

    assert cluster.auth.policy.current.users["ann"].uid == before


async def test_a_user_deleted_and_created_again_is_somebody_else_without_password_and_second_factor(
    cluster: Cluster,
) -> None:
    await cluster.declare(role(), user("ann"))
    before = cluster.auth.policy.current.users["ann"].uid
    await cluster.enrol("ann")

    await cluster.declare(role())
    await cluster.declare(role(), user("ann"))

    assert cluster.auth.policy.current.users["ann"].uid != before
    assert await cluster.auth.credentials.enrolled() == frozenset()
    assert await cluster.auth.store.get(keys.credential(before)) is None


# -- events


async def test_each_change_is_one_event_with_its_actor_source_and_place(cluster: Cluster) -> None:
    await cluster.declare(role(), user("ann"))
    await cluster.declare(role(), user("ann", traits="a: [b]"))
    await cluster.declare(role())

    found = [(one["event"], one["name"], one["user"], one.get("file", "")) for one in cluster.events()]
    assert found == [
        ("role.created", "dev", "source:folder", "policy.yaml"),
        ("user.create", "ann", "source:folder", "policy.yaml"),
        ("user.update", "ann", "source:folder", "policy.yaml"),
        ("user.delete", "ann", "source:folder", "policy.yaml"),
    ]


async def test_what_only_moved_in_its_file_is_no_change_to_tell_of(cluster: Cluster) -> None:
    await cluster.declare(role())
    before = len(cluster.events())

    applied = await cluster.declare("\n\n" + role())

    assert applied.changed == 0
    assert len(cluster.events()) == before
    assert cluster.auth.policy.current.roles["dev"].source.origin.line == 3


async def test_writing_the_same_again_does_nothing(cluster: Cluster) -> None:
    first = await cluster.declare(role())

    again = await cluster.declare(role())

    assert (again.revision, again.changed) == (first.revision, 0)


async def test_the_name_of_a_token_is_in_no_event_and_in_no_error(cluster: Cluster) -> None:
    token = "kind: token\nversion: v2\nmetadata: {name: abcdefghijklmnop}\nspec: {roles: [Node], join_method: token}\n"
    await cluster.declare(token, source="teleport.yaml")

    with pytest.raises(Refused) as refused:
        await cluster.auth.writer.delete("token", "abcdefghijklmnop", ROOT)

    told = [*map(str, cluster.events()), refused.value.message]
    assert not any("abcdefghijklmnop" in text for text in told)
    assert cluster.events("join_token.create")[0]["name"] == "ab…"


async def test_the_secret_of_a_token_is_no_part_of_any_key_in_the_store(cluster: Cluster) -> None:
    token = "kind: token\nversion: v2\nmetadata: {name: abcdefghijklmnop}\nspec: {roles: [Node]}\n"
    await cluster.declare(token, source="teleport.yaml")

    listing = await cluster.auth.store.list()

    assert not any("abcdefghijklmnop" in record.key for record in listing.records)


async def test_a_crash_between_the_change_and_its_event_loses_neither(tmp_path: Path) -> None:
    clock = FakeClock()
    async with Cluster.open(tmp_path, clock) as cluster:
        (tmp_path / "audit").rename(tmp_path / "gone")
        (tmp_path / "audit").write_text("no directory")
        await cluster.declare(role())
        assert "dev" in cluster.auth.policy.current.roles
        assert lines(tmp_path / "gone") == []
        (tmp_path / "audit").unlink()
        (tmp_path / "gone").rename(tmp_path / "audit")

    async with Cluster.open(tmp_path, clock) as cluster:
        assert [(one["event"], one["name"]) for one in cluster.events()] == [("role.created", "dev")]
        assert (await cluster.auth.store.list(keys.OUTBOX)).records == ()


async def test_an_event_that_was_logged_before_the_crash_is_not_logged_again(tmp_path: Path) -> None:
    clock = FakeClock()
    async with Cluster.open(tmp_path, clock) as cluster:
        await cluster.declare(role())
        event = cluster.events()[0]
        body = {key: value for key, value in event.items() if key not in ("seq", "prev", "cluster_name")}
        await cluster.auth.store.put(f"{keys.OUTBOX}000000-{event['uid']}", json.dumps(body).encode())

    async with Cluster.open(tmp_path, clock) as cluster:
        assert len(cluster.events()) == 1


async def test_a_change_stands_although_its_event_cannot_be_written_now_and_is_told_of_later(cluster: Cluster) -> None:
    directory, away = cluster.directory / "audit", cluster.directory / "away"
    directory.rename(away)
    directory.write_text("no directory")

    await cluster.declare(role(), user())

    assert "ann" in cluster.auth.policy.current.users
    with pytest.raises(Unavailable):  # nothing leaves this service without its event
        await cluster.call("invite", m.InvitationRequest(user="ann"))
    directory.unlink()
    away.rename(directory)
    await cluster.declare(role(), user(), role("more"))
    told = [(one["event"], one["name"]) for one in cluster.events()]
    assert told == [("role.created", "dev"), ("user.create", "ann"), ("role.created", "more")]
