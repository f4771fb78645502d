"""What a policy says in vain, given its people and its hosts."""

import pytest

from teleport.access.fleet import Fleet
from teleport.access.idle import idle
from tests.access.builders import from_yaml, host, policy

FLEET = Fleet("node", [host("web-1", env="prod", team="web"), host("dev-1", env="dev")])


def told(text: str, fleet: Fleet = FLEET) -> list[tuple[int, str]]:
    return [(one.line, one.message) for one in idle(policy(*from_yaml(text)), fleet)]


def written(allow: str = "{}", deny: str = "{}", *, holders: str = "dev", traits: str = "{}") -> str:
    role = f"kind: role\nversion: v7\nmetadata: {{name: dev}}\nspec:\n  allow: {allow}\n  deny: {deny}\n"
    return (
        f"{role}---\nkind: user\nversion: v2\nmetadata: {{name: ann}}\nspec: {{roles: [{holders}], traits: {traits}}}\n"
    )


ALLOW = "{logins: [root], node_labels: {env: prod}}"


def test_a_policy_of_which_every_line_says_something_is_left_alone() -> None:
    assert told(written(ALLOW, "{logins: [root], node_labels: {team: web}}")) == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (written("{logins: [root], node_labels: {env: prdo}}"), 5, "role/dev allows root on no host: its labels match none"),
        (
            written('{logins: [root], node_labels_expression: labels.env == "x"}'), 5,
            "role/dev allows root on no host: its labels match none",
        ),
        (written(ALLOW, "{node_labels: {env: test}}"), 6, "role/dev denies no host: the labels of its deny block match none"),
        (written(ALLOW, "{logins: [oracle]}"), 6, "role/dev denies the login oracle, which none of its holders has"),
        (written(ALLOW, holders=""), 1, "role/dev is held by nobody who is declared"),
    ],
)  # fmt: skip
def test_what_says_nothing_is_told_with_its_place(text: str, line: int, message: str) -> None:
    assert told(text) == [(line, message)]


def test_a_template_counts_with_the_traits_of_those_who_hold_it() -> None:
    text = '{logins: [root], node_labels: {team: "{{internal.team}}"}}'

    assert told(written(text, traits="{team: [web]}")) == []
    assert len(told(written(text, traits="{team: [data]}"))) == 1


def test_where_no_hosts_are_known_nothing_is_said_of_them() -> None:
    assert told(written("{logins: [root], node_labels: {env: prdo}}"), Fleet("node")) == []


def test_a_role_that_somebody_may_ask_for_is_not_idle() -> None:
    asked = "---\nkind: role\nversion: v7\nmetadata: {name: more}\nspec: {allow: {logins: [root], node_labels: {env: prod}}}\n"

    assert told(written("{request: {roles: [more]}}") + asked) == []
