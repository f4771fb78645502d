"""People for whom the same changes are one group, and the groups together say what the effects say."""

from typing import Any

import pytest
from hypothesis import given

from teleport.access.fleet import positions
from teleport.access.groups import grouped
from teleport.access.impact import Impact, impact
from tests.access.builders import NOW, host, policy, role, rule, user
from tests.access.test_impact import MOVES, edits, targets
from tests.access.test_oracle import Documents, Hosts, compiled

WEB, DB = host("web-1", env="prod"), host("db-1", env="prod", kind="db")


def changed(before: list[Any], after: list[Any]) -> Impact:
    snapshots = [policy(*one) for one in (before, after)]
    return impact(snapshots[0], snapshots[1], ([WEB, DB], [WEB, DB]), now=NOW)


def test_people_with_the_same_change_are_one_group_whatever_their_own_login_is() -> None:
    people = [user(name, logins=[name]) for name in ("ann", "bob", "cy")]
    wide, narrow = (
        role(allow=rule("{{internal.logins}}", "web", **labels)) for labels in ({"env": "prod"}, {"kind": "db"})
    )

    (found,), totals = grouped(changed([wide, *people], [narrow, *people]))

    assert (found.change, sorted(found.people), found.hosts, found.role) == ("lost", ["ann", "bob", "cy"], 1, "dev")
    assert found.logins == ("web", "{{internal.logins}}")
    assert (totals["lost"].pairs, totals["lost"].hosts) == (6, {WEB.uid})
    assert not totals["gained"].people


def test_what_is_lost_by_different_roles_is_told_apart() -> None:
    first, second = role("first", allow=rule("web", kind="db")), role("second", allow=rule("web", env="prod"))
    ann = user("ann", ["first", "second"])

    groups, _ = grouped(changed([first, second, ann], [ann]))

    assert {(one.role, one.hosts) for one in groups} == {("first", 1), ("second", 1)}


@given(edits(), MOVES)
def test_the_groups_say_of_everybody_what_the_effects_say(
    documents: tuple[Documents, Documents], moves: tuple[Hosts, Hosts]
) -> None:
    before, after = (compiled(one) for one in documents)
    found = impact(before, after, (targets(moves[0]), targets(moves[1])), now=NOW)

    groups, totals = grouped(found)

    told = {
        (one.change, name, login, one.found(found).fleet.at(position).uid)
        for one in groups
        for name in one.people
        for login in one.logins
        for position in positions(one.found(found).hosts)
    }
    effects = list(found.effects())
    assert told == {
        (one.found.change, one.user, one.written, one.found.fleet.at(position).uid)
        for one in effects
        for position in positions(one.found.hosts)
    }
    assert sum(total.pairs for total in totals.values()) == sum(one.found.count for one in effects)
    assert {name for total in totals.values() for name in total.people} == {one.user for one in effects}


def test_sets_that_are_not_remembered_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleport.access.groups._KEPT", 0)
    base = [role(allow=rule("web", env="prod")), user("ann")]
    found = changed(base, base[1:])

    (one,), _ = grouped(found)

    assert one.kept is None
    assert one.found(found).count == 2
