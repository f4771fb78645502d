"""The judge of a whole set: what one resource says that another makes right or wrong, and where it says so.

What it finds within single resources is told by `tests/resources/corpus/bad`.
"""

from teleport.access.judge import judge
from tests.access.builders import from_yaml, role, rule, user

NODE = "kind: node\nversion: v2\nmetadata: {name: %s}\nspec: {hostname: db}\n"
LOCK = "kind: lock\nversion: v2\nmetadata: {name: stop}\nspec:\n  target:\n    role: %s\n"


def told(*texts: str) -> list[str]:
    resources = [one for index, text in enumerate(texts) for one in from_yaml(text, file=f"{index}.yaml")]
    return [str(problem) for problem in judge(resources).problems]


def test_a_set_whose_references_all_lead_somewhere_has_no_faults() -> None:
    judgement = judge([role("dev", allow=rule("root", env="dev")), user("ann", ["dev", "access", "editor", "auditor"])])

    assert (judgement.problems, judgement.warnings) == ((), ())


def test_a_role_that_nobody_declares_is_a_fault_of_whoever_names_it() -> None:
    assert told("kind: user\nversion: v2\nmetadata: {name: ann}\nspec: {roles: [auditr]}\n", LOCK % "ops") == [
        "0.yaml:4:16: unknown role auditr (did you mean auditor?)",
        "1.yaml:6:11: unknown role ops",
    ]


def test_a_role_that_is_declared_but_broken_is_not_missing() -> None:
    judgement = judge([user("ann", ["dev"])], broken=[("role", "dev"), ("user", "ops")])

    assert judgement.problems == ()


def test_a_broken_user_is_no_role() -> None:
    judgement = judge([user("ann", ["ops"])], broken=[("user", "ops")])

    assert [problem.message for problem in judgement.problems] == ["unknown role ops"]


def test_two_declarations_of_one_host_name_are_a_fault_of_the_later() -> None:
    assert told(NODE % "one", NODE % "two") == [
        "1.yaml:4:18: host db is declared by node/one too (one declaration a host)"
    ]


def test_the_same_declaration_twice_is_not_told_again_as_a_clash_of_names() -> None:
    assert told(NODE % "one", NODE % "one") == []


def test_a_fault_deep_within_a_role_stands_at_its_own_line() -> None:
    text = (
        "kind: role\nversion: v7\nmetadata: {name: dev}\nspec:\n  allow:\n    request:\n      claims_to_roles:\n"
        "        - claim: groups\n          value: ops\n          roles:\n            - access\n            - acces\n"
    )

    assert told(text) == ["0.yaml:12:15: unknown role acces (did you mean access?)"]
