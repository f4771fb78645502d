"""A change that gives nobody more is told from one that does; in doubt, it does."""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.access.decide import AccessRequest, decide
from teleport.access.snapshot import Snapshot
from teleport.access.target import Target
from teleport.access.widening import widened
from teleport.resources.kinds import AnyResource
from tests.access.builders import NOW, host, identity, lock, policy, resource, role, rule, setting, user
from tests.access.strategies import FLEETS, LOGINS, policies
from tests.access.test_oracle import Documents, Hosts, compiled

HOSTS = (host("db-1", env="prod"), host("web-1", env="dev"))
ANN = user("ann", ["dev"])


def gainers(before: list[AnyResource], after: list[AnyResource]) -> tuple[str, ...]:
    return widened(policy(*before), policy(*after), (HOSTS, HOSTS), now=NOW)


def dev(*logins: str, deny: Any = None, options: Any = None, env: str = "dev", **allow: Any) -> AnyResource:
    sides = {"deny": deny} if deny is not None else {}
    return role("dev", allow={**rule(*logins, env=env), **allow}, options=options, **sides)


RULING = role("ruling", allow={"rules": [{"resources": ["user"], "verbs": ["list"]}]})


def trusting(remote: str, *local: str) -> AnyResource:
    entry = {"remote": remote, "local": list(local)}
    spec = {"enabled": True, "web_proxy_addr": "acme.example:443", "role_map": [entry]}
    return resource("trusted_cluster", "acme", spec, version="v2")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([dev("root"), ANN], [dev("root"), ANN]),
        ([dev("root", "ann"), ANN], [dev("ann"), ANN]),
        ([dev("root"), ANN], [ANN.model_copy(), dev("root", deny=rule("root"))]),
        ([dev("root"), ANN], [dev("root")]),
        ([dev("root"), ANN], [dev("root"), ANN, lock(user="ann")]),
        ([dev("root"), ANN], [dev("root", options={"require_session_mfa": "yes"}), ANN]),
        ([dev("root"), ANN], [dev("root", options={"max_session_ttl": "1h"}), ANN]),
        ([dev("root"), ANN], [dev("root", options={"ssh_file_copy": False}), ANN]),
        ([dev("root", rules=[{"resources": ["user"], "verbs": ["list"]}]), ANN], [dev("root"), ANN]),
        ([dev("root")], [dev("root"), role("empty")]),
        ([dev("root"), user("ann", ["dev", "access"])], [dev("root"), user("ann", ["dev"])]),
        ([dev("root"), trusting("sre", "dev")], [dev("root"), trusting("sre")]),
    ],
    ids=["nothing", "a login less", "a deny more", "a user less", "a lock more", "mfa", "ttl", "files", "a rule less",
         "a role that gives nothing", "a role less", "a role map that gives less"],
)  # fmt: skip
def test_what_gives_nobody_more(before: list[AnyResource], after: list[AnyResource]) -> None:
    assert gainers(before, after) == ()


@pytest.mark.parametrize(
    ("before", "after", "whom"),
    [
        ([dev("ann"), ANN], [dev("ann", "root"), ANN], "ann"),
        ([dev("ann", deny=rule("root")), ANN], [dev("ann", "root"), ANN], "ann"),
        ([dev("root")], [dev("root"), ANN], "ann"),
        ([dev("root"), ANN, lock(user="ann")], [dev("root"), ANN], "ann"),
        ([dev("root"), lock(mfa_device="x")], [dev("root")], "whom lock/stop shuts out"),
        ([dev("root", options={"require_session_mfa": "yes"}), ANN], [dev("root"), ANN], "ann"),
        ([dev("root", options={"max_session_ttl": "1h"}), ANN], [dev("root"), ANN], "ann"),
        ([dev("root"), ANN], [dev("root", options={"forward_agent": True}), ANN], "ann"),
        ([dev("root"), ANN], [dev("root", rules=[{"resources": ["user"], "verbs": ["list"]}]), ANN], "ann"),
        ([dev("root"), ANN], [dev("root", db_users=["x"], db_labels={"*": "*"}), ANN], "ann"),
        ([dev("root", deny={"db_users": ["x"]}), ANN], [dev("root"), ANN], "ann"),
        ([dev("ann")], [dev("ann", "root")], "whoever holds role/dev"),
        ([dev("root"), ANN], [dev("root"), user("ann", ["dev", "editor"])], "ann"),
        ([dev("root"), ANN], [dev("root"), ANN, setting("cluster_networking_config", client_idle_timeout="1h")],
         "everybody, by the cluster's settings (network)"),
        ([dev("root"), trusting("sre")], [dev("root"), trusting("sre", "dev")], "whoever holds sre of acme"),
        ([dev("root"), trusting("*", "dev")], [dev("root", env="*"), trusting("*", "dev")], "whoever holds * of acme"),
        ([RULING, trusting("sre")], [RULING, trusting("sre", "ruling")], "whoever holds sre of acme"),
    ],
    ids=["a login", "a deny less", "a user", "unlocked", "a lock less", "mfa", "ttl", "agent", "a rule", "a database",
         "a deny beyond hosts", "a role nobody holds", "a role of rules", "settings",
         "a role map", "a role that is mapped to", "a role map that gives rules"],
)  # fmt: skip
def test_what_gives_somebody_more(before: list[AnyResource], after: list[AnyResource], whom: str) -> None:
    assert whom in gainers(before, after)


@st.composite
def removals(draw: st.DrawFn) -> tuple[Documents, Documents]:
    """A policy, and what is left of it when some of its documents, or their denials, are gone."""
    before = draw(policies())
    kept = [one for one in before if draw(st.integers(0, 3))]
    return before, [_undenied(one) if draw(st.integers(0, 5)) == 0 else one for one in kept]


def _undenied(one: dict[str, Any]) -> dict[str, Any]:
    return {**one, "spec": {key: value for key, value in one["spec"].items() if key != "deny"}}


@given(removals(), FLEETS)
def test_nobody_is_the_proof_that_no_decision_turns_to_yes(change: tuple[Documents, Documents], hosts: Hosts) -> None:
    before, after = map(compiled, change)
    places = tuple(Target("node", *one) for one in hosts)

    if not widened(before, after, (places, places), now=NOW):
        for ask in questions(after, places):
            assert not decide(after, ask, now=NOW).allowed or decide(before, ask, now=NOW).allowed, ask


def questions(snapshot: Snapshot, hosts: Iterable[Target]) -> Iterator[AccessRequest]:
    for name, target, login in product(snapshot.users, hosts, LOGINS):
        yield AccessRequest(identity(name, mfa_verified=True), target, login)
