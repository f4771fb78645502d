"""Runs `git` and `ssh-keygen` on behalf of a source: no shell, nothing of our environment, everything bounded.

Bounds are of time, output, the size of any file written and memory; what exceeds them is killed with all it started.
"""

import asyncio
import contextlib
import os
import resource
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from teleport.core.errors import Unavailable

__all__ = ["Bounds", "Ended", "run"]

_ERRORS: Final = 4096
"""So much of what a program complains of is kept; the rest is read and dropped."""


@dataclass(frozen=True)
class Bounds:
    """What a program may take: seconds, and bytes of output, of one file, of memory."""

    seconds: float = 60.0
    output: int = 64 << 20
    file: int = 1 << 30
    memory: int = 4 << 30


@dataclass(frozen=True)
class Ended:
    status: int
    output: bytes
    errors: str


async def run(
    command: Sequence[str], environment: Mapping[str, str], *, stdin: bytes = b"", bounds: Bounds | None = None
) -> Ended:
    """Run a program to its end. Raises Unavailable if it is not installed or exceeds its bounds."""
    bounds = bounds or Bounds()
    known = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        try:
            program = await asyncio.create_subprocess_exec(
                *command, stdin=given, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                env={**known, **environment}, cwd="/", start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise Unavailable(f"there is no {command[0]} on this machine", hint=f"install {command[0]}") from None
    done = False
    try:
        _limit(program.pid, bounds)
        async with asyncio.timeout(bounds.seconds):
            output, errors = await asyncio.gather(_output(program, bounds), _errors(program))
            done = output is not None
            status = await program.wait() if done else -1
    except TimeoutError:
        done = False
        raise Unavailable(f"{command[0]} took longer than {bounds.seconds:.0f} seconds") from None
    finally:
        if not done:
            await asyncio.shield(_kill(program))
    if output is None:
        raise Unavailable(f"{command[0]} printed more than {bounds.output} bytes")
    return Ended(status, output, errors)


def _limit(pid: int, bounds: Bounds) -> None:
    """What it starts inherits the limits; nothing that matters happens before it starts another program."""
    limits = ((resource.RLIMIT_FSIZE, bounds.file), (resource.RLIMIT_AS, bounds.memory), (resource.RLIMIT_CORE, 0))
    for which, limit in limits:
        with contextlib.suppress(ProcessLookupError, ValueError, PermissionError):
            resource.prlimit(pid, which, (limit, limit))


async def _output(program: asyncio.subprocess.Process, bounds: Bounds) -> bytes | None:
    """All of it, or nothing if it is too much: then the program is ended."""
    assert program.stdout is not None
    chunks: list[bytes] = []
    size = 0
    while chunk := await program.stdout.read(1 << 16):
        size += len(chunk)
        if size > bounds.output:
            _signal(program)
            return None
        chunks.append(chunk)
    return b"".join(chunks)


async def _errors(program: asyncio.subprocess.Process) -> str:
    assert program.stderr is not None
    kept = b""
    while chunk := await program.stderr.read(1 << 16):
        kept += chunk[: _ERRORS - len(kept)]
    return kept.decode(errors="replace").strip()


async def _kill(program: asyncio.subprocess.Process) -> None:
    _signal(program)
    program._transport.close()  # type: ignore[attr-defined]  # what nobody reads any more would stay open
    await program.wait()


def _signal(program: asyncio.subprocess.Process) -> None:
    """To the program and all that it started: they are a session of their own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(program.pid, signal.SIGKILL)
