"""An emergency: access past the repository for a while, and what is changed underneath the repository."""

import json
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import LOGIN, Person, World, user, wait_until
from tests.gitops.repositories import Upstream

OPS = f"""\
kind: role
version: v7
metadata: {{name: ops}}
spec:
  allow:
    logins: [{LOGIN}]
    node_labels:
      # Nobody gets anywhere by this; in an emergency it is made wider.
      env: nowhere
"""
WIDER = OPS.replace("env: nowhere", '"*": "*"')
ON_CALL = """\
kind: role
version: v7
metadata: {name: on-call}
spec:
  allow:
    rules:
      - {resources: [role], verbs: [break_glass, readnosecrets]}
      - {resources: [policy], verbs: [read]}
"""


class Governed:
    """A cluster that a repository governs, and that permits emergencies; ann works, bob is on call."""

    def __init__(self, world: World, upstream: Upstream) -> None:
        self.world, self.upstream = world, upstream
        self.ann, self.bob = (world.person(name) for name in ("ann", "bob"))

    def push(self, files: dict[str, str]) -> str:
        commit = self.upstream.commit({f"policies/{name}": text for name, text in files.items()})
        wait_until(lambda: self.source()["attempted_commit"] == commit, what=f"commit {commit}")
        return commit

    def source(self) -> dict[str, Any]:
        (found,) = self.world.tctl_json("policy", "status", "-o", "json")["sources"]
        status: dict[str, Any] = found
        return status

    def edit(self, *more: str) -> tuple[str, ...]:
        file = self.world.root / "wider.yaml"
        file.write_text(WIDER)
        reason = "the database is down"
        return ("edit", "role/ops", "--break-glass", "-f", str(file), "--reason", reason, *more)

    def break_glass(self) -> None:
        """On the auth host, where it takes no code."""
        done = self.world.tctl(*self.edit("--ttl", "10m"))
        assert done.status == 0, done.errors

    def refused(self, person: Person) -> bool:
        return person.ssh(f"{LOGIN}@db-1", "true").status != 0


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("emergency")
    upstream = Upstream(root / "upstream")
    config = root / "teleport.yaml"
    config.write_text(
        f"version: v3\npolicies:\n  git: {{interval: 1s, url: {upstream.url}, path: policies}}\n"
        "  break_glass: {max_ttl: 10m}\n"
    )
    world = World(root, arguments=("--demo", "-c", str(config)), by_folder=False)
    cluster = Governed(world, upstream)
    files = {"ops.yaml": OPS, "oncall.yaml": ON_CALL, "ann.yaml": user("ann", roles="ops"),
             "bob.yaml": user("bob", roles="on-call")}  # fmt: skip
    upstream.commit({f"policies/{name}": text for name, text in files.items()})
    world.start()
    for person in (cluster.ann, cluster.bob):
        person.enrol().login()
    yield cluster
    world.stop()


@pytest.mark.parametrize(
    "command", [("edit", "role/ops"), ("rm", "role/ops"), ("create", "-"), ("create", "--force", "-")]
)
def test_a_write_to_what_the_repository_declares_is_refused_and_names_file_and_commit(
    governed: Governed, command: tuple[str, ...]
) -> None:
    done = governed.world.tctl(*command, stdin=WIDER)

    assert done.status == 1
    assert f"declared in ops.yaml:1 (commit {governed.source()['applied_commit']})" in done.errors


def test_access_for_a_while_ends_by_itself_and_with_it_the_session(governed: Governed) -> None:
    world = governed.world
    before = governed.refused(governed.ann)
    said = governed.bob.run("tctl", *governed.edit("--ttl", "4s", "--mfa-code", governed.bob.code()))
    with governed.ann.terminal("tsh", "ssh", f"{LOGIN}@db-1") as terminal:
        terminal.expect(r"\$ ")
        status = world.tctl("policy", "status").output
        terminal.expect(r"access withdrawn: .*\(the emergency change of role/ops ended\)", timeout=10)

    assert before
    assert "role/ops changed until" in said.output
    assert "role/ops is changed for an emergency until" in status
    assert "by bob: the database is down" in status
    assert governed.refused(governed.ann)
    begun = world.wait_event("policy.break_glass", name="role/ops")
    ended = world.wait_event("policy.break_glass.end", id=begun["id"])
    assert (begun["user"], begun["with_mfa"], begun["commit"]) == ("bob", True, governed.upstream.head)
    assert (ended["begun_by"], ended["reason"]) == ("bob", "its time is over")


def test_who_asks_why_reads_of_the_emergency_and_of_the_commit_that_it_lies_over(governed: Governed) -> None:
    world, commit = governed.world, governed.source()["applied_commit"]
    governed.break_glass()
    asked = ("--user", "ann", "--login", LOGIN, "--node", "db-1")
    governed.ann.ssh(f"{LOGIN}@db-1", "true")
    started = world.wait_event("session.start", source="break-glass")

    told = {
        "session": world.tctl("access", "explain", "--session", started["sid"]).output,
        "question": world.tctl("access", "explain", "--live", *asked).output,
    }
    beside = {
        "who": world.tctl("access", "who", "--live", "--node", "db-1").output,
        "since": world.tctl("access", "since", "--live", *asked).output,
        "plan": world.tctl("policy", "plan", str(governed.upstream.folder / "policies")).output,
    }
    past = world.tctl("access", "who", "--live", "--node", "db-1", "--at", commit).output
    world.tctl("policy", "break-glass", "end", "role/ops")

    for one in told.values():
        assert "role/ops is changed for an emergency by root (uid 0) until " in one
        assert ": the database is down\n    spec.allow.node_labels" in one
        assert f"declared otherwise at ops.yaml:1 of the source git\n  commit {commit}" in one
        assert "  # Nobody gets anywhere by this" in one
    for one in beside.values():
        assert "role/ops is changed for an emergency until " in one
    assert "emergency" not in past


def test_it_is_ended_before_its_time(governed: Governed) -> None:
    governed.break_glass()
    assert not governed.refused(governed.ann)

    done = governed.world.tctl("policy", "break-glass", "end", "role/ops")

    assert (done.status, done.output) == (0, "role/ops is as it is declared\n")
    assert governed.refused(governed.ann)


def test_the_patch_that_is_committed_keeps_the_access_and_ends_the_emergency(
    governed: Governed, tmp_path: Path
) -> None:
    world, upstream = governed.world, governed.upstream
    governed.break_glass()
    with governed.ann.terminal("tsh", "ssh", f"{LOGIN}@db-1") as terminal:
        terminal.expect(r"\$ ")
        patch = world.tctl("policy", "patch", "--dir", str(upstream.folder)).output
        subprocess.run(["git", "apply"], input=patch, text=True, cwd=upstream.folder, check=True)
        text = (upstream.folder / "policies/ops.yaml").read_text()
        governed.push({"ops.yaml": text})
        told = f"role/ops was changed by source git in commit {upstream.head}"
        ended = world.wait_event("policy.break_glass.end", reason=told)
        terminal.type("echo still-$((20+3))\n")
        terminal.expect("still-23")

    assert "# Nobody gets anywhere by this" in text
    assert ended["name"] == "role/ops"
    assert world.tctl_json("policy", "status", "-o", "json")["emergencies"] == []
    governed.push({"ops.yaml": OPS})


def rewrite(world: World, key: str, change: dict[str, Any]) -> None:
    """As somebody does who has the file and not the program."""
    with sqlite3.connect(world.data / "store.sqlite", timeout=10) as db:
        ((value,),) = db.execute("SELECT value FROM records WHERE key = ?", (key,)).fetchall()
        body = json.loads(value)
        body["resource"]["spec"] |= change
        db.execute("UPDATE records SET value = ? WHERE key = ?", (json.dumps(body).encode(), key))
    db.close()


def test_what_is_written_underneath_is_repaired_within_the_interval_and_told_of(governed: Governed) -> None:
    world, told = governed.world, len(governed.world.events("policy.drift"))
    rewrite(world, "policy/user/ann", {"roles": ["ops", "editor"]})

    wait_until(lambda: len(world.events("policy.drift")) > told, timeout=5)

    drift = world.events("policy.drift")[-1]
    assert (drift["source"], drift["updated"], drift["commit"]) == ("git", ["user/ann"], governed.upstream.head)
    with sqlite3.connect(world.data / "store.sqlite", timeout=10) as db:
        ((value,),) = db.execute("SELECT value FROM records WHERE key = 'policy/user/ann'").fetchall()
    db.close()
    assert json.loads(value)["resource"]["spec"]["roles"] == ["ops"]


def test_a_lock_made_in_an_emergency_is_no_drift_and_no_source_takes_it(governed: Governed) -> None:
    world = governed.world
    lock = "kind: lock\nversion: v2\nmetadata: {name: lost}\nspec: {target: {user: ann}}\n"
    world.tctl("create", stdin=lock)

    governed.push({"lost.yaml": lock.replace("user: ann", "user: nobody")})

    wait_until(lambda: governed.source()["state"] == "Stalled")
    assert "lock/lost belongs to the source api" in governed.source()["message"]
    assert world.tctl_json("get", "lock/lost", "-o", "json")[0]["spec"]["target"] == {"user": "ann"}
