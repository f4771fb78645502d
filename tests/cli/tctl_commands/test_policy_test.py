"""`tctl policy test`: what it prints, in three forms, and the status it ends with; the same within a plan."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.folders import ANN, DEV, HOSTS, folder
from tests.cli.programs import Ended, tctl
from tests.gitops.test_revision import commit, git

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "policies"
DEV_ONLY = """\
kind: access_test
version: v1
metadata: {name: dev}
spec:
  given: {user: ann}
  expect:
    - {can: [ann, deploy], hosts: {name: db-1}}
    - {cannot: deploy, hosts: {labels: {env: prod}}}
"""
NO_ROOT = """\
kind: access_invariant
version: v1
metadata: {name: no-root}
spec:
  only: {users: [boss]}
  may: {logins: root, labels: {env: prod}}
  assume: {traits: {logins: [ann]}}
"""
PROD = DEV.replace("[dev, staging]", "[dev, prod]")


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    folder(tmp_path, ann=ANN.replace("dev, access", "dev"), dev=DEV, hosts=HOSTS, dev_only=DEV_ONLY, no_root=NO_ROOT)
    return tmp_path


def judged(path: Path, *more: str) -> Ended:
    return tctl("policy", "test", str(path), *more)


def test_what_holds_is_a_line_each_and_ends_with_nought(policies: Path) -> None:
    ended = judged(policies)

    assert ended.status == 0, ended.errors
    assert [line.split() for line in ended.output.splitlines()] == [
        ["ok", "access_test/dev", "passed", "(2", "expectations)"],
        ["ok", "access_invariant/no-root", "proved"],
        [],
        ["2", "of", "2", "hold."],
    ]


def test_what_fails_is_told_with_expectation_fact_and_rule_and_ends_with_four(policies: Path) -> None:
    (policies / "dev.yaml").write_text(PROD.replace("deploy", "deploy, root"))

    ended = judged(policies)

    text = " ".join(ended.output.split())
    assert ended.status == 4
    assert (
        "FAIL access_test/dev failed (2 expectations) expected cannot deploy on env=prod (dev_only.yaml:8) deploy is"
        " allowed on db-2 and a host with env=prod: role/dev allows deploy on env=prod (dev.yaml:6)"
    ).replace(" and ", ", ") in text
    assert "violated: ann may log in as root on db-2: role/dev allows root on env=prod (dev.yaml:6)" in text
    assert text.endswith("0 of 2 hold.")


def test_json_has_every_row_and_every_example(policies: Path) -> None:
    (policies / "dev.yaml").write_text(PROD.replace("deploy", "deploy, root"))

    found = json.loads(judged(policies, "-o", "json").output)

    test, invariant = found["tests"]
    assert (found["passed"], test["answer"], invariant["answer"]) == (False, "failed", "violated")
    assert [one["passed"] for one in test["rows"]] == [True, False]
    assert test["rows"][1]["rule"] == {"file": "dev.yaml", "line": 6}
    assert invariant["findings"][0]["witness"] == {
        "user": "ann", "roles": ["dev"], "traits": {"logins": ["ann"]}, "login": "root", "host": "db-2",
        "labels": {"env": "prod"},
    }  # fmt: skip


def test_junit_has_a_suite_for_each_and_survives_names_that_xml_could_not_hold(policies: Path) -> None:
    (policies / "no_root.yaml").write_text(NO_ROOT.replace("no-root", "'<&\">'"))
    (policies / "dev.yaml").write_text(PROD)

    ended = judged(policies, "-o", "junit")

    suites = ElementTree.fromstring(ended.output.partition("?>")[2])
    assert [(one.get("name"), one.get("tests"), one.get("failures")) for one in suites] == [
        ("access_test/dev", "2", "1"), ('access_invariant/<&">', "1", "0"),
    ]  # fmt: skip
    failure = suites.find("testsuite/testcase/failure")
    assert failure is not None
    assert "role/dev allows deploy on env=prod" in str(failure.get("message"))


def test_declared_hosts_count_beside_those_of_an_inventory(
    policies: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fleet = tmp_path_factory.mktemp("fleet") / "fleet.json"
    fleet.write_text('[{"kind": "node", "version": "v2", "metadata": {"name": "other"}, "spec": {}}]')

    ended = judged(policies, "--inventory", str(fleet))

    assert (ended.status, ended.errors) == (0, "")


def test_a_git_revision_is_judged_like_a_folder(
    policies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(policies, "init", "-q", "-b", "main")
    commit(policies)
    (policies / "dev.yaml").write_text(PROD)
    monkeypatch.chdir(policies)

    assert (tctl("policy", "test", "main").status, tctl("policy", "test").status) == (0, 4)


def test_faults_of_the_policy_and_of_the_command_end_with_one(policies: Path) -> None:
    (policies / "dev_only.yaml").write_text(DEV_ONLY.replace("user: ann", "roles: [dve]"))

    broken, wrong = judged(policies), judged(policies, "-o", "xml")

    assert (broken.status, wrong.status) == (1, 1)
    assert "dev_only.yaml:5:11: unknown role dve (did you mean dev?)" in broken.errors
    assert "tctl policy test --help shows how" in wrong.errors


def test_a_folder_without_any_says_so(tmp_path: Path) -> None:
    ended = judged(Path(folder(tmp_path, dev=DEV)))

    assert (ended.status, "holds no tests and no invariants" in ended.output) == (0, True)


def test_the_example_policies_keep_what_they_promise() -> None:
    ended = judged(EXAMPLES)

    assert (ended.status, ended.output.splitlines()[-1]) == (0, "2 of 2 hold.")


# -- within a plan


def plan(old: Path, new: Path, *more: str) -> Ended:
    return tctl("policy", "plan", str(new), "--against", str(old), *more)


@pytest.fixture
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("changed")
    folder(path, ann=ANN.replace("dev, access", "dev"), dev=PROD, hosts=HOSTS, dev_only=DEV_ONLY, no_root=NO_ROOT)
    return path


def test_a_plan_that_breaks_a_promise_is_refused_and_says_which(policies: Path, changed: Path) -> None:
    text, markdown = plan(policies, changed), plan(policies, changed, "-o", "markdown")
    document = json.loads(plan(policies, changed, "-o", "json").output)

    assert (text.status, markdown.status) == (4, 4)
    assert "1 of 2 tests and invariants hold." in text.output
    refusal = "tests: dev_only.yaml:8:7: access_test/dev: expected cannot deploy on env=prod"
    assert refusal in " ".join(text.output.split())
    assert "- **Refused:** tests: `dev_only.yaml:8:7: access_test/dev" in markdown.output
    assert [(one["name"], one["passed"]) for one in document["tests"]] == [("dev", False), ("no-root", True)]
    assert [(one["guard"], one["file"], one["line"]) for one in document["violations"]] == [
        ("tests", "dev_only.yaml", 8)
    ]


def test_a_plan_that_removes_what_it_would_break_is_refused_too(policies: Path, changed: Path) -> None:
    (changed / "dev_only.yaml").unlink()

    found = json.loads(plan(policies, changed, "-o", "json").output)

    assert [(one["guard"], one["message"].partition(";")[0]) for one in found["violations"]] == [
        ("weakened", "access_test/dev is deleted"),
        ("weakened", "access_test/dev: expected cannot deploy on env=prod"),
    ]


def test_what_was_broken_before_only_warns_in_a_plan(policies: Path, changed: Path) -> None:
    (policies / "dev.yaml").write_text(PROD)
    (changed / "more.yaml").write_text("kind: user\nversion: v2\nmetadata: {name: bob}\nspec: {}\n")

    ended = plan(policies, changed, "-o", "json")

    found = json.loads(ended.output)
    assert (ended.status, found["violations"]) == (2, [])
    assert [one["new"] for one in found["warnings"] if "access_test/dev" in one["message"]] == [False]
