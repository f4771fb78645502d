"""`tctl policy validate`: every problem of every file, before a cluster sees any."""

import json
from pathlib import Path

from tests.cli.folders import ANN, DEV, HOSTS, folder
from tests.cli.programs import tctl


def test_a_folder_that_a_cluster_would_take_exits_with_0_and_is_counted(tmp_path: Path) -> None:
    result = tctl("policy", "validate", folder(tmp_path, ann=ANN, dev=DEV, hosts=HOSTS))

    assert (result.status, result.errors) == (0, "")
    assert result.output == f"{tmp_path} is valid: 2 nodes, 1 role, 1 user\n"


def test_all_problems_of_all_files_are_told_in_one_run_with_their_places(tmp_path: Path) -> None:
    policies = folder(
        tmp_path, ann=ANN.replace("access", "acess"), dev=DEV.replace("logins:", "logns:").replace("v7", "v99"),
        twice=HOSTS + "---\n" + HOSTS,
    )  # fmt: skip

    result = tctl("policy", "validate", policies)

    assert (result.status, result.output) == (2, "")
    lines = result.errors.splitlines()
    assert [line.removeprefix("tctl: error: ").split(":")[:3] for line in lines] == [
        ["ann.yaml", "4", "21"],
        ["dev.yaml", "2", "10"],
        ["dev.yaml", "6", "5"],
        ["twice.yaml", "12", "18"],
        ["twice.yaml", "17", "18"],
    ]
    assert "(did you mean access?)" in lines[0]


def test_who_refers_to_a_role_in_a_broken_file_is_not_at_fault(tmp_path: Path) -> None:
    result = tctl("policy", "validate", folder(tmp_path, ann=ANN, dev=DEV.replace("logins:", "logns:")))

    assert result.errors.count("tctl: error:") == 1
    assert "unknown role" not in result.errors


def test_warnings_change_nothing_about_the_status(tmp_path: Path) -> None:
    role = DEV.replace("  allow:", "  deny:")

    result = tctl("policy", "validate", folder(tmp_path, ann=ANN, dev=role))

    assert result.status == 0
    assert result.errors.startswith("tctl: warning: dev.yaml:5:")


def test_programs_read_the_problems_as_json_on_standard_output(tmp_path: Path) -> None:
    result = tctl("policy", "validate", folder(tmp_path, ann=ANN), "-o", "json")

    assert (result.status, result.errors) == (2, "")
    report = json.loads(result.output)
    assert (report["valid"], report["resources"], report["warnings"]) == (False, 1, [])
    (problem,) = report["problems"]
    assert (problem["file"], problem["line"], problem["message"]) == ("ann.yaml", 4, "unknown role dev")


def test_a_folder_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    result = tctl("policy", "validate", str(tmp_path / "nowhere"))

    assert result.status == 2
    assert "is not a folder" in result.errors


def test_a_field_that_no_one_knows_hides_no_other_problem_of_its_document(tmp_path: Path) -> None:
    broken = DEV.replace("logins:", "logns: [x]\n    logins:").replace("internal.logins", "interal.logins")

    result = tctl("policy", "validate", folder(tmp_path, dev=broken))

    lines = result.errors.splitlines()
    assert [line.removeprefix("tctl: error: ").split(":")[:3] for line in lines] == [
        ["dev.yaml", "6", "5"],
        ["dev.yaml", "7", "14"],
    ]
