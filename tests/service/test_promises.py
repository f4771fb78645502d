"""Promises in a running auth service: a write that breaks one is refused, a stored policy that breaks one starts."""

from pathlib import Path

import pytest

from teleport.audit.events import Actor
from teleport.core.errors import Invalid
from teleport.gitops.policytest import promises
from tests.auth.cluster import Cluster, role, user

CAN = (
    "kind: access_test\nversion: v1\nmetadata: {name: ann}\nspec:\n  given: {user: ann}\n"
    "  expect: [{can: root, hosts: any}]\n"
)
LOCK = "kind: lock\nversion: v2\nmetadata: {name: stop}\nspec: {target: {user: ann}}\n"


async def test_a_write_that_breaks_a_promise_changes_nothing_whichever_door_it_comes_through(tmp_path: Path) -> None:
    async with Cluster.open(tmp_path, checks=[promises]) as cluster:
        await cluster.declare(role())
        await cluster.apply(user())
        await cluster.declare(role(), CAN)

        with pytest.raises(Invalid, match="refused by the guard tests: access_test/ann: expected can root on any host"):
            await cluster.declare(role(logins="deploy"), CAN)
        with pytest.raises(Invalid, match="user ann is not declared"):
            await cluster.auth.writer.delete("user", "ann", Actor("root", 1))

        assert set(cluster.auth.policy.current.users) == {"ann"}
        assert cluster.auth.policy.current.roles["dev"].source.spec.allow.logins == ("root",)


async def test_a_lock_is_never_refused(tmp_path: Path) -> None:
    async with Cluster.open(tmp_path, checks=[promises]) as cluster:
        await cluster.declare(role(), user(), CAN)

        await cluster.apply(LOCK)

        assert len(cluster.auth.policy.current.locks) == 1


async def test_a_stored_policy_that_no_longer_passes_starts_and_takes_other_changes_with_a_warning(
    tmp_path: Path,
) -> None:
    async with Cluster.open(tmp_path) as careless:
        await careless.declare(role(), CAN)

    async with Cluster.open(tmp_path, checks=[promises]) as cluster:
        again = await cluster.declare(role(), CAN)
        more = await cluster.declare(role(), CAN, user("bob", "auditor"))

    for applied in (again, more):
        assert [one.message for one in applied.warnings] == [
            "access_test/ann: expected can root on any host; user ann is not declared (it was so before)"
        ]
    assert more.created == ("user/bob",)
