"""The agent's end of `reaper`: a child that ends what sessions run when the agent is killed and cannot do it itself."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

__all__ = ["Reaper"]

_REAPER: Final = Path(__file__).with_name("reaper.py")


class Reaper:
    """One per agent; its child starts with the first program, and again should somebody kill it. For any thread."""

    def __init__(self, *, grace: float) -> None:
        self._grace = grace
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._running: dict[int, bytes] = {}

    @property
    def pid(self) -> int | None:
        """The child, once there is one."""
        return self._process.pid if self._process is not None else None

    def watch(self, pid: int, cgroup: Path | None) -> None:
        """Before a program does anything: it must not outlive the agent. Raises OSError if that cannot be had."""
        line = _line({"pid": pid, "runs": True, "cgroup": str(cgroup or "")})
        with self._lock:
            self._running[pid] = line
            self._tell(line)

    def release(self, pid: int) -> None:
        """The program has ended; what it left behind with leave is not ours to end."""
        with self._lock:
            if self._running.pop(pid, None) is not None:
                with contextlib.suppress(OSError):
                    self._tell(_line({"pid": pid, "runs": False}))

    def close(self) -> None:
        """The agent ends in an orderly way."""
        with self._lock:
            if self._process is not None:
                self._hang_up(self._process)

    def _tell(self, line: bytes) -> None:
        """A child that does not listen is replaced by one that is told everything."""
        if self._process is not None and _wrote(self._process, line):
            return
        if self._process is not None:
            self._process.kill()
            self._hang_up(self._process)
        self._process = _start(self._grace)
        for running in self._running.values():
            if not _wrote(self._process, running):
                raise BrokenPipeError("what ends programs after the agent cannot be started")

    def _hang_up(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        self._process = None


def _start(grace: float) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_REAPER), str(grace)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        bufsize=0, start_new_session=True, env={}, cwd="/",
    )  # fmt: skip
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)
    return process


def _wrote(process: "subprocess.Popen[bytes]", line: bytes) -> bool:
    assert process.stdin is not None
    try:
        return os.write(process.stdin.fileno(), line) == len(line)
    except OSError:
        return False


def _line(order: dict[str, object]) -> bytes:
    return json.dumps(order).encode() + b"\n"
