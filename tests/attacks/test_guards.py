"""One person alone who would get something past a guard: by approving of it, by signing twice, by changing it later."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.auth.approvals import LIFETIME, GuardRefused
from teleport.core.errors import Conflict, Invalid, NotFound, Refused
from teleport.gitops.address import GitAddress
from teleport.gitops.git import GitSettings, GitSource
from teleport.gitops.guards.settings import GuardSettings, checks
from teleport.gitops.loop import Loop
from teleport.gitops.mirror import GitCredentials
from teleport.gitops.signatures import Verification
from tests.auth.cluster import Cluster, role, user
from tests.builders import FakeClock
from tests.gitops.repositories import Key, Upstream, key

RULES = "{resources: [role, user, lock, policy], verbs: [create, read, update, delete]}"
PEOPLE = {"ann@example.com": "ann", "ann@laptop": "ann", "bob@example.com": "bob"}
OPS = role("ops", rules=RULES)
STAFF = (OPS, user("ann", "ops"), user("bob", "ops"))
LONG_AGO = 1_500_000_000


def guarded(**settings: Any) -> dict[str, Any]:
    """Nobody may lose access, unless a test sets something else."""
    return {"checks": checks(GuardSettings(**{"max_people": 0, **settings}), PEOPLE), "people": PEOPLE}


# -- what is written through the API


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster.open(tmp_path / "data", **guarded()) as cluster:
        await cluster.declare(*STAFF, user("cy", "access"))
        await cluster.apply(user("dan", "access") + "---\n" + user("eve", "access"))
        yield cluster


async def delete(cluster: Cluster, name: str, by: str = "ann") -> None:
    await cluster.call("delete", m.ResourceName(kind="user", name=name), cluster.user(by))


async def refused(cluster: Cluster, name: str, by: str = "ann") -> str:
    """Somebody may not delete a user; the id by which others approve."""
    with pytest.raises(GuardRefused, match="refused by the guard people: 1 person loses access") as error:
        await delete(cluster, name, by)
    return str(error.value.problems[0].hint.split()[-1])


async def approve(cluster: Cluster, by: Caller, *, guard: str = "people", **more: str) -> m.ApprovalAnswer:
    answer: m.ApprovalAnswer = await cluster.call("approve", m.ApprovalRequest(guard=guard, **more), by)
    return answer


async def test_nobody_approves_of_what_they_wrote_themselves(cluster: Cluster) -> None:
    proposal = await refused(cluster, "dan")

    with pytest.raises(Refused, match="ann may not approve it: that is who wrote it"):
        await approve(cluster, cluster.user("ann"), proposal=proposal)

    assert await refused(cluster, "dan") == proposal
    assert cluster.events("policy.approved") == []


async def test_another_administrator_lets_exactly_this_happen_once(cluster: Cluster) -> None:
    proposal = await refused(cluster, "dan")

    answer = await approve(cluster, cluster.user("bob"), proposal=proposal, reason="dan left")
    await refused(cluster, "eve")
    await refused(cluster, "dan", by="bob")
    await delete(cluster, "dan")

    assert "dan" not in cluster.auth.policy.current.users
    (approved,), (overridden,) = cluster.events("policy.approved"), cluster.events("policy.override")
    assert (approved["user"], approved["guard"], approved["proposal"]) == ("bob", "people", answer.proposal)
    assert (overridden["user"], overridden["guard"], overridden["reason"]) == ("bob", "people", "dan left")
    assert overridden["finding"] == "1 person loses access, at most 0 may at once: dan"
    await cluster.apply(user("dan", "access"))
    await refused(cluster, "dan")


async def test_an_approval_runs_out(cluster: Cluster) -> None:
    proposal = await refused(cluster, "dan")
    await approve(cluster, cluster.user("bob"), proposal=proposal)

    cluster.clock.advance(LIFETIME + 1)

    await refused(cluster, "dan")


async def test_who_was_demoted_locked_or_made_anew_since_does_not_count(cluster: Cluster) -> None:
    for number, since in enumerate([
        user("fay0", "access"), "kind: lock\nversion: v2\nmetadata: {name: l}\nspec: {target: {user: fay1}}\n",
    ]):  # fmt: skip
        await cluster.apply(user(f"fay{number}", "ops"))
        proposal = await refused(cluster, "dan")
        await approve(cluster, cluster.user(f"fay{number}"), proposal=proposal)

        cluster.service.reviewer.checks, kept = (), cluster.service.reviewer.checks
        await cluster.apply(since, replace=True)
        cluster.service.reviewer.checks = kept

        with pytest.raises(GuardRefused, match=f"the approval by fay{number} does not count"):
            await delete(cluster, "dan")


async def test_who_may_not_update_policy_approves_of_nothing(cluster: Cluster) -> None:
    await refused(cluster, "dan")

    with pytest.raises(Refused, match="eve may not approve it: no user who may update policy"):
        await approve(cluster, cluster.user("eve"))
    with pytest.raises(Refused, match="db-1 may not approve it"):
        await approve(cluster, cluster.host())


async def test_somebody_on_the_auth_host_is_no_second_person_to_somebody_there(cluster: Cluster) -> None:
    with pytest.raises(GuardRefused):
        await delete_locally(cluster, "dan")
    with pytest.raises(Refused, match="whoever wrote it is on the auth host too"):
        await approve(cluster, cluster.admin)

    await approve(cluster, cluster.user("ann"))
    await delete_locally(cluster, "dan")

    assert "dan" not in cluster.auth.policy.current.users


async def delete_locally(cluster: Cluster, name: str) -> None:
    await cluster.call("delete", m.ResourceName(kind="user", name=name))


async def test_what_is_not_refused_is_not_approved_and_what_is_meant_must_be_clear(cluster: Cluster) -> None:
    with pytest.raises(NotFound, match="nothing is refused by the guard people"):
        await approve(cluster, cluster.user("bob"))
    await refused(cluster, "dan")
    await refused(cluster, "eve")

    with pytest.raises(Conflict, match="several proposals are refused") as error:
        await approve(cluster, cluster.user("bob"))

    assert "(api)" in error.value.hint
    with pytest.raises(NotFound):
        await approve(cluster, cluster.user("bob"), proposal="feedface")


async def test_an_approval_of_one_guard_is_none_of_another(tmp_path: Path) -> None:
    async with Cluster.open(tmp_path / "data", **guarded()) as cluster:
        await cluster.apply("---\n".join(STAFF))
        cluster.service.reviewer.checks = ()
        await cluster.call("delete", m.ResourceName(kind="user", name="bob"))
        await cluster.apply(
            role("watch", rules="{resources: [policy], verbs: [update]}") + "---\n" + user("fay", "watch")
        )
        cluster.service.reviewer.checks = guarded()["checks"]
        with pytest.raises(GuardRefused, match="guard administration"):
            await delete_locally(cluster, "ann")
        await approve(cluster, cluster.user("fay"))

        with pytest.raises(GuardRefused) as error:
            await delete_locally(cluster, "ann")

        assert [one.message.split(":")[0] for one in error.value.problems] == ["refused by the guard administration"]


# -- what a folder declares


async def test_what_was_approved_of_a_folder_is_nothing_else_later(cluster: Cluster) -> None:
    with pytest.raises(GuardRefused):
        await cluster.declare(*STAFF)
    await approve(cluster, cluster.user("bob"), source="folder")

    with pytest.raises(GuardRefused):
        await cluster.declare(OPS, user("ann", "ops"), user("bob", "access"))
    assert "cy" in cluster.auth.policy.current.users
    await cluster.declare(*STAFF)

    assert "cy" not in cluster.auth.policy.current.users
    assert cluster.events("policy.override")[-1]["source"] == "folder"


async def test_who_may_have_written_the_folder_does_not_approve_of_it(cluster: Cluster) -> None:
    with pytest.raises(GuardRefused):
        await cluster.declare(*STAFF)

    with pytest.raises(Refused, match="who is on the auth host may be who wrote it"):
        await approve(cluster, cluster.admin, source="folder")


async def test_who_gains_does_not_approve(cluster: Cluster) -> None:
    with pytest.raises(GuardRefused):
        await cluster.declare(OPS, user("ann", "ops"), user("bob", "ops, editor"))

    with pytest.raises(Refused, match="bob may not approve it: bob gains by it: role/editor"):
        await approve(cluster, cluster.user("bob"), source="folder")


async def test_an_approval_of_what_came_before_something_else_was_written_is_void(cluster: Cluster) -> None:
    with pytest.raises(GuardRefused):
        await cluster.declare(*STAFF)
    await approve(cluster, cluster.user("bob"), source="folder")
    cluster.service.reviewer.checks, kept = (), cluster.service.reviewer.checks
    await cluster.declare(*STAFF, user("cy", "access, auditor"))
    cluster.service.reviewer.checks = kept

    with pytest.raises(GuardRefused):
        await cluster.declare(*STAFF)


# -- what a signed repository declares


@dataclass
class Repository:
    """A cluster that a signed repository governs, and two people with keys."""

    cluster: Cluster
    upstream: Upstream
    loop: Loop
    source: GitSource
    ann: Key
    bob: Key
    folder: Path

    def allow(self, *lines: str, revoked: Key | None = None) -> None:
        (self.folder / "allowed").write_text("".join(lines))
        (self.folder / "revoked").write_text(f"{revoked.public}\n" if revoked is not None else "")

    async def push(self, *documents: str, by: Key | None = None, when: int = 0) -> str:
        commit = self.upstream.commit({"p/all.yaml": "---\n".join(documents)}, by=by or self.ann, when=when)
        await self.loop.reconcile()
        return commit

    async def again(self) -> str:
        """What stands against it after another look; nothing if it is in force."""
        await self.loop.reconcile()
        return self.loop.state.message

    def override(self, commit: str, *, by: Key, guard: str = "people", when: int = 0) -> None:
        self.upstream.approve(commit, by=by, name=f"override/{guard}/{commit}", when=when)


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[Repository]:
    upstream = Upstream(tmp_path / "upstream")
    ann, bob = key(tmp_path, "ann@example.com"), key(tmp_path, "bob@example.com")
    async with Cluster.open(tmp_path / "data", FakeClock(time.time()), **guarded()) as cluster:
        verification = Verification(tmp_path / "allowed", 1, tmp_path / "revoked")
        settings = GitSettings(GitAddress(upstream.url, "main", "p"), GitCredentials(), verification)

        async def remembered() -> str:
            return await cluster.auth.writer.applied_commit("git")

        source = GitSource(tmp_path / "git", settings, name="git", clock=cluster.clock, remembered=remembered)
        cluster.service.reviewer.signed["git"] = source
        loop = Loop(
            source, cluster.service, clock=cluster.clock, interval=30, changed=cluster.service.show_source,
            applied=source.applied,
        )  # fmt: skip
        found = Repository(cluster, upstream, loop, source, ann, bob, tmp_path)
        found.allow(ann.allowed(), bob.allowed())
        await found.push(*STAFF, user("cy", "access"))
        assert loop.state.state == "Ready", loop.state.message
        yield found


async def test_another_signer_overrides_and_that_is_written_down(repository: Repository) -> None:
    commit = await repository.push(*STAFF)
    stalled = repository.loop.state.message

    repository.override(commit, by=repository.bob)
    after = await repository.again()

    assert stalled == (
        "refused by the guard people: 1 person loses access, at most 0 may at once: cy"
        f" (another signer overrides it: git tag -s override/people/{commit} {commit})"
    )
    assert after == ""
    (event,) = repository.cluster.events("policy.override")
    assert (event["user"], event["principal"], event["guard"], event["commit"]) == (
        "bob", "bob@example.com", "people", commit,
    )  # fmt: skip


async def test_who_signed_the_commit_does_not_override_it_whatever_the_name_or_the_key(repository: Repository) -> None:
    other = key(repository.folder, "ann@laptop")
    second = Key("ann@example.com", other.path)
    repository.allow(repository.ann.allowed(), second.allowed(), other.allowed(), repository.bob.allowed())
    commit = await repository.push(*STAFF)

    for by in (repository.ann, second):
        repository.override(commit, by=by)
        assert "does not count: that is who signed the change" in await repository.again()
    assert "cy" in repository.cluster.auth.policy.current.users


async def test_who_signed_an_earlier_commit_that_comes_with_it_does_not_override_it(repository: Repository) -> None:
    repository.upstream.commit({"p/all.yaml": "---\n".join(STAFF)}, by=repository.bob)
    commit = await repository.push(*STAFF, role("more"))

    repository.override(commit, by=repository.bob)

    assert "does not count: that is who signed the change" in await repository.again()


async def test_an_override_of_another_commit_or_guard_is_none(repository: Repository) -> None:
    before = await repository.push(*STAFF)
    repository.override(before, by=repository.bob, guard="pairs")
    assert "guard people" in await repository.again()
    repository.override(before, by=repository.bob)

    commit = await repository.push(*STAFF, role("more"))
    tag = repository.upstream.git("rev-parse", f"override/people/{before}")
    repository.upstream.git("update-ref", f"refs/tags/override/people/{commit}", tag)

    assert "guard people" in await repository.again()
    assert "cy" in repository.cluster.auth.policy.current.users


async def test_an_override_that_nobody_signed_is_none(repository: Repository) -> None:
    commit = await repository.push(*STAFF)
    stranger = key(repository.folder, "eve@example.com")
    repository.upstream.git("tag", f"override/people/{commit}", commit)

    assert "guard people" in await repository.again()
    repository.override(commit, by=stranger)

    assert "guard people" in await repository.again()


async def test_a_key_that_was_revoked_or_ran_out_overrides_nothing_however_it_is_dated(repository: Repository) -> None:
    commit = await repository.push(*STAFF)
    repository.allow(repository.ann.allowed(), repository.bob.allowed('valid-before="20200101"'))
    repository.override(commit, by=repository.bob)
    assert "guard people" in await repository.again()

    repository.override(commit, by=repository.bob, when=LONG_AGO)
    assert "guard people" in await repository.again()

    repository.allow(repository.ann.allowed(), repository.bob.allowed(), revoked=repository.bob)
    assert "guard people" in await repository.again()
    assert "cy" in repository.cluster.auth.policy.current.users


async def test_who_gains_does_not_override(repository: Repository) -> None:
    commit = await repository.push(OPS, user("ann", "ops"), user("bob", "ops, auditor"))

    repository.override(commit, by=repository.bob)

    assert "does not count: bob gains by it: role/auditor" in await repository.again()


async def test_who_signs_for_themself_is_refused_until_somebody_else_signs(repository: Repository) -> None:
    commit = await repository.push(OPS, user("ann", "ops, editor"), user("bob", "ops"), user("cy", "access"))
    stalled = repository.loop.state.message

    repository.override(commit, by=repository.ann, guard="beneficiary")
    alone = await repository.again()
    repository.override(commit, by=repository.bob, guard="beneficiary")

    assert "guard beneficiary: ann@example.com, who signed this, gains by it: role/editor" in stalled
    assert "does not count" in alone
    assert await repository.again() == ""


async def test_an_administrator_does_not_approve_of_what_signatures_are_asked_for(repository: Repository) -> None:
    await repository.push(*STAFF)

    with pytest.raises(NotFound):
        await approve(repository.cluster, repository.cluster.user("bob"), source="git")


async def test_a_source_cannot_say_who_may_sign_for_it(repository: Repository) -> None:
    table = "version: v3\npolicies:\n  people: {ann@laptop: bob}\n  guards: {max_people: 100}\n"
    repository.upstream.write("p/teleport.yaml", table)
    await repository.push(*STAFF)
    inside = repository.loop.state.message
    (repository.upstream.folder / "p/teleport.yaml").unlink()
    repository.upstream.write("teleport.yaml", table)
    repository.upstream.write("allowed_signers", key(repository.folder, "ann@laptop").allowed())

    await repository.push(*STAFF)

    assert "teleport.yaml" in inside
    assert "guard people" in repository.loop.state.message
    assert repository.cluster.service.reviewer.people == PEOPLE


async def test_an_override_is_good_for_its_commit_alone_and_not_for_the_next(repository: Repository) -> None:
    commit = await repository.push(*STAFF)
    repository.override(commit, by=repository.bob)
    assert await repository.again() == ""

    await repository.push(*STAFF, user("dora", "access"))
    assert repository.loop.state.message == ""
    await repository.push(*STAFF, role("x"))

    assert "guard people: 1 person loses access" in repository.loop.state.message


async def test_what_is_wrong_stays_wrong_whoever_agrees(repository: Repository) -> None:
    commit = await repository.push(*STAFF, user("dora", "nope"))
    repository.override(commit, by=repository.bob)

    assert "unknown role nope" in await repository.again()
    with pytest.raises(Invalid):
        await repository.cluster.declare(user("x", "nope"))
