"""A source that falls silent is stalled; whoever means it deletes by name."""

from teleport.gitops.guards.emptied import emptied
from teleport.resources.kinds import AnyResource
from tests.gitops.guards.proposals import lock, made, node, proposed, user


def refused(before: list[AnyResource], after: list[AnyResource], *, source: str = "git") -> str:
    return "".join(one.message for one in emptied(proposed(before, after, source=source)).violations)


def test_a_source_that_declares_nothing_any_more_is_stalled() -> None:
    others = user("ann", source="other")

    found = refused([lock("a", user="x"), others], [others])

    assert found == "the source declares nothing any more; its one object stays in force"


def test_a_source_that_never_had_anything_may_be_empty() -> None:
    assert refused([user("ann", source="other")], [user("ann", source="other")]) == ""


def test_a_kind_of_three_that_vanishes_at_once_stalls() -> None:
    left = lock("a", user="x")

    found = refused([left, node("1"), node("2"), node("3")], [left])

    assert found == "every node is gone from the source, 3 at once; everything stays in force"


def test_the_last_lock_may_be_removed() -> None:
    assert refused([node("1"), lock("a", user="x")], [node("1")]) == ""


def test_what_has_expired_is_not_missed() -> None:
    expired = made("lock", "a", {"target": {"user": "x"}}, expires="2020-01-01T00:00:00Z")

    assert refused([expired], []) == ""


def test_who_deletes_the_last_object_of_the_api_has_named_it() -> None:
    assert refused([user("ann", source="api")], [], source="api") == ""
