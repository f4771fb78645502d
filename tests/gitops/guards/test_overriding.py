"""Who counts as a second person, and what an approval is bound to."""

from dataclasses import replace
from typing import Any

import pytest

from teleport.core.errors import Problem
from teleport.gitops.guards.overriding import Administrator, by_administrator, by_signature, digest, objections
from teleport.gitops.provenance import Signer
from teleport.gitops.review import Proposed, Violation
from tests.gitops.guards.proposals import lock, made, proposed, role, signed, user

PEOPLE = {"ann@example.com": "ann", "ann@laptop": "ann", "bob@example.com": "bob", "forge@example.com": ""}
OPS = role("ops", rules=[{"resources": ["policy"], "verbs": ["update"]}])
BEFORE = [OPS, *(user(name, "ops") for name in ("ann", "bob", "cy")), user("dan", "access")]
FOUND = Violation("people", Problem("", 0, 0, "too many"), ("x", "y"))


def change(*, gaining: str = "", **more: Any) -> Proposed:
    """Dan loses everything; somebody gains a role."""
    after = [user(one.name, "ops", "editor") if one.name == gaining else one for one in BEFORE[:-1]]
    return proposed(BEFORE, after, **more)


# -- signatures


def signature(principal: str, *, key: str = "", guard: str = "people", **more: Any) -> str:
    given = change(provenance=signed("ann@example.com"), **more)
    return by_signature(Signer(principal, key or f"key of {principal}"), guard, given, PEOPLE)


def test_another_known_person_overrides() -> None:
    assert signature("bob@example.com") == ""


@pytest.mark.parametrize(
    ("principal", "key"),
    [("ann@example.com", "another"), ("ann@laptop", ""), ("bob@example.com", "key of ann@example.com")],
    ids=["another key", "another principal", "the same key"],
)
def test_who_signed_the_change_is_no_second_person(principal: str, key: str) -> None:
    assert signature(principal, key=key) == "that is who signed the change"


@pytest.mark.parametrize(
    ("principal", "reason"),
    [("forge@example.com", "that is no person's key"),
     ("eve@example.com", "policies.people does not say which user that is")],
)  # fmt: skip
def test_who_is_nobody_known_does_not_count(principal: str, reason: str) -> None:
    assert signature(principal) == reason


def test_who_gains_does_not_count() -> None:
    assert signature("bob@example.com", gaining="bob") == "bob gains by it: role/editor"


def test_where_nothing_is_signed_a_signature_does_not_count() -> None:
    assert by_signature(Signer("bob@example.com", "k"), "people", change(), PEOPLE) == "signatures are not asked for"


def test_a_ceiling_is_lifted_only_by_who_has_none() -> None:
    editor = [OPS, user("ann", "ops"), user("bob", "ops", "editor"), user("cy", "ops"), user("dan", "access")]
    given = proposed(editor, editor[:-1], provenance=signed("ann@example.com"))

    assert by_signature(Signer("bob@example.com", "k"), "ceiling", given, PEOPLE) == ""
    assert signature("bob@example.com", guard="ceiling") == "only who administers the cluster lifts a ceiling"
    assert by_administrator(Administrator("cy"), "ceiling", given) == "only who administers the cluster lifts a ceiling"


# -- administrators


def test_another_administrator_approves_of_what_somebody_wrote() -> None:
    written = change(source="api", user="ann")

    assert by_administrator(Administrator("bob"), "people", written) == ""
    assert by_administrator(Administrator("root", local=True), "people", written) == ""
    assert by_administrator(Administrator("ann"), "people", written) == "that is who wrote it"
    assert by_administrator(Administrator("bob"), "people", change(source="api", user="ann", gaining="bob")) != ""


def test_who_is_on_the_auth_host_is_a_second_person_to_nobody_there() -> None:
    assert by_administrator(Administrator("root", local=True), "people", change()) != ""
    assert by_administrator(Administrator("root", local=True), "people", change(source="api")) != ""
    assert by_administrator(Administrator("bob"), "people", change(source="api")) == ""


def test_only_who_may_update_policy_now_and_is_the_same_as_then_approves() -> None:
    locked = proposed([*BEFORE, lock("l", user="bob")], [*BEFORE[:-1], lock("l", user="bob")])

    assert by_administrator(Administrator("dan"), "people", change()) == "no role of dan allows update on policy"
    assert by_administrator(Administrator("eve"), "people", change()) == "there is no such user any more"
    assert by_administrator(Administrator("bob", "uid-bob"), "people", change()) == ""
    assert by_administrator(Administrator("bob", "earlier"), "people", change()) == "there is no such user any more"
    assert "lock/l" in by_administrator(Administrator("bob"), "people", locked)


def test_who_may_approve_at_all_is_told_with_what_stands_against_it() -> None:
    found = objections("people", change(source="api", user="ann", gaining="cy"))

    assert found == {"ann": "that is who wrote it", "bob": "", "cy": "cy gains by it: role/editor"}


# -- what it is bound to


def test_the_same_change_has_the_same_name() -> None:
    assert digest(change(), "people", [FOUND]) == digest(change(now=1.0), "people", [FOUND])


@pytest.mark.parametrize(
    "other",
    [{"source": "other"}, {"commit": "c2"}, {"actor": "eve"}, {"gaining": "bob"}],
    ids=["source", "commit", "actor", "content"],
)
def test_anything_else_about_a_change_is_another_change(other: dict[str, Any]) -> None:
    assert digest(change(), "people", [FOUND]) != digest(change(**other), "people", [FOUND])


def test_what_was_there_before_and_whom_it_affects_count_too() -> None:
    earlier = [OPS, *BEFORE[1:4], user("dan", "editor")]
    names = {
        digest(change(), "people", [FOUND]),
        digest(proposed(earlier, BEFORE[:-1]), "people", [FOUND]),
        digest(change(), "people", [replace(FOUND, subjects=("x", "y", "z"))]),
        digest(change(), "pairs", [FOUND]),
    }

    assert len(names) == 4


def test_the_moment_at_which_a_lock_was_noted_makes_no_other_change() -> None:
    found = set()
    for when in ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"):
        noted = made("lock", "l", {"target": {"user": "x"}, "created_by": "ann", "created_at": when})
        found.add(digest(proposed(BEFORE, [*BEFORE, noted]), "people", [FOUND]))

    assert len(found) == 1
