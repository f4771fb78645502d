"""Locks: every field that is set must match; in force until they expire."""

from typing import Any

import pytest

from teleport.access.decide import AccessRequest, Target, decide
from teleport.access.locks import lock_on
from tests.access.builders import FUTURE, NOW, PAST, ask, host, identity, lock, policy, role, rule, user

DEV = role(
    "dev",
    allow={**rule("root", "dev", env="*"), "windows_desktop_labels": {"*": "*"}, "windows_desktop_logins": ["ann"]},
)


@pytest.mark.parametrize(
    ("target", "shuts"),
    [
        pytest.param({"user": "ann"}, True, id="this user"),
        pytest.param({"user": "bob"}, False, id="another user"),
        pytest.param({"role": "dev"}, True, id="a role of this user"),
        pytest.param({"role": "gone"}, True, id="a role that the user names and that does not exist"),
        pytest.param({"role": "ops"}, False, id="another role"),
        pytest.param({"login": "root"}, True, id="this login"),
        pytest.param({"login": "dev"}, False, id="another login"),
        pytest.param({"server_id": "uid-db-1"}, True, id="this host by its UUID"),
        pytest.param({"server_id": "db-1"}, True, id="this host by its name"),
        pytest.param({"node": "db-1"}, True, id="in the older spelling"),
        pytest.param({"server_id": "uid-db-2"}, False, id="another host"),
        pytest.param({"user": "ann", "login": "root", "server_id": "uid-db-1"}, True, id="all fields match"),
        pytest.param({"user": "ann", "login": "dev"}, False, id="one field does not match"),
        pytest.param({"user": "ann", "server_id": "uid-db-2"}, False, id="the user elsewhere"),
        pytest.param({"node": "db-1", "server_id": "uid-db-2"}, False, id="two hosts at once"),
        pytest.param({"windows_desktop": "db-1"}, False, id="a desktop of that name"),
        pytest.param({"user": "ann", "mfa_device": "x"}, False, id="a device that nobody is known by"),
        pytest.param({"join_token": "x"}, False, id="what concerns no session"),
    ],
)
def test_every_field_that_is_set_must_match(target: dict[str, str], shuts: bool) -> None:
    snapshot = policy(DEV, user("ann", ["dev", "gone"]), lock("stop", **target))

    decision = ask(snapshot, "root", host("db-1", env="x"))

    assert decision.allowed is not shuts
    assert ("lock/stop" in decision.because) is shuts


@pytest.mark.parametrize(("expires", "shuts"), [(None, True), (FUTURE, True), (PAST, False)])
def test_a_lock_is_in_force_until_it_expires(expires: str | None, shuts: bool) -> None:
    snapshot = policy(DEV, user(), lock("stop", user="ann", expires=expires))

    assert ask(snapshot, target=host(env="x")).allowed is not shuts


def test_the_message_of_a_lock_is_for_those_locked_out() -> None:
    snapshot = policy(DEV, user(), lock("stop", user="ann", login="root", message="call security"))

    assert ask(snapshot, target=host(env="x")).reasons == ("lock/stop on user ann, login root: call security",)


def test_a_desktop_can_be_locked() -> None:
    snapshot = policy(DEV, user(), lock("stop", windows_desktop="pc-1"))

    answers = [
        decide(snapshot, AccessRequest(identity(), Target("windows_desktop", name), "ann"), now=NOW).allowed
        for name in ("pc-1", "pc-2")
    ]

    assert answers == [False, True]


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ({"user": "ann"}, True),
        ({"role": "dev"}, True),
        ({"user": "ann", "login": "root"}, False),
        ({"node": "x"}, False),
    ],
)
def test_without_a_target_only_locks_on_the_user_as_such_count(target: dict[str, Any], found: bool) -> None:
    snapshot = policy(DEV, user(), lock("stop", **target))
    ann = snapshot.user("ann")
    assert ann is not None

    assert (lock_on(snapshot, ann, now=NOW) is not None) is found
