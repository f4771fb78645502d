"""The agent's end of `spawner`: a child that forks one for each program, and says how each has ended."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

__all__ = ["Spawned", "Spawner"]

_SPAWNER: Final = Path(__file__).with_name("spawner.py")
_PATIENCE: Final = 20.0
"""Seconds for an answer."""
_UNKNOWN: Final = 255
"""The status of a program of which nobody can say how it ended, because the spawner was killed before."""
_WORD: Final = 64


class Spawned:
    """A program that the spawner has begun, in the manner of `subprocess.Popen`: its number stays taken until it was
    waited for."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        """Its status once it has been asked for; negative for the signal that killed it."""
        self._line, self._ended = line, os.pidfd_open(pid)
        self._lock = threading.Lock()

    def watch(self) -> Iterator[int]:
        """Descriptors, the caller's to close, which are readable one after the other when `wait` knows how it ended."""
        if self.returncode is None:
            yield os.dup(self._ended)
        if self.returncode is None:
            yield os.dup(self._line.fileno())

    def poll(self) -> int | None:
        """Its status, None while it runs."""
        return self._settled(0)

    def wait(self) -> int:
        """Its status, however long that takes."""
        status = self._settled(None)
        assert status is not None
        return status

    def kill(self) -> None:
        with self._lock:
            if self.returncode is None:
                os.kill(self.pid, signal.SIGKILL)

    def _settled(self, timeout: int | None) -> int | None:
        if self.returncode is None:
            readiness = select.poll()
            readiness.register(self._ended, select.POLLIN)
            if readiness.poll(timeout):
                with self._lock:
                    self._hear()
        return self.returncode

    def _hear(self) -> None:
        """It has ended: ask how, unless that is known."""
        if self.returncode is None:
            word, number = _heard(self._line, socket.MSG_PEEK)  # whoever watches is to see it too
            self.returncode = number if word == "ended" else _UNKNOWN
            self._close()

    def _close(self) -> None:
        self._line.close()
        os.close(self._ended)
        self._ended = -1

    def __del__(self) -> None:
        if getattr(self, "_ended", -1) >= 0:
            self._close()


class Spawner:
    """One per agent; its process starts with the first program, and again should somebody kill it. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, once there is one."""
        return self._process.pid if self._process is not None else None

    def spawn(self, descriptors: Sequence[int]) -> Spawned:
        """A child in a session of its own, with standard input, output and error, and the orders it waits for.

        Raises OSError.
        """
        for _ in range(2):
            line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                with theirs:
                    asked = self._ask([theirs.fileno(), *descriptors])
                word, number = _heard(line)
                if word == "runs":
                    return Spawned(number, line)
                line.close()
            except BaseException:
                line.close()
                raise
            if word:
                raise OSError(number, os.strerror(number))
            self._discard(asked)
        raise BrokenPipeError("what starts programs does not answer")

    def close(self) -> None:
        """The agent ends in an orderly way: nothing is started any more."""
        with self._lock:
            self._hang_up()

    def _ask(self, descriptors: list[int]) -> "subprocess.Popen[bytes]":
        """A process that does not listen is replaced."""
        with self._lock:
            for _ in range(2):
                if self._process is None:
                    self._start()
                assert self._process is not None
                assert self._control is not None
                try:
                    socket.send_fds(self._control, [b"begin"], descriptors)
                except (BrokenPipeError, ConnectionResetError):
                    self._hang_up()
                else:
                    return self._process
        raise BrokenPipeError("what starts programs cannot be started")

    def _discard(self, process: "subprocess.Popen[bytes]") -> None:
        with self._lock:
            if self._process is process:
                self._hang_up()

    def _start(self) -> None:
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_SPAWNER), str(theirs.fileno())], stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True, env={}, cwd="/",
                )  # fmt: skip
        except BaseException:
            control.close()
            raise
        self._control = control

    def _hang_up(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
            self._process.kill()
            self._process.wait()
        self._process = self._control = None


def _heard(line: socket.socket, flags: int = 0) -> tuple[str, int]:
    """What comes on a line: a word and its number; an empty word if nobody is there. Raises TimeoutError."""
    line.settimeout(_PATIENCE)
    try:
        word, _, number = line.recv(_WORD, flags).decode().partition(" ")
    except ConnectionResetError:
        return "", 0
    return word, int(number or 0)
