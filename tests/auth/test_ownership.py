"""Several sources of one policy: who owns what, who may take over, and whose fault it is when something is missing."""

from pathlib import Path

import pytest

from teleport.audit.events import Actor
from teleport.core.errors import Conflict, Invalid, NotFound, Refused
from teleport.resources.wishes import ADOPT, IGNORE, KEEP
from tests.auth.cluster import Cluster, role, user

ROOT = Actor("root", 1)


def labelled(text: str, label: str, value: str = "true") -> str:
    """A user with a label of its own."""
    return text.replace("labels: {}", f'labels: {{{label}: "{value}"}}')


def owners(cluster: Cluster) -> dict[str, str]:
    users = cluster.auth.policy.current.users.values()
    return {one.name: one.origin.source for one in users}


def moves(cluster: Cluster) -> list[tuple[str, str, str, str]]:
    return [(one["name"], one["before"], one["source"], one["why"]) for one in cluster.events("policy.owner_changed")]


# -- references


async def test_roles_and_users_of_different_sources_make_one_policy(cluster: Cluster) -> None:
    await cluster.declare(role("dev"), source="ops")
    await cluster.declare(user("ann", "dev"), source="team-b")

    assert cluster.auth.policy.current.user("ann") is not None


async def test_removing_what_another_source_refers_to_is_the_removers_fault_and_names_the_user_of_it(
    cluster: Cluster,
) -> None:
    await cluster.declare(role("dev"), role("other"), source="ops")
    await cluster.declare(user("ann", "dev"), source="team-b")

    with pytest.raises(Invalid) as refused:
        await cluster.declare(role("other"), source="ops")

    (problem,) = refused.value.problems
    assert str(problem) == (
        "policy.yaml: role/dev is still used by user/ann (source team-b, policy.yaml:1) (change that first)"
    )
    assert "dev" in cluster.auth.policy.current.roles


async def test_a_sources_own_dangling_reference_has_its_place_in_its_own_file(cluster: Cluster) -> None:
    await cluster.declare(role("dev"), user("ann", "dev"), source="ops")

    with pytest.raises(Invalid, match=r"policy\.yaml:4:16: unknown role dev"):
        await cluster.declare(user("ann", "dev"), source="ops")


async def test_own_and_foreign_references_to_what_is_removed_are_told_together(cluster: Cluster) -> None:
    await cluster.declare(role("dev"), user("ann", "dev"), source="ops")
    await cluster.declare(user("bob", "dev"), source="team-b")

    with pytest.raises(Invalid) as refused:
        await cluster.declare(user("ann", "dev"), source="ops")

    told = [one.message for one in refused.value.problems]
    assert told == ["role/dev is still used by user/bob (source team-b, policy.yaml:1)", "unknown role dev"]


# -- two that declare one object


@pytest.mark.parametrize("order", [("ops", "team-b"), ("team-b", "ops")])
async def test_the_owner_keeps_what_two_sources_declare_also_after_a_restart_in_whatever_order(
    tmp_path: Path, order: tuple[str, str]
) -> None:
    async with Cluster.open(tmp_path) as cluster:
        await cluster.declare(role("dev", logins="first"), source="ops")

    async with Cluster.open(tmp_path) as cluster:
        refused = []
        for source in order:
            try:
                await cluster.declare(role("dev", logins=source), source=source)
            except Invalid as error:
                refused.append((source, error.message))

        hint = "delete it there first, or have it taken over: tctl policy adopt role/dev --source team-b"
        assert refused == [("team-b", f"policy.yaml:3:18: role/dev belongs to the source ops ({hint})")]


# -- keep


async def test_what_asks_to_be_kept_stays_in_force_and_belongs_to_the_api_once_its_source_lacks_it(
    cluster: Cluster,
) -> None:
    await cluster.declare(role("dev"), labelled(user("ann"), KEEP), user("bob"), source="ops")
    uid = cluster.auth.policy.current.users["ann"].uid

    await cluster.declare(role("dev"), source="ops")

    assert owners(cluster) == {"ann": "api"}
    assert cluster.auth.policy.current.users["ann"].uid == uid
    assert moves(cluster) == [("user/ann", "ops", "api", "kept")]
    assert (await cluster.auth.writer.delete("user", "ann", ROOT)).deleted == ("user/ann",)


async def test_only_the_word_true_is_a_wish(cluster: Cluster) -> None:
    await cluster.declare(role("dev"), labelled(user("ann"), KEEP, "no"), source="ops")

    await cluster.declare(role("dev"), source="ops")

    assert owners(cluster) == {}


# -- ignore


async def test_what_asks_to_be_ignored_is_neither_made_nor_changed_nor_deleted(cluster: Cluster) -> None:
    await cluster.declare(role("dev"), user("ann", traits="logins: [old]"), source="ops")
    new = labelled(user("ann", traits="logins: [new]"), IGNORE)

    applied = await cluster.declare(role("dev"), new, labelled(user("cy"), IGNORE), source="ops")

    assert applied.changed == 0
    assert cluster.auth.policy.current.users["ann"].spec.traits == {"logins": ("old",)}
    assert owners(cluster) == {"ann": "ops"}


async def test_what_its_source_ignores_may_be_changed_through_the_api_and_then_belongs_to_that(
    cluster: Cluster,
) -> None:
    await cluster.declare(role("dev"), user("ann"), source="ops")
    await cluster.declare(role("dev"), labelled(user("ann"), IGNORE), source="ops")

    await cluster.apply(user("ann", traits="logins: [mine]"), replace=True)
    await cluster.declare(role("dev"), labelled(user("ann"), IGNORE), source="ops")

    assert cluster.auth.policy.current.users["ann"].spec.traits == {"logins": ("mine",)}
    assert moves(cluster) == [("user/ann", "ops", "api", "ignored")]
    with pytest.raises(Invalid, match="user/ann belongs to the source api"):
        await cluster.declare(role("dev"), user("ann"), source="ops")


async def test_nobody_sets_free_what_others_own_by_ignoring_it(cluster: Cluster) -> None:
    await cluster.declare(role("dev"), user("ann"), source="ops")

    await cluster.declare(labelled(user("ann"), IGNORE), source="team-b")

    with pytest.raises(Refused, match="user/ann is declared in"):
        await cluster.apply(user("ann", traits="logins: [root]"), replace=True)


# -- adopt


async def test_a_label_takes_over_from_the_api_and_the_incarnation_stays(cluster: Cluster) -> None:
    await cluster.declare(role("dev"), source="ops")
    await cluster.apply(user("ann"))
    uid = cluster.auth.policy.current.users["ann"].uid

    await cluster.declare(role("dev"), labelled(user("ann"), ADOPT), source="ops")

    assert owners(cluster) == {"ann": "ops"}
    assert cluster.auth.policy.current.users["ann"].uid == uid
    assert moves(cluster) == [("user/ann", "api", "ops", "adopted")]


async def test_a_label_takes_nothing_from_another_source(cluster: Cluster) -> None:
    await cluster.declare(role("dev"), user("ann"), source="ops")

    with pytest.raises(Invalid, match="user/ann belongs to the source ops"):
        await cluster.declare(labelled(user("ann"), ADOPT), source="team-b")


async def test_an_administrators_word_lets_one_source_take_over_one_object_once(cluster: Cluster) -> None:
    writer = cluster.auth.writer
    await cluster.declare(role("dev"), user("ann"), user("bob"), source="ops")
    with pytest.raises(Conflict, match="belongs to the source ops already"):
        await writer.permit_adoption(("user", "ann"), "ops")
    with pytest.raises(NotFound):
        await writer.permit_adoption(("user", "nobody"), "team-b")

    assert await writer.permit_adoption(("user", "ann"), "team-b") == "ops"
    with pytest.raises(Invalid, match="user/ann belongs to the source ops"):
        await cluster.declare(user("ann"), source="team-c")
    await cluster.declare(user("ann"), source="team-b")
    await cluster.declare(role("dev"), user("bob"), source="ops")

    assert owners(cluster) == {"ann": "team-b", "bob": "ops"}
    await cluster.declare(source="team-b")
    await cluster.apply(user("ann"))
    with pytest.raises(Invalid, match="user/ann belongs to the source api"):
        await cluster.declare(user("ann"), source="team-b")


async def test_a_permission_lapses_when_the_object_changes_hands_meanwhile(cluster: Cluster) -> None:
    await cluster.declare(role("dev"), source="ops")
    await cluster.apply(user("ann"))
    await cluster.auth.writer.permit_adoption(("user", "ann"), "team-b")
    await cluster.declare(role("dev"), labelled(user("ann"), ADOPT), source="ops")

    with pytest.raises(Invalid, match="user/ann belongs to the source ops"):
        await cluster.declare(user("ann"), source="team-b")
