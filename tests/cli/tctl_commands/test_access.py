"""`tctl access`: what it answers, with which status, in which form."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.folders import ANN, DEV, FREEZE, HOSTS, folder
from tests.cli.programs import Ended, tctl

MFA = DEV.replace("spec:\n", "spec:\n  options: {require_session_mfa: yes}\n").replace("dev}", "careful}")


@pytest.fixture
def policies(tmp_path: Path) -> str:
    return folder(tmp_path, ann=ANN, dev=DEV, hosts=HOSTS)


def check(policies: str, *more: str, user: str = "ann") -> Ended:
    return tctl("access", "check", "--policies", policies, "--user", user, *more)


def found(ended: Ended) -> Any:
    return json.loads(ended.output)


def test_allowed_exits_with_0_and_names_the_role_and_the_line(policies: str) -> None:
    result = check(policies, "--login", "deploy", "--node", "db-1", "-o", "json")

    assert result.status == 0
    answer = found(result)
    assert set(answer) == {"allowed", "reasons", "role", "origin", "conditions"}
    assert (answer["allowed"], answer["role"]) == (True, "dev")
    assert answer["origin"] == {"file": "dev.yaml", "line": 6}
    assert answer["conditions"]["mfa"] == "no"


def test_denied_exits_with_3_and_names_the_rule_that_denies(tmp_path: Path) -> None:
    policies = folder(tmp_path, ann=ANN.replace("dev,", "dev, freeze,"), dev=DEV, freeze=FREEZE, hosts=HOSTS)

    result = check(policies, "--login", "ann", "--node", "db-2", "-o", "json")

    assert result.status == 3
    answer = found(result)
    assert (answer["allowed"], answer["role"]) == (False, "freeze")
    assert answer["origin"] == {"file": "freeze.yaml", "line": 6}
    assert answer["reasons"] == ["role/freeze denies env=prod"]


def test_what_nobody_allows_names_no_role_and_says_what_each_lacks(policies: str) -> None:
    result = check(policies, "--login", "root", "--node", "db-1", "-o", "json")

    assert result.status == 3
    assert (found(result)["role"], found(result)["origin"]) == (None, None)
    assert "role/dev allows ann, deploy, not root" in found(result)["reasons"]


def test_without_the_second_factor_that_a_role_demands_it_is_denied_and_says_so(tmp_path: Path) -> None:
    policies = folder(tmp_path, ann=ANN.replace("dev, access", "careful"), careful=MFA, hosts=HOSTS)

    without = check(policies, "--login", "ann", "--node", "db-1", "-o", "json")
    shown = check(policies, "--login", "ann", "--node", "db-1", "--mfa", "-o", "json")

    assert without.status == 3
    assert (found(without)["allowed"], found(without)["conditions"]) == (False, {"mfa": "required"})
    assert (found(without)["role"], found(without)["origin"]) == ("careful", {"file": "careful.yaml", "line": 5})
    assert shown.status == 0
    assert found(shown)["conditions"]["mfa"] == "verified"


@pytest.mark.parametrize(
    ("labels", "login", "status"),
    [("", "ann", 0), ("", "deploy", 3), ("env=staging", "deploy", 0), ("env=prod,team=db", "deploy", 3)],
)
def test_any_labels_can_be_asked_about_also_none(policies: str, labels: str, login: str, status: int) -> None:
    assert check(policies, "--login", login, "--labels", labels).status == status


def test_a_host_is_found_by_the_name_people_use_and_by_that_of_its_resource(policies: str) -> None:
    assert check(policies, "--login", "deploy", "--node", "db-1").status == 0
    assert check(policies, "--login", "deploy", "--node", "uuid-1").status == 0


def test_supposed_traits_replace_the_declared_ones(policies: str) -> None:
    supposed = ("--trait", "logins=bob", "--trait", "logins=cleo")

    assert check(policies, "--login", "cleo", "--node", "db-1", *supposed).status == 0
    assert check(policies, "--login", "ann", "--node", "db-1", *supposed).status == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--login", "x", "--node", "db-11"), "no host db-11 is declared there"),
        (("--login", "x"), "which host?"),
        (("--login", "x", "--node", "db-1", "--labels", ""), "which host?"),
        (("--login", "x", "--labels", "env"), "'env' is not a list of labels"),
        (("--login", "x", "--labels", "a=1,a=2"), "'a=1,a=2' is not a list of labels"),
        (("--login", "x", "--node", "db-1", "--trait", "logins"), "'logins' is not a trait"),
    ],
)
def test_a_question_that_makes_no_sense_exits_with_2(policies: str, arguments: tuple[str, ...], message: str) -> None:
    result = check(policies, *arguments)

    assert (result.status, result.output) == (2, "")
    assert f"tctl: error: {message}" in result.errors
    assert "tctl: hint: " in result.errors


def test_a_user_who_is_not_declared_is_bad_input_and_the_likely_one_is_named(policies: str) -> None:
    result = check(policies, "--login", "x", "--node", "db-1", user="anne")

    assert result.status == 2
    assert "no user anne is declared there" in result.errors
    assert "did you mean ann?" in result.errors


def test_a_folder_with_faults_answers_nothing_and_tells_all_of_them(tmp_path: Path) -> None:
    policies = folder(tmp_path, ann=ANN.replace("dev", "dve"), dev=DEV.replace("logins:", "logns:"))

    result = check(policies, "--login", "x", "--labels", "")

    assert (result.status, result.output) == (2, "")
    assert "ann.yaml:4:16: unknown role dve (did you mean dev?)" in result.errors
    assert "dev.yaml:6:5: unknown field logns" in result.errors


def test_for_people_the_answer_is_a_sentence_with_its_reason_and_its_place(policies: str) -> None:
    allowed = check(policies, "--login", "ann", "--node", "db-1").output.splitlines()
    denied = check(policies, "--login", "root", "--node", "db-2").output.splitlines()

    assert allowed[:3] == [
        "allowed: ann may log in as ann on db-1",
        "  role/dev allows ann on env=dev",
        "  at dev.yaml:6",
    ]
    assert denied[0] == "denied: ann may not log in as root on db-2"


def test_controls_in_an_argument_do_not_reach_the_terminal(policies: str) -> None:
    result = check(policies, "--login", "x\x1b[2J", "--labels", "a=\x1b[31m")

    assert "\x1b" not in result.output + result.errors


def test_ls_lists_the_hosts_that_a_user_reaches_with_the_logins(policies: str) -> None:
    result = tctl("access", "ls", "--policies", policies, "--user", "ann", "-o", "json")

    assert found(result) == [{"node": "db-1", "logins": ["ann", "deploy"]}, {"node": "db-2", "logins": ["ann"]}]


def test_who_lists_the_users_who_reach_a_host_each_role_with_the_logins_it_gives(tmp_path: Path) -> None:
    bob = ANN.replace("ann", "bob").replace("dev, ", "")
    policies = folder(tmp_path, ann=ANN, bob=bob, dev=DEV.replace('"{{internal.logins}}", ', ""), hosts=HOSTS)

    everybody = found(tctl("access", "who", "--policies", policies, "--node", "db-1", "-o", "json"))
    deploying = found(
        tctl("access", "who", "--policies", policies, "--node", "db-1", "--login", "deploy", "-o", "json")
    )

    assert everybody == [
        {"user": "ann", "logins": ["ann"], "role": "access", "partner": ""},
        {"user": "ann", "logins": ["deploy"], "role": "dev", "partner": ""},
        {"user": "bob", "logins": ["bob"], "role": "access", "partner": ""},
    ]
    assert deploying == [{"user": "ann", "logins": ["deploy"], "role": "dev", "partner": ""}]


def test_who_takes_labels_too(policies: str) -> None:
    result = tctl("access", "who", "--policies", policies, "--labels", "env=staging", "--login", "deploy", "-o", "json")

    assert found(result) == [{"user": "ann", "logins": ["deploy"], "role": "dev", "partner": ""}]


def test_somebody_locked_out_reaches_nothing(tmp_path: Path) -> None:
    lock = "kind: lock\nversion: v2\nmetadata: {name: stop}\nspec: {target: {user: ann}, message: lost laptop}\n"
    policies = folder(tmp_path, ann=ANN, dev=DEV, hosts=HOSTS, lock=lock)

    result = check(policies, "--login", "ann", "--node", "db-1", "-o", "json")

    assert result.status == 3
    assert found(result)["reasons"] == ["lock/stop on user ann: lost laptop"]
    assert found(result)["origin"] == {"file": "lock.yaml", "line": 4}
    assert found(tctl("access", "who", "--policies", policies, "--node", "db-1", "-o", "json")) == []
