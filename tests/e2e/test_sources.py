"""Several sources govern one cluster: two repositories that tell of pushes, one of them with a ceiling."""

import hashlib
import hmac
import http.client
import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.services import Service, join_token
from tests.e2e.world import LOGIN, ROLE, World, user, wait_until
from tests.gitops.repositories import Upstream

SECRET = b"what the servers of repositories sign with"
TEAM_ROLE = """\
kind: role
version: v7
metadata: {name: b-dev}
spec:
  options: {port_forwarding: no}
  allow: {logins: [LOGIN], node_labels: {team: b}}
""".replace("LOGIN", LOGIN)


class Governed:
    """A cluster, and the repositories of those who govern it: nobody asks them for news but when told to."""

    def __init__(self, world: World, ops: Upstream, team: Upstream) -> None:
        self.world, self.ops, self.team = world, ops, team

    def sources(self) -> dict[str, dict[str, Any]]:
        found = self.world.tctl_json("policy", "status", "-o", "json")["sources"]
        return {one["name"]: one for one in found}

    def wait(self, source: str, state: str, commit: str = "") -> dict[str, Any]:
        def reached() -> Any:
            one = self.sources()[source]
            return one if one["state"] == state and commit in ("", one["attempted_commit"]) else None

        found: dict[str, Any] = wait_until(reached, what=f"{source} {state}")
        return found

    def tell(self, source: str, body: bytes, headers: dict[str, str], *, at: str = "") -> tuple[int, str]:
        """What a proxy answers to a message of a server of repositories."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(at or self.world.proxy, timeout=10, context=context)
        connection.request("POST", f"/webhooks/policy/{source}", body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def push(self, source: str = "ops", ref: str = "refs/heads/main") -> tuple[int, str]:
        return self.tell(source, *as_github(ref))


def as_github(ref: str = "refs/heads/main") -> tuple[bytes, dict[str, str]]:
    body = json.dumps({"ref": ref, "after": "0" * 40, "repository": {"full_name": "acme/policy"}}).encode()
    signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    return body, {
        "X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json",
    }  # fmt: skip


def as_gitlab() -> tuple[bytes, dict[str, str]]:
    body = json.dumps({"object_kind": "push", "ref": "refs/heads/main", "project": {"id": 1}}).encode()
    return body, {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": SECRET.decode(), "Content-Type": "application/json"}


def as_gitea() -> tuple[bytes, dict[str, str]]:
    body = json.dumps({"ref": "refs/heads/main", "commits": [], "pusher": {"login": "ann"}}).encode()
    signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    return body, {"X-Gitea-Event": "push", "X-Gitea-Signature": signature, "Content-Type": "application/json"}


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("sources")
    ops, team = Upstream(root / "ops"), Upstream(root / "team")
    secret = root / "webhook-secret"
    secret.write_bytes(SECRET + b"\n")
    config = root / "teleport.yaml"
    config.write_text(
        "version: v3\npolicies:\n  sources:\n"
        f"    - {{name: ops, git: {{url: '{ops.url}', interval: 1h, webhook: {{secret_file: {secret}}}}}}}\n"
        f"    - name: team-b\n      git: {{url: '{team.url}', interval: 1h, webhook: {{secret_file: {secret}}}}}\n"
        "      ceiling:\n"
        "        owns: {role: ['b-*'], user: ['*']}\n        assign_roles: [dev]\n"
        f"        traits: {{logins: [{LOGIN}]}}\n        logins: [{LOGIN}]\n        node_labels: {{team: b}}\n"
    )
    ops.commit({"roles/dev.yaml": ROLE, "users/ann.yaml": user("ann")})
    team.commit({"role.yaml": TEAM_ROLE, "bob.yaml": user("bob", roles="b-dev, dev")})
    world = World(root, arguments=("--demo", "-c", str(config)), by_folder=False)
    world.start()
    cluster = Governed(world, ops, team)
    cluster.wait("ops", "Ready")
    cluster.wait("team-b", "Ready")
    yield cluster
    world.stop()


@pytest.mark.parametrize("server", [as_github, as_gitlab, as_gitea])
def test_a_push_is_in_force_within_two_seconds_of_the_servers_message(governed: Governed, server: Any) -> None:
    name = server.__name__.removeprefix("as_")
    commit = governed.ops.commit({f"users/{name}.yaml": user(name)})

    began = time.monotonic()
    status, _ = governed.tell("ops", *server())
    governed.world.wait_event("policy.applied", commit=commit)
    took = time.monotonic() - began

    assert status == 202
    assert took < 2
    assert governed.world.tctl("get", f"user/{name}").status == 0


def test_a_message_ends_a_live_session_within_two_seconds_in_all(governed: Governed) -> None:
    ann = governed.world.person("ann").enrol().login()
    with ann.terminal("tsh", "ssh", f"{LOGIN}@db-1") as terminal:
        terminal.expect(r"\$ ")
        began = time.monotonic()
        governed.ops.commit({"roles/dev.yaml": ROLE.replace('"*": "*"', "env: nowhere")})
        governed.push()
        terminal.expect("access withdrawn: role/dev no longer allows")
        took = time.monotonic() - began

    assert took < 2


def test_who_has_no_secret_learns_nothing_and_moves_nothing(governed: Governed) -> None:
    body, headers = as_github()
    wrong = {**headers, "X-Hub-Signature-256": "sha256=" + "0" * 64}
    seen = governed.wait("ops", "Ready", governed.ops.head)["last_seen"]

    answers = {governed.tell(source, body, wrong) for source in ("ops", "team-b", "nobody")}
    unsigned = governed.tell("ops", body, {})
    huge = governed.tell("ops", b"x" * ((1 << 20) + 1), headers)

    assert len(answers) == 1
    assert answers.pop()[0] == unsigned[0] == 403
    assert huge[0] == 400
    assert governed.sources()["ops"]["last_seen"] == seen


def test_what_does_not_govern_is_no_news_and_what_is_sent_again_does_no_harm(governed: Governed) -> None:
    body, headers = as_github()
    ping = governed.tell("ops", body, {**headers, "X-GitHub-Event": "ping"})
    other = governed.push(ref="refs/heads/feature")
    before = governed.sources()["ops"]["revision"]

    again = [governed.push()[0] for _ in range(20)]
    governed.wait("ops", "Ready")

    assert (ping[0], other[0]) == (200, 200)
    assert "nothing that governs" in other[1]
    assert set(again) == {202}
    assert governed.sources()["ops"]["revision"] == before


def test_a_source_that_gives_itself_more_than_its_ceiling_is_stalled_and_its_last_good_state_stays(
    governed: Governed,
) -> None:
    good = governed.team.head
    bad = governed.team.commit({"bob.yaml": user("bob", roles="editor")})
    plan = governed.world.tctl("policy", "plan", str(governed.team.folder), "--source", "team-b")
    slip = governed.world.tctl("policy", "plan", str(governed.team.folder), "--source", "team-x")
    governed.push("team-b")
    status = governed.wait("team-b", "Stalled", bad)

    (shown,) = governed.world.tctl_json("get", "user/bob", "-o", "json")
    governed.team.git("revert", "--no-edit", "HEAD")
    governed.push("team-b")
    governed.wait("team-b", "Ready", governed.team.head)

    assert "Note: the cluster has no source of the name team-x; it has ops, team-b\n" in slip.output
    assert (plan.status, "no source of the name" in plan.output) == (4, False)
    assert "bob.yaml:4:16: user/bob holds the role editor, beyond what its source may give" in plan.output
    assert "bob.yaml:4:16: refused by the guard ceiling: user/bob holds the role editor" in status["message"]
    assert status["applied_commit"] == good
    assert status["ceiling"]["assign_roles"] == ["dev"]
    assert shown["spec"]["roles"] == ["b-dev", "dev"]


def test_removing_what_another_source_uses_stalls_the_remover_and_says_by_whom(governed: Governed) -> None:
    (governed.ops.folder / "roles/dev.yaml").unlink()
    (governed.ops.folder / "users/ann.yaml").write_text(user("ann", roles="access"))
    for name in ("github", "gitlab", "gitea"):
        (governed.ops.folder / f"users/{name}.yaml").unlink(missing_ok=True)
    commit = governed.ops.commit()
    governed.push()
    status = governed.wait("ops", "Stalled", commit)

    governed.ops.git("revert", "--no-edit", "HEAD")
    governed.push()
    governed.wait("ops", "Ready", governed.ops.head)

    assert "role/dev is still used by user/bob (source team-b, bob.yaml:1)" in status["message"]
    assert governed.sources()["team-b"]["state"] == "Ready"


def test_an_administrator_lets_a_source_take_over_what_was_made_through_the_api(governed: Governed) -> None:
    world = governed.world
    made = world.tctl("create", "-", stdin=user("cy", roles="dev"))
    too_early = world.tctl("policy", "adopt", "user/cy", "--source", "team-b")
    commit = governed.team.commit({"cy.yaml": user("cy", roles="dev")})
    governed.push("team-b")
    stalled = governed.wait("team-b", "Stalled", commit)

    adopted = world.tctl("policy", "adopt", "user/cy", "--source", "team-b")
    governed.wait("team-b", "Ready", commit)

    assert made.status == 0, made.errors
    assert "user/cy belongs to the source api" in stalled["message"]
    assert "the source team-b does not declare user/cy" in too_early.errors
    assert adopted.output == "source team-b may take over user/cy from api\n"
    moved = world.wait_event("policy.owner_changed", name="user/cy")
    assert (moved["before"], moved["source"], moved["why"]) == ("api", "team-b", "adopted")


def test_a_suspended_source_applies_nothing_also_after_a_restart_until_it_is_resumed(governed: Governed) -> None:
    world = governed.world
    suspended = world.tctl("policy", "suspend", "team-b", "--reason", "under attack")
    commit = governed.team.commit({"dora.yaml": user("dora", roles="dev")})
    governed.push("team-b")
    world.stop()
    world.start()
    governed.push("team-b")
    status = governed.wait("team-b", "Suspended")
    kept = world.tctl("get", "user/dora").status

    resumed = world.tctl("policy", "resume")
    governed.wait("team-b", "Ready", commit)

    assert suspended.output == "source team-b is suspended\n"
    assert "under attack (by " in status["message"]
    assert kept != 0
    assert resumed.output == "source team-b goes on\n"
    assert world.tctl("get", "user/dora").status == 0
    assert world.wait_event("policy.suspended", source="team-b")["reason"] == "under attack"
    assert world.wait_event("policy.resumed", source="team-b")


def test_a_proxy_in_a_process_of_its_own_passes_the_message_on(tmp_path: Path) -> None:
    ops = Upstream(tmp_path / "ops")
    ops.commit({"dev.yaml": ROLE})
    (tmp_path / "webhook-secret").write_bytes(SECRET)
    config = tmp_path / "teleport.yaml"
    config.write_text(
        f"version: v3\npolicies: {{git: {{url: '{ops.url}', interval: 1h, "
        f"webhook: {{secret_file: {tmp_path / 'webhook-secret'}}}}}}}\n"
    )
    world = World(tmp_path, arguments=("--roles", "auth", "-c", str(config)), by_folder=False).start()
    auth, token = world.proxy, join_token(world.data, "proxy")
    joining = ("--auth-server", auth, "--ca-pin", world.pin, "--token", token, "--listen", "127.0.0.1:0")
    proxy = Service(tmp_path / "proxy", ("--roles", "proxy", "--nodename", "gate", *joining)).start()
    commit, (body, headers) = ops.commit({"ann.yaml": user("ann")}), as_github()
    try:
        wrong = Governed(world, ops, ops).tell("git", body + b" ", headers, at=proxy.address)
        status, _ = Governed(world, ops, ops).tell("git", body, headers, at=proxy.address)
        applied = world.wait_event("policy.applied", commit=commit)
    finally:
        proxy.stop()
        world.stop()

    assert (wrong[0], status) == (403, 202)
    assert applied["source"] == "git"
