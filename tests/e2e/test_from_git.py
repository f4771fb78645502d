"""A repository governs: a pushed commit ends a live session, and what may not be obeyed leaves everything in force."""

import os
import random
import time
from typing import Any

import pytest

from tests.e2e.world import LOGIN, ROLE, World, user, wait_until
from tests.gitops.repositories import Key, Upstream, key

INTERVAL = 1.0
ROUNDS = 200 if os.environ.get("TELEPORT_FULL") else 2
"""Times that the process is killed."""


class Governed:
    """A cluster, the repository that governs it, and somebody who may sign."""

    def __init__(self, world: World, upstream: Upstream, signer: Key) -> None:
        self.world, self.upstream, self.signer = world, upstream, signer

    def push(self, files: dict[str, str], *, signed: bool = True) -> str:
        return self.upstream.commit({f"policies/{name}": text for name, text in files.items()},
                                    by=self.signer if signed else None)  # fmt: skip

    def status(self) -> dict[str, Any]:
        (found,) = self.world.tctl_json("policy", "status", "-o", "json")["sources"]
        status: dict[str, Any] = found
        return status

    def wait(self, state: str, commit: str) -> dict[str, Any]:
        """The status once a commit was read and came to a state."""
        wait_until(
            lambda: (now := self.status())["state"] == state and now["attempted_commit"] == commit,
            what=f"{state} at {commit}",
        )
        return self.status()


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("git")
    signer, upstream = key(root, "ann@example.com"), Upstream(root / "upstream")
    (root / "allowed_signers").write_text(signer.allowed())
    config = root / "teleport.yaml"
    config.write_text(
        "version: v3\npolicies:\n  git:\n"
        f"    interval: {INTERVAL:.0f}s\n    url: {upstream.url}\n    path: policies\n"
        f"    verify: {{allowed_signers: {root / 'allowed_signers'}}}\n"
    )
    world = World(root, arguments=("--demo", "-c", str(config)), by_folder=False)
    cluster = Governed(world, upstream, signer)
    cluster.push({"roles/dev.yaml": ROLE, "users/ann.yaml": user("ann"), "users/bob.yaml": user("bob")})
    world.start()
    yield cluster
    world.stop()


def test_a_pushed_commit_ends_a_live_session_within_the_interval_and_a_second_and_both_ends_name_commits(
    governed: Governed,
) -> None:
    world, first = governed.world, governed.upstream.head
    ann = world.person("ann").enrol().login()
    with ann.terminal("tsh", "ssh", f"{LOGIN}@db-1") as terminal:
        terminal.expect(r"\$ ")
        started = world.wait_event("session.start", user="ann")
        began = time.monotonic()
        second = governed.push({"roles/dev.yaml": ROLE.replace('"*": "*"', "env: nowhere")})
        terminal.expect("access withdrawn: role/dev no longer allows .* \\(commit")
        took = time.monotonic() - began

    ended = world.wait_event("session.end", sid=started["sid"])
    assert took < INTERVAL + 1
    assert started["commit"] == first
    assert f"(commit {second})" in ended["reason"]
    assert world.wait_event("policy.applied", commit=second)["source"] == "git"
    assert governed.wait("Ready", second)["applied_commit"] == second


def test_an_unsigned_commit_is_refused_by_name_and_what_was_in_force_stays(governed: Governed) -> None:
    good = governed.push({"roles/dev.yaml": ROLE, "users/cleo.yaml": user("cleo")})
    revision = governed.wait("Ready", good)["revision"]

    unsigned = governed.push({"users/mallory.yaml": user("mallory")}, signed=False)
    status = governed.wait("Stalled", unsigned)

    assert f"commit {unsigned}: is not signed" in status["message"]
    assert (status["applied_commit"], status["revision"]) == (good, revision)
    assert f"commit {good} in force, {unsigned} read last" in governed.world.tctl("policy", "status").output
    assert governed.world.wait_event("policy.stalled", commit=unsigned)
    assert governed.world.tctl("get", "user/mallory").status != 0
    governed.upstream.git("reset", "-q", "--hard", good)
    governed.wait("Ready", good)


ANN_CAN = """\
kind: access_test
version: v1
metadata: {name: ann-works}
spec:
  given: {user: ann}
  expect: [{can: LOGIN, hosts: any}]
""".replace("LOGIN", LOGIN)
ONLY_DEV = """\
kind: access_invariant
version: v1
metadata: {name: only-dev}
spec:
  only: {roles: [dev]}
  may: {logins: "*", labels: {"*": "*"}}
"""
OPS = "kind: role\nversion: v7\nmetadata: {name: ops}\nspec: {allow: {logins: [root], node_labels: {env: prod}}}\n"


def test_a_commit_that_breaks_what_is_promised_is_refused_and_what_was_in_force_stays(governed: Governed) -> None:
    world = governed.world
    good = governed.push({"promises/ann.yaml": ANN_CAN, "promises/dev.yaml": ONLY_DEV})
    revision = governed.wait("Ready", good)["revision"]

    failing = governed.push({"roles/dev.yaml": ROLE.replace('"*": "*"', "env: nowhere")})
    fails = governed.wait("Stalled", failing)
    governed.upstream.git("reset", "-q", "--hard", good)
    breaking = governed.push({"roles/ops.yaml": OPS, "users/zed.yaml": user("zed", roles="ops")})
    breaks = governed.wait("Stalled", breaking)
    governed.upstream.git("reset", "-q", "--hard", good)
    narrow, opposite = ROLE.replace('"*": "*"', "env: nowhere"), ANN_CAN.replace("can:", "cannot:")
    hiding = governed.push({"roles/dev.yaml": narrow, "promises/ann.yaml": opposite})
    hides = governed.wait("Stalled", hiding)

    assert "promises/ann.yaml:6" in fails["message"]
    assert f"access_test/ann-works: expected can {LOGIN} on any host; {LOGIN} is denied on" in fails["message"]
    assert "access_invariant/only-dev: violated: whoever holds role/ops may log in as root" in breaks["message"]
    assert "(roles/ops.yaml:" in breaks["message"]
    hidden = [one["message"] for one in hides["problems"]]
    assert "refused by the guard weakened" in hides["message"]
    assert any(one.endswith("(as it is in force; this change alters or removes it)") for one in hidden)
    for status in (fails, breaks, hides):
        assert (status["applied_commit"], status["revision"]) == (good, revision)
    assert world.wait_event("policy.stalled", commit=breaking)
    assert world.tctl("get", "user/zed").status != 0
    governed.upstream.git("reset", "-q", "--hard", good)
    governed.wait("Ready", good)


def test_a_branch_that_went_back_is_refused_also_after_a_restart_until_an_administrator_accepts_it(
    governed: Governed,
) -> None:
    world, old = governed.world, governed.upstream.head
    new = governed.push({"users/dora.yaml": user("dora")})
    governed.wait("Ready", new)

    governed.upstream.git("reset", "-q", "--hard", old)
    governed.wait("Stalled", old)
    world.stop()
    world.start()
    status = governed.wait("Stalled", old)
    kept = world.tctl("get", "user/dora").status
    wrong = world.tctl("policy", "accept-rollback", new, "--reason", "no")
    accepted = world.tctl("policy", "accept-rollback", old[:10], "--reason", "a test")

    assert f"does not contain {new}" in status["message"]
    assert status["applied_commit"] == new
    assert kept == 0
    assert (wrong.status, accepted.status, accepted.output) == (1, 0, f"source git may go to commit {old}\n")
    governed.wait("Ready", old)
    assert world.tctl("get", "user/dora").status != 0
    assert world.wait_event("policy.rollback_accepted", commit=old)["reason"] == "a test"


def test_a_repository_that_disappears_changes_nothing_and_is_asked_again(governed: Governed) -> None:
    folder = governed.upstream.folder
    elsewhere = folder.rename(folder.with_name("elsewhere"))
    wait_until(lambda: governed.status()["state"] == "Reconciling")
    status = governed.status()
    bob = governed.world.person("bob").enrol().login()

    assert "cannot be fetched" in status["message"]
    assert bob.ssh(f"{LOGIN}@db-1", "true").status == 0
    elsewhere.rename(folder)
    governed.wait("Ready", governed.upstream.head)


def test_killed_at_any_moment_it_comes_back_to_exactly_the_last_commit(governed: Governed) -> None:
    world, chance = governed.world, random.Random(4)
    for number in range(ROUNDS):
        kept = {f"users/k{n}.yaml": user(f"k{n}") for n in range(number % 3 + 1)}
        for path in (governed.upstream.folder / "policies/users").glob("k*.yaml"):
            path.unlink()
        commit = governed.push(kept)
        time.sleep(chance.uniform(0, INTERVAL * 1.2))
        world.kill()
        world.start()

        governed.wait("Ready", commit)

        found = {one["metadata"]["name"] for one in world.tctl_json("get", "users", "-o", "json")}
        assert {name for name in found if name.startswith("k")} == {f"k{n}" for n in range(number % 3 + 1)}
