"""The product against an oracle that shares nothing with it, over random policies, users, hosts and certificates."""

from collections.abc import Iterator
from typing import Any

from hypothesis import given

from teleport.access.decide import AccessRequest, Decision, Target, decide
from teleport.access.reach import Fleet, reach
from teleport.access.snapshot import Snapshot
from teleport.core.identity import Identity
from teleport.resources.codec import from_dict
from teleport.resources.values import parse_duration
from tests.access.builders import NOW, identity, policy
from tests.access.oracle import Answer, Oracle, Question
from tests.access.strategies import FLEETS, LOGINS, RESTRICTIONS, SCOPES, USERS, policies

MOMENT = "2027-01-15T08:00:00Z"
"""NOW, as RFC 3339."""

Documents = list[dict[str, Any]]
Hosts = list[tuple[str, str, dict[str, str]]]


def compiled(documents: Documents) -> Snapshot:
    return policy(*(from_dict(one) for one in documents))


def questions(hosts: Hosts, who: Identity) -> Iterator[tuple[AccessRequest, Question]]:
    """Every host, as every login."""
    for name, uid, labels in hosts:
        for login in LOGINS:
            yield (
                AccessRequest(who, Target("node", name, uid, labels), login),
                Question(
                    who.name, login, name, uid, labels, MOMENT,
                    mfa=who.mfa_verified, requested=who.requested_roles, restricted=who.allowed_resources,
                ),
            )  # fmt: skip


def comparable(decision: Decision) -> Answer:
    """An answer of the product in the oracle's words."""
    shown = decision.conditions.to_dict() if decision.conditions is not None else {}
    for key in ("max_session_ttl", "idle_timeout"):
        if key in shown:
            shown[key] = round(parse_duration(shown[key]) / 60)
    return Answer(decision.allowed, decision.role, decision.needs, shown)


Names = tuple[str, ...] | None


@given(policies(), FLEETS, SCOPES, RESTRICTIONS)
def test_decide_agrees_with_the_oracle(documents: Documents, hosts: Hosts, scope: Names, restriction: Names) -> None:
    snapshot, oracle = compiled(documents), Oracle(documents)
    for name in USERS:
        plain = identity(name)
        for who in (plain, identity(name, mfa_verified=True, requested_roles=scope, allowed_resources=restriction)):
            for request, question in questions(hosts, who):
                decision, expected = decide(snapshot, request, now=NOW), oracle.judge(question)

                found = comparable(decision)
                assert not decision.defect
                assert (found.allowed, found.role) == (expected.allowed, expected.role), (question, decision.reasons)
                assert found.needs == expected.needs
                assert {key: found.conditions[key] for key in expected.conditions} == expected.conditions


@given(policies(), FLEETS, SCOPES, RESTRICTIONS)
def test_reach_agrees_with_the_oracle_and_with_decide_on_every_login_and_host(
    documents: Documents, hosts: Hosts, scope: Names, restriction: Names
) -> None:
    snapshot, oracle = compiled(documents), Oracle(documents)
    fleet = Fleet("node", [Target("node", *host) for host in hosts])
    for name in USERS:
        who = identity(name, mfa_verified=True, requested_roles=scope, allowed_resources=restriction)

        found = reach(snapshot, who, fleet, now=NOW)

        assert not found.defect
        rows = {target.uid: logins for target, logins in found.rows()}
        for request, question in questions(hosts, who):
            opened = request.login in found.logins_on(request.target)
            assert opened is oracle.judge(question).allowed
            assert opened is decide(snapshot, request, now=NOW).allowed
            assert opened is (request.login in rows.get(request.target.uid, []))
