"""Whoever comes in numbers, and whatever runs out, those who work go on working.

With TELEPORT_FULL set, a hundred sessions and a longer flood.
"""

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scarce import ADDRESSES, RESIDENT, limited, of_process, pages
from tests.e2e.visitors import Keys, Visitor, crowd, leave, visit
from tests.e2e.world import Person, World, wait_until
from tests.proxy.badges import Authorities

FULL = bool(os.environ.get("TELEPORT_FULL"))
SESSIONS, SECONDS, RATE = (100, 30, 300) if FULL else (10, 5, 120)
ANSWER = 5.0
"""Seconds within which a session answers on a machine that has other things to do as well."""
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ann(world: World) -> Person:
    return world.person("ann").enrol().login()


@contextmanager
def flood(world: World, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    stranger = Authorities("acme").user("ann")
    (folder / "tls.crt").write_text(stranger.certificate)
    (folder / "tls.key").write_text(stranger.key)
    host, _, port = world.proxy.rpartition(":")
    words = [sys.executable, "-m", "tests.e2e.flood", host, port, str(SECONDS), str(RATE), str(folder)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def answers_of(visitors: list[Visitor], *, until: float) -> list[float]:
    """How long each answer took, asked again and again until a moment."""
    found: list[float] = []
    while time.monotonic() < until:
        found += await asyncio.gather(*(one.answers() for one in visitors))
        await asyncio.sleep(0.1)
    return found


def test_a_flood_of_strangers_and_of_refused_logins_keeps_nobody_from_working(
    world: World, ann: Person, tmp_path: Path
) -> None:
    keys, bob = Keys.of(ann), world.person("bob").enrol()

    async def work() -> tuple[list[float], float]:
        visitors = await crowd(keys, SESSIONS)
        asking = asyncio.create_task(answers_of(visitors, until=time.monotonic() + SECONDS))
        await asyncio.sleep(SECONDS / 3)
        began = time.monotonic()
        await asyncio.to_thread(bob.login)
        newcomer = await visit(Keys.of(bob))
        await newcomer.answers()
        came = time.monotonic() - began
        found = await asking
        await leave([*visitors, newcomer])
        return found, came

    with flood(world, tmp_path) as strangers:
        answers, came = asyncio.run(work())
        assert strangers.stdout is not None
        became = json.loads(strangers.stdout.read())

    print(f"{SESSIONS} sessions, slowest answer {max(answers):.2f} s of {len(answers)}, "
          f"login and new session {came:.1f} s; {became}")  # fmt: skip
    assert max(answers) < ANSWER
    assert came < 20
    assert became["wrong certificate"] > 0
    assert not [name for name in became if "let in" in name or name == "guess: 200"]
    assert became["guess: 401"] + became.get("guess: 429", 0) + became.get("guess: 400", 0) > 0


def processor_time(world: World) -> float:
    """Seconds that the cluster's process has worked."""
    fields = of_process(world, "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_without_descriptors_sessions_go_on_newcomers_are_told_and_all_is_well_when_there_are_some_again(
    world: World, ann: Person
) -> None:
    keys = Keys.of(ann)
    refusing = "new connections are refused"

    async def work() -> float:
        visitor = await visit(keys)
        open_now = len(os.listdir(of_process(world, "fd")))
        with ExitStack() as held, limited(world, resource.RLIMIT_NOFILE, open_now + 60):
            for _ in range(150):
                held.enter_context(socket.create_connection(keys.address))
            await asyncio.to_thread(wait_until, lambda: refusing in world.log)
            began = processor_time(world)
            await asyncio.sleep(2)
            spent = processor_time(world) - began
            assert await visitor.answers() < ANSWER
            for _ in range(150):  # those before may have been given up by now, as strangers who say nothing are
                held.enter_context(socket.create_connection(keys.address))
            with pytest.raises(OSError):
                await visit(keys)
            assert refusing in (await asyncio.to_thread(world.tctl, "status")).output
            held.pop_all().close()
            second = await asyncio.to_thread(wait_for_visit, keys)
        assert await visitor.answers() < ANSWER
        visitor.connection.abort()
        await visitor.leave()
        assert second
        return spent

    spent = asyncio.run(work())

    assert spent < 0.6
    assert world.log.count(refusing) == 1


def wait_for_visit(keys: Keys) -> bool:
    """Whether there is a session before long."""

    async def once() -> bool:
        visitor = await visit(keys)
        await visitor.answers()
        await visitor.leave()
        return True

    def attempt() -> bool:
        try:
            return asyncio.run(once())
        except OSError:
            return False

    return bool(wait_until(attempt))


def test_clients_who_read_nothing_take_little_memory_even_where_there_is_little_and_are_recorded_whole(
    world: World, ann: Person
) -> None:
    keys, marked = Keys.of(ann), "echo $$; : unread; exec cat /dev/zero"

    async def work() -> int:
        (visitor,) = await crowd(keys, 1)
        before = pages(world, RESIDENT)
        with limited(world, resource.RLIMIT_AS, pages(world, ADDRESSES) + (256 << 20)):
            unread = [await visit(keys, program=marked, reads=False) for _ in range(4)]
            for _ in range(10):
                assert await visitor.answers() < ANSWER
                await asyncio.sleep(0.1)
            grown = pages(world, RESIDENT) - before
            await leave(unread)
        assert await visitor.answers() < ANSWER
        await leave([visitor])
        return grown

    grown = asyncio.run(work())

    print(f"four who read nothing: {grown >> 20} MiB")
    assert grown < 64 << 20
    ends = wait_until(lambda: four(world, marked))
    assert not any(one.get("recording_error") for one in ends)
    for one in ends:
        wait_until((world.data / "recordings" / one["sid"] / "meta.json").exists)
    assert "MemoryError" not in world.log


def four(world: World, command: str) -> list[dict[str, Any]]:
    """The ends of the sessions that ran a command, once there are four."""
    found = [one for one in world.events("session.end") if command in one.get("initial_command", ())]
    return found if len(found) == 4 else []
