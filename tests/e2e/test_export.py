"""`tctl policy export` from a running cluster: what governs it, as a folder that changes nothing."""

from pathlib import Path

from tests.e2e.world import World

MADE = """\
kind: role
version: v7
metadata: {name: made/by:hand}
spec: {allow: {logins: [root], node_labels: {env: [dev, "1.10"]}}}
---
kind: cluster_auth_preference
version: v2
spec: {message_of_the_day: "Hello\\nthere\\n"}
"""


def test_what_is_in_force_is_exported_without_secrets_and_proved_to_be_the_same(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert world.tctl("create", "-", stdin=MADE).status == 0
    token = world.tctl_json("tokens", "add", "--type", "node", "-o", "json")["token"]

    result = world.tctl("policy", "export", "--all", str(folder))

    assert result.status == 0, result.errors
    assert f"left out: token/{token[:2]}… (a secret)\n" in result.output
    said = f"`tctl policy plan {folder} --source '*'` changes nothing\nmade by hand: 2 of them, which a folder"
    assert said in result.output
    written = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.yaml")}
    assert sorted(written) == [
        "roles/dev.yaml", "roles/made%2Fby%3Ahand.yaml", "settings/cluster_auth_preference.yaml", "users/ann.yaml",
        "users/bob.yaml",
    ]  # fmt: skip
    assert all(token not in text and "revision" not in text for text in written.values())
    assert world.tctl("policy", "fmt", "--check", str(folder)).status == 0
    assert world.tctl("policy", "validate", str(folder)).status == 0

    proof = world.tctl("policy", "plan", str(folder), "--source", "*")
    again = world.tctl("policy", "export", "--all", str(folder))
    own = world.tctl_json("policy", "export", "--source", "api", str(tmp_path / "api"), "-o", "json")
    plan = world.tctl("policy", "plan", str(tmp_path / "api"), "--source", "api")
    (folder / "roles/dev.yaml").write_text("# mine\n")
    refused = world.tctl("policy", "export", "--all", str(folder))

    assert (proof.status, again.status, plan.status) == (0, 0, 0)
    assert (own["objects"], own["proved"], own["left_out"]) == (2, True, [f"token/{token[:2]}…"])
    assert (refused.status, "changed since: roles/dev.yaml" in refused.errors) == (1, True)
    assert world.tctl("policy", "export", str(folder)).status == 2
