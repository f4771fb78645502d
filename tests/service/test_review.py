"""What stands between a write of policy and the store: asked again after each race, and only of what others write."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from teleport.api import models as m
from teleport.audit.events import HUMAN, Actor
from teleport.auth.approvals import GuardRefused
from teleport.auth.policy import Proposal
from teleport.core.errors import Problem
from teleport.gitops.guards.settings import GuardSettings, checks
from teleport.gitops.provenance import Override, Provenance
from teleport.gitops.review import Proposed, Verdict, Violation
from teleport.resources.load import load
from teleport.resources.node import Node
from teleport.service.policies import SETTINGS
from tests.auth.cluster import Cluster, role, user

OPS = role("ops", rules="{resources: [role, user, policy], verbs: [create, read, update, delete]}")


async def delete(cluster: Cluster, name: str, by: str = "") -> None:
    caller = cluster.user(by) if by else cluster.admin
    await cluster.call("delete", m.ResourceName(kind="user", name=name), caller)


def in_between(cluster: Cluster, name: str) -> None:
    """While the next write is reviewed, somebody else deletes a user."""
    reviewer = cluster.service.reviewer
    hosts = reviewer.hosts

    async def meanwhile() -> Sequence[Node]:
        reviewer.hosts = hosts
        await delete(cluster, name)
        return await hosts()

    reviewer.hosts = meanwhile


async def test_two_writes_that_are_harmless_alone_are_not_both_done(tmp_path: Path) -> None:
    async with Cluster.open(tmp_path / "data", checks=checks(GuardSettings())) as cluster:
        await cluster.apply(OPS + "---\n" + user("ann", "ops") + "---\n" + user("bob", "ops"))
        in_between(cluster, "bob")

        with pytest.raises(GuardRefused, match="nobody could administer the cluster any more; so far ann can"):
            await delete(cluster, "ann")

        assert set(cluster.auth.policy.current.users) == {"ann"}


async def test_an_approval_is_spent_once_however_many_try_at_once(tmp_path: Path) -> None:
    async with Cluster.open(tmp_path / "data", checks=checks(GuardSettings(max_people=0))) as cluster:
        people = [user("ann", "ops"), user("bob", "ops"), user("cy", "access"), user("dan", "access")]
        await cluster.apply("---\n".join([OPS, *people]))
        with pytest.raises(GuardRefused):
            await delete(cluster, "cy", by="ann")
        await cluster.call("approve", m.ApprovalRequest(guard="people"), cluster.user("bob"))

        results = await asyncio.gather(*(delete(cluster, "cy", by="ann") for _ in range(3)), return_exceptions=True)

        assert [one for one in results if one is None] == [None]
        assert len(cluster.events("policy.override")) == 1


async def test_what_does_not_hold_nobody_approves(tmp_path: Path) -> None:
    def never(proposed: Proposed) -> Verdict:
        return Verdict((Violation("invariants", Problem("a.yaml", 1, 1, "broken")),))

    async with Cluster.open(tmp_path / "data", checks=[never]) as cluster:
        with pytest.raises(GuardRefused) as error:
            await cluster.apply(role("dev"))

        assert [str(one) for one in error.value.problems] == ["a.yaml:1:1: refused by the guard invariants: broken"]


async def test_who_writes_teleport_yaml_is_not_held_to_the_guards_that_it_sets(tmp_path: Path) -> None:
    async with Cluster.open(tmp_path / "data", checks=checks(GuardSettings())) as cluster:
        setting = (
            "kind: cluster_networking_config\nversion: v2\nmetadata: {name: cluster-networking-config}\nspec: {}\n"
        )
        loaded = load(setting.encode(), file=SETTINGS, source=SETTINGS)
        await cluster.service.apply(SETTINGS, loaded.resources)

        _, changed, _ = await cluster.service.apply(SETTINGS, [])

        assert changed == 1
        await cluster.declare(role("dev"))
        with pytest.raises(GuardRefused):
            await cluster.declare()


async def test_what_nobody_can_enforce_is_a_warning_on_each_pass(tmp_path: Path) -> None:
    async with Cluster.open(tmp_path / "data", checks=checks(GuardSettings(), {"ann@example.com": "ann"})) as cluster:
        told = [(await cluster.declare(role("dev"))).warnings for _ in range(2)]

        assert [[one.message for one in warnings] for warnings in told] == [
            ["the guard beneficiary is not enforceable: nobody signs what is in the source folder"]
        ] * 2


class NeverSigned:
    """A source that is signed, and knows nothing about what has no commit."""

    async def provenance(self, commit: str) -> Provenance:
        assert commit
        return Provenance()

    async def overrides(self, commit: str) -> Sequence[Override]:
        assert commit
        return ()


async def test_an_emergency_past_a_signed_source_is_asked_of_no_commit(tmp_path: Path) -> None:
    async with Cluster.open(tmp_path / "data", checks=checks(GuardSettings(), {})) as cluster:
        await cluster.declare(role("dev"), user("ann", "dev"), source="git")
        cluster.service.reviewer.signed["git"] = NeverSigned()
        _, found = await cluster.auth.writer.stored()
        after = {ref: one.resource for ref, one in found.items()}
        actor = Actor("ann", HUMAN)

        assert await cluster.auth.writer.consider(Proposal("git", actor, found, after)) is not None
        with pytest.raises(GuardRefused, match="declares nothing"):
            await cluster.auth.writer.consider(Proposal("git", actor, found, {}))
