"""The processes of a session are found by whoever asks, and many who ask together are answered by few looks."""

import asyncio
import os
import subprocess
import sys
import time

import pytest

from teleport.agents.ssh import members
from teleport.agents.ssh.census import Census


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When looks began."""
    seen: list[float] = []
    take = members.Look.take

    def counted() -> members.Look:
        seen.append(time.monotonic())
        return take()

    monkeypatch.setattr(members.Look, "take", counted)
    return seen


async def test_the_processes_of_a_session_are_found_in_whatever_group_they_are() -> None:
    two_groups = "import os, time; os.fork() or os.setpgid(0, 0); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", two_groups], start_new_session=True) as program:
        census = Census()
        async with asyncio.timeout(5):
            while len(found := await census.find(program.pid, None)) < 2:
                await asyncio.sleep(0.01)

        assert program.pid in found
        for pid in found:
            os.kill(pid, 9)


async def test_hundreds_who_ask_together_are_answered_by_one_look(looks: list[float]) -> None:
    census, me = Census(), os.getsid(0)

    found = await asyncio.gather(*(census.find(me, None) for _ in range(300)))

    assert all(os.getpid() in one for one in found)
    assert len(looks) == 1


async def test_who_asks_during_a_look_gets_the_next_one_for_that_one_may_have_passed_by(looks: list[float]) -> None:
    census, me = Census(), os.getsid(0)
    first = asyncio.create_task(census.find(me, None))
    while not looks:
        await asyncio.sleep(0)

    asked = time.monotonic()
    await asyncio.gather(*(census.find(me, None) for _ in range(5)))

    assert len(looks) == 2
    assert looks[1] >= asked
    await first


async def test_who_stops_waiting_keeps_no_one_else_from_an_answer() -> None:
    census, me = Census(), os.getsid(0)
    impatient, patient = (asyncio.create_task(census.find(me, None)) for _ in range(2))
    await asyncio.sleep(0)

    impatient.cancel()

    assert os.getpid() in await patient
    assert os.getpid() in await census.find(me, None)
