"""What is said of objects: everything to who runs the cluster, to a tenant nothing that names people of others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.core.errors import Problem
from teleport.gitops.ceiling import Ceiling, Reach
from teleport.service.verdicts import Confidant, Tenant

OTHERS = ("mallory", "eve@example.com", "db 1", "secret-host", "Ωmega")
TENANT = Tenant(Reach("team-b", Ceiling(owns={"user": ("b-*",)}), frozenset()), {"b-ann"}, {*OTHERS, "b-ann"})


def problem(message: str, hint: str = "") -> Problem:
    return Problem("kubernetes:team-b/TeleportRoleV7/dev", 0, 0, message, hint)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("text", ["{}", "role/dev is used by user/{} (ops)", "'{}', and others", "to={}:22", "({})"])
def test_a_text_that_names_somebody_else_is_not_passed_on(name: str, text: str) -> None:
    for told in (problem(text.format(name)), problem("no", hint=text.format(name))):
        assert name not in TENANT.text(told)
        assert name in Confidant().text(told)


@pytest.mark.parametrize("text", ["role/dev is unknown", "b-ann holds role/dev", "mallorys", "db", "eve", "the hosts"])
def test_a_text_that_names_nobody_else_is_passed_on(text: str) -> None:
    assert TENANT.text(problem(text)) == text


def test_a_guard_that_speaks_of_the_cluster_is_named_and_no_more() -> None:
    found = problem("refused by the guard people: 3 people lose access", "another administrator overrides it")

    assert TENANT.text(found) == (
        "refused by the guard people; who administers the cluster sees why: tctl policy status"
    )
    assert "3 people" in Confidant().text(found)


def test_a_guard_that_speaks_of_the_source_alone_is_told_in_full() -> None:
    found = problem("refused by the guard ceiling: role/x allows the login root, beyond what its source may give")

    assert TENANT.text(found) == found.message


def test_the_name_that_an_object_bears_itself_is_no_secret() -> None:
    found = problem("user/mallory belongs to the source ops")

    assert TENANT.text(found, ("user", "mallory")) == found.message


@pytest.mark.parametrize(
    ("gainers", "said"),
    [
        (["b-ann"], "b-ann"), (["b-ann", "mallory"], "b-ann, 1 other"), (["mallory"], "1 person"),
        (["mallory", "secret-host"], "2 people"), (["b-ann", *OTHERS], "b-ann, 5 others"),
    ],
)  # fmt: skip
def test_people_of_others_are_counted(gainers: list[str], said: str) -> None:
    assert TENANT.names(gainers) == said


def test_a_long_list_is_cut() -> None:
    assert Confidant().names([f"u{index:02}" for index in range(12)]).endswith("u09, 2 others")


@given(st.text(max_size=40), st.sampled_from(OTHERS), st.text(max_size=40))
def test_no_text_around_a_name_lets_it_through_as_a_word(before: str, name: str, after: str) -> None:
    text = f"{before} {name} {after}"

    assert name not in TENANT.text(problem(text))
