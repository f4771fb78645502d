"""What changes for whom, against deciding every user, login and host before and after, by the product and the oracle."""

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from teleport.access.decide import AccessRequest, decide
from teleport.access.fleet import Fleet, positions
from teleport.access.holdings import Holdings
from teleport.access.impact import Impact, impact
from teleport.access.role_sets import RoleSets
from teleport.access.snapshot import Snapshot
from teleport.access.target import Target
from tests.access.builders import NOW, host, identity, lock, policy, role, rule, setting, user
from tests.access.oracle import Oracle, Question
from tests.access.strategies import FLEETS, LOGINS, USERS, policies
from tests.access.test_oracle import MOMENT, Documents, Hosts, compiled

Pair = tuple[str, str, str]
"""User, login and the host's uid."""

EDITED = [*USERS, "new"]


@st.composite
def edits(draw: st.DrawFn) -> tuple[Documents, Documents]:
    """A policy, and what became of it: some documents replaced, removed or added."""
    before, other = draw(policies()), draw(policies())
    after = [one for one in before if draw(st.integers(0, 5))]
    names = {(one["kind"], one["metadata"]["name"]) for one in after}
    for one in other:
        ref = (one["kind"], one["metadata"]["name"])
        if draw(st.integers(0, 2)) == 0:
            after = (
                [kept for kept in after if (kept["kind"], kept["metadata"]["name"]) != ref] if ref in names else after
            )
            after.append(one)
    return before, after


MOVES: SearchStrategy[tuple[Hosts, Hosts]] = FLEETS.flatmap(
    lambda hosts: st.tuples(st.just(hosts), st.one_of(st.just(hosts), FLEETS, st.just(hosts[1:])))
)


def targets(hosts: Hosts) -> list[Target]:
    return [Target("node", *one) for one in hosts]


def told(found: Impact) -> dict[Pair, tuple[str, dict[str, Any]]]:
    """Every user, login and host of an impact: what changes, and the conditions; none twice."""
    rows: dict[Pair, tuple[str, dict[str, Any]]] = {}
    for user_, login, _, change in found.effects():
        for _, conditions, hosts in change.blocks():
            for position in positions(hosts):
                pair = (user_, login, change.fleet.at(position).uid)
                assert pair not in rows
                rows[pair] = (change.change, dict(conditions))
    return rows


def state(snapshot: Snapshot, name: str, login: str, target: Target | None) -> dict[str, Any] | None:
    """The conditions under which somebody gets in, None for nobody."""
    if target is None:
        return None
    plain, strong = identity(name), identity(name, mfa_verified=True)
    decision = decide(snapshot, AccessRequest(strong, target, login), now=NOW)
    if not decision.allowed:
        return None
    assert decision.conditions is not None
    asked = not decide(snapshot, AccessRequest(plain, target, login), now=NOW).allowed
    shown = {**decision.conditions.to_dict(), "mfa": "required" if asked else "no"}
    return {key: value for key, value in shown.items() if not key.startswith("desktop_")}


def logins(*snapshots: Snapshot) -> set[str]:
    """Every login that somebody is given, and those that nobody may be."""
    bound = (snapshot.user(name) for snapshot in snapshots for name in snapshot.users)
    return {login for one in bound if one is not None for role_ in one.roles for login in role_.allow.logins} | {
        *LOGINS
    }


def pair_by_pair(
    before: Snapshot, after: Snapshot, moves: tuple[Hosts, Hosts]
) -> dict[Pair, tuple[str, dict[str, Any]]]:
    """The same, decided one by one."""
    was, will = ({one.uid: one for one in targets(hosts)} for hosts in moves)
    rows: dict[Pair, tuple[str, dict[str, Any]]] = {}
    for name in EDITED:
        for login in logins(before, after):
            for uid in was.keys() | will.keys():
                old = state(before, name, login, was.get(uid))
                new = state(after, name, login, will.get(uid))
                if old is None and new is not None:
                    rows[name, login, uid] = ("gained", new)
                elif old is not None and new is None:
                    rows[name, login, uid] = ("lost", old)
                elif old is not None and new is not None and old != new:
                    changes = {key: {"old": old[key], "new": new[key]} for key in old if old[key] != new[key]}
                    rows[name, login, uid] = ("changed", changes)
    return rows


def thawed(conditions: dict[str, Any]) -> dict[str, Any]:
    """Lists where an impact has tuples."""
    return {
        key: {when: list(one) if isinstance(one, tuple) else one for when, one in value.items()}
        if isinstance(value, dict) else value
        for key, value in conditions.items()
    }  # fmt: skip


@given(edits(), MOVES)
def test_it_says_of_every_user_login_and_host_what_deciding_before_and_after_says(
    documents: tuple[Documents, Documents], moves: tuple[Hosts, Hosts]
) -> None:
    before, after = (compiled(one) for one in documents)

    found = told(impact(before, after, (targets(moves[0]), targets(moves[1])), now=NOW))

    expected = pair_by_pair(before, after, moves)
    assert {pair: (change, thawed(rest)) for pair, (change, rest) in found.items()} == expected


@given(edits(), MOVES)
def test_who_gains_and_who_loses_is_what_the_oracle_says(
    documents: tuple[Documents, Documents], moves: tuple[Hosts, Hosts]
) -> None:
    before, after = (compiled(one) for one in documents)
    oracles = [Oracle(one) for one in documents]

    found = told(impact(before, after, (targets(moves[0]), targets(moves[1])), now=NOW))

    opened: list[set[Pair]] = []
    for oracle, hosts in zip(oracles, moves, strict=True):
        asked = [
            ((name, login, uid), Question(name, login, label, uid, labels, MOMENT, mfa=True))
            for name in EDITED
            for login in logins(before, after)
            for label, uid, labels in hosts
        ]
        opened.append({pair for pair, question in asked if oracle.judge(question).allowed})
    assert {pair for pair, (change, _) in found.items() if change == "gained"} == opened[1] - opened[0]
    assert {pair for pair, (change, _) in found.items() if change == "lost"} == opened[0] - opened[1]


@given(policies(), FLEETS)
def test_what_everybody_holds_is_what_reach_says_of_each(documents: Documents, hosts: Hosts) -> None:
    snapshot = compiled(documents)

    found = told(impact(policy(), snapshot, (targets(hosts), targets(hosts)), now=NOW))

    assert found == pair_by_pair(policy(), snapshot, (hosts, hosts))


def changes(before: Iterable[Any], after: Iterable[Any], *hosts: Target) -> dict[Pair, tuple[str, dict[str, Any]]]:
    return told(impact(policy(*before), policy(*after), (hosts, hosts), now=NOW))


DB = host("db-1", env="prod")


def test_an_edit_that_says_the_same_in_other_words_changes_nothing() -> None:
    before = [role(allow=rule("root", env="prod")), user()]
    after = [role(allow=rule("root", "root", env=["prod", "prod"])), user()]

    assert changes(before, after, DB) == {}


def test_a_condition_that_turns_on_one_host_alone_is_told_for_that_host() -> None:
    dev = host("dev-1", env="dev")
    loose, strict = (
        role("strict", allow=rule("root", env="prod"), options={"require_session_mfa": value})
        for value in ("no", "yes")
    )
    base = [role(allow=rule("root", env="*")), user("ann", ["dev", "strict"])]

    found = changes([*base, loose], [*base, strict], DB, dev)

    assert found == {("ann", "root", DB.uid): ("changed", {"mfa": {"old": "no", "new": "required"}})}


def test_a_lock_that_comes_takes_what_it_shuts() -> None:
    base = [role(allow=rule("root", "web", env="*")), user("ann"), user("bob")]

    found = changes(base, [*base, lock(user="ann", login="root")], DB)

    assert [(pair, change) for pair, (change, _) in found.items()] == [(("ann", "root", DB.uid), "lost")]


def test_a_setting_of_the_cluster_changes_what_everybody_keeps() -> None:
    base = [role(allow=rule("root", env="*")), user()]

    found = changes(base, [*base, setting("cluster_networking_config", client_idle_timeout="5m")], DB)

    assert found == {("ann", "root", DB.uid): ("changed", {"idle_timeout": {"old": "never", "new": "5m"}})}


def test_rules_for_administrators_touch_nobody_on_a_host() -> None:
    rules = [{"resources": ["event"], "verbs": ["list"]}]
    before, after = (role(allow={**rule("root", env="*"), **more}) for more in ({}, {"rules": rules}))

    found = impact(policy(before, user()), policy(after, user()), ([DB], [DB]), now=NOW)

    assert list(found.effects()) == []


def test_people_whose_roles_select_alike_share_what_was_found() -> None:
    names = [f"u{number}" for number in range(5)]
    people = [user(name, logins=[name]) for name in names]
    before, after = (role(allow=rule("{{internal.logins}}", env=env)) for env in ("dev", "prod"))

    found = list(impact(policy(before, *people), policy(after, *people), ([DB], [DB]), now=NOW).effects())

    assert sorted((one.user, one.login, one.written) for one in found) == [
        (name, name, "{{internal.logins}}") for name in names
    ]
    assert len({id(one.found) for one in found}) == 1


def test_more_sets_than_are_remembered_change_no_answer() -> None:
    snapshot = policy(
        role(allow=rule("root", team="{{internal.team}}")), user("ann", team=["a"]), user("bob", team=["b"])
    )
    sets = RoleSets(_fleet(), many=1)
    holdings = Holdings(snapshot, sets, now=NOW)
    ann, bob = holdings.of("ann"), holdings.of("bob")
    assert ann is not None
    assert bob is not None

    opened = [holdings.selection(one).opened(one.naming["root"], "root") for one in (ann, bob, ann)]

    assert opened == [1, 2, 1]


def _fleet() -> Fleet:
    return Fleet("node", [host("h1", team="a"), host("h2", team="b")])
