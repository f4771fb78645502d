"""Tests of policy: each expectation against `decide`, and what a failing row tells."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from teleport.access.everybody import Everybody
from teleport.access.expectations import Examiner, Row, imagined_hosts
from teleport.access.fleet import Fleet
from teleport.access.target import Target
from teleport.resources.access_test import AccessTest
from teleport.resources.codec import from_dict
from teleport.resources.kinds import AnyResource
from tests.access.builders import NOW, ask, from_yaml, host, identity, lock, policy, resource, role, rule, user
from tests.access.strategies import FLEETS, LOGINS, USERS, policies

DEV = role("dev", allow=rule("ann", "root", env="dev"))
ON_CALL = role("on-call", allow=rule("root", env="prod"), options={"require_session_mfa": "yes"})
ANN, BOB = user("ann", ["dev", "on-call"]), user("bob", ["dev"])
HOSTS = (host("dev-1", env="dev"), host("prod-1", env="prod"))


def declared(**spec: Any) -> AccessTest:
    made = resource("access_test", "t", spec, version="v1")
    assert isinstance(made, AccessTest)
    return made


def examined(test: AccessTest, *resources: AnyResource, hosts: tuple[Target, ...] = HOSTS) -> tuple[Row, ...]:
    imagined = imagined_hosts([test])
    fleet = Fleet("node", [*hosts, *imagined])
    here = policy(*(resources or (DEV, ON_CALL, ANN, BOB)))
    bits = fleet.those(one.uid for one in imagined)
    return Examiner(Everybody(here, fleet, now=NOW, imagined=bits)).examine(test)


def row(expected: Any, *, who: Any = None, hosts: Any = "any", **more: Any) -> Row:
    (found,) = examined(declared(given=who or {"user": "ann"}, expect=[{**expected, "hosts": hosts}]), **more)
    return found


def facts(*rows: Row) -> list[str]:
    return [f"{one.fact}: {one.because}" for one in rows]


# -- can, cannot, needs_mfa


def test_can_is_judged_without_a_second_factor_and_cannot_with_one() -> None:
    prod = {"name": "prod-1"}

    can, cannot, needs = (row({verb: "root"}, hosts=prod) for verb in ("can", "cannot", "needs_mfa"))

    assert facts(can, cannot) == [
        "root is denied without a second factor on prod-1: role/on-call requires a second factor for each session",
        "root is allowed on prod-1: role/on-call allows root on env=prod",
    ]
    assert needs.passed


def test_what_is_said_of_a_second_factor_counts_for_every_row() -> None:
    prod = {"name": "prod-1"}

    shown = row({"can": "root"}, who={"user": "ann", "mfa": True}, hosts=prod)
    missing = row({"cannot": "root"}, who={"user": "ann", "mfa": False}, hosts=prod)

    assert (shown.passed, missing.passed) == (True, True)


def test_needs_mfa_fails_where_none_is_needed_and_where_none_helps() -> None:
    free, closed = (
        row({"needs_mfa": "root"}, hosts={"name": name}, who={"user": "bob"}) for name in ("dev-1", "prod-1")
    )

    assert free.fact == "root is allowed without a second factor on dev-1"
    assert closed.fact == "root is denied on prod-1"


def test_a_row_about_labels_means_hosts_there_are_and_one_that_has_no_others() -> None:
    frozen = role("freeze", deny=rule(frozen="yes"))
    people = (DEV, frozen, user("ann", ["dev", "freeze"]))
    here = (host("dev-1", env="dev", frozen="yes"), host("dev-2", env="dev"))

    real = examined(declared(given={"user": "ann"}, expect=[{"can": "ann", "hosts": {"labels": {"env": "dev"}}}]), *people, hosts=here)  # fmt: skip
    none = examined(declared(given={"user": "ann"}, expect=[{"can": "ann", "hosts": {"labels": {"env": "dev"}}}]), *people, hosts=())  # fmt: skip

    assert facts(*real) == ["ann is denied on dev-1: role/freeze denies frozen=yes"]
    assert none[0].passed


def test_a_host_that_only_a_test_imagines_is_told_by_its_labels() -> None:
    found = row({"cannot": "*"}, who={"roles": ["dev"]}, hosts={"labels": {"env": "dev", "team": "web"}})

    assert found.fact == "ann is allowed on a host with env=dev, team=web"
    assert {one.partition("@")[0] for one in found.about} == {"ann", "root"}


def test_any_is_every_host_and_one_without_labels() -> None:
    every = role("every", allow=rule("root", **{"*": "*"}))

    can = row({"can": "root"}, who={"roles": ["every"]}, **{"hosts": "any"})
    found = examined(declared(given={"roles": ["every"]}, expect=[{"can": "root", "hosts": "any"}]), every)
    fails = row({"can": "root"}, who={"user": "bob"})

    assert not can.passed  # nobody declares that role there
    assert found[0].passed
    assert fails.fact == "root is denied on prod-1, a host with no labels"


def test_somebody_who_need_not_exist_has_the_roles_and_traits_of_the_test() -> None:
    own = role("own", allow=rule("{{internal.logins}}", team="{{internal.team}}"))
    who = {"roles": ["own"], "traits": {"logins": "zoe", "team": ["web"]}}
    expect = [{"can": "zoe", "hosts": {"labels": {"team": "web"}}}, {"cannot": "*", "hosts": {"labels": {"team": "x"}}}]

    found = examined(declared(given=who, expect=expect), own)

    assert [one.passed for one in found] == [True, True]


def test_a_user_who_is_gone_fails_every_row_also_those_that_expect_a_denial() -> None:
    rows = examined(
        declared(given={"user": "eve"}, expect=[{"can": "a", "hosts": "any"}, {"cannot": "*", "hosts": "any"}])
    )

    assert [one.fact for one in rows] == ["user eve is not declared"] * 2


def test_a_host_of_a_name_that_nobody_has_fails() -> None:
    assert row({"cannot": "root"}, hosts={"name": "gone-1"}).fact == "no host gone-1 is known"


def test_a_moment_is_that_of_the_test() -> None:
    contract = from_yaml(
        "kind: user\nversion: v2\nmetadata: {name: gus, expires: '2030-01-01T00:00:00Z'}\nspec: {roles: [dev]}\n"
    )
    expect = [{"can": "ann", "hosts": {"name": "dev-1"}}]

    now = examined(declared(given={"user": "gus"}, expect=expect), DEV, *contract)
    later = examined(declared(given={"user": "gus", "time": "2031-01-01T00:00:00Z"}, expect=expect), DEV, *contract)

    assert now[0].passed
    assert later[0].because == "user gus expired at 2030-01-01T00:00:00Z"


def test_locks_stand_in_no_tests_way() -> None:
    found = examined(
        declared(given={"user": "bob"}, expect=[{"can": "ann", "hosts": {"name": "dev-1"}}],
                 exactly=[{"users": ["bob"], "hosts": {"name": "dev-1"}}]),
        DEV, BOB, lock(user="bob"), lock("all", role="dev"),
    )  # fmt: skip

    assert [one.passed for one in found] == [True, True]


# -- exactly


def exactly(*users: str, logins: tuple[str, ...] = (), where: Any = None) -> Row:
    (found,) = examined(
        declared(exactly=[{"users": list(users), "logins": list(logins), "hosts": where or {"name": "prod-1"}}])
    )
    return found


def test_a_complete_list_holds_if_these_and_no_others_reach_it() -> None:
    assert exactly("ann").passed
    assert exactly("ann", "bob", where={"name": "dev-1"}).passed
    assert exactly("ann", "bob", where={"labels": {"env": "dev"}}, logins=("root",)).passed
    assert exactly(logins=("nobody",)).passed


def test_who_is_missing_from_a_list_is_told_with_the_rule_that_lets_them_in() -> None:
    assert facts(exactly()) == ["ann reaches it too: role/on-call allows root on env=prod"]


def test_who_is_on_a_list_and_is_kept_out_is_told_with_the_reason() -> None:
    found = exactly("ann", "bob")

    assert found.fact == "bob does not reach it"
    assert "role/dev allows env=dev, which does not match prod-1" in found.because


def test_who_is_on_a_list_and_does_not_exist_is_told() -> None:
    assert exactly("ann", "eve").fact == "user eve is not declared"


# -- what is told


def test_a_failing_row_names_the_place_of_the_expectation_and_of_the_rule_that_decided() -> None:
    resources = from_yaml(
        "kind: role\nversion: v7\nmetadata: {name: dev}\nspec:\n  allow:\n    logins: [root]\n    node_labels: {env: dev}\n"
        "---\nkind: user\nversion: v2\nmetadata: {name: ann}\nspec: {roles: [dev]}\n"
        "---\nkind: access_test\nversion: v1\nmetadata: {name: t}\nspec:\n  given: {user: ann}\n  expect:\n"
        "    - {cannot: root, hosts: {name: prod-1}}\n    - {cannot: root, hosts: {name: dev-1}}\n"
    )
    *others, test = resources
    assert isinstance(test, AccessTest)

    fine, wrong = examined(test, *others)

    assert fine.passed
    assert (wrong.at.file, wrong.at.line) == ("policy.yaml", 21)
    assert (wrong.place.file, wrong.place.line) == ("policy.yaml", 6)
    assert wrong.to_dict() == {
        "expected": "cannot root on dev-1", "passed": False, "line": 21,
        "fact": "root is allowed on dev-1", "because": "role/dev allows root on env=dev",
        "rule": {"file": "policy.yaml", "line": 6},
    }  # fmt: skip


# -- against decide, one by one


VERBS = st.sampled_from(["can", "cannot", "needs_mfa"])
MFA = st.sampled_from([None, True, False])


@settings(max_examples=60)
@given(policies(), FLEETS, VERBS, MFA, st.sampled_from(LOGINS), st.sampled_from(USERS))
def test_a_row_over_few_or_many_hosts_says_what_decide_says_of_each(
    documents: list[dict[str, Any]], hosts: list[Any], verb: str, mfa: bool | None, login: str, name: str
) -> None:
    resources = [from_dict(one) for one in documents if one["kind"] != "lock"]
    snapshot = policy(*resources)
    few = [Target("node", *one) for one in hosts]
    many = [Target("node", f"{one.name}{copy}", f"{one.uid}/{copy}", one.labels) for one in few for copy in range(20)]
    test = declared(
        given={"user": name, **({} if mfa is None else {"mfa": mfa})}, expect=[{verb: login, "hosts": "any"}]
    )

    for targets in (few, many):
        (found,) = examined(test, *resources, hosts=tuple(targets))
        wrong = {one.uid for one in targets if not _holds(snapshot, verb, login, one, name, mfa)}
        assert {one.partition("@")[2] for one in found.about if "imagined" not in one} == wrong


def _holds(snapshot: Any, verb: str, login: str, target: Target, name: str, mfa: bool | None) -> bool:
    without, shown = (ask(snapshot, login, target, who=identity(name, mfa_verified=one)) for one in (False, True))
    if verb == "can":
        return (shown if mfa else without).allowed
    if verb == "cannot":
        return not (without if mfa is False else shown).allowed
    return shown.allowed and not without.allowed and "mfa" in without.needs


# -- people of trusted clusters

TRUSTS = resource(
    "trusted_cluster", "acme",
    {
        "enabled": True, "web_proxy_addr": "acme.example:443",
        "role_map": [{"remote": "sre", "local": ["dev"]}, {"remote": "lead-*", "local": ["own"], "traits": ["logins"]}],
    },
    version="v2",
)  # fmt: skip
OWN = role("own", allow=rule("{{external.logins}}", env="prod"))


def test_somebody_of_a_trusted_cluster_has_what_the_role_map_gives() -> None:
    who = {"cluster": "acme", "roles": ["sre", "dev"], "traits": {"logins": ["eve"]}}
    expect = [
        {"can": "root", "hosts": {"name": "dev-1"}},
        {"cannot": "*", "hosts": {"name": "prod-1"}},
    ]

    found = examined(declared(given=who, expect=expect), DEV, OWN, TRUSTS)

    assert [one.passed for one in found] == [True, True]


def test_only_traits_that_may_pass_come_along() -> None:
    who = {"cluster": "acme", "roles": ["lead-web"], "traits": {"logins": ["eve"], "team": ["web"]}}

    (found,) = examined(declared(given=who, expect=[{"can": "eve", "hosts": {"name": "prod-1"}}]), OWN, TRUSTS)

    assert found.passed


def test_a_cluster_that_is_not_trusted_is_a_failure_and_not_nobody() -> None:
    who = {"cluster": "globex", "roles": ["sre"]}

    (found,) = examined(declared(given=who, expect=[{"cannot": "*", "hosts": "any"}]), DEV, TRUSTS)

    assert found.fact == "cluster globex is not trusted"


def test_a_complete_list_has_the_roles_of_trusted_clusters_too() -> None:
    dev_1: dict[str, Any] = {"users": [], "hosts": {"name": "dev-1"}}

    short, whole, wrong = examined(
        declared(exactly=[dev_1, {**dev_1, "partners": {"acme": ["sre"]}}, {**dev_1, "partners": {"acme": ["ops"]}}]),
        DEV, TRUSTS,
    )  # fmt: skip

    assert short.fact == "holders of sre of acme reach it too"
    assert whole.passed
    assert wrong.fact == "holders of sre of acme reach it too; holders of ops of acme do not reach it"


def test_a_login_from_a_trait_of_a_partner_may_be_any_login() -> None:
    (found,) = examined(declared(exactly=[{"users": [], "logins": ["root"], "hosts": {"name": "prod-1"}}]), OWN, TRUSTS)

    assert found.fact == "holders of lead-* of acme reach it too"
