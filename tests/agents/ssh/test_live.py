"""What a session keeps for those who look on, and what it tells of them."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.access.target import Target
from teleport.agents.ssh.live import Backlog, Facts, LiveSessions, Watched
from teleport.core.errors import Unavailable

SID = "0a3c9d6e-0000-4000-8000-000000000001"


class Eye:
    """Somebody who looks on."""

    def __init__(self, name: str = "bob") -> None:
        self.name, self.seen, self.sizes = name, b"", list[tuple[int, int]]()

    def show(self, data: bytes) -> None:
        self.seen += data

    def resized(self, rows: int, columns: int) -> None:
        self.sizes.append((rows, columns))


def watched(
    *, tell: Callable[[str], None] = lambda _: None, joined: Callable[[str], None] = lambda _: None, keep: bool = True
) -> Watched:
    facts = Facts(SID, "ann", "u-ann", "root", 1.0)
    return Watched(facts, tell=tell, joined=joined, keep=keep, rows=24, columns=80)


@given(st.lists(st.binary(max_size=40)), st.integers(1, 30))
def test_a_backlog_is_the_end_of_what_was_printed_and_bounded(chunks: list[bytes], limit: int) -> None:
    backlog = Backlog(limit)

    for chunk in chunks:
        backlog.add(chunk)

    printed = b"".join(chunks)
    assert printed.endswith(backlog.text)
    assert len(backlog.text) <= limit
    if len(printed) <= limit:
        assert backlog.text == printed


def test_a_backlog_that_does_not_reach_back_begins_with_a_line() -> None:
    backlog = Backlog(20)

    backlog.add(b"\x1b[31mlong ago\nlately\nnow")

    assert backlog.text == b"lately\nnow"


async def test_who_joins_gets_what_was_and_then_what_comes() -> None:
    session, eye = watched(), Eye()
    session.output(b"before ")

    lately = session.join(eye)
    session.output(b"after")
    session.resize(50, 132)

    assert (lately, eye.seen, eye.sizes) == (b"before ", b"after", [(50, 132)])


async def test_a_session_that_is_not_recorded_shows_nothing_of_what_was() -> None:
    session = watched(keep=False)
    session.output(b"before")

    assert session.join(Eye()) == b""


async def test_names_drive_no_terminal_and_fill_no_screen() -> None:
    told: list[str] = []
    session = watched(tell=told.append)
    bystander = Eye("carl")
    session.join(bystander)

    session.join(Eye("\x1b]0;x\x07\r\n" + "y" * 1000))

    assert told[1].startswith("Teleport > \\x1b]0;x\\x07\\x0d\\n")
    assert len(told[1]) < 150
    assert b"\x1b" not in bystander.seen


async def test_who_left_sees_no_more_and_leaves_once() -> None:
    told: list[str] = []
    session, eye = watched(tell=told.append), Eye()
    session.join(eye)

    session.leave(eye)
    session.leave(eye)
    session.output(b"secret")

    assert eye.seen == b""
    assert told == ["Teleport > bob joined as observer", "Teleport > bob left"]


async def test_what_has_ended_cannot_be_joined_or_found_any_more() -> None:
    sessions = LiveSessions()
    with sessions.lasting(watched()) as session:
        assert sessions.find(SID) is session

    assert sessions.find(SID) is None
    assert session.ended.done()
    with pytest.raises(Unavailable, match="the session ended"):
        session.join(Eye())


async def test_each_coming_and_going_is_news() -> None:
    sessions, eye = LiveSessions(), Eye()
    news = []

    def noted() -> None:
        news.append(sessions.news.is_set())
        sessions.news.clear()

    with sessions.lasting(watched()) as session:
        noted()
        session.join(eye)
        assert sessions.reported()[0].observers == ("bob",)
        noted()
        session.leave(eye)
        noted()
    noted()

    assert news == [True] * 4
    assert sessions.reported() == ()


async def test_it_is_judged_by_whose_it_is_and_where() -> None:
    session = watched()
    session.join(Eye())

    judged = session.as_judged(Target("node", "db-1", "uid"))

    assert (judged.owner, judged.owner_uid, judged.login, judged.target.uid) == ("ann", "u-ann", "root", "uid")
    assert judged.participants == ("bob",)
    assert not asyncio.all_tasks() - {asyncio.current_task()}
