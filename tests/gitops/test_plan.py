"""From what a source owns to what it declares; and when it must not be obeyed."""

from teleport.gitops.plan import Change, guard, plan
from teleport.resources.kinds import KINDS, AnyResource


def lock(name: str, *, message: str = "") -> AnyResource:
    body = {"version": "v2", "metadata": {"name": name}, "spec": {"target": {"user": "ann"}, "message": message}}
    return KINDS["lock"].model_validate(body)


def node(name: str) -> AnyResource:
    return KINDS["node"].model_validate({"version": "v2", "metadata": {"name": name}, "spec": {"hostname": name}})


def owned(*resources: AnyResource) -> dict[tuple[str, str], AnyResource]:
    return {(one.kind, one.name): one for one in resources}


def test_a_plan_names_what_is_created_updated_and_deleted() -> None:
    desired = [lock("new"), lock("changed", message="b"), lock("same")]

    made = plan(desired, owned(lock("changed", message="a"), lock("same"), lock("gone")))

    assert made.changes == (
        Change("update", "lock", "changed"),
        Change("create", "lock", "new"),
        Change("delete", "lock", "gone"),
    )


def test_where_a_resource_stands_is_no_change() -> None:
    moved = lock("x").with_origin(lock("x").origin.__class__(source="s", file="elsewhere.yaml", line=9))

    assert plan([moved], owned(lock("x"))).empty


def test_a_source_that_declares_nothing_any_more_is_stalled() -> None:
    assert "declares nothing any more; its 1 objects stay" in guard([], owned(lock("a")))


def test_a_source_that_never_had_anything_may_be_empty() -> None:
    assert guard([], {}) == ""


def test_a_kind_of_three_that_vanishes_at_once_stalls() -> None:
    refusal = guard([lock("a")], owned(lock("a"), node("1"), node("2"), node("3")))

    assert refusal == "every node is gone from the source, 3 at once; everything stays in force"


def test_the_last_lock_may_be_removed() -> None:
    assert guard([node("1")], owned(node("1"), lock("a"))) == ""
