"""What somebody gains by a change: each way in which power can be given, and the ways that give none."""

from typing import Any

import pytest

from teleport.gitops.guards.gains import gains
from teleport.resources.kinds import AnyResource
from tests.gitops.guards.proposals import ADMIN, hosts, lock, made, proposed, role, user

DEV = role("dev", logins=("ann",), labels={"env": "dev", "team": ["a", "b"]})
ANN = user("ann", "dev", traits={"team": ["a"]})
SAME: dict[str, Any] = {"logins": ("ann",), "labels": {"env": "dev", "team": "a"}}
"""As in DEV, but for a value less."""
READ = [{"resources": ["event"], "verbs": ["list", "read"], "where": "equals(event.user, user.metadata.name)"}]


def gained(before: list[AnyResource], after: list[AnyResource], **more: Any) -> tuple[str, ...]:
    return gains(proposed(before, after, **more), "ann")


@pytest.mark.parametrize(
    ("after", "gain"),
    [
        ([DEV, user("ann", "dev", "editor", traits={"team": ["a"]})], "role/editor"),
        ([DEV, user("ann", "dev", traits={"team": ["a", "b"]})], "b in the trait team"),
        ([DEV, user("ann", "dev", traits={"team": ["a"], "logins": ["root"]})], "root in the trait logins"),
        ([role("dev", logins=("ann", "root"), labels={"env": "dev", "team": ["a", "b"]}), ANN], "logins of role/dev"),
        ([role("dev", logins=("ann",), labels={"env": "dev"}), ANN], "node_labels of role/dev"),
        ([role("dev", logins=("ann",), labels={"env": ["dev", "prod"], "team": "a"}), ANN], "node_labels of role/dev"),
        ([role("dev", logins=("ann",), labels={"*": "*"}), ANN], "node_labels of role/dev"),
        ([role("dev", **SAME, rules=ADMIN), ANN], "rules of role/dev"),
        ([role("dev", **SAME, impersonate={"users": ["x"]}), ANN], "impersonate of role/dev"),
        ([role("dev", **SAME, db_users=["admin"]), ANN], "db_users of role/dev"),
        ([role("dev", **SAME, app_labels={"*": "*"}), ANN], "app_labels of role/dev"),
    ],
)  # fmt: skip
def test_more_than_before_is_a_gain_where_no_host_shows_it(after: list[AnyResource], gain: str) -> None:
    assert gain in gained([DEV, ANN], after, hosts=[])


@pytest.mark.parametrize(
    "after",
    [
        [DEV, ANN],
        [DEV],
        [DEV, user("ann", traits={"team": ["a"]})],
        [DEV, user("ann", "dev")],
        [role("dev", **SAME), ANN],
        [role("dev", labels={"env": "dev", "team": ["a", "b"]}), ANN],
        [role("dev", logins=("ann",), labels={"env": "dev", "team": "a", "id": "1"}), ANN],
        [role("dev", **SAME, deny={"logins": ["root"]}), ANN],
        [DEV, ANN, user("bob", "editor"), role("other", logins=("root",), labels={"*": "*"}, rules=ADMIN)],
        [DEV, ANN, lock("l", user="ann")],
    ],
    ids=["same", "gone", "demoted", "fewer traits", "fewer values", "no login", "more keys", "denied", "others",
         "locked"],
)  # fmt: skip
def test_what_takes_something_or_is_anothers_is_no_gain(after: list[AnyResource]) -> None:
    assert gained([DEV, ANN], after) == ()


def test_rules_that_were_covered_before_are_no_gain_and_others_are() -> None:
    before = role("dev", rules=[{"resources": ["event"], "verbs": ["*"]}])
    narrower, other = role("dev", rules=READ), role("dev", rules=[*READ, {"resources": ["session"], "verbs": ["read"]}])

    assert gained([before, ANN], [narrower, ANN]) == ()
    assert gained([before, ANN], [other, ANN]) == ("rules of role/dev",)


def test_a_condition_that_falls_is_a_gain() -> None:
    free = role("dev", rules=[{**READ[0], "where": ""}])

    assert gained([role("dev", rules=READ), ANN], [free, ANN]) == ("rules of role/dev",)


def test_whatever_denies_less_is_a_gain() -> None:
    freeze = role("freeze", deny={"node_labels": {"env": "prod"}, "logins": ["root", "db"]})
    before = [DEV, freeze, user("ann", "dev", "freeze")]

    assert gained(before, [DEV, freeze, user("ann", "dev")]) == ("role/freeze no longer denies anything",)
    assert gained(before, [DEV, role("freeze", deny={"logins": ["root"]}), before[2]]) == (
        "role/freeze denies less by logins", "role/freeze denies less by node_labels",
    )  # fmt: skip


def test_the_end_of_a_lock_or_of_an_expiry_is_a_gain() -> None:
    expired = made("user", "ann", {"roles": ["dev"], "traits": {"team": ["a"]}}, expires="2020-01-01T00:00:00Z")

    for before in ([DEV, ANN, lock("l", user="ann")], [DEV, expired]):
        assert "ann is no longer locked or expired" in gained(before, [DEV, ANN])


def test_logins_on_hosts_are_counted_exactly_also_where_only_labels_of_hosts_change() -> None:
    fleet = hosts(3, env="dev", team="a")
    node = made("node", "n", {"hostname": "h1"}, labels={"team": "z"})

    assert gained([DEV, ANN, node], [DEV, ANN], hosts=fleet) == ("ann on 1 host",)


def test_an_expression_is_judged_by_the_hosts_it_reaches() -> None:
    wide, narrow = (
        role("dev", logins=("ann",), node_labels_expression=one)
        for one in ('labels["env"] != ""', 'labels["env"] == "prod"')
    )

    assert gained([narrow, ANN], [wide, ANN]) == ("ann on 4 hosts",)
    assert gained([wide, ANN], [narrow, ANN]) == ()


@pytest.mark.parametrize(
    ("option", "condition"),
    [({"require_session_mfa": "yes"}, "mfa"), ({"record_session": {"ssh": "strict"}}, "recording"),
     ({"forward_agent": "no"}, "agent_forwarding"), ({"ssh_file_copy": "no"}, "file_copy"),
     ({"pin_source_ip": "yes"}, "pin_source_ip")],
)  # fmt: skip
def test_milder_conditions_are_a_gain_and_stricter_ones_are_none(option: dict[str, Any], condition: str) -> None:
    mild = role("dev", logins=("ann",), labels={"*": "*"}, options={"forward_agent": "yes"})
    strict = role("dev", logins=("ann",), labels={"*": "*"}, options={"forward_agent": "yes", **option})

    assert gained([strict, ANN], [mild, ANN]) == (f"other conditions, not plainly stricter: {condition}",)
    assert gained([mild, ANN], [strict, ANN]) == ()


def test_a_new_account_is_a_gain() -> None:
    assert gained([DEV], [DEV, ANN]) == ("the user ann",)


def test_an_account_that_gives_way_to_others_is_a_gain_for_nobody_knows_whose_they_are() -> None:
    assert gained([DEV, ANN], [DEV, user("annie", "editor")]) == ("the user annie in place of ann",)
    assert gained([DEV, ANN, user("annie", "dev")], [DEV, user("annie", "dev")]) == ()


# -- what comes later


SOON, LATER = "2027-02-01T00:00:00Z", "2028-01-01T00:00:00Z"


def ann(expires: str) -> AnyResource:
    return user("ann", "dev", traits={"team": ["a"]}, expires=expires)


def shut(**more: Any) -> AnyResource:
    return made("lock", "l", {"target": {"user": "ann"}, **more})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([DEV, ANN, shut()], [DEV, ANN, shut(expires=SOON)]),
        ([DEV, ANN, shut(expires=LATER)], [DEV, ANN, shut(expires=SOON)]),
        ([DEV, ANN, lock("l", user="ann")], [DEV, ANN, made("lock", "l", {"target": {"user": "ann"}}, expires=SOON)]),
        ([DEV, ann(SOON)], [DEV, ANN]),
        ([DEV, ann(SOON)], [DEV, ann(LATER)]),
    ],
    ids=["lock", "lock sooner", "lock that vanishes", "lasting", "lasting longer"],
)
def test_what_ends_a_lock_sooner_or_an_account_later_is_a_gain(
    before: list[AnyResource], after: list[AnyResource]
) -> None:
    assert "from 2027-02-01T00:00:00Z on: ann is no longer locked or expired" in gained(before, after)
    assert gained(after, before) == ()


def test_a_role_that_lasts_longer_is_a_gain_and_so_is_one_that_denies_and_ends() -> None:
    given: dict[str, Any] = {"allow": {"logins": ["ann"], "node_labels": {"*": "*"}}}
    brief, longer = (made("role", "dev", given, version="v7", expires=one) for one in (SOON, LATER))
    freeze: dict[str, Any] = {"deny": {"logins": ["ann"]}}
    lasting, ending = (made("role", "freeze", freeze, version="v7", **one) for one in ({}, {"expires": SOON}))
    held = user("ann", "dev", "freeze")

    assert gained([brief, ANN], [longer, ANN]) == (f"from {SOON} on: role/dev", f"from {SOON} on: ann on 4 hosts")
    assert gained([longer, ANN], [brief, ANN]) == ()
    assert f"from {SOON} on: role/freeze no longer denies anything" in gained([DEV, lasting, held], [DEV, ending, held])


# -- what nobody would look for


def test_a_trait_that_something_denies_by_is_not_lost_without_a_gain() -> None:
    by_login = role("dev", logins=("ann",), deny={"logins": ["{{internal.banned}}"]})
    by_labels = role("dev", node_labels_expression='!contains(user.spec.traits["banned"], labels.env)')
    by_rule = role("dev", rules=[{**READ[0], "where": '!contains(user.spec.traits["banned"], "x")'}])
    plain = role("dev", logins=("{{internal.banned}}",))

    for one in (by_login, by_labels, by_rule):
        was = [one, user("ann", "dev", traits={"banned": ["x"]})]
        assert gained(was, [one, user("ann", "dev")], hosts=[]) == ("x no longer in the trait banned",)
    assert gained([plain, user("ann", "dev", traits={"banned": ["x"]})], [plain, user("ann", "dev")], hosts=[]) == ()


def test_a_role_that_may_be_asked_for_counts_like_one_that_is_held() -> None:
    asking = role("dev", request={"roles": ["ops-*"]})
    was, will = role("ops-db", logins=("postgres",)), role("ops-db", logins=("postgres", "root"))
    before = [asking, was, user("ann", "dev")]

    assert gained(before, [asking, will, before[2]]) == ("logins of role/ops-db, which ann may ask for",)
    assert gained(before, [*before, role("ops-web")]) == ("role/ops-web, which ann may ask for",)
    assert gained(before, [asking, role("ops-db"), before[2]]) == ()


def test_conditions_that_are_milder_as_they_are_written_count_before_there_is_a_host() -> None:
    strict, mild = (role("dev", logins=("ann",), labels={"env": "dev"}, options=one)
                    for one in ({"require_session_mfa": "yes", "max_session_ttl": "1h"}, {}))  # fmt: skip
    recorded, off = (made("session_recording_config", "session-recording-config", {"mode": one})
                     for one in ("node-sync", "off"))  # fmt: skip

    assert gained([strict, ANN], [mild, ANN], hosts=[]) == (
        "other conditions, not plainly stricter: max_session_ttl",
        "other conditions, not plainly stricter: mfa",
    )  # fmt: skip
    assert gained([mild, ANN], [strict, ANN], hosts=[]) == ()
    assert gained([DEV, ANN, recorded], [DEV, ANN, off], hosts=[]) == (
        "other conditions, not plainly stricter: recording_mode",
    )


def test_what_a_rule_with_a_condition_means_does_not_grow_by_other_labels_of_its_objects() -> None:
    own = 'equals(resource.metadata.labels["owner"], user.metadata.name)'
    rules = [{"resources": ["role"], "verbs": ["update"], "where": own}]
    keeper, held = role("dev", rules=rules), user("ann", "dev")
    was, will = (made("role", "ops", {}, version="v7", labels={"owner": one}) for one in ("root", "ann"))

    assert gained([keeper, held, was], [keeper, held, will]) == ("update of role/ops",)
    assert gained([keeper, held, will], [keeper, held, was]) == ()
