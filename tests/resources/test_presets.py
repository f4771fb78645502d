"""The roles that every cluster has: what each is for, and what it keeps its hands off."""

import pytest

from teleport.access.rules import may
from teleport.resources.kinds import KINDS
from tests.access.builders import NOW, ask, host, identity, policy, user

SNAPSHOT = policy(
    user("acc", ["access"], logins=["acc"]),
    user("ed", ["editor"], logins=["ed"]),
    user("aud", ["auditor"], logins=["aud"]),
)


def allowed(name: str, verb: str, noun: str) -> bool:
    return may(SNAPSHOT, identity(name), verb, noun, now=NOW).allowed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", ["list", "create", "read", "readnosecrets", "update", "delete"])
def test_an_editor_does_everything_with_every_kind_and_nobody_else_does(kind: str, verb: str) -> None:
    assert [allowed(name, verb, kind) for name in ("acc", "ed", "aud")] == [False, True, False]


@pytest.mark.parametrize("noun", ["event", "session"])
def test_an_auditor_reads_what_was_done_and_an_editor_does_not(noun: str) -> None:
    assert [allowed("aud", verb, noun) for verb in ("list", "read", "create", "delete")] == [True, True, False, False]
    assert [allowed("ed", verb, noun) for verb in ("list", "read", "create", "delete")] == [False] * 4


@pytest.mark.parametrize("noun", ["cluster_name", "policy"])
def test_an_editor_sees_the_state_of_the_cluster(noun: str) -> None:
    assert allowed("ed", "read", noun)


def test_only_access_reaches_hosts_and_only_as_the_users_own_logins() -> None:
    reached = {name: ask(SNAPSHOT, name, host(env="prod"), who=identity(name)).allowed for name in ("acc", "ed", "aud")}

    assert reached == {"acc": True, "ed": False, "aud": False}
    assert not ask(SNAPSHOT, "root", host(), who=identity("acc")).allowed
