"""Partners: which roles of other clusters make a difference here, and what each is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.access.decide import AccessRequest, decide
from teleport.access.partners import Partner, held_here, partners
from teleport.access.people import partner_rights
from teleport.access.snapshot import Snapshot
from teleport.access.unheld import changed_partners
from teleport.core.identity import Identity, Passage
from teleport.resources.kinds import AnyResource
from tests.access.builders import NOW, host, lock, policy, resource, role, rule
from tests.access.test_impact import told

WEB, DB = host("web-1", env="prod"), host("db-1", env="dev")
OPS, DEV = role("ops", allow=rule("root", env="prod")), role("dev", allow=rule("dev", env="dev"))


def trusting(*entries: dict[str, Any], enabled: bool = True, name: str = "acme") -> AnyResource:
    spec = {"enabled": enabled, "web_proxy_addr": "acme.example:443", "role_map": list(entries)}
    return resource("trusted_cluster", name, spec, version="v2")


def to(remote: str, *local: str, traits: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"remote": remote, "local": list(local), "traits": list(traits)}


def known(snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    return {str(one): held_here(snapshot, one).roles for one in partners(snapshot)}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([to("sre", "ops")], {"sre of acme": ("ops",)}),
        ([to("sre-*", "ops")], {"sre-* of acme": ("ops",)}),
        ([to("sre", "ops"), to("*", "dev")], {"* of acme": ("dev",), "sre of acme": ("ops", "dev")}),
        ([to("their-*", "$1")], {"their-dev of acme": ("dev",), "their-ops of acme": ("ops",)}),
        ([to("^team-(?P<t>[a-z]+)$", "${t}")], {"team-dev of acme": ("dev",), "team-ops of acme": ("ops",)}),
        ([to("^(?:a|b)+-(.*)$", "o$1")], {"^(?:a|b)+-(.*)$ of acme, where one comes to ops": ("ops",)}),
        ([to("^sre[0-9]$", "ops")], {"^sre[0-9]$ of acme": ("ops",)}),
        ([to("sre", "gone")], {}),
        ([], {}),
    ],
)
def test_the_roles_there_that_are_something_here(entries: list[Any], expected: dict[str, Any]) -> None:
    presets = {"access", "editor", "auditor"}

    found = known(policy(OPS, DEV, trusting(*entries)))

    assert {name: roles for name, roles in found.items() if presets.isdisjoint(roles)} == expected


def test_what_passes_every_role_through_comes_to_the_presets_too() -> None:
    found = known(policy(OPS, trusting(to("^(.*)$", "$1"))))

    assert found["editor of acme"] == ("editor",)
    assert found["ops of acme"] == ("ops",)


def test_nobody_comes_from_a_cluster_that_is_not_enabled() -> None:
    assert known(policy(OPS, trusting(to("sre", "ops"), enabled=False))) == {}


def test_a_role_that_reads_traits_which_may_not_pass_gives_nothing() -> None:
    own = role("own", allow=rule("{{external.logins}}", env="*"))

    closed, opened = (policy(own, trusting(to("*", "$1", traits=traits))) for traits in ((), ("logins",)))

    assert "own of acme" not in known(closed)
    assert known(opened)["own of acme"] == ("own",)


# -- impact


def rows(before: list[AnyResource], after: list[AnyResource]) -> set[tuple[str, str, str, str]]:
    found = changed_partners(policy(*before), policy(*after), ([WEB, DB], [WEB, DB]), now=NOW)
    return {(change, *pair) for pair, (change, _) in told(found.impact).items()}


def test_an_entry_that_comes_or_goes_gives_or_takes_what_its_roles_reach() -> None:
    closed, opened = [OPS, DEV, trusting()], [OPS, DEV, trusting(to("sre", "ops", "dev"))]

    assert rows(closed, opened) == {
        ("gained", "sre of acme", "root", WEB.uid),
        ("gained", "sre of acme", "dev", DB.uid),
    }
    assert {row[0] for row in rows(opened, closed)} == {"lost"}


def test_an_edited_role_changes_what_those_reach_who_are_mapped_to_it() -> None:
    trust, wide = trusting(to("sre", "ops")), role("ops", allow=rule("root", env="*"))

    assert rows([OPS, trust], [wide, trust]) == {("gained", "sre of acme", "root", DB.uid)}


def test_trust_that_is_switched_off_takes_everything() -> None:
    entry = to("sre", "ops")

    assert rows([OPS, trusting(entry)], [OPS, trusting(entry, enabled=False)]) == {
        ("lost", "sre of acme", "root", WEB.uid)
    }


def test_a_role_that_partners_hold_is_not_told_as_one_that_nobody_holds() -> None:
    from teleport.access.unheld import held_roles

    assert held_roles(policy(OPS, trusting(to("sre", "ops")))) == {"ops"}


def test_all_that_a_pattern_may_come_to_is_told_where_no_name_can_be() -> None:
    entry = "^(?:a|b)+-(.*)$"

    gained = rows([OPS, DEV, trusting()], [OPS, DEV, trusting(to(entry, "$1"))])

    assert {(login, uid) for _, _, login, uid in gained} >= {("root", WEB.uid), ("dev", DB.uid)}


# -- who


def test_who_reaches_a_host_tells_partners_with_logins_as_written() -> None:
    own = role("own", allow=rule("{{external.logins}}", "root", env="prod"))
    here = policy(own, trusting(to("sre", "own", traits=("logins",))))

    (found,) = partner_rights(here, WEB, now=NOW)

    assert (found.user, found.partner, found.logins, found.role) == (
        "", "sre of acme", ("root", "{{external.logins}}"), "own",
    )  # fmt: skip
    assert [one.logins for one in partner_rights(here, WEB, login="ann", now=NOW)] == [("{{external.logins}}",)]


def test_a_lock_on_the_role_shuts_partners_out_too() -> None:
    assert partner_rights(policy(OPS, trusting(to("sre", "ops")), lock("l", role="ops")), WEB, now=NOW) == []


# -- agreement with the gate

NAMES = st.sampled_from(["sre", "their-ops", "their-dev", "dev", "ops", "a-ops"])
ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(["sre", "their-*", "*", "*-*", "^(.*)-ops$", "^their-(?P<x>.*)$", "^(.*)$"]),
        st.lists(st.sampled_from(["ops", "dev", "$1", "${1}s", "gone", "$2"]), max_size=2, unique=True),
    ),
    max_size=3, unique_by=lambda one: one[0],
)  # fmt: skip


@given(ENTRIES, NAMES, st.sampled_from([("root", WEB), ("dev", DB), ("root", DB)]))
def test_what_somebody_with_one_role_may_do_a_partner_may(
    entries: list[tuple[str, list[str]]], name: str, asked: tuple[str, Any]
) -> None:
    login, target = asked
    here = policy(OPS, DEV, trusting(*(to(remote, *local) for remote, local in entries if _means(remote, local))))
    passage = Passage("ann", "here", target.name, login, "s", "p", (name,))
    identity = Identity("user", "ann", "u", "acme", mfa_verified=True, passage=passage)

    allowed = decide(here, AccessRequest(identity, target, login), now=NOW).allowed

    by_role = {role for one in partners(here) for role in held_here(here, one).roles}
    gate = here.visitor(identity)
    assert gate is not None
    assert {one.name for one in gate.roles} <= by_role
    exact = held_here(here, Partner("acme", name))
    assert set(exact.roles) >= {one.name for one in gate.roles}
    if allowed:
        assert any(login in one.logins for one in partner_rights(here, target, now=NOW))


def _means(remote: str, local: list[str]) -> bool:
    """Whether the entry names groups that there are."""
    groups = {"sre": 0, "*-*": 2}.get(remote, 1)
    return not any(("$2" in one and groups < 2) or ("$" in one and not groups) for one in local)
