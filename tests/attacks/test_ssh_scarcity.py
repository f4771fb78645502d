"""What runs out under one session of a host - disk time, memory, processes, threads - and its siblings stay."""

import asyncio
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from asyncssh.packet import String

import teleport.audit.recording as recording_module
from teleport.audit.recording import Recorder
from teleport.core.aio import started_threads
from tests.attacks.host import pty, scene
from tests.net.sockets import wait_until


async def test_a_program_that_prints_faster_than_the_disk_writes_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spins, write, output, waiting = threading.Event(), recording_module._write, Recorder.output, [0]

    def slowly(files: Any, data: bytes, *more: Any) -> None:
        spins.wait(20 if len(data) > 1000 else 0)
        write(files, data, *more)

    def seen(recorder: Recorder, data: bytes) -> None:
        output(recorder, data)
        waiting.append(recorder._buffered)

    monkeypatch.setattr(recording_module, "_write", slowly)
    monkeypatch.setattr(Recorder, "output", seen)
    async with scene(tmp_path) as at:
        channel = await at.eve.open(window=2**31)
        assert await channel.grants(b"pty-req", *pty())
        channel.tell(b"exec", String(b"stty raw; cat /dev/zero"))
        try:
            await wait_until(lambda: waiting[-1] > 4 << 20, within=20)
            await asyncio.sleep(1)
            assert max(waiting) < 5 << 20
        finally:
            spins.set()
        channel.close()


async def test_memory_that_does_not_suffice_for_one_session_ends_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    output = Recorder.output

    def scarce(recorder: Recorder, data: bytes) -> None:
        if b"too much" in data:
            raise MemoryError
        output(recorder, data)

    monkeypatch.setattr(Recorder, "output", scarce)
    async with scene(tmp_path) as at:
        sibling = await at.eve.open()
        assert await sibling.grants(b"exec", String(b"cat"))

        assert "an internal error ended this session" in await both(at.eve, "echo too much; sleep 0.1")

        sibling.data(b"still here")
        await sibling.prints(b"still here")
        assert await at.fine()
    assert "MemoryError" in caplog.text


async def both(client: Any, command: str) -> str:
    """What a command, and the host, print on both ways."""
    async with asyncio.timeout(20):
        result = await client.connection.run(command)
    return str(result.stdout) + str(result.stderr)


@pytest.mark.parametrize("error", [BlockingIOError(11, "Resource temporarily unavailable"), MemoryError()])
async def test_a_host_that_can_start_no_program_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async with scene(tmp_path) as at:
        with monkeypatch.context() as scarce:
            scarce.setattr(subprocess, "Popen", lambda *_, **__: (_ for _ in ()).throw(error))
            said = await both(at.eve, "echo never")

        assert "the program cannot be started" in said
        assert "never" not in said
        assert await at.fine()


async def test_a_host_that_can_start_no_thread_serves_with_those_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.get_running_loop().set_default_executor(started_threads(4))
    async with scene(tmp_path) as at:
        with monkeypatch.context() as scarce:
            scarce.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no new thread")))
            said = await asyncio.gather(*(both(at.eve, "echo served") for _ in range(8)))

    assert said == ["served\n"] * 8
