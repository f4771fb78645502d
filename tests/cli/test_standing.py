"""How far a commit has come: in force everywhere, refused, or on its way; and the exit status of each."""

from typing import Any

from teleport.api import models as m
from teleport.cli.standing import IN_FORCE, REFUSED, WAITING, standing

C1, C2 = "1" * 40, "2" * 40
PROBLEM = {"file": "a.yaml", "line": 3, "column": 1, "message": "wrong", "hint": ""}


def source(name: str = "git", state: str = "Ready", **fields: Any) -> m.SourceStatus:
    given = {"kind": "git", "place": "x", "revision": 7, "attempted_commit": C1, "applied_commit": C1, **fields}
    return m.SourceStatus(name=name, state=state, **given)


def policy(*sources: m.SourceStatus, revision: int = 7, services: dict[str, int] | None = None) -> m.PolicyStatus:
    rows = [
        m.ServiceStatus(host_id=name, hostname=name, roles=("Node",), version="1", revision=one, last_seen=0)
        for name, one in (services or {}).items()
    ]
    oldest = min((row.revision for row in rows), default=revision)
    return m.PolicyStatus(revision=revision, oldest_acknowledged=oldest, sources=sources, services=tuple(rows))


def known(commit: str = C1, *, applied: bool = True, source: str = "git") -> m.CommitStanding:
    return m.CommitStanding(source=source, commit=commit, applied=applied, attempted=True)


def test_a_commit_that_every_service_enforces_is_in_force() -> None:
    assert standing(policy(source(), services={"db-1": 7}), C1, [known()]).status == IN_FORCE
    assert standing(policy(source())).status == IN_FORCE


def test_a_commit_that_is_refused_is_refused_with_its_problems() -> None:
    found = standing(
        policy(source(state="Stalled", reason="Invalid", attempted_commit=C2, problems=(PROBLEM,))),
        C2, [known(C2, applied=False)],
    )  # fmt: skip

    assert (found.status, found.reasons) == (REFUSED, (f"source git is stalled at commit {C2}: Invalid",))
    assert found.problems == ("a.yaml:3:1: wrong",)


def test_a_source_that_does_not_have_the_commit_refuses_it_not_but_keeps_it_from_being_all() -> None:
    other = source("folder", "Stalled", reason="Invalid", message="a.yaml: wrong")

    found = standing(policy(source(), other), C1, [known()])

    assert (found.status, found.reasons) == (WAITING, ("source folder is stalled (Invalid): a.yaml: wrong",))
    assert standing(policy(source(), other)).status == REFUSED


def test_a_commit_that_nobody_has_read_is_waited_for() -> None:
    found = standing(policy(source()), C2)

    assert (found.status, found.reasons) == (WAITING, (f"no source has commit {C2}: git has read {C1[:12]}",))


def test_a_service_that_lags_behind_is_waited_for_by_name() -> None:
    found = standing(policy(source(), services={"db-1": 7, "db-2": 6}), C1, [known()])

    assert (found.status, found.reasons) == (WAITING, ("the service on db-2 enforces revision 6 of 7",))


def test_a_commit_that_changed_nothing_asks_nothing_of_services() -> None:
    """Noting the commit takes a revision of the store, of which services that follow the policy hear nothing."""
    assert standing(policy(source(revision=9), revision=7, services={"db-1": 7}), C1, [known()]).status == IN_FORCE


def test_of_very_many_problems_some_are_told() -> None:
    many = tuple({**PROBLEM, "line": number} for number in range(1, 100))

    found = standing(policy(source(state="Stalled", problems=many)))

    assert len(found.problems) == 21
    assert found.problems[-1] == "79 more problems: tctl policy status -o json has all"
