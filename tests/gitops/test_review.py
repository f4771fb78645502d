"""Checks see the whole of before and after, and what all of them find is told."""

from teleport.core.errors import Problem
from teleport.gitops.order import Ref
from teleport.gitops.review import Proposed, Verdict, Violation, review
from teleport.resources.codec import from_dict
from teleport.resources.kinds import AnyResource
from teleport.resources.model import Origin


def user(name: str, *, source: str) -> AnyResource:
    body = {"kind": "user", "version": "v2", "metadata": {"name": name}, "spec": {"roles": ["access"]}}
    return from_dict(body).with_origin(Origin(source=source))


def by_ref(*resources: AnyResource) -> dict[Ref, AnyResource]:
    return {(one.kind, one.name): one for one in resources}


def test_what_all_checks_find_is_told_in_order() -> None:
    def second(_: Proposed) -> Verdict:
        return Verdict((Violation("b", Problem("", 0, 0, "two")),), (Problem("", 0, 0, "look"),))

    def first(_: Proposed) -> Verdict:
        return Verdict((Violation("a", Problem("", 0, 0, "one")),))

    found = review(Proposed("git", {}, {}, now=0), [second, first])

    assert [one.guard for one in found.violations] == ["a", "b"]
    assert [one.message for one in found.warnings] == ["look"]


def test_a_violation_names_the_guard_that_an_override_must_name() -> None:
    violation = Violation("people", Problem("roles.yaml", 3, 5, "too many lose access", "ask"))

    assert str(violation.to_problem()) == "roles.yaml:3:5: refused by the guard people: too many lose access (ask)"


def test_what_nobody_declared_belongs_to_the_api() -> None:
    before = by_ref(user("ann", source=""), user("bob", source="git"))
    proposed = Proposed("api", before, before | by_ref(user("cy", source="api")), now=0)

    assert set(proposed.owned) == {("user", "ann")}
    assert set(proposed.desired) == {("user", "ann"), ("user", "cy")}


def test_both_states_are_compiled_once() -> None:
    proposed = Proposed("git", {}, by_ref(user("ann", source="git")), now=0)

    before, after = proposed.snapshots
    assert (set(before.users), set(after.users)) == (set(), {"ann"})
    assert proposed.snapshots is proposed.snapshots
