"""The past of the repository that governs a cluster: not before something is in force, and not for long."""

import asyncio
from pathlib import Path

import pytest

from teleport.api import history as h
from teleport.core.errors import NotFound, Unavailable
from teleport.gitops.address import GitAddress
from teleport.gitops.git import GitSettings, GitSource
from teleport.gitops.mirror import GitCredentials
from teleport.service.history import SourceHistory
from tests.builders import FakeClock
from tests.gitops.history.branches import ANN, DEV, HOST, branch, role

QUERY = h.ObjectQuery(kind="role", name="dev")


class Hurried(FakeClock):
    """A clock on which every look takes so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def monotonic(self) -> float:
        self.advance(self.seconds)
        return super().monotonic()


async def history(tmp_path: Path, clock: FakeClock, *, applied: bool = True) -> SourceHistory:
    folder = tmp_path / "upstream"
    branch(
        folder, {"a.yaml": ANN, "d.yaml": DEV, "h.yaml": HOST}, *({"d.yaml": role(logins=f"l{n}")} for n in range(9))
    )

    async def nothing() -> str:
        return ""

    settings = GitSettings(GitAddress.parse(f"git+file://{folder}"), GitCredentials())
    source = GitSource(tmp_path / "source", settings, name="git", clock=clock, remembered=nothing)
    head = (await source.load()).commit

    async def in_force() -> str:
        return head if applied else ""

    return SourceHistory(source, in_force, clock=clock)


async def test_as_long_as_nothing_is_in_force_there_is_no_past(tmp_path: Path) -> None:
    past = await history(tmp_path, FakeClock(), applied=False)

    with pytest.raises(NotFound, match="has applied no commit yet"):
        await past.changes(QUERY, ())


async def test_a_question_that_takes_too_long_is_given_up_and_the_next_one_is_answered(tmp_path: Path) -> None:
    clock = Hurried(10.0)
    past = await history(tmp_path, clock)

    with pytest.raises(Unavailable, match="takes too long"):
        await past.changes(QUERY, ())
    clock.seconds = 0.0
    answer = await past.changes(QUERY, ())

    assert len(answer.changes) == 10


async def test_several_may_ask_at_once(tmp_path: Path) -> None:
    past = await history(tmp_path, FakeClock())

    answers = await asyncio.gather(*(past.changes(QUERY, ()) for _ in range(3)))

    assert [len(one.changes) for one in answers] == [10] * 3
