"""What a compiled policy keeps of visitors: no more for the thousandth connection than for the first, and never without end."""

from dataclasses import replace

import pytest

from teleport.access import snapshot as of_snapshots
from teleport.access.snapshot import Snapshot
from tests.access.builders import policy, role, rule
from tests.access.test_trust import trusting, visitor


def trusts() -> Snapshot:
    return policy(role("here", allow=rule("root", env="*")), trusting('remote: "*", local: [here]'))


def test_the_next_connection_of_a_visitor_takes_no_more_room() -> None:
    snapshot, ann = trusts(), visitor("dev")
    assert ann.passage is not None

    bound = [
        snapshot.visitor(replace(ann, passage=replace(ann.passage, session=f"session-{number}", host=f"db-{number}")))
        for number in range(10)
    ]

    assert all(one is bound[0] for one in bound)


def test_roles_that_differ_are_not_those_of_the_connection_before() -> None:
    snapshot = policy(role("here", allow=rule("root", env="*")), trusting("remote: dev, local: [here]"))

    first, second = snapshot.visitor(visitor("dev")), snapshot.visitor(visitor("other"))

    assert first is not None
    assert second is not None
    assert (first.role_names, second.role_names) == (("here",), ())


def test_users_whom_a_root_makes_up_take_a_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_snapshots, "_MOST_VISITORS", 5)
    snapshot = trusts()

    for number in range(50):
        assert snapshot.visitor(replace(visitor("dev"), uid=f"uid-{number}")) is not None

    assert len(snapshot._visitors) <= 5
