"""Invariants: proved, violated with an example, or not provable for want of an assumption."""

from typing import Any

import pytest

from teleport.access.everybody import Everybody
from teleport.access.fleet import Fleet
from teleport.access.proof import Proof
from teleport.access.prove import Prover
from teleport.access.target import Target
from teleport.access.ways import Elsewhere
from teleport.resources.access_invariant import AccessInvariant
from teleport.resources.kinds import AnyResource
from tests.access.builders import NOW, host, lock, policy, resource, role, rule, setting, user

ROOT_ON_PROD = {"logins": "root", "labels": {"env": "prod"}}
PLATFORM = role("platform", allow=rule("root", env="*"))


def invariant(only: Any = None, may: Any = None, **more: Any) -> AccessInvariant:
    spec = {"only": {"roles": ["platform"]} if only is None else only, "may": may or ROOT_ON_PROD, **more}
    made = resource("access_invariant", "root", spec, version="v1")
    assert isinstance(made, AccessInvariant)
    return made


def prove(
    *resources: AnyResource, hosts: tuple[Target, ...] = (), elsewhere: tuple[Elsewhere, ...] = (), **spec: Any
) -> Proof:
    """Whether only holders of platform may log in as root on production, or what the invariant says otherwise."""
    everybody = Everybody(policy(PLATFORM, *resources), Fleet("node", hosts), now=NOW)
    return Prover(everybody, elsewhere=elsewhere).prove(invariant(**spec))


def dev(*logins: str, **labels: Any) -> AnyResource:
    return role("dev", allow=rule(*logins, **labels))


BOB = user("bob", ["dev"], logins=["bob"], team=["web"])


def expression(text: str, *logins: str) -> AnyResource:
    return role("dev", allow={"logins": list(logins) or ["root"], "node_labels_expression": text})


# -- proved


@pytest.mark.parametrize(
    "given",
    [
        dev("root", env="dev"),
        dev("deploy", env="prod"),
        dev("root", env=["dev", "staging"]),
        dev("root", env="dev*"),
        dev("root", env="^(dev|staging)$"),
        dev("deploy", **{"*": "*"}),
        dev("adm-{{internal.logins}}", env="prod"),
        role("dev", allow=rule("root", env="*"), deny=rule(env="prod")),
        role("dev", allow=rule("root", env="*"), deny={"logins": ["root"]}),
        role("dev", allow=rule("{{internal.logins}}", env="*"), deny={"logins": ["*"]}),
        role("dev", allow=rule("root", env="*"), deny={"node_labels": {"*": "*"}}),
        role("dev", allow=rule("root", env="*"), deny={"node_labels": {"env": ["{{internal.x}}", "p*"]}}),
        role("dev", allow=rule("root", env="*"), deny={"node_labels_expression": 'labels["env"] == "prod"'}),
        role("dev", allow=rule("root", env="*"), options={"require_session_mfa": "hardware_key"}),
        expression('labels["env"] == "dev" && contains(user.spec.traits["team"], labels["team"])'),
        expression('!(labels["env"] == "prod" || labels["team"] == "")'),
        role("dev", version="v7", allow={"logins": ["root"]}),
        role("dev", allow={"request": {"roles": ["platform"]}}),
    ],
)
def test_roles_that_cannot_let_anybody_in_prove_it(given: AnyResource) -> None:
    assert prove(given, BOB).answer == "proved"


def test_a_role_that_nobody_outside_can_hold_says_nothing() -> None:
    found = prove(role("spare", allow=rule("root", env="prod")), user("ann", ["platform"]))

    assert found == Proof("proved")


def test_roles_do_not_add_up() -> None:
    other = role("logins", allow=rule("root", env="dev"))

    assert prove(dev("deploy", env="prod"), other, user("bob", ["dev", "logins"])).answer == "proved"


# -- violated


def test_who_reaches_a_host_there_is_is_named_with_the_host_and_the_rule() -> None:
    found = prove(dev("root", env="prod"), BOB, hosts=(host("db-1", env="prod"), host("web-1", env="dev")))

    first = found.findings[0]
    assert found.answer == "violated"
    assert first.text == "bob may log in as root on db-1: role/dev allows root on env=prod"
    assert first.witness is not None
    assert (first.witness.user, first.witness.host) == ("bob", "db-1")


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        (dev("root", env="prod"), {"env": "prod"}),
        (dev("root", **{"*": "*"}), {"env": "prod"}),
        (dev("root", env="p*"), {"env": "prod"}),
        (dev("root", team="web"), {"env": "prod", "team": "web"}),
        (role("dev", version="v3", allow={"logins": ["root"]}), {"env": "prod"}),
        (role("dev", allow=rule("root", env="*"), deny=rule(env="prod", frozen="yes")), {"env": "prod"}),
        (role("dev", allow=rule("root", env="*"), deny=rule(env="{{internal.env}}")), {"env": "prod"}),
        (role("dev", allow=rule("root", team="*"), deny=rule(team="web")), {"env": "prod", "team": "other"}),
        (expression('labels["env"] == "prod" && labels.team == "web"'), {"env": "prod", "team": "web"}),
        (expression('labels["team"] != "web"'), {"env": "prod"}),
    ],
)
def test_a_host_that_could_exist_is_made_up_with_the_labels_it_needs(
    given: AnyResource, labels: dict[str, str]
) -> None:
    found = prove(given, BOB)

    (only,) = found.findings
    assert only.answer == "violated", only.text
    assert only.witness is not None
    assert (only.witness.host, only.witness.labels) == ("", labels)
    assert "bob holds it" in only.text


def test_a_lock_proves_nothing() -> None:
    found = prove(dev("root", env="prod"), BOB, lock(user="bob"), lock("all", role="dev"), hosts=(host(env="prod"),))

    assert found.answer == "violated"


def test_another_role_of_the_same_people_proves_nothing_for_those_to_come() -> None:
    freeze = role("freeze", deny=rule(env="prod"))

    found = prove(dev("root", env="prod"), freeze, user("bob", ["dev", "freeze"]), hosts=(host(env="prod"),))

    (only,) = found.findings
    assert "whoever holds role/dev may log in as root" in only.text


def test_what_somebody_may_ask_for_counts_and_the_way_is_told() -> None:
    asks = role("dev", allow={"request": {"roles": ["oper*"]}})
    ops = role("operations", allow={"request": {"search_as_roles": ["root"]}})
    root = role("root", allow=rule("root", env="prod"))

    (only,) = prove(asks, ops, root, BOB).findings

    assert only.role == "root"
    assert "bob may come to hold it, as role/operations lets its holders ask for it" in only.text


def test_asking_for_the_role_that_may_makes_nobody_an_outsider_unless_names_were_given() -> None:
    asks = role("dev", allow={"request": {"roles": ["plat*"]}})

    by_role, by_name = prove(asks, BOB), prove(asks, BOB, only={"users": ["ann"]})

    assert (by_role.answer, by_name.answer) == ("proved", "violated")


@pytest.mark.parametrize("pattern", ["^pl.*$", "p*", "{{internal.wanted}}", "*"])
def test_what_may_be_asked_for_by_a_pattern_or_template_counts(pattern: str) -> None:
    asks = role("dev", allow={"request": {"roles": [pattern]}})

    assert prove(asks, BOB, only={"users": ["ann"]}).answer == "violated"


def test_claims_that_map_to_roles_count_with_whatever_their_groups_become() -> None:
    claims = [{"claim": "groups", "value": "^g-(.*)$", "roles": ["plat$1"]}]
    asks = role("dev", allow={"request": {"claims_to_roles": claims}})

    assert prove(asks, BOB, only={"users": ["ann"]}).answer == "violated"


def test_ways_that_the_policy_does_not_tell_are_given_by_whoever_knows_them() -> None:
    spare = role("spare", allow=rule("root", env="prod"))

    found = prove(spare, elsewhere=(Elsewhere(("spare",), "the role map of partner.example maps to it"),))

    assert prove(spare).answer == "proved"
    assert found.findings[0].text.endswith("the role map of partner.example maps to it")


def test_insiders_by_trait_are_those_with_all_of_the_traits() -> None:
    only = {"traits": {"team": ["sre"], "clearance": ["high", "higher"]}}
    people = [user("ann", team=["sre"], clearance=["high"]), user("bob", team=["sre"])]

    found = prove(dev("root", env="prod"), *people, hosts=(host(env="prod"),), only=only)

    assert {name for one in found.findings for name in one.about} == {"bob", "uid-db-1"}


def test_nobody_at_all_may() -> None:
    assert prove(user("ann", ["platform"]), only={}).answer == "violated"


# -- not provable


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (dev("{{internal.logins}}", env="prod"), ("traits.logins",)),
        (dev("root", env="{{internal.env}}"), ("traits.env",)),
        (dev("root", env="p{{internal.kind}}"), ("traits.kind",)),
        (dev("{{internal.logins}}", env="{{internal.env}}"), ("traits.env", "traits.logins")),
        (
            expression('labels["env"] == "prod" && contains(user.spec.traits["squad"], labels["squad"])'),
            ("labels.squad", "traits.squad"),
        ),
    ],
)
def test_what_nobody_bounds_is_named(given: AnyResource, missing: tuple[str, ...]) -> None:
    found = prove(given, BOB)

    assert (found.answer, found.findings[0].missing) == ("not provable", missing)


def test_patterns_of_both_sides_may_have_something_in_common_unless_labels_are_bounded() -> None:
    given, may = dev("root", env="^[a-z]{3}[0-9]+$"), {"logins": "root", "labels": {"env": "^.*[5-7]$"}}

    open_, bound = prove(given, BOB, may=may), prove(given, BOB, may=may, assume={"labels": {"env": ["abc1", "dev"]}})

    assert (open_.answer, open_.findings[0].missing) == ("not provable", ("labels.env",))
    assert bound.answer == "proved"


def test_globs_that_have_nothing_in_common_need_no_assumption() -> None:
    assert prove(dev("root", env="dev-*"), BOB, may={"logins": "root", "labels": {"env": "prod-*"}}).answer == "proved"


@pytest.mark.parametrize(
    ("assume", "answer"),
    [({"traits": {"logins": ["bob", "cy"]}}, "proved"), ({"traits": {"logins": ["bob", "root"]}}, "violated")],
)
def test_an_assumption_settles_it(assume: Any, answer: str) -> None:
    assert prove(dev("{{internal.logins}}", env="prod"), BOB, assume=assume).answer == answer


def test_an_assumption_that_does_not_hold_of_people_there_are_does_not_hide_them() -> None:
    carol = user("carol", ["dev"], logins=["root"])

    found = prove(dev("{{internal.logins}}", env="prod"), carol, assume={"traits": {"logins": ["bob"]}})

    assert found.answer == "violated"
    assert found.findings[0].text.startswith("carol may log in as root on a host with env=prod")


def test_an_assumption_that_does_not_hold_of_hosts_there_are_does_not_hide_them() -> None:
    given = dev("root", env="*", tier="gold")

    hidden = prove(given, BOB, assume={"labels": {"tier": ["silver"]}})
    seen = prove(given, BOB, hosts=(host(tier="gold"),), assume={"labels": {"tier": ["silver"]}})

    assert (hidden.answer, seen.answer) == ("proved", "violated")


def test_who_is_inside_by_a_trait_has_values_that_outsiders_lack() -> None:
    given, only = dev("root", env="prod", team="{{internal.team}}"), {"traits": {"team": ["sre"]}}
    may = {"logins": "root", "labels": {"env": "prod", "team": "sre"}}

    found = prove(given, BOB, only=only, may=may, assume={"traits": {"team": ["sre", "web"]}})

    assert found.answer == "proved"


# -- adversarial


def test_thousands_of_patterns_take_no_thousands_of_steps() -> None:
    globs = [f"*{'a*' * 50}{number}*" for number in range(400)]
    regexes = [f"^(a+)+{number}(b|b)*$" for number in range(400)]
    given = role("dev", allow=rule("root", env=globs), deny=rule(env=regexes))

    found = prove(given, BOB, may={"logins": "root", "labels": {"env": [*globs[:200], *regexes[:200]]}})

    assert found.answer in ("violated", "not provable")


def test_an_expression_over_many_labels_is_given_up_rather_than_tried_out() -> None:
    text = " && ".join(f'labels["k{number}"] != "x"' for number in range(30))
    labels = {f"k{number}": [f"v{value}" for value in range(20)] for number in range(30)}

    found = prove(expression(text), BOB, assume={"labels": labels})

    assert found.answer in ("violated", "not provable")


def test_an_expression_that_asks_for_any_label_cannot_be_excluded() -> None:
    found = prove(expression('contains(labels_matching("own*"), user.metadata.name) && labels.env == "prod"'), BOB)

    assert found.answer == "not provable"


def test_a_role_that_cannot_be_read_is_unknown() -> None:
    everybody = Everybody(policy(PLATFORM, BOB, unreadable=["role/dev"]), Fleet("node"), now=NOW)

    found = Prover(everybody).prove(invariant())

    assert (found.answer, found.findings[0].role) == ("not provable", "dev")


def test_a_cluster_that_demands_what_nobody_can_show_lets_nobody_in() -> None:
    demands = setting("cluster_auth_preference", require_session_mfa="hardware_key")

    assert prove(dev("root", env="prod"), BOB, demands).answer == "proved"


# -- roles of trusted clusters


def trusting(remote: str, *local: str) -> AnyResource:
    entry = {"remote": remote, "local": list(local)}
    spec = {"enabled": True, "web_proxy_addr": "acme.example:443", "role_map": [entry]}
    return resource("trusted_cluster", "acme", spec, version="v2")


def test_what_a_role_map_gives_counts_against_an_invariant() -> None:
    found = prove(dev("root", env="prod"), trusting("sre", "dev"))

    assert found.answer == "violated"
    assert found.findings[0].text.endswith("trusted_cluster/acme gives it to holders of sre there")


def test_who_is_mapped_to_a_role_that_may_is_inside_with_all_of_it() -> None:
    assert prove(dev("root", env="prod"), trusting("sre", "dev", "platform")).answer == "proved"


def test_a_pattern_that_passes_names_through_reaches_every_role_there_is() -> None:
    assert prove(dev("root", env="prod"), trusting("^(.*)$", "$1")).answer == "violated"
    assert prove(dev("root", env="prod"), trusting("^x-(.*)$", "own-$1")).answer == "proved"


# -- what would have to be known, by name


def test_a_label_whose_key_is_a_trait_is_bounded_by_what_is_assumed_of_the_trait() -> None:
    given = role("dev", allow={"logins": ["root"], "node_labels": {"{{internal.key}}": "x", "env": "*"}})

    key, may = user("bob", ["dev"], key=["team"]), {"logins": ["root"], "labels": {"zone": "*"}}
    labels = {"team": ["y"], "": []}

    unknown = prove(given, key, may=may, assume={"labels": labels})
    elsewhere = prove(given, key, may=may, assume={"traits": {"key": ["team"]}, "labels": labels})
    there = prove(given, key, may=may, assume={"traits": {"key": ["zone", "team"]}, "labels": labels})

    assert (unknown.answer, unknown.findings[0].missing) == ("not provable", ("traits.key",))
    assert elsewhere.answer == "proved"
    assert there.answer == "violated"


def test_which_values_somebody_has_together_is_tried_in_every_combination() -> None:
    both = 'contains(user.spec.traits.team, "web") && !contains(user.spec.traits.team, "dev")'
    given = expression(f'labels.env == "prod" && {both} && regexp.match(user.spec.traits.team, "d*")')

    assert prove(given, BOB, assume={"traits": {"team": ["web", "dev"]}}).answer == "proved"
    assert prove(given, BOB, assume={"traits": {"team": ["web", "data"]}}).answer == "violated"


def test_what_is_assumed_already_is_not_asked_for_again() -> None:
    values = [f"v{one}" for one in range(20)]
    given = expression('labels.env == "prod" && contains(user.spec.traits.team, "v1")'
                       ' && contains(user.spec.traits.team, "v2") && !contains(user.spec.traits.team, "v3")')  # fmt: skip

    (found,) = prove(given, BOB, assume={"traits": {"team": values}}).findings

    assert found.missing == ()
    assert "as the trait team can have too many values to try every combination" in found.text


def test_a_deny_block_that_reads_a_trait_names_the_trait() -> None:
    given = role("dev", allow=rule("root", team="^{{internal.team}}.*$"), deny=rule(team=["^{{internal.team}}$"]))

    (found,) = prove(given, user("bob", ["dev"])).findings

    assert found.missing == ("traits.team",)
