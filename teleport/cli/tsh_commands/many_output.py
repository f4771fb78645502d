"""What running a command on many hosts shows and keeps: prefixed lines, progress, files, results.

What hosts print is nobody's word but theirs: on a terminal its controls are made visible.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Literal, TextIO

from teleport.core.errors import BadInput
from teleport.core.output import coloured, printable, table

__all__ = ["KEPT", "Files", "Kept", "Lines", "Progress", "Result", "Status", "summary"]

Status = Literal["succeeded", "failed", "unreached", "interrupted"]

KEPT: Final = 8 << 20
"""Bytes of each stream of a host that a result holds."""
_MAX_LINE: Final = 64 * 1024
_COLOURS: Final = (36, 33, 32, 35, 34, 31)
_REDRAW_SECONDS: Final = 0.1


@dataclass
class Kept:
    """The beginning of what a program printed, as much as a result holds."""

    data: bytearray = field(default_factory=bytearray)
    cut: bool = False

    def add(self, chunk: bytes) -> None:
        room = KEPT - len(self.data)
        self.data += chunk[:room]
        self.cut = self.cut or len(chunk) > room


@dataclass
class Result:
    """What became of a command on one host. `exit_code` is None if it was never known."""

    host: str
    uuid: str
    status: Status = "interrupted"
    exit_code: int | None = None
    seconds: float = 0.0
    error: str = ""
    stdout: Kept = field(default_factory=Kept)
    stderr: Kept = field(default_factory=Kept)

    def to_dict(self) -> dict[str, Any]:
        body = {
            "host": self.host, "uuid": self.uuid, "status": self.status, "exit_code": self.exit_code,
            "seconds": round(self.seconds, 3), "stdout": self.stdout.data.decode(errors="replace"),
            "stderr": self.stderr.data.decode(errors="replace"), "error": self.error,
        }  # fmt: skip
        if self.stdout.cut or self.stderr.cut:
            body["truncated"] = True
        return body


def summary(results: Iterable[Result]) -> str:
    """A table, what failed first."""
    rows = sorted(results, key=lambda one: (one.status == "succeeded", one.host))
    shown = [
        (one.host, one.status, "-" if one.exit_code is None else str(one.exit_code), f"{one.seconds:.1f} s", one.error)
        for one in rows
    ]
    return table(("Host", "Status", "Exit", "Time", "Error"), shown, stream=sys.stderr)


class Progress:
    """One line on standard error that says how far it is; nothing where that is no terminal."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total, self._stream, self._shows = total, stream, stream.isatty()
        self._done = self._running = self._failed = 0
        self._drawn_at, self._drawn = 0.0, False

    def started(self) -> None:
        self._running += 1
        self._draw()

    def ended(self, status: Status) -> None:
        self._running -= 1
        self._done += 1
        self._failed += status != "succeeded"
        self._draw(at_once=True)

    def clear(self) -> None:
        """Make room for a line of output."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = False

    def redraw(self) -> None:
        """After lines of output; not after each of many."""
        self._draw()

    def _draw(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if not self._shows or (not at_once and now - self._drawn_at < _REDRAW_SECONDS):
            return
        failed = f", {self._failed} failed" if self._failed else ""
        self._stream.write(f"\r\x1b[K{self._done}/{self._total} done, {self._running} running{failed}")
        self._stream.flush()
        self._drawn, self._drawn_at = True, now


class Lines:
    """Prints what one host says on one stream, line by line, with the host before each."""

    def __init__(self, host: str, number: int, stream: TextIO, progress: Progress, *, width: int) -> None:
        self._stream, self._progress = stream, progress
        self._guarded = stream.isatty()
        name = printable(host).ljust(width)
        colour = _COLOURS[number % len(_COLOURS)]
        prefix = f"\x1b[{colour}m{name}\x1b[0m | " if coloured(stream) else f"{name} | "
        self._prefix = prefix.encode()
        self._rest = b""

    def add(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _MAX_LINE:
            lines.append(self._rest)
            self._rest = b""
        self._print(lines)

    def end(self) -> None:
        """Print what came without the end of a line."""
        if self._rest:
            self._print([self._rest])
            self._rest = b""

    def _print(self, lines: list[bytes]) -> None:
        if not lines:
            return
        self._progress.clear()
        for line in lines:
            self._stream.buffer.write(self._prefix + self._shown(line) + b"\n")
        self._stream.flush()
        self._progress.redraw()

    def _shown(self, line: bytes) -> bytes:
        if not self._guarded:
            return line
        text = line.removesuffix(b"\r").decode(errors="replace")
        return printable(text, multiline=True).encode()


class Files:
    """A folder with HOST.stdout and HOST.stderr of each host."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"{folder} cannot be made: {error.strerror or error}") from None

    @contextlib.contextmanager
    def open(self, host: str) -> Iterator[Mapping[str, IO[bytes]]]:
        """By stream, while the block runs. Raises BadInput."""
        with contextlib.ExitStack() as stack:
            yield {
                stream: stack.enter_context(_open(self._folder / f"{host}.{stream}")) for stream in ("stdout", "stderr")
            }


def _open(path: Path) -> IO[bytes]:
    """Never what somebody else has put there a link to."""
    try:
        return open(path, "wb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror or error}") from None
