"""Changes that one person alone does not make: refused with the last good state in force, until another one agrees."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import ROLE, Finished, World, user, wait_until
from tests.gitops.repositories import Key, Upstream, key

OPS = """\
kind: role
version: v7
metadata: {name: ops}
spec: {allow: {rules: [{resources: [role, user, policy], verbs: [list, create, read, update, delete]}]}}
"""


class Guarded:
    """A cluster, the repository that governs it, and two people who may sign."""

    def __init__(self, world: World, upstream: Upstream, ann: Key, bob: Key) -> None:
        self.world, self.upstream, self.ann, self.bob = world, upstream, ann, bob

    def push(self, files: dict[str, str | None], *, by: Key) -> str:
        """Write files, or remove those that are None, and commit."""
        for name, text in files.items():
            if text is None:
                (self.upstream.folder / "policies" / name).unlink()
            else:
                self.upstream.write(f"policies/{name}", text)
        return self.upstream.commit(by=by)

    def wait(self, state: str, commit: str) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            (found,) = self.world.tctl_json("policy", "status", "-o", "json")["sources"]
            return found if (found["state"], found["attempted_commit"]) == (state, commit) else None

        status: dict[str, Any] = wait_until(there, what=f"{state} at {commit}")
        return status

    def as_user(self, name: str, *arguments: str) -> Finished:
        """What somebody administers from elsewhere."""
        path = self.world.root / f"identity-{name}"
        if not path.exists():
            signed = self.world.tctl("auth", "sign", "--user", name, "--out", str(path))
            assert signed.status == 0, signed.errors
        return self.world.tctl("-i", str(path), *arguments)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    root = tmp_path_factory.mktemp("guards")
    ann, bob = key(root, "ann@example.com"), key(root, "bob@example.com")
    upstream = Upstream(root / "upstream")
    (root / "allowed_signers").write_text(ann.allowed() + bob.allowed())
    (root / "teleport.yaml").write_text(
        "version: v3\npolicies:\n  people: {ann@example.com: ann, bob@example.com: bob}\n"
        f"  guards: {{max_people: 1}}\n  git:\n    interval: 1s\n    url: {upstream.url}\n    path: policies\n"
        f"    verify: {{allowed_signers: {root / 'allowed_signers'}}}\n"
    )
    world = World(root, arguments=("--demo", "-c", str(root / "teleport.yaml")), by_folder=False)
    cluster = Guarded(world, upstream, ann, bob)
    people = {f"{name}.yaml": user(name) for name in ("cy", "dan", "eve")}
    staff = {"ann.yaml": user("ann", roles="dev, ops"), "bob.yaml": user("bob", roles="dev, ops")}
    cluster.push({"dev.yaml": ROLE, "ops.yaml": OPS, **people, **staff}, by=ann)
    world.start()
    yield cluster
    world.stop()


def test_a_commit_over_budget_changes_nothing_until_another_signer_overrides_the_guard(guarded: Guarded) -> None:
    world, good = guarded.world, guarded.upstream.head
    revision = guarded.wait("Ready", good)["revision"]

    commit = guarded.push({"cy.yaml": None, "dan.yaml": None}, by=guarded.ann)
    status = guarded.wait("Stalled", commit)
    shown = world.tctl("policy", "status").output
    kept = world.tctl("get", "user/cy").status

    assert (status["applied_commit"], status["revision"], kept) == (good, revision, 0)
    assert "refused by the guard people: 2 people lose access, at most 1 may at once: cy, dan" in shown
    assert f"git tag -s override/people/{commit} {commit}" in shown
    guarded.upstream.approve(commit, by=guarded.ann, name=f"override/people/{commit}")
    wait_until(lambda: "does not count: that is who signed" in guarded.wait("Stalled", commit)["message"])
    guarded.upstream.approve(commit, by=guarded.bob, name=f"override/people/{commit}")
    guarded.wait("Ready", commit)
    event = world.wait_event("policy.override", commit=commit)
    assert (event["guard"], event["user"], event["principal"]) == ("people", "bob", "bob@example.com")
    assert world.tctl("get", "user/cy").status != 0


def test_who_signs_a_commit_for_themself_waits_for_somebody_else(guarded: Guarded) -> None:
    good = guarded.upstream.head
    guarded.wait("Ready", good)

    commit = guarded.push({"ann.yaml": user("ann", roles="dev, ops, editor")}, by=guarded.ann)
    status = guarded.wait("Stalled", commit)
    guarded.upstream.git("reset", "-q", "--hard", good)
    other = guarded.push({"ann.yaml": user("ann", roles="dev, ops, editor")}, by=guarded.bob)

    assert "guard beneficiary: ann@example.com, who signed this, gains by it: role/editor" in status["message"]
    assert status["applied_commit"] == good
    guarded.wait("Ready", other)


def test_the_last_administrators_are_not_removed_by_anybody(guarded: Guarded) -> None:
    good = guarded.upstream.head
    guarded.wait("Ready", good)
    harmless = OPS.replace("role, user, ", "")

    commit = guarded.push({"ann.yaml": user("ann", roles="dev, ops"), "ops.yaml": harmless}, by=guarded.ann)
    status = guarded.wait("Stalled", commit)

    assert "guard administration: nobody could administer the cluster any more" in status["message"]
    guarded.upstream.git("reset", "-q", "--hard", good)
    guarded.wait("Ready", good)


def test_a_write_through_the_api_waits_for_another_administrator(guarded: Guarded, tmp_path: Path) -> None:
    world, made = guarded.world, tmp_path / "made.yaml"
    wide = ROLE.replace("name: dev", "name: made")
    made.write_text("---\n".join([wide, user("x", roles="made"), user("y", roles="made")]))
    assert guarded.as_user("ann", "create", str(made)).status == 0
    made.write_text(wide.replace('"*": "*"', "env: nowhere"))

    refused = guarded.as_user("ann", "create", "--force", str(made))
    proposal = re.search(r"tctl policy approve --guard people --proposal (\w+)", refused.errors)
    assert proposal is not None, refused.errors
    alone = guarded.as_user("ann", "policy", "approve", "--guard", "people", "--proposal", proposal[1])
    stranger = guarded.as_user("eve", "policy", "approve", "--guard", "people", "--proposal", proposal[1])
    agreed = guarded.as_user("bob", "policy", "approve", "--guard", "people", "--reason", "a move")
    again = guarded.as_user("ann", "create", "--force", str(made))

    assert "refused by the guard people: 2 people lose access, at most 1 may at once: x, y" in refused.errors
    assert (refused.status, alone.status, stranger.status, agreed.status, again.status) == (2, 1, 3, 0, 0)
    assert "ann may not approve it: that is who wrote it" in alone.errors
    assert f"(source api, proposal {proposal[1]})" in agreed.output
    assert world.wait_event("policy.approved", proposal=proposal[1])["user"] == "bob"
    assert world.wait_event("policy.override", source="api")["reason"] == "a move"
