"""Who stands behind a change and gains by it, and what is said where nobody can be known."""

from typing import Any

import pytest

from teleport.gitops.guards.beneficiary import beneficiary
from teleport.gitops.review import Verdict
from tests.gitops.guards.proposals import ADMIN, proposed, role, signed, user

PEOPLE = {"ann@example.com": "ann", "bob@example.com": "bob", "forge@example.com": ""}
BEFORE = [role("ops", rules=ADMIN), user("root", "ops"), user("ann", "access"), user("bob", "access")]
AFTER = [*BEFORE[:2], user("ann", "ops"), user("bob", "access")]
"""Ann becomes an administrator."""


def verdict(*, own_writes: bool = True, people: dict[str, str] = PEOPLE, **more: Any) -> Verdict:
    return beneficiary(people, own_writes=own_writes)(proposed(BEFORE, AFTER, **more))


def refusals(**more: Any) -> list[str]:
    return [one.message for one in verdict(**more).violations]


@pytest.mark.parametrize(
    ("provenance", "who"),
    [
        (signed("ann@example.com"), "ann@example.com, who signed this,"),
        (signed("bob@example.com", "ann@example.com"), "ann@example.com, who signed this,"),
        (signed("bob@example.com", approved=("ann@example.com",)), "ann@example.com, who approved this,"),
    ],
)
def test_who_signed_or_approved_it_must_not_gain(provenance: object, who: str) -> None:
    assert refusals(provenance=provenance) == [f"{who} gains by it: role/ops"]


def test_somebody_else_may_give_it() -> None:
    assert refusals(provenance=signed("bob@example.com", approved=("forge@example.com",))) == []


def test_nobody_is_pretended_to_be_known() -> None:
    unsigned, strange = verdict(commit="c1"), verdict(provenance=signed("eve@example.com"))

    assert [one.message for one in unsigned.warnings] == [
        "the guard beneficiary is not enforceable: commits of the source git need no signature"
    ]
    assert [one.message for one in strange.warnings] == [
        "the guard beneficiary is not enforceable: policies.people does not say who eve@example.com is"
    ]
    assert unsigned.violations == strange.violations == ()


def test_a_signature_of_nobody_in_particular_is_told_of() -> None:
    by_forge, by_ghost = verdict(provenance=signed("forge@example.com")), verdict(
        provenance=signed("gone@example.com"), people={"gone@example.com": "gone"}
    )  # fmt: skip
    both = verdict(provenance=signed("forge@example.com", approved=("bob@example.com",)))

    assert [one.message for one in by_forge.warnings] == [
        "the guard beneficiary is not enforceable: nobody but a machine (forge@example.com) signed this"
    ]
    assert [one.message for one in by_ghost.warnings] == [
        "the guard beneficiary is not enforceable: there is no user gone, who signs as gone@example.com"
    ]
    assert both.warnings == ()


def test_a_folder_is_told_to_be_unsigned_only_where_somebody_is_named() -> None:
    assert len(verdict().warnings) == 1
    assert verdict(people={}).warnings == ()


def test_an_administrator_may_gain_by_what_they_write_unless_that_is_set() -> None:
    written = {"source": "api", "user": "ann"}

    assert refusals(**written) == []
    assert refusals(**written, own_writes=False) == ["ann, who writes this, gains by it: role/ops"]
    assert refusals(source="api", user="bob", own_writes=False) == []


def test_a_cluster_begins_with_the_people_who_begin_it() -> None:
    check, provenance = beneficiary(PEOPLE, own_writes=True), signed("ann@example.com")
    elsewhere = [role("ops", rules=ADMIN, source="api"), user("root", "ops", source="api")]

    assert check(proposed([], AFTER, provenance=provenance)).violations == ()
    assert check(proposed(elsewhere, [*elsewhere, user("ann", "ops")], provenance=provenance)).violations != ()
