"""A repository governs: a pushed commit ends a live session, and what may not be obeyed leaves everything in force."""

import json
import os
import random
import re
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

    def __init__(self, world: World, upstream: Upstream, signer: Key, former: Key) -> None:
        """`former` is the key of somebody who left long ago."""
        self.world, self.upstream, self.signer, self.former = world, upstream, signer, former

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
    signer, former, upstream = key(root, "ann@example.com"), key(root, "old@example.com"), Upstream(root / "upstream")
    (root / "allowed_signers").write_text(signer.allowed() + former.allowed('valid-before="20200101"'))
    config = root / "teleport.yaml"
    config.write_text(
        "version: v3\npolicies:\n  git:\n"
        f"    interval: {INTERVAL:.0f}s\n    url: {upstream.url}\n    path: policies\n"
        f"    verify: {{allowed_signers: {root / 'allowed_signers'}}}\n"
    )
    world = World(root, arguments=("--demo", "-c", str(config)), by_folder=False)
    cluster = Governed(world, upstream, signer, former)
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


def test_a_session_is_explained_by_commit_author_signer_and_the_text_of_its_rule(governed: Governed) -> None:
    world, first = governed.world, governed.upstream.git("rev-list", "--max-parents=0", "HEAD")
    second = governed.upstream.head
    started = world.wait_event("session.start", user="ann")

    told = world.tctl("access", "explain", "--session", started["sid"][:13])
    found = world.tctl_json("access", "explain", "--session", started["sid"], "-o", "json")
    since = world.tctl("access", "since", "--live", "--user", "ann", "--login", LOGIN, "--node", "db-1", "-o", "json")
    changes = world.tctl_json("policy", "history", "--live", "role/dev", "-o", "json")["changes"]
    then = world.tctl_json("access", "who", "--live", "--node", "db-1", "--at", first, "-o", "json")
    why = world.tctl("access", "explain", "--live", "--user", "ann", "--login", LOGIN, "--node", "db-1")

    assert f"allowed: ann logged in as {LOGIN} on db-1" in told.output
    assert f"commit {first}" in told.output
    assert "by t <t@example.com>, signed by ann@example.com" in told.output
    assert re.search(rf"^> +{started['line']} \|     logins: ", told.output, re.MULTILINE)
    assert f"(commit {second})" in told.output.partition("ended: ")[2]
    assert found["rule"]["text"] == ROLE.strip()
    assert (found["session"]["column"], found["rule"]["commit"]["signature"]) == (started["column"], "verified")
    (span,) = json.loads(since.output)["spans"]
    assert (span["since"]["id"], span["until"]["id"], since.status) == (first, second, 3)
    assert [(one["action"], one["commit"]["id"]) for one in changes] == [("updated", second), ("created", first)]
    assert {one["user"] for one in then["people"]} == {"ann", "bob"}
    assert (why.status, why.output.partition("\n")[0]) == (3, f"denied: ann may not log in as {LOGIN} on db-1")


def test_an_unsigned_commit_is_refused_by_name_and_what_was_in_force_stays(governed: Governed) -> None:
    good = governed.push({"roles/dev.yaml": ROLE, "users/cleo.yaml": user("cleo")})
    revision = governed.wait("Ready", good)["revision"]

    unsigned = governed.push({"users/mallory.yaml": user("mallory")}, signed=False)
    status = governed.wait("Stalled", unsigned)

    assert f"commit {unsigned}: is not signed" in status["message"]
    assert (status["applied_commit"], status["revision"]) == (good, revision)
    assert f"commit {good} in force, {unsigned} read last" in governed.world.tctl("policy", "status").output
    assert governed.world.wait_event("policy.stalled", commit=unsigned)
    assert f"commit={unsigned}" in governed.world.tctl("audit", "search", "--type", "policy.stalled").output
    assert governed.world.tctl("get", "user/mallory").status != 0
    governed.upstream.git("reset", "-q", "--hard", good)
    governed.wait("Ready", good)


def test_a_back_dated_commit_is_refused_and_what_was_in_force_stays(governed: Governed) -> None:
    good = governed.push({"roles/dev.yaml": ROLE, "users/cleo.yaml": user("cleo")})
    governed.wait("Ready", good)

    governed.upstream.write("policies/users/mallory.yaml", user("mallory"))
    dated = governed.upstream.commit(by=governed.former, when=int(time.mktime((2019, 6, 1, 0, 0, 0, 0, 0, 0))))
    status = governed.wait("Stalled", dated)

    assert "was valid when it was signed and when it was first seen" in status["message"]
    assert (status["reason"], status["applied_commit"]) == ("Unverified", good)
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
    governed.upstream.git("reset", "-q", "--hard", good)
    (governed.upstream.folder / "policies/promises/dev.yaml").unlink()
    deleting = governed.push({})
    deletes = governed.wait("Stalled", deleting)

    assert "promises/ann.yaml:6" in fails["message"]
    assert f"access_test/ann-works: expected can {LOGIN} on any host; {LOGIN} is denied on" in fails["message"]
    assert "access_invariant/only-dev: violated: whoever holds role/ops may log in as root" in breaks["message"]
    assert "(roles/ops.yaml:" in breaks["message"]
    hidden = [one["message"] for one in hides["problems"]]
    assert "refused by the guard weakened" in hides["message"]
    assert any(one.endswith("(as it is in force; this change alters or removes it)") for one in hidden)
    assert "refused by the guard weakened: access_invariant/only-dev" in deletes["message"]
    for status in (fails, breaks, hides, deletes):
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
    before = governed.wait("Stalled", old)
    world.stop()
    world.start()
    status = governed.wait("Stalled", old)
    kept = world.tctl("get", "user/dora").status
    wrong = world.tctl("policy", "accept-rollback", new, "--reason", "no")
    accepted = world.tctl("policy", "accept-rollback", old[:10], "--reason", "a test")

    assert f"does not contain {new}" in status["message"]
    assert status["applied_commit"] == new
    assert status["objects"] == before["objects"] > 0
    assert status["revision"] > 0
    assert kept == 0
    assert (wrong.status, accepted.status, accepted.output) == (1, 0, f"source git may go to commit {old}\n")
    governed.wait("Ready", old)
    assert world.tctl("get", "user/dora").status != 0
    assert world.wait_event("policy.rollback_accepted", commit=old)["reason"] == "a test"


def test_a_secret_is_refused_and_a_reference_to_it_is_obeyed(governed: Governed) -> None:
    token = "kind: token\nversion: v2\nmetadata: {name: NAME}\nspec: {roles: [Node]REST}\n"
    plain = governed.push({"tokens.yaml": token.replace("NAME", "hunter2hunter2hunter2").replace("REST", "")})
    refused = governed.wait("Stalled", plain)
    secrets = governed.world.data / "secrets"
    secrets.mkdir()
    (secrets / "fleet").write_text("correct-horse-battery-staple\n")

    reference = token.replace("NAME", "fleet").replace("REST", f", secret: {{file: {secrets / 'fleet'}}}")
    commit = governed.push({"tokens.yaml": reference})
    status = governed.wait("Ready", commit)

    assert "tokens.yaml:3:18: the name of this token is a secret" in refused["message"]
    assert "hunter2" not in str(refused)
    assert [one for one in status["warnings"] if "tokens.yaml" in one["file"]] == []


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
