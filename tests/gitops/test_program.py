"""Programs run for a source: nothing of our environment, and bounds of time, output and files that hold."""

import asyncio
import contextlib
import os
import time
from pathlib import Path

import pytest
import uvloop

from teleport.core.errors import Unavailable
from teleport.gitops.program import Bounds, run


async def shell(script: str, *, bounds: Bounds | None = None, stdin: bytes = b"") -> bytes:
    return (await run(["sh", "-c", script], {}, stdin=stdin, bounds=bounds)).output


async def test_nothing_of_the_environment_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", "evil")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")

    names = {line.partition(b"=")[0].decode() for line in (await shell("env")).splitlines()}

    assert names <= {"PATH", "LC_ALL", "TZ", "PWD", "OLDPWD", "SHLVL", "_"}


async def test_what_is_given_comes_back_with_the_status_and_the_errors() -> None:
    ended = await run(["sh", "-c", "cat; echo no >&2; exit 3"], {}, stdin=b"x" * 100_000)

    assert (ended.status, len(ended.output), ended.errors) == (3, 100_000, "no")


def test_the_loop_of_the_service_copes_with_programs_that_end_before_they_have_read() -> None:
    async def many() -> list[int]:
        runs = (run(["sh", "-c", "exit 4"], {}, stdin=b"x" * 100_000) for _ in range(30))
        return [(await one).status for one in runs]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert set(runner.run(many())) == {4}


async def test_a_program_that_takes_too_long_ends_with_all_it_started(tmp_path: Path) -> None:
    children = tmp_path / "children"
    script = f"sleep 300 & echo $! > {children}; wait"

    with pytest.raises(Unavailable, match="took longer than 1 seconds"):
        await shell(script, bounds=Bounds(seconds=1))

    await gone(int(children.read_text()))


async def test_a_program_ends_when_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    children = tmp_path / "children"
    waiting = asyncio.create_task(shell(f"sleep 300 & echo $! > {children}; wait"))
    async with asyncio.timeout(10):
        while not children.exists() or not children.read_text().strip():
            await asyncio.sleep(0.01)

    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting

    await gone(int(children.read_text()))


async def test_too_much_output_is_not_kept() -> None:
    with pytest.raises(Unavailable, match="printed more than 100000 bytes"):
        await shell("yes", bounds=Bounds(output=100_000))


async def test_complaints_without_end_do_no_harm() -> None:
    ended = await run(["sh", "-c", "yes 2>/dev/null | head -c 9000000 >&2"], {})

    assert len(ended.errors) <= 4096


async def test_no_file_grows_beyond_its_bound(tmp_path: Path) -> None:
    big = tmp_path / "big"

    await shell(f"sleep 0.2; head -c 3000000 /dev/zero > {big}", bounds=Bounds(file=1_000_000))

    assert big.stat().st_size <= 1_000_000


async def test_a_program_that_is_not_installed_is_named() -> None:
    with pytest.raises(Unavailable, match="there is no nothing-of-the-kind"):
        await run(["nothing-of-the-kind"], {})


async def gone(pid: int) -> None:
    """Wait until a process has ended, or is only waited for by whoever inherited it."""
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < deadline, f"{pid} lives on"
        await asyncio.sleep(0.02)
