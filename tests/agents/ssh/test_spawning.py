"""What begins programs: the status of each, numbers that stay taken, and what becomes of it when somebody kills it."""

import asyncio
import os
import pwd
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from teleport.agents.ssh import spawning
from teleport.agents.ssh.process import Leash, Program, account, start
from teleport.agents.ssh.spawning import Spawned, Spawner
from teleport.core.errors import Unavailable

DEADLINE = 10.0


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    spawner = Spawner()
    yield spawner
    spawner.close()


def run(command: str, spawner: Spawner | None) -> Program:
    who = account(pwd.getpwuid(os.geteuid()).pw_name, forbidden_uid=None)
    return start(
        who, ["sh", "-c", command], {"PATH": "/usr/bin:/bin"}, program="/bin/sh", terminal=None,
        leash=Leash(spawner=spawner),
    )  # fmt: skip


def output_of(program: Program) -> str:
    os.set_blocking(program.output, True)
    with os.fdopen(program.output, "rb") as file:
        return file.read().decode()


def close(program: Program, *, but: str = "") -> None:
    for name in {"input", "output", "errors"} - {but}:
        os.close(getattr(program, name))


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_all_programs_come_from_one_process(spawner: Spawner) -> None:
    first, second = run("ps -o ppid= -p $$", spawner), run("ps -o ppid= -p $$", spawner)

    parents = {int(output_of(first)), int(output_of(second))}

    assert parents == {spawner.pid}
    for program in (first, second):
        program.process.wait()
        close(program, but="output")


def test_it_has_nothing_of_the_agents_environment_or_descriptors(
    spawner: Spawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEPORT_SECRET", "s3cret")
    with Path(__file__).open() as file:
        os.set_inheritable(file.fileno(), True)
        program = run("exit", spawner)
        links = [os.readlink(link) for link in Path(f"/proc/{spawner.pid}/fd").iterdir()]

    assert Path(f"/proc/{spawner.pid}/environ").read_bytes() == b""
    assert str(Path(__file__)) not in links
    program.process.wait()
    close(program)


def test_the_number_of_a_program_is_nobody_elses_until_it_was_waited_for(spawner: Spawner) -> None:
    program = run("exit 3", spawner)
    pid = program.process.pid
    wait_until(lambda: state(pid) == "Z")

    still_there = exists(pid)
    status = program.process.wait()

    assert still_there
    assert status == 3
    wait_until(lambda: not exists(pid))
    close(program)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize(("command", "status"), [("exit 0", 0), ("exit 254", 254), ("kill -KILL $$", -9)])
async def test_how_a_program_ended_is_told(spawner: Spawner, command: str, status: int) -> None:
    program = run(command, spawner)

    ended = await program.wait()

    assert ended == program.process.returncode == program.process.poll() == status
    close(program)


async def test_who_stops_waiting_for_a_program_keeps_nothing_of_it(spawner: Spawner) -> None:
    program = run("exec cat", spawner)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(program.wait(), 0.05)

    after = len(os.listdir("/proc/self/fd"))

    assert after == before
    program.process.kill()
    program.process.wait()
    wait_until(lambda: not exists(program.process.pid))
    close(program)


def test_a_program_that_runs_has_no_status_yet(spawner: Spawner) -> None:
    program = run("cat", spawner)

    assert program.process.poll() is None

    os.close(program.input)
    assert program.process.wait() == 0
    close(program, but="input")


async def test_one_that_was_killed_is_replaced_and_what_runs_goes_on(spawner: Spawner) -> None:
    before = run("cat; exit 3", spawner)
    killed = spawner.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: state(killed) == "Z")

    after = run("exit 4", spawner)

    assert await after.wait() == 4
    assert spawner.pid != killed
    assert before.process.poll() is None
    os.close(before.input)
    assert await before.wait() == spawning._UNKNOWN  # whoever could say is gone
    close(before, but="input")
    close(after)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
async def test_what_is_meant_for_the_agent_does_not_end_it(spawner: Spawner, number: int) -> None:
    first = run("exit", spawner)
    assert spawner.pid is not None

    os.kill(spawner.pid, number)

    pid, second = spawner.pid, run("exit 5", spawner)
    assert await second.wait() == 5
    assert spawner.pid == pid
    first.process.wait()
    close(first)
    close(second)


def test_it_ends_with_the_agent(spawner: Spawner) -> None:
    program = run("exit", spawner)
    process = spawner._process
    assert process is not None
    assert spawner._control is not None

    spawner._control.close()

    assert process.wait(DEADLINE) == 0
    program.process.wait()
    close(program)


async def test_many_at_a_time_have_their_own_status_each(spawner: Spawner) -> None:
    programs = await asyncio.gather(*(asyncio.to_thread(run, f"exit {number}", spawner) for number in range(40)))

    assert await asyncio.gather(*(program.wait() for program in programs)) == [*range(40)]

    for program in programs:
        close(program)
    before = len(os.listdir(f"/proc/{spawner.pid}/fd"))
    wait_until(lambda: len(os.listdir(f"/proc/{spawner.pid}/fd")) <= 8)
    assert before < 200


def test_where_no_more_processes_may_be_there_is_an_error_and_later_a_program(spawner: Spawner) -> None:
    first = run("exit", spawner)
    assert spawner.pid is not None
    limits = resource.prlimit(spawner.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(spawner.pid, resource.RLIMIT_NOFILE, (6, limits[1]))
    try:
        with pytest.raises(Unavailable, match="the program cannot be started"):
            run("exit", spawner)
    finally:
        if spawner.pid is not None:
            resource.prlimit(spawner.pid, resource.RLIMIT_NOFILE, limits)

    second = run("exit 6", spawner)

    assert second.process.wait() == 6
    first.process.wait()
    close(first)
    close(second)


def test_one_that_cannot_be_started_is_an_error(spawner: Spawner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawning, "_SPAWNER", Path("/no/such/spawner.py"))

    with pytest.raises(Unavailable, match="the program cannot be started"):
        run("exit", spawner)


async def test_without_one_a_program_is_the_agents_own() -> None:
    program = run("exit 7", None)

    assert isinstance(program.process, subprocess.Popen)
    assert not isinstance(program.process, Spawned)
    assert await program.wait() == 7
    close(program)
