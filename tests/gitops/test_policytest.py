"""Whether a change may land: under what is promised in force, and under its own; what was broken before only warns."""

from collections.abc import Sequence
from typing import Any

from teleport.gitops.order import Ref
from teleport.gitops.policytest import INVARIANTS, TESTS, WEAKENED, promises
from teleport.gitops.review import Proposed, Verdict
from teleport.resources.codec import from_dict
from teleport.resources.kinds import AnyResource
from teleport.resources.model import Origin
from teleport.resources.node import Node
from tests.access.builders import NOW, lock, resource, role, rule, user

DEV = role("dev", allow=rule("ann", env="dev"))
WIDE = role("dev", allow=rule("ann", "root", env=["dev", "prod"]))
ANN = user("ann", ["dev"])


def expects(*rows: dict[str, Any], name: str = "t", given: Any = None, **more: Any) -> AnyResource:
    spec = {"given": given or {"user": "ann"}, "expect": list(rows), **more}
    return resource("access_test", name, spec, version="v1")


def demands(name: str = "i", **more: Any) -> AnyResource:
    may = {"logins": "root", "labels": {"env": "prod"}}
    return resource("access_invariant", name, {"only": {"users": ["boss"]}, "may": may, **more}, version="v1")


CANNOT = expects({"cannot": "root", "hosts": {"labels": {"env": "prod"}}})
CAN = expects({"can": "ann", "hosts": {"labels": {"env": "dev"}}})


def reported(name: str, **labels: str) -> Node:
    body = {"kind": "node", "version": "v2", "metadata": {"name": name, "labels": labels}, "spec": {"hostname": name}}
    made = from_dict(body)
    assert isinstance(made, Node)
    return made


def by_ref(resources: Sequence[AnyResource]) -> dict[Ref, AnyResource]:
    return {(one.kind, one.name): one for one in resources}


def change(
    before: Sequence[AnyResource], after: Sequence[AnyResource], *, source: str = "git", hosts: Sequence[Node] = ()
) -> Verdict:
    return promises(Proposed(source, by_ref(before), by_ref(after), now=NOW, hosts=hosts))


def guards(verdict: Verdict) -> list[str]:
    return [one.guard for one in verdict.violations]


# -- what refuses


def test_a_change_that_fails_a_test_in_force_is_refused_with_the_rule_that_decided() -> None:
    verdict = change([DEV, ANN, CANNOT], [WIDE, ANN, CANNOT])

    (found,) = verdict.violations
    assert found.guard == TESTS
    assert found.message == (
        "access_test/t: expected cannot root on env=prod; root is allowed on a host with env=prod:"
        " role/dev allows root on env=prod"
    )


def test_a_change_that_breaks_an_invariant_is_refused() -> None:
    assert guards(change([DEV, ANN, demands()], [WIDE, ANN, demands()])) == [INVARIANTS]


def test_a_change_is_judged_by_the_tests_it_brings_also_if_they_would_have_failed_before() -> None:
    assert guards(change([WIDE, ANN], [WIDE, ANN, CANNOT])) == [TESTS]


def test_what_keeps_every_promise_passes_without_a_word() -> None:
    assert change([DEV, ANN, CANNOT, demands()], [DEV, user("ann", ["dev"], x="y"), CANNOT, demands()]) == Verdict()


def test_a_test_that_is_removed_or_turned_round_by_the_change_that_fails_it_refuses_it_as_weakened() -> None:
    turned = expects({"can": "root", "hosts": {"labels": {"env": "prod"}}})

    removed = change([DEV, ANN, CANNOT], [WIDE, ANN])
    altered = change([DEV, ANN, CANNOT], [WIDE, ANN, turned])

    assert (guards(removed), guards(altered)) == ([WEAKENED], [WEAKENED])
    assert removed.violations[0].message.endswith("(as it is in force; this change alters or removes it)")


def test_removing_a_test_that_still_holds_is_no_business_of_this_check() -> None:
    assert change([DEV, ANN, CANNOT], [DEV, ANN]) == Verdict()


def test_a_user_who_is_deleted_fails_the_tests_about_them() -> None:
    (found,) = change([DEV, ANN, CAN], [DEV, CAN]).violations

    assert found.message.endswith("user ann is not declared")


def test_the_place_is_that_of_the_expectation() -> None:
    test = CANNOT.with_origin(Origin("git", "tests/t.yaml", 1, {"spec.expect.0": (7, 5)}))

    (found,) = change([DEV, ANN, test], [WIDE, ANN, test]).violations

    assert (found.problem.file, found.problem.line, found.problem.column) == ("tests/t.yaml", 7, 5)


# -- whom a promise binds


def test_what_a_source_with_a_ceiling_promises_binds_that_source_alone() -> None:
    def judged(writer: str, *, bounded: str) -> Verdict:
        test = CANNOT.with_origin(Origin("team-b"))
        proposed = Proposed(writer, by_ref([DEV, ANN, test]), by_ref([WIDE, ANN, test]), now=NOW, hosts=())
        return promises(proposed, bounded=lambda source: source == bounded)

    others = judged("git", bounded="team-b")

    assert guards(judged("team-b", bounded="team-b")) == [TESTS]
    assert guards(judged("git", bounded="")) == [TESTS]
    assert others.violations == ()
    assert [one.message.endswith("(it binds the source team-b alone)") for one in others.warnings] == [True]


def test_a_promise_that_passes_to_a_source_with_a_ceiling_is_weakened_for_it_binds_others_no_more() -> None:
    was, will = (by_ref([DEV, ANN, CANNOT.with_origin(Origin(source))]) for source in ("git", "api"))

    def judged(bounded: str) -> Verdict:
        return promises(Proposed("git", was, will, now=NOW, hosts=()), bounded=lambda source: source == bounded)

    assert judged("").violations == ()
    assert [(one.guard, one.message) for one in judged("api").violations] == [
        (WEAKENED, "access_test/t: it would belong to api, and bind that source alone")
    ]


# -- what only warns


def test_what_failed_before_in_the_same_way_warns_and_stands_in_nobodys_way() -> None:
    verdict = change([WIDE, ANN, CANNOT], [WIDE, ANN, CANNOT, user("bob", ["auditor"])])

    assert verdict.violations == ()
    assert [one.message.endswith("(it was so before)") for one in verdict.warnings] == [True]


def test_at_start_a_stored_policy_that_no_longer_passes_only_warns() -> None:
    stored = [DEV, CAN, demands(only={}), WIDE]

    verdict = change(stored, stored)

    assert (verdict.violations, len(verdict.warnings)) == ((), 1)


def test_a_host_that_reports_itself_later_makes_no_unrelated_change_impossible() -> None:
    exactly = expects(name="who", exactly=[{"users": [], "hosts": {"labels": {"env": "dev", "odd": "yes"}}}],
                      given={"roles": ["dev"]})  # fmt: skip
    hosts = [reported("h1", env="dev", odd="yes")]

    verdict = change([DEV, ANN, exactly], [DEV, ANN, exactly, user("bob", ["auditor"])], hosts=hosts)

    assert (verdict.violations, len(verdict.warnings)) == ((), 1)


def test_a_declared_host_is_promised_about_before_it_is_here() -> None:
    node = reported("db-1", env="prod")
    named = expects({"cannot": "root", "hosts": {"name": "db-1"}})

    assert guards(change([], [DEV, ANN, node, named])) == []
    assert guards(change([], [WIDE, ANN, node, named])) == [TESTS]


def test_what_failed_before_and_gets_worse_is_refused() -> None:
    more = change([WIDE, ANN, demands()], [WIDE, ANN, demands(), user("bob", ["dev"])])
    wider = change([WIDE, ANN, demands()], [role("dev", allow=rule("ann", "root", **{"*": "*"})), ANN, demands()])

    assert (guards(more), guards(wider)) == ([INVARIANTS], [INVARIANTS])


def test_what_failed_before_and_gets_better_is_not() -> None:
    bob = user("bob", ["dev"])

    assert change([WIDE, ANN, bob, demands()], [WIDE, ANN, demands()]).violations == ()


def test_an_altered_test_is_a_new_one() -> None:
    more = expects({"cannot": "root", "hosts": {"labels": {"env": "prod"}}}, {"cannot": "x", "hosts": "any"})

    assert guards(change([WIDE, ANN, CANNOT], [WIDE, ANN, more])) == [TESTS]


def test_a_test_that_failed_already_may_be_removed() -> None:
    assert change([DEV, CAN], [DEV]) == Verdict()


def test_what_cannot_be_proved_refuses_or_warns_as_the_invariant_says() -> None:
    own = role("dev", allow=rule("{{internal.logins}}", env="prod"))

    fails = change([DEV, ANN], [own, ANN, demands()])
    warns = change([DEV, ANN], [own, ANN, demands(on_unknown="warn")])

    (found,) = fails.violations
    assert "not provable: role/dev might let its holders in" in found.message
    assert found.problem.hint == "assume: {traits: {logins: […]}}"
    assert (warns.violations, len(warns.warnings)) == ((), 1)


# -- what is not asked at all


def test_a_lock_is_never_refused() -> None:
    stop = lock(user="ann")

    assert change([DEV, ANN, CAN], [DEV, ANN, CAN, stop], source="api") == Verdict()
    assert change([DEV, ANN, CAN], [DEV, ANN, CAN, stop], source="git") == Verdict()


def test_a_lock_hides_no_right() -> None:
    stop = lock(user="ann")

    assert guards(change([DEV, ANN, CANNOT, stop], [WIDE, ANN, CANNOT, stop])) == [TESTS]


def test_a_policy_without_promises_is_not_even_compiled() -> None:
    proposed = Proposed("git", {}, by_ref([DEV, ANN]), now=NOW)

    assert promises(proposed) == Verdict()
    assert "snapshots" not in vars(proposed)


def test_writes_through_the_api_that_can_change_nothing_are_not_judged() -> None:
    token = resource("token", "t", {"roles": ["Node"]}, version="v2")
    proposed = Proposed("api", by_ref([DEV, ANN, CAN]), by_ref([DEV, ANN, CAN, token]), now=NOW)

    assert promises(proposed) == Verdict()
    assert "snapshots" not in vars(proposed)
