"""The idle time of a session: when it ends one, and how a changed limit counts."""

import asyncio
from dataclasses import replace

from teleport.access.decide import AccessRequest, Decision, Target
from teleport.access.options import Conditions
from teleport.agents.ssh.idle import IdleTime
from teleport.core.identity import Identity
from teleport.sessions.gate import Session
from tests.net.sockets import wait_until


def session(idle: float) -> Session:
    request = AccessRequest(Identity("user", "ann", "a-1", "acme"), Target("node", "db-1", "u-1"), "root")
    return Session(request, Decision(True, (), conditions=Conditions(idle_timeout=idle)), "192.0.2.1", 0.0)


def limit(one: Session, idle: float) -> None:
    """The policy changes the session's limit."""
    one.judged(replace(one.decision, conditions=Conditions(idle_timeout=idle)))


async def test_a_silent_session_ends_and_reads_how_long_it_was_silent() -> None:
    silent = session(0.05)

    with IdleTime(lambda: "").minded(silent):
        await wait_until(lambda: silent.ended)

    assert silent.ended == "the session was idle for 50ms"


async def test_the_clusters_own_words_are_used_where_it_has_some() -> None:
    silent = session(0.05)

    with IdleTime(lambda: "come back soon").minded(silent):
        await wait_until(lambda: silent.ended)

    assert silent.ended == "come back soon"


async def test_a_session_over_which_bytes_move_goes_on() -> None:
    busy, idle = session(0.2), IdleTime(lambda: "")

    with idle.minded(busy):
        for _ in range(10):
            idle.touch()
            await asyncio.sleep(0.03)

    assert busy.ended == ""


async def test_a_limit_that_comes_later_counts_from_the_last_byte() -> None:
    silent = session(0)

    with IdleTime(lambda: "").minded(silent):
        limit(silent, 0.01)
        await wait_until(lambda: silent.ended)

    assert silent.ended == "the session was idle for 10ms"


async def test_a_limit_that_is_lifted_no_longer_ends_the_session() -> None:
    silent = session(0.05)

    with IdleTime(lambda: "").minded(silent):
        limit(silent, 0)
        await asyncio.sleep(0.1)

    assert silent.ended == ""


async def test_a_session_that_is_over_is_ended_no_more() -> None:
    gone = session(0.02)

    with IdleTime(lambda: "").minded(gone):
        pass
    await asyncio.sleep(0.04)

    assert gone.ended == ""
