"""How much one change may take away: exactly as much as it says, and not one person more."""

import pytest

from teleport.gitops.guards.budget import pairs, people
from teleport.resources.kinds import AnyResource
from tests.gitops.guards.proposals import hosts, lock, made, proposed, role, user

DEV = role("dev", logins=("root", "web"), labels={"env": "dev"})
PEOPLE = [user(name, "dev") for name in ("ann", "bob", "cy")]


@pytest.mark.parametrize(("most", "refusals"), [(3, 0), (2, 1), (0, 1)])
def test_so_many_people_may_lose_access_and_no_more(most: int, refusals: int) -> None:
    narrower = role("dev", logins=("root",), labels={"env": "dev"})

    found = people(most)(proposed([DEV, *PEOPLE], [narrower, *PEOPLE]))

    assert len(found.violations) == refusals


def test_whom_it_is_about_is_told_in_short_and_kept_whole() -> None:
    many = [user(f"u{one}", "dev") for one in range(9)]

    (found,) = people(1)(proposed([DEV, *many], [DEV])).violations

    assert found.message == "9 people lose access, at most 1 may at once: u0, u1, u2, u3, u4 and 4 others"
    assert found.subjects == tuple(f"u{one}" for one in range(9))


def test_a_user_who_is_gone_counts_also_where_no_hosts_are_known() -> None:
    found = people(0)(proposed([DEV, *PEOPLE], [DEV, *PEOPLE[1:]], hosts=[]))

    assert [one.subjects for one in found.violations] == [("ann",)]


def test_who_only_gains_or_has_other_conditions_loses_nothing() -> None:
    wider = role("dev", logins=("root", "web", "db"), labels={"*": "*"}, options={"require_session_mfa": "yes"})

    assert people(0)(proposed([DEV, *PEOPLE], [wider, *PEOPLE])).violations == ()


@pytest.mark.parametrize(("percent", "refusals"), [(50, 0), (49.9, 1), (0, 1), (100, 0)])
def test_so_much_of_all_pairs_may_be_lost_and_no_more(percent: float, refusals: int) -> None:
    narrower = role("dev", logins=("root",), labels={"env": "dev"})

    found = pairs(percent)(proposed([DEV, *PEOPLE], [narrower, *PEOPLE]))

    assert len(found.violations) == refusals


def test_pairs_are_counted_over_everybody() -> None:
    before = [DEV, *PEOPLE, role("ops", logins=("root",), labels={"*": "*"}), user("ops", "ops")]
    after: list[AnyResource] = [one for one in before if one.name != "ann"]

    (found,) = pairs(1)(proposed(before, after, hosts=hosts(5, env="dev"))).violations

    assert found.message.startswith("10 of 35 logins on hosts are lost (28.6 %), at most 1 % may be at once")


def test_an_emergency_lock_through_the_api_waits_for_nobody() -> None:
    before = [DEV, *PEOPLE]

    for check in (people(0), pairs(0)):
        there = proposed(before, [*before, lock("l", role="dev", source="api")], source="api")
        elsewhere = proposed(before, [*before, lock("l", role="dev")])

        assert (len(check(there).violations), len(check(elsewhere).violations)) == (0, 1)


@pytest.mark.parametrize("kind", ["user", "role"])
def test_what_is_to_end_soon_is_lost_as_well(kind: str) -> None:
    end = "2027-02-01T00:00:00Z"
    spec = {"allow": {"logins": ["root", "web"], "node_labels": {"env": "dev"}}}
    ending = [made("role", "dev", spec, version="v7", expires=end), *PEOPLE]
    if kind == "user":
        ending = [DEV, *(user(one.name, "dev", expires=end) for one in PEOPLE)]

    (losing,), (lost,) = (check(proposed([DEV, *PEOPLE], ending)).violations for check in (people(2), pairs(50)))

    assert losing.message == f"3 people lose access, at most 2 may at once: ann, bob, cy (from {end} on)"
    assert losing.subjects == ("ann", "bob", "cy")
    assert lost.message.startswith("24 of 24 logins on hosts are lost (100.0 %), at most 50 % may be at once")
    assert people(0)(proposed(ending, ending)).violations == ()
