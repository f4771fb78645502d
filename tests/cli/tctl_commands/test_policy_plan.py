"""`tctl policy plan`: what a change would do, as text, as JSON and as Markdown, and the status it ends with."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli import folders
from tests.cli.folders import DEV, FREEZE, HOSTS, folder
from tests.cli.programs import Ended, tctl
from tests.gitops.test_revision import commit, git

ANN = folders.ANN.replace("dev, access", "dev, base")
BASE = "kind: role\nversion: v7\nmetadata: {name: base}\nspec: {}\n"
DENIAL = "{deny: {node_labels: {env: dev}}}"
LOCK = "kind: lock\nversion: v2\nmetadata: {name: x}\nspec: {target: {user: ann}}\n"
EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "policies"


def plan(new: object, old: object, *more: str) -> Ended:
    return tctl("policy", "plan", str(new), "--against", str(old), *more)


@pytest.fixture
def before(tmp_path: Path) -> Path:
    (tmp_path / "before").mkdir()
    folder(tmp_path / "before", ann=ANN, base=BASE, dev=DEV, hosts=HOSTS)
    return tmp_path / "before"


@pytest.fixture
def after(tmp_path: Path, before: Path) -> Path:
    shutil.copytree(before, tmp_path / "after")
    return tmp_path / "after"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def section(text: str, heading: str) -> str:
    """The paragraphs under a heading, with their lines joined."""
    found = re.search(rf"^{heading}\n\n((?: +.*\n|\n)+)", text, re.MULTILINE)
    assert found is not None, text
    return re.sub(r"\s+", " ", found[1])


def test_nothing_changes_between_a_folder_and_itself(before: Path) -> None:
    result = plan(before, before)

    assert (result.status, result.errors) == (0, "")
    assert result.output == f"{before}, compared with {before}: nothing changes (5 objects).\n"


def test_who_gains_and_who_loses_is_told_with_the_reason(before: Path, after: Path) -> None:
    edit(after / "dev.yaml", "[dev, staging]", "prod")

    result = plan(after, before)

    assert result.status == 2
    assert "  ~ role/dev                              dev.yaml:1\n" in result.output
    assert "      spec.allow.node_labels.env: - dev, - staging, + prod\n" in result.output
    assert section(result.output, "Gained").strip() == (
        "ann gains ann and deploy on db-2 because role/dev allows ann on env=prod (dev.yaml:6)"
    )
    assert section(result.output, "Lost").strip() == (
        "ann loses ann and deploy on db-1 because role/dev allows env=prod, which does not match db-1"
    )
    assert result.output.endswith("In all: 1 person gains 2 logins on 1 host; 1 person loses 2 logins on 1 host.\n")


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("ann", ANN.replace("[dev, base]", "[base]"), "because role/dev is no longer theirs"),
        ("base", BASE.replace("{}", DENIAL), "because role/base denies env=dev (base.yaml:4)"),
        ("lock", LOCK, "because lock/x on user ann (lock.yaml:4)"),
        ("ann", None, "because the user is deleted"),
        ("hosts", HOSTS.partition("---\n")[2], "because the host is gone"),
        ("hosts", HOSTS.replace("{env: dev}", "{env: qa}"), "because role/dev allows env=dev|staging, which does not"),
    ],
)  # fmt: skip
def test_the_reason_of_a_loss_is_what_takes_it(
    file: str, text: str | None, reason: str, before: Path, after: Path
) -> None:
    if text is None:
        (after / f"{file}.yaml").unlink()
    else:
        (after / f"{file}.yaml").write_text(text)

    result = plan(after, before)

    assert section(result.output, "Lost").strip().startswith("ann loses ann and deploy on db-1")
    assert reason in section(result.output, "Lost")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (HOSTS.replace("{env: prod}", "{env: dev}"), "because role/dev allows ann on env=dev (dev.yaml:6)"),
        (f"{HOSTS}---\n{HOSTS.partition('---')[2].replace('db-2', 'db-3').replace('prod', 'dev')}",
         "because the host is new: role/dev allows ann on env=dev (dev.yaml:6)"),
    ],
)  # fmt: skip
def test_the_reason_of_a_gain_by_a_host_alone_is_that_of_the_host_as_it_will_be(
    text: str, reason: str, before: Path, after: Path
) -> None:
    (after / "hosts.yaml").write_text(text)

    assert reason in section(plan(after, before).output, "Gained")


def test_what_is_kept_by_its_label_is_not_counted_among_what_the_source_declares(before: Path, after: Path) -> None:
    label = "labels: {teleport.dev/keep: 'true'}"
    (before / "locks.yaml").write_text("---\n".join(LOCK.replace("name: x", f"name: x{one}, {label}") for one in "abc"))
    edit(after / "dev.yaml", "deploy", "ops")

    result = plan(after, before, "-o", "json")

    found = json.loads(result.output)
    assert found["left_alone"] == ["lock/xa", "lock/xb", "lock/xc"]
    assert [one["message"] for one in found["violations"]] == [
        "every lock is gone from the source, 3 at once; everything stays in force"
    ]


def test_conditions_of_what_is_kept_are_told_in_words(before: Path, after: Path) -> None:
    options = "spec:\n  options: {require_session_mfa: yes, ssh_file_copy: no, max_session_ttl: 4h}\n"
    edit(after / "dev.yaml", "spec:\n", options)

    result = plan(after, before)

    assert section(result.output, "Kept under other conditions").strip() == (
        "ann keeps ann and deploy on db-1 no longer permitted: copying files; certificates last: 30h → 4h;"
        " a second factor for each session: no → yes"
    )


def test_people_with_the_same_change_are_one_line_however_many_they_are(before: Path, after: Path) -> None:
    for name in ("bob", "cy", "di"):
        text = ANN.replace("ann", name).replace("logins", "team: [data], logins")
        (before / f"{name}.yaml").write_text(text)
        (after / f"{name}.yaml").write_text(text.replace("[dev, base]", "[base]"))

    result = plan(after, before)

    assert (
        section(result.output, "Lost")
        .strip()
        .startswith("all 3 people of team data lose deploy and their own login on db-1: bob, cy, di")
    )
    assert "Nobody gains anything.\n" in result.output


def test_what_is_kept_by_its_label_is_declared_no_more(before: Path, after: Path) -> None:
    for name in ("one", "two", "three"):
        label = f'metadata: {{name: {name}, labels: {{teleport.dev/keep: "true"}}}}'
        (before / f"{name}.yaml").write_text(LOCK.replace("metadata: {name: x}", label))
    edit(after / "dev.yaml", "[dev, staging]", "[dev, staging, test]")

    result = plan(after, before)

    assert result.status == 4
    assert "every lock is gone from the source, 3 at once" in result.output


def test_programs_read_every_row(before: Path, after: Path) -> None:
    edit(after / "dev.yaml", "[dev, staging]", "prod")

    result = plan(after, before, "-o", "json")

    assert result.status == 2
    found = json.loads(result.output)
    assert [(one["action"], one["kind"], one["name"], one["origin"]) for one in found["changes"]] == [
        ("update", "role", "dev", {"file": "dev.yaml", "line": 1})
    ]
    assert found["changes"][0]["fields"] == [
        {"path": "spec.allow.node_labels.env", "old": ["dev", "staging"], "new": "prod"}
    ]
    rows = found["impact"]["rows"]
    told = [tuple(one[key] for key in ("change", "user", "login", "kind", "resource", "role")) for one in rows]
    assert sorted(told) == [
        ("gained", "ann", "ann", "node", "db-2", "dev"),
        ("gained", "ann", "deploy", "node", "db-2", "dev"),
        ("lost", "ann", "ann", "node", "db-1", "dev"),
        ("lost", "ann", "deploy", "node", "db-1", "dev"),
    ]  # fmt: skip
    assert {(one["conditions"]["mfa"], one["conditions"]["max_session_ttl"]) for one in rows} == {("no", "30h")}
    assert found["impact"]["summary"]["lost"] == {"people": 1, "logins": 2, "hosts": 1}
    assert (found["tests"], found["violations"]) == ([], [])


def test_roles_that_nobody_declared_holds_are_told_as_roles(before: Path, after: Path) -> None:
    sso = DEV.replace("name: dev", "name: sso").replace("[dev, staging]", '[dev], team: "{{external.team}}"')
    (after / "sso.yaml").write_text(sso.replace("node_labels", "node_labels"))
    edit(after / "hosts.yaml", "{env: dev}", "{env: dev, team: web}")

    text, rows = plan(after, before), json.loads(plan(after, before, "-o", "json").output)["impact"]["roles"]

    assert "who holds role/sso gains deploy and their own login on db-1, at most: it depends on their team" in (
        section(text.output, "Roles that nobody declared holds: for people who are known at login alone")
    )
    assert sorted((one["login"], one["resource"]) for one in rows) == [
        ("deploy", "db-1"),
        ("{{internal.logins}}", "db-1"),
    ]
    assert "user" not in rows[0]
    tail = "access changes for holders of role/sso, none of whom is declared."
    assert text.output.endswith(f"In all: nobody gains; nobody loses; {tail}\n")
    assert f"{tail}**" in plan(after, before, "-o", "markdown").output


def test_a_role_of_which_only_traits_could_tell_more_is_named_in_each_form(before: Path, after: Path) -> None:
    sso = DEV.replace("name: dev", "name: sso").replace("[dev, staging]", '[qa], team: "{{external.team}}"')
    (after / "sso.yaml").write_text(sso)

    text, markdown = plan(after, before), plan(after, before, "-o", "markdown")

    for form in (text, markdown):
        assert "role/sso changes; which hosts it opens depends on its holders' team" in form.output
        assert "access changes for holders of role/sso" in form.output


TRUST = """\
kind: trusted_cluster
version: v2
metadata: {name: acme}
spec:
  enabled: yes
  web_proxy_addr: acme.example:443
  ca_pin: sha256:7e12c17c20d9cb504bbcb3f0236be3f446861f1396dcbb44425fe28ec1c108f1
  role_map: [{remote: "sre-*", local: [dev], traits: [logins]}]
"""


def test_an_edited_role_map_is_told_as_roles_of_the_other_cluster(before: Path, after: Path) -> None:
    (before / "trust.yaml").write_text(TRUST.replace("[dev]", "[]"))
    (after / "trust.yaml").write_text(TRUST)

    text, found = plan(after, before), json.loads(plan(after, before, "-o", "json").output)["impact"]["partners"]

    told = section(text.output, "Roles of clusters that are trusted, each taken alone")
    assert "who holds sre-* of acme gains deploy and their own login on db-1" in told
    assert "nobody loses; 1 role of a trusted cluster gains." in text.output
    assert {(one["partner"], one["login"], one["resource"], one["role"]) for one in found} == {
        ("sre-* of acme", "deploy", "db-1", "dev"),
        ("sre-* of acme", "{{internal.logins}}", "db-1", "dev"),
    }
    assert "who holds sre-* of acme gains" in plan(after, before, "-o", "markdown").output


def test_what_is_written_in_vain_is_worth_a_look_and_what_was_there_before_is_only_counted(
    before: Path, after: Path
) -> None:
    (before / "freeze.yaml").write_text(FREEZE)
    (after / "freeze.yaml").write_text(FREEZE)
    edit(after / "dev.yaml", "[dev, staging]", "dve")
    (after / "base.yaml").write_text(
        DEV.replace("name: dev", "name: base").replace("  allow:", "  deny:\n    node_labels: {env: nowhere}\n  allow:")
    )

    result = plan(after, before)

    found = section(result.output, "Worth a look")
    assert "dev.yaml:7:5: role/dev allows {{internal.logins}}, deploy on no host: its labels match none" in found
    assert "role/base denies no host: the labels of its deny block match none" in found
    assert "role/freeze is held by nobody" not in found
    assert "1 earlier warning, of what does not change: -o json has all" in found


def test_a_deny_block_with_labels_and_logins_is_said_in_words(before: Path, after: Path) -> None:
    (after / "f.yaml").write_text(FREEZE.replace("  deny:", "  deny:\n    logins: [root]"))

    assert "role/freeze denies root on every host, and every login" in section(
        plan(after, before).output, "Worth a look"
    )


def test_without_hosts_nobody_can_be_said_to_gain_and_the_way_out_is_named(before: Path, after: Path) -> None:
    for one in (before, after):
        (one / "hosts.yaml").unlink()
    edit(after / "dev.yaml", "[dev, staging]", "prod")

    result = plan(after, before)

    assert result.status == 2
    assert "No hosts are known" in result.output
    assert "--inventory FILE" in result.output


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_an_inventory_names_the_hosts_and_declared_nodes_give_them_labels(
    form: str, before: Path, after: Path, tmp_path: Path
) -> None:
    hosts = [("id-1", "db-1", {"env": "staging"}), ("id-9", "db-9", {"env": "prod"})]
    documents: list[Any] = [
        {"kind": "node", "version": "v2", "metadata": {"name": uid, "labels": labels}, "spec": {"hostname": name}}
        for uid, name, labels in hosts
    ]
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(json.dumps(documents) if form == "json" else "\n---\n".join(map(json.dumps, documents)))
    edit(after / "dev.yaml", "[dev, staging]", "prod")
    edit(after / "hosts.yaml", "env: dev", "env: prod")

    rows = json.loads(plan(after, before, "--inventory", str(fleet), "-o", "json").output)["impact"]["rows"]

    assert {(one["change"], one["resource"]) for one in rows} == {("gained", "db-9")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "has no attribute"),
        ('[{"kind": "user"}]', "user of version None"),
        (DEV, "holds role/dev; an inventory holds nodes alone"),
        ("kind: nodde\n", "unknown kind nodde"),
    ],
)
def test_what_is_no_inventory_is_told(text: str, message: str, before: Path, tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(text)

    result = plan(before, before, "--inventory", str(tmp_path / "fleet.yaml"))

    assert result.status == 1
    assert message in result.errors


def test_what_a_cluster_would_refuse_ends_with_4(before: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    result = plan(tmp_path / "empty", before)

    assert result.status == 4
    assert "Refused\n\n  emptied: the source declares nothing any more" in result.output
    violations = json.loads(plan(tmp_path / "empty", before, "-o", "json").output)["violations"]
    assert [one["guard"] for one in violations] == ["emptied"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "--against", "live"), "nowhere is neither a folder nor a commit"),
        (("nowhere", "--against", "elsewhere"), "is in no git repository"),
        (("", "--against", "."), "an empty word names neither a folder nor a commit"),
        ((".", "--against", ""), "an empty word names neither a folder nor a commit"),
        (("--bogus",), "no such option"),
        (("-o", "xml"), "invalid value for '-o'"),
        (("a", "b"), "unexpected extra argument"),
    ],
)
def test_what_is_wrong_with_the_question_ends_with_1_because_2_means_changes(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    result = tctl("--data-dir", str(tmp_path), "policy", "plan", *arguments)

    assert (result.status, result.output) == (1, "")
    assert message in result.errors or "no auth service answers" in result.errors


def test_faults_of_the_new_side_end_with_1_and_are_told_with_their_places(before: Path, after: Path) -> None:
    edit(after / "ann.yaml", "dev, base", "dve, base")

    result = plan(after, before)

    assert (result.status, result.output) == (1, "")
    assert "ann.yaml:4:16: unknown role dve (did you mean dev?)" in result.errors


def test_a_side_that_does_not_load_cannot_be_compared_with(before: Path, after: Path) -> None:
    edit(after / "ann.yaml", "version: v2", "version: v99")

    result = plan(before, after)

    assert result.status == 1
    assert f"{after}, which is compared with, has faults:" in result.errors


def test_a_folder_is_compared_with_itself_in_a_commit(before: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = before.parent
    git(root, "init", "-q", "-b", "main")
    commit(root)
    edit(before / "dev.yaml", "[dev, staging]", "dev")
    commit(root, "narrower")
    edit(before / "dev.yaml", "{env: dev}", "{env: prod}")
    monkeypatch.chdir(root)

    folder_, commits, named = (
        plan("before", "HEAD"),
        plan("HEAD:before", "HEAD~1:before"),
        plan("HEAD:before", "HEAD~1:nowhere"),
    )
    monkeypatch.chdir(before)
    here = plan("HEAD", "HEAD~1")

    short = git(root, "rev-parse", "--short=12", "HEAD").strip()
    assert folder_.output.startswith(f"before, compared with HEAD:before ({short}): 1 to update, 4 unchanged\n")
    assert (folder_.status, commits.status, named.status) == (2, 2, 1)
    assert "spec.allow.node_labels.env: - staging" in commits.output
    assert here.output.partition("\n")[2] == commits.output.partition("\n")[2]
    assert "nowhere is no folder of commit" in named.errors


def test_markdown_says_the_answer_first_and_what_people_wrote_formats_nothing(before: Path, after: Path) -> None:
    evil = ANN.replace("name: ann", 'name: "@all`|<b>"').replace("logins: [ann]", "logins: [x]")
    (after / "evil.yaml").write_text(evil)

    result = plan(after, before, "-o", "markdown")

    lines = result.output.splitlines()
    assert lines[2] == "**In all: 1 person gains 2 logins on 1 host; nobody loses.**"
    assert "| `@all'\\|‹b›` | `deploy and x` |" in result.output
    assert result.output.count("<details") == result.output.count("</details>")


def test_markdown_never_outgrows_a_comment(before: Path, after: Path) -> None:
    names = [f"person-{number:04}-{'x' * 60}" for number in range(900)]
    hosts = "---\n".join(
        HOSTS.replace("uuid-1", f"u{one}").replace("db-1", f"h{one}").partition("---\n")[0] for one in range(3)
    )
    people = "---\n".join(ANN.replace("ann}", f"{name}}}").replace("[ann]", f"[l{name[7:11]}]") for name in names)
    (after / "hosts.yaml").write_text(hosts)
    (after / "many.yaml").write_text(people)

    result = plan(after, before, "-o", "markdown")

    assert 1000 < len(result.output.encode()) <= 60_001
    assert "more: `tctl policy plan -o json` has all of it." in result.output
    assert result.output.splitlines()[2].startswith("**In all: 901 people gain")


def test_the_example_policies_are_what_they_are_compared_with_themselves() -> None:
    assert plan(EXAMPLES, EXAMPLES).status == 0


def test_the_guards_of_a_cluster_are_those_of_its_configuration_or_of_the_command_line(
    before: Path, after: Path, tmp_path: Path
) -> None:
    edit(after / "dev.yaml", "[dev, staging]", "prod")
    config = tmp_path / "teleport.yaml"
    config.write_text("version: v3\npolicies:\n  dir: /p\n  guards: {max_people: 0}\n")

    free = plan(after, before)
    limited = plan(after, before, "--config", str(config))
    wider = plan(after, before, "--config", str(config), "--max-people", "1", "--max-pairs-percent", "50")

    assert (free.status, limited.status, wider.status) == (2, 4, 4)
    assert "Refused\n\n  people: 1 person loses access, at most 0 may at once: ann\n" in limited.output
    assert "Refused\n\n  pairs: 2 of 2 logins on hosts are lost (100.0 %)" in wider.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("policies: {guards: {max_peple: 1}}\n", "policies.guards.max_peple: Extra inputs are not permitted"),
        ("policies: {guards: {max_people: -1}}\n", "policies.guards.max_people: Input should be greater than"),
        ("- 1\n", "is not a teleport.yaml"),
        ("policies: {guards: [1]}\n", "is not a teleport.yaml"),
        ("", "is not a teleport.yaml"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_told(text: str, message: str, before: Path, tmp_path: Path) -> None:
    (tmp_path / "teleport.yaml").write_text(text)

    result = plan(before, before, "--config", str(tmp_path / "teleport.yaml"))

    assert result.status == 1
    assert message in result.errors


def test_a_configuration_without_guards_means_the_usual_ones(before: Path, tmp_path: Path) -> None:
    (tmp_path / "teleport.yaml").write_text("version: v3\n")

    assert plan(before, before, "--config", str(tmp_path / "teleport.yaml")).status == 0
    assert plan(before, before, "--config", str(tmp_path / "nowhere.yaml")).status == 1
