"""What sessions run ends with the agent, also when the agent is killed: by a child that outlives it for that."""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from teleport.agents.ssh import reaping
from teleport.agents.ssh.reaping import Reaper

GRACE = 0.3
DEADLINE = 10.0
AGENT = """
import os, pwd, sys, time
from teleport.agents.ssh.process import Leash, account, start
from teleport.agents.ssh.reaping import Reaper
from teleport.agents.ssh.spawning import Spawner

who, reaper = account(pwd.getpwuid(os.geteuid()).pw_name, forbidden_uid=None), Reaper(grace=float(sys.argv[2]))
program = start(
    who, ["sh", "-c", sys.argv[1]], {"PATH": "/usr/bin:/bin"}, program="/bin/sh",
    terminal=({}, 24, 80) if sys.argv[3] == "terminal" else None, leash=Leash(None, reaper, spawner=Spawner()),
)
os.set_blocking(program.output, True)
print(int(os.read(program.output, 100)), flush=True)
if sys.argv[3] == "ended":
    program.process.wait()
    program.release()
print("ready", flush=True)
time.sleep(60)
"""
"""Runs a command as an agent does, and prints the number that the command prints."""


def lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextlib.contextmanager
def agent(command: str, how: str = "pipes") -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """An agent that runs a command, and the process id that the command printed. Both are gone afterwards."""
    arguments = [sys.executable, "-c", AGENT, command, str(GRACE), how]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert process.stdout.readline() == "ready\n"
        try:
            yield process, pid
        finally:
            process.kill()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["pipes", "terminal"])
@pytest.mark.parametrize(
    "command",
    [
        pytest.param("echo $$; exec sleep 60", id="a program"),
        pytest.param("echo $$; trap '' HUP TERM; while :; do sleep 1; done", id="one that does not listen"),
        pytest.param("set -m; sleep 60 & echo $!; wait", id="a job of a shell"),
    ],
)
def test_what_runs_when_the_agent_is_killed_is_ended(command: str, how: str) -> None:
    with agent(command, how) as (process, pid):
        assert lives(pid)

        process.kill()

        wait_until(lambda: not lives(pid))


def test_what_a_program_left_behind_when_it_ended_goes_on() -> None:
    with agent("sleep 60 >/dev/null 2>&1 & echo $!", "ended") as (process, pid):
        (reaper,) = [child for child in children(process.pid) if "reaper.py" in command_line(child)]

        process.kill()

        wait_until(lambda: not lives(reaper))
        assert lives(pid)


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    reaper = Reaper(grace=GRACE)
    yield reaper
    reaper.close()


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """The leader of a session."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        process.kill()


def test_a_reaper_that_was_killed_is_replaced_by_one_that_knows_everything(
    reaper: Reaper, sleeper: "subprocess.Popen[bytes]"
) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as another:
        reaper.watch(sleeper.pid, None)
        assert reaper.pid is not None
        os.kill(reaper.pid, signal.SIGKILL)
        os.waitid(os.P_PID, reaper.pid, os.WEXITED | os.WNOWAIT)

        reaper.watch(another.pid, None)

        reaper.close()
        assert sleeper.wait(DEADLINE) == another.wait(DEADLINE) == -signal.SIGHUP


def test_a_reaper_that_cannot_be_started_lets_no_program_begin(
    reaper: Reaper, sleeper: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaping.sys, "executable", "/nonexistent")  # type: ignore[attr-defined]

    with pytest.raises(OSError, match="nonexistent"):
        reaper.watch(sleeper.pid, None)


def test_a_number_that_was_given_to_another_program_is_left_alone(sleeper: "subprocess.Popen[bytes]") -> None:
    watched: Any = runpy.run_path(str(Path(reaping.__file__).with_name("reaper.py")))["Watched"](sleeper.pid, "")
    before = watched.left()

    watched.began -= 1

    assert (before, watched.left()) == ([sleeper.pid], [])


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
