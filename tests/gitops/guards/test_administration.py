"""Somebody is left who can administer the cluster, and who counts as somebody."""

import pytest

from teleport.gitops.guards.administration import administration
from teleport.resources.kinds import AnyResource
from tests.gitops.guards.proposals import ADMIN, lock, made, proposed, role, user

ADMINS = role("admins", rules=ADMIN)
CLUSTER = [ADMINS, user("ann", "admins"), user("bob", "access")]
MERELY_CONDITIONED = [{**ADMIN[0], "where": 'equals(resource.metadata.name, "x")'}]


def refused(before: list[AnyResource], after: list[AnyResource], *, source: str = "git") -> str:
    return "".join(one.message for one in administration(proposed(before, after, source=source)).violations)


@pytest.mark.parametrize(
    "after",
    [
        [ADMINS, user("bob", "access")],
        [ADMINS, user("ann", "access"), user("bob", "access")],
        [role("admins", rules=[{"resources": ["user"], "verbs": ["update"]}]), *CLUSTER[1:]],
        [role("admins", rules=[{"resources": ["role", "user"], "verbs": ["list", "read"]}]), *CLUSTER[1:]],
        [role("admins", rules=MERELY_CONDITIONED), *CLUSTER[1:]],
        [role("admins", rules=ADMIN, deny={"rules": ADMIN}), *CLUSTER[1:]],
        [role("admins", rules=ADMIN, deny={"rules": MERELY_CONDITIONED}), *CLUSTER[1:]],
        [*CLUSTER, lock("l", user="ann")],
        [*CLUSTER, lock("l", role="admins")],
        [ADMINS, user("ann", "admins", expires="2020-01-01T00:00:00Z"), user("bob", "access")],
        [],
    ],
    ids=["gone", "demoted", "half", "reading", "conditioned", "denied", "denied sometimes", "locked", "role locked",
         "expired", "everything"],
)  # fmt: skip
def test_the_last_administrator_is_not_lost(after: list[AnyResource]) -> None:
    assert refused(CLUSTER, after) == "nobody could administer the cluster any more; so far ann can"


@pytest.mark.parametrize(
    "after",
    [
        [ADMINS, user("cy", "admins")],
        [user("ann", "editor")],
        [role("all", rules=[{"resources": ["*"], "verbs": ["*"]}]), user("ann", "all")],
        [*CLUSTER, lock("l", login="root", user="ann")],
    ],
    ids=["another", "preset", "wildcard", "locked out of a login alone"],
)
def test_one_that_is_left_is_enough(after: list[AnyResource]) -> None:
    assert refused(CLUSTER, after) == ""


def test_a_cluster_without_administrators_is_not_held_to_it() -> None:
    assert refused([user("bob", "access")], []) == ""


def test_an_emergency_lock_through_the_api_waits_for_nobody() -> None:
    assert refused(CLUSTER, [*CLUSTER, lock("l", user="ann", source="api")], source="api") == ""


def test_a_lock_hides_nothing_else_that_is_written_with_it() -> None:
    after = [ADMINS, user("bob", "access"), lock("l", user="bob", source="api")]

    assert refused(CLUSTER, after, source="api") != ""


SOON, LATER = "2027-02-01T00:00:00Z", "2028-01-01T00:00:00Z"
RULES = {"allow": {"rules": ADMIN}}


@pytest.mark.parametrize(
    "after",
    [
        [ADMINS, user("ann", "admins", expires=SOON)],
        [made("role", "admins", RULES, version="v7", expires=SOON), user("ann", "admins")],
        [ADMINS, user("ann", "admins", expires=SOON), user("cy", "admins", expires=SOON)],
        [ADMINS, made("user", "ann", {"roles": ["admins"], "expires": SOON})],
    ],
    ids=["user", "role", "both", "spec"],
)
def test_nor_is_the_last_administrator_lost_a_little_later(after: list[AnyResource]) -> None:
    assert refused(CLUSTER, after) == f"nobody could administer the cluster any more from {SOON} on; so far ann can"


def test_an_administrator_for_a_while_may_end_as_planned_and_stay_longer() -> None:
    brief, longer = (user("ann", "admins", expires=one) for one in (SOON, LATER))

    assert refused([ADMINS, brief], [ADMINS, brief, user("bob", "access")]) == ""
    assert refused([ADMINS, brief], [ADMINS, longer]) == ""
    assert refused(CLUSTER, [ADMINS, brief, user("cy", "admins")]) == ""
    assert refused([ADMINS, longer], [ADMINS, brief]) != ""


def test_nobody_administers_where_nobody_can_log_in() -> None:
    closed = made("cluster_auth_preference", "cluster-auth-preference", {"allow_local_auth": False})

    assert refused(CLUSTER, [*CLUSTER, closed]) == "nobody could administer the cluster any more; so far ann can"
