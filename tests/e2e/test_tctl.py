"""Administering a cluster with tctl: on the auth host, with identity files, and as a user whose rules say what."""

import json
import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli import programs
from tests.e2e.world import BIN, LOGIN, ROLE, Finished, Person, World, user, wait_until

MADE = """\
kind: user
version: v2
metadata: {name: jim}
spec: {roles: [ops], traits: {odd: ["yes", "0x10", "1.10", "a: b", "~"]}}
---
kind: role
version: v7
metadata: {name: ops}
spec: {allow: {logins: [root], node_labels: {env: [dev, test]}}}
"""


@pytest.fixture
def clean(world: World) -> Iterator[None]:
    """What the test makes through the API is gone after it."""
    yield
    if world.tctl("rm", "user/jim", "role/ops").status != 0:
        world.tctl("rm", "role/ops")


def identity(world: World, name: str, *arguments: str) -> Path:
    path = world.root / f"{name}.identity"
    result = world.tctl("auth", "sign", "--user", name, "--out", str(path), "--overwrite", *arguments)
    assert result.status == 0, result.errors
    return path


def test_status_tells_the_cluster_its_pin_and_that_it_is_a_demonstration(world: World) -> None:
    found = world.tctl_json("status", "-o", "json")

    assert (found["cluster"], found["ca_pins"], found["proxy_address"]) == ("acme", [world.pin], world.proxy)
    assert found["demo"]
    assert "can read the certificate authority" in world.tctl("status").output


def test_policy_status_shows_the_source_and_who_enforces_it(world: World) -> None:
    found = world.tctl_json("policy", "status", "-o", "json")

    (source,) = found["sources"]
    assert (source["name"], source["state"], source["problems"]) == ("folder", "Ready", [])
    assert {tuple(one["roles"]) for one in found["services"]} == {("Node",), ("Proxy",)}
    wait_until(lambda: caught_up(world))


def caught_up(world: World) -> bool:
    found = world.tctl_json("policy", "status", "-o", "json")
    return bool(found["oldest_acknowledged"] == found["revision"])


def test_get_shows_what_the_folder_declares_and_where(world: World) -> None:
    result = world.tctl("get", "roles,users")

    assert result.status == 0, result.errors
    assert any(line.startswith("dev ") and line.endswith("roles/dev.yaml:1") for line in result.output.splitlines())
    assert any(line.startswith("ann ") and line.endswith("users/ann.yaml:1") for line in result.output.splitlines())


def test_get_all_shows_preset_roles_and_hosts_that_report_themselves(world: World) -> None:
    shown = world.tctl("get", "all").output

    assert "every cluster" in shown
    assert "reports itself" in shown


def test_plan_compares_with_what_is_in_force_on_the_hosts_that_report_themselves(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.policies, tmp_path / "new")
    same = world.tctl("policy", "plan", str(tmp_path / "new"))
    (tmp_path / "new/users/bob.yaml").unlink()
    (tmp_path / "new/users/cy.yaml").write_text(user("cy"))

    result = world.tctl("policy", "plan", str(tmp_path / "new"))
    rows = json.loads(world.tctl("policy", "plan", str(tmp_path / "new"), "-o", "json").output)["impact"]["rows"]

    host = rows[0]["resource"]
    assert (same.status, "compared with the running cluster: nothing changes" in same.output) == (0, True), same.errors
    assert result.status == 2
    assert f"bob loses {LOGIN} on {host}\n      because the user is deleted" in result.output
    assert f"cy gains {LOGIN} on {host}\n      because the user is new" in result.output
    assert {(one["change"], one["user"], one["login"]) for one in rows} == {
        ("lost", "bob", LOGIN), ("gained", "cy", LOGIN),
    }  # fmt: skip


def test_what_the_api_declares_is_left_alone_and_what_both_declare_would_be_refused(
    world: World, tmp_path: Path, clean: None
) -> None:
    shutil.copytree(world.policies, tmp_path / "new")
    assert world.tctl("create", stdin=MADE).status == 0

    alone = json.loads(world.tctl("policy", "plan", str(tmp_path / "new"), "-o", "json").output)
    (tmp_path / "new/made.yaml").write_text(MADE)
    both = world.tctl("policy", "plan", str(tmp_path / "new"))

    assert (alone["changes"], alone["left_alone"]) == ([], ["role/ops", "user/jim"])
    assert both.status == 4
    assert "» role/ops" in both.output
    assert "role/ops belongs to the source api; delete it there first" in both.output


def test_an_inventory_has_names_and_labels_alone_and_serves_where_there_is_no_cluster(
    world: World, tmp_path: Path
) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(world.tctl("policy", "inventory").output)
    shutil.copytree(world.policies, tmp_path / "new")
    (tmp_path / "new/users/bob.yaml").unlink()

    offline = ["policy", "plan", str(tmp_path / "new"), "--against", str(world.policies), "--inventory", str(fleet)]
    found = programs.tctl(*offline, "-o", "json")

    assert "addr" not in fleet.read_text()
    assert [(one["change"], one["user"]) for one in json.loads(found.output)["impact"]["rows"]] == [("lost", "bob")]


def test_who_may_only_read_policy_and_labels_can_plan(world: World, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/planning.md").read_text()
    planner = page[page.index("kind: role\n") :].partition("```")[0]
    world.write("roles/ci.yaml", planner.replace("name: planner", "name: ci"))
    world.write("users/ci.yaml", user("ci", roles="ci"))
    wait_until(lambda: "ci" in world.tctl("get", "users").output)
    shutil.copytree(world.policies, tmp_path / "new")

    result = world.tctl("-i", str(identity(world, "ci")), "policy", "plan", str(tmp_path / "new"))

    assert (result.status, "nothing changes" in result.output) == (0, True), result.errors
    for name in ("users/ci.yaml", "roles/ci.yaml"):
        (world.policies / name).unlink()


def test_an_unknown_kind_is_told_with_the_likely_right_one(world: World) -> None:
    result = world.tctl("get", "rolls")

    assert result.status == 2
    assert "unknown kind rolls" in result.errors
    assert "did you mean role" in result.errors


@pytest.mark.usefixtures("clean")
def test_what_is_created_comes_back_as_yaml_that_creates_the_same(world: World) -> None:
    created = world.tctl("create", "-f", stdin=MADE)
    assert (created.status, created.output) == (0, "user/jim created\nrole/ops created\n"), created.errors

    text = world.tctl("get", "role/ops,user/jim", "-o", "yaml").output
    before = world.tctl_json("get", "user/jim", "-o", "json")
    assert world.tctl("rm", "user/jim", "role/ops").status == 0
    again = world.tctl("create", "-", stdin=text)

    assert again.status == 0, again.errors
    after = world.tctl_json("get", "user/jim", "-o", "json")
    assert after[0]["spec"] == before[0]["spec"]


@pytest.mark.usefixtures("clean")
def test_every_problem_of_every_document_is_told_with_its_place_and_nothing_is_written(world: World) -> None:
    path = world.root / "bad.yaml"
    path.write_text(
        MADE.replace("odd:", "odd: [1],\n  more:")
        + "---\nkind: user\nversion: v2\nmetadata: {name: joe}\nspec: {roles: [oops]}\n"
    )

    result = world.tctl("create", str(path))

    assert result.status == 2
    assert f"{path}:4:37: 1 is not text" in result.errors
    assert f"{path}:15:16: unknown role oops (did you mean ops?)" in result.errors
    assert world.tctl("get", "user/jim").status == 1


@pytest.mark.usefixtures("clean")
def test_what_exists_is_replaced_only_by_force_and_only_at_the_revision_in_the_file(world: World) -> None:
    assert world.tctl("create", "-", stdin=MADE).status == 0
    read = world.tctl("get", "role/ops", "-o", "yaml").output

    refused = world.tctl("create", "-", stdin=MADE)
    replaced = world.tctl("create", "--force", "-", stdin=read.replace("- test", "- prod"))
    stale = world.tctl("create", "--force", "-", stdin=read.replace("- test", "- more"))

    assert refused.status == 1
    assert "role/ops exists already" in refused.errors
    assert replaced.output == "role/ops updated\n"
    assert stale.status == 1
    assert "was changed since it was read" in stale.errors


def test_what_the_folder_declares_can_neither_be_replaced_nor_deleted_nor_edited(world: World) -> None:
    replaced = world.tctl("create", "--force", "-", stdin=ROLE)
    deleted = world.tctl("rm", "role/dev")
    edited = tctl_edit(world, "role/dev", "touch /nonexistent/never-run")

    for result in (replaced, deleted, edited):
        assert result.status == 1
        assert "declared in roles/dev.yaml:1" in result.errors


@pytest.mark.usefixtures("clean")
def test_a_role_in_use_is_not_deleted_before_those_who_have_it(world: World) -> None:
    assert world.tctl("create", "-", stdin=MADE).status == 0

    result = world.tctl("rm", "role/ops")

    assert result.status == 1
    assert "role/ops is still used by user/jim (source api)" in result.errors


def tctl_edit(world: World, what: str, script: str) -> Finished:
    """`tctl edit` with a shell script as the editor; `$1` is the file."""
    editor = world.root / "editor"
    editor.write_text(f"#!/bin/sh\n{script}\n")
    editor.chmod(0o755)
    temporary = world.root / "temporary"
    temporary.mkdir(exist_ok=True)
    result = subprocess.run(
        [str(BIN / "tctl"), "--data-dir", str(world.data), "edit", what], capture_output=True, text=True, check=False,
        timeout=20, env={**os.environ, "EDITOR": str(editor), "VISUAL": "", "TMPDIR": str(temporary)},
    )  # fmt: skip
    return Finished(result.returncode, result.stdout, result.stderr)


def kept_text(world: World) -> str:
    (path,) = (world.root / "temporary").iterdir()
    text = path.read_text()
    path.unlink()
    return text


@pytest.fixture
def ops(world: World, clean: None) -> None:
    """The role and the user of MADE exist."""
    assert world.tctl("create", "-", stdin=MADE).status == 0


@pytest.mark.usefixtures("ops")
def test_an_edit_is_applied_and_leaves_nothing_behind(world: World) -> None:
    result = tctl_edit(world, "role/ops", 'sed -i "s/- test/- prod/" "$1"')

    assert (result.status, result.output) == (0, "role/ops updated\n"), result.errors
    assert world.tctl_json("get", "role/ops", "-o", "json")[0]["spec"]["allow"]["node_labels"]["env"] == ["dev", "prod"]
    assert not list((world.root / "temporary").iterdir())


@pytest.mark.usefixtures("ops")
def test_an_edit_without_a_change_changes_nothing(world: World) -> None:
    before = world.tctl_json("get", "role/ops", "-o", "json")

    result = tctl_edit(world, "role/ops", "true")

    assert (result.status, result.output) == (0, "role/ops unchanged\n")
    assert world.tctl_json("get", "role/ops", "-o", "json") == before


@pytest.mark.usefixtures("ops")
def test_a_refused_edit_opens_again_with_the_reasons_on_top_and_can_be_corrected(world: World) -> None:
    script = (
        'if grep -q "unknown field loggins" "$1"; then cp "$1" "$0.seen"; sed -i s/loggins/logins/ "$1";\n'
        'else sed -i "s/logins:/loggins:/; s/- test/- prod/" "$1"; fi'
    )

    result = tctl_edit(world, "role/ops", script)

    assert (result.status, result.output) == (0, "role/ops updated\n"), result.errors
    seen = (world.root / "editor.seen").read_text().splitlines()
    assert seen[0].startswith("#~ ")
    line = next(number for number, text in enumerate(seen, start=1) if text.strip() == "loggins:")
    assert f"#~ line {line}, column 5: unknown field loggins (did you mean logins?)" in seen


@pytest.mark.usefixtures("ops")
def test_an_edit_given_up_keeps_what_was_typed_and_says_where(world: World) -> None:
    result = tctl_edit(world, "role/ops", 'grep -q loggins "$1" || sed -i s/logins:/loggins:/ "$1"')

    assert result.status == 2
    assert "unknown field loggins" in result.errors
    assert f"what you wrote is in {world.root / 'temporary'}" in result.errors
    text = kept_text(world)
    assert "loggins:" in text
    assert "#~" not in text


@pytest.mark.usefixtures("ops")
def test_an_edit_overwrites_nothing_that_somebody_else_changed_meanwhile(world: World) -> None:
    other = world.root / "other.yaml"
    other.write_text(MADE.replace("root", "admin"))
    script = f'{BIN / "tctl"} --data-dir {world.data} create --force {other} >/dev/null\nsed -i "s/- test/- prod/" "$1"'

    result = tctl_edit(world, "role/ops", script)

    assert result.status == 1
    assert "was changed since it was read" in result.errors
    assert "- prod" in kept_text(world)
    assert world.tctl_json("get", "role/ops", "-o", "json")[0]["spec"]["allow"]["logins"] == ["admin"]


@pytest.mark.usefixtures("ops")
def test_an_editor_that_fails_changes_nothing(world: World) -> None:
    result = tctl_edit(world, "role/ops", 'sed -i s/test/prod/ "$1"; exit 1')

    assert result.status == 2
    assert "ended with status 1" in result.errors
    kept_text(world)


def test_a_token_is_shown_once_and_masked_afterwards(world: World) -> None:
    made = world.tctl_json("tokens", "add", "--type", "node", "--ttl", "5m", "-o", "json")
    try:
        listed = world.tctl("tokens", "ls").output
        shown = world.tctl("tokens", "ls", "--with-secrets").output

        assert made["token"] not in listed
        assert f"{made['token'][:2]}…" in listed
        assert made["token"] in shown
    finally:
        removed = world.tctl("tokens", "rm", made["token"][:8])
    assert removed.output == f"token {made['token'][:2]}… removed\n"
    assert made["token"] not in world.log
    assert not any(made["token"] in json.dumps(event) for event in world.events())


def test_the_printed_command_makes_a_host_join(world: World) -> None:
    made = world.tctl_json("tokens", "add", "--type", "node", "--labels", "env=lab", "-o", "json")
    words = shlex.split(made["command"])
    log = (world.root / "second.log").open("w")
    second = subprocess.Popen(
        [str(BIN / words[0]), *words[1:], "--data-dir", str(world.root / "second"), "--nodename", "db-2"], stdout=log,
        stderr=log,
    )  # fmt: skip
    try:
        found = wait_until(lambda: [one for one in hosts(world) if one["hostname"] == "db-2"])
        assert found[0]["labels"] == {"env": "lab"}
    finally:
        second.terminate()
        second.wait(20)
        log.close()
    wait_until(lambda: len(hosts(world)) == 1, timeout=5, what="that the stopped host is no longer listed")


def hosts(world: World) -> list[dict[str, object]]:
    found: list[dict[str, object]] = world.tctl_json("nodes", "ls", "-o", "json")
    return found


def test_an_identity_file_is_private_and_not_overwritten_unasked(world: World) -> None:
    path = identity(world, "ann", "--ttl", "10m")

    again = world.tctl("auth", "sign", "--user", "ann", "--out", str(path))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert again.status == 1
    assert "exists already" in again.errors
    body = json.loads(path.read_text())
    assert (body["user"], body["cluster"], body["proxy"]) == ("ann", "acme", world.proxy)
    assert body["known_hosts"][0].startswith("@cert-authority *.acme ssh-ed25519 ")


@pytest.fixture(scope="module")
def holders(world: World) -> Callable[..., Finished]:
    """Runs tctl with the identity file of somebody who holds one preset role: eve the editor, aud the auditor."""
    world.write("users/eve.yaml", user("eve", roles="editor"))
    world.write("users/aud.yaml", user("aud", roles="auditor"))
    wait_until(lambda: {"aud", "eve"} <= {one["name"] for one in world.tctl_json("users", "ls", "-o", "json")})
    files = {name: identity(world, name) for name in ("eve", "aud", "ann")}

    def tctl(name: str, *arguments: str, stdin: str = "") -> Finished:
        return world.tctl("-i", str(files[name]), *arguments, stdin=stdin)

    return tctl


@pytest.mark.usefixtures("clean")
def test_an_editor_may_change_the_policy_from_elsewhere(world: World, holders: Callable[..., Finished]) -> None:
    result = holders("eve", "create", "-", stdin=MADE)

    assert result.status == 0, result.errors
    event = world.wait_event("role.created", name="ops")
    assert event["user"] == "eve"
    assert event["user_roles"] == ["editor"]


def test_an_auditor_may_search_and_verify_and_change_nothing(holders: Callable[..., Finished]) -> None:
    assert holders("aud", "audit", "search", "--limit", "3").status == 0
    assert holders("aud", "audit", "verify").status == 0
    refused = holders("aud", "create", "-", stdin=MADE)

    assert refused.status == 3
    assert "aud may not create or update" in refused.errors


def test_who_holds_no_admin_rule_may_neither_look_nor_change(holders: Callable[..., Finished]) -> None:
    for arguments in (("get", "roles"), ("users", "ls"), ("status",), ("audit", "search"), ("tokens", "ls")):
        result = holders("ann", *arguments)
        assert result.status == 3, arguments
        assert "ann may not" in result.errors


def test_what_only_the_auth_host_may_is_refused_to_every_identity_file(
    world: World, holders: Callable[..., Finished]
) -> None:
    signed = holders("eve", "auth", "sign", "--user", "ann", "--out", str(world.root / "stolen"))
    copied = holders("eve", "backup", str(world.root / "copy"))

    for result in (signed, copied):
        assert result.status == 3
        assert "only for administrators at the administration socket" in result.errors


def test_a_lock_ends_an_identity_file(world: World, holders: Callable[..., Finished]) -> None:
    assert world.tctl("users", "lock", "eve").status == 0
    try:
        assert holders("eve", "get", "roles").status == 3
    finally:
        assert world.tctl("users", "unlock", "eve").status == 0


def test_the_tsh_login_serves_tctl_too(world: World) -> None:
    world.write("users/eve.yaml", user("eve", roles="editor"))
    wait_until(lambda: "eve" in {one["name"] for one in world.tctl_json("users", "ls", "-o", "json")})
    eve: Person = world.person("eve").enrol().login()

    result = eve.run("tctl", "get", "role/dev", "-o", "json")

    assert result.status == 0, result.errors
    assert json.loads(result.output)[0]["metadata"]["name"] == "dev"


def test_signed_files_in_the_form_of_openssh_are_taken_by_ssh_keygen(world: World) -> None:
    key = world.root / "ann_key"
    made = world.tctl("auth", "sign", "--user", "ann", "--out", str(key), "--format", "openssh", "--overwrite")
    assert made.status == 0, made.errors

    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", f"{key}-cert.pub"], capture_output=True, text=True, check=True
    ).stdout

    assert 'Key ID: "ann"' in shown
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    authority = world.tctl("auth", "export", "--type", "user", "--fingerprint").output.strip()
    assert f"Signing CA: ED25519 {authority}" in shown


def test_a_backup_is_private_and_never_overwrites(world: World) -> None:
    path = world.root / "copy.db"

    made, again = world.tctl("backup", str(path)), world.tctl("backup", str(path))

    assert made.status == 0, made.errors
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert again.status == 1
    assert world.wait_event("backup.create")["name"] == str(path)


def test_policy_status_tells_every_problem_of_a_broken_folder(world: World) -> None:
    world.write("roles/broken.yaml", "kind: role\nversion: v7\nmetadata: {name: broken}\nspec: {alow: {}, dney: {}}\n")
    try:
        wait_until(lambda: "Stalled" in world.tctl("policy", "status").output)

        shown = world.tctl("policy", "status").output

        assert "roles/broken.yaml:4:8: unknown field alow (did you mean allow?)" in shown
        assert "roles/broken.yaml:4:18: unknown field dney (did you mean deny?)" in shown
    finally:
        (world.policies / "roles/broken.yaml").unlink()
    wait_until(lambda: "Ready" in world.tctl("policy", "status").output)


@pytest.mark.usefixtures("clean")
def test_while_the_folder_is_broken_a_user_made_at_the_socket_is_the_way_back_in(world: World) -> None:
    world.write("roles/broken.yaml", "kind: role\nversion: v7\nmetadata: {name: broken}\nspec: {alow: {}}\n")
    rescue = "kind: user\nversion: v2\nmetadata: {name: jim}\nspec: {roles: [editor]}\n"
    try:
        wait_until(lambda: "Stalled" in world.tctl("policy", "status").output)

        made = world.tctl("create", "-", stdin=rescue)

        assert made.status == 0, made.errors
        jim = world.person("jim").enrol().login()
        assert jim.run("tctl", "get", "roles").status == 0
    finally:
        (world.policies / "roles/broken.yaml").unlink()
    wait_until(lambda: "Ready" in world.tctl("policy", "status").output)


@pytest.mark.parametrize("program", ["tctl", "tsh", "teleport"])
def test_every_program_prints_its_completion_script(program: str) -> None:
    result = subprocess.run([str(BIN / program), "completion", "zsh"], capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert f"_{program.upper()}_COMPLETE" in result.stdout


def test_bash_completes_subcommands() -> None:
    script = (
        f'PATH={BIN}:$PATH; eval "$(tctl completion bash)"; COMP_WORDS=(tctl tok); COMP_CWORD=1;'
        ' _tctl_completion tctl; echo "${COMPREPLY[@]}"'
    )

    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)

    assert result.stdout.strip() == "tokens", result.stderr
