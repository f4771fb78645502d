"""Replaying a recording: its timing as moments, and those moments played on a terminal or written as data.

Pure but for `play`, which writes and waits by what it is given.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from teleport.audit.recording import OUTPUT, TIMING
from teleport.core.errors import BadInput

__all__ = ["Moment", "moments", "play", "to_events"]

_IDLE: Final = 1.0
"""Seconds that are left of a longer pause when pauses are skipped."""
_RESTORE: Final = b"\x1b[0m\x1b[?25h\x1b[?1049l"
"""Colours off, cursor shown, main screen: whatever the recording had changed."""


@dataclass(frozen=True)
class Moment:
    """Something that happened after a pause: output came, or the terminal took a new size."""

    pause: float
    output: bytes = b""
    rows: int = 0
    columns: int = 0


def moments(folder: Path) -> Iterator[Moment]:
    """What happened, in order. Raises BadInput for a timing that nobody of ours wrote."""
    with (folder / TIMING).open("rb") as timing, (folder / OUTPUT).open("rb") as output:
        output.readline()
        for number, line in enumerate(timing, start=1):
            try:
                moment = _moment(line.decode().split(), output)
            except (ValueError, IndexError, KeyError):
                raise BadInput(f"{folder / TIMING}:{number}: not a line of a timing file") from None
            if moment is not None:
                yield moment


def _moment(words: list[str], output: BinaryIO) -> Moment | None:
    """A line of a timing file; None for those about something else."""
    match words:
        case ["O", pause, count]:
            return Moment(float(pause), output=output.read(int(count)))
        case ["S", pause, "SIGWINCH", *rest]:
            size = dict(word.split("=", 1) for word in rest)
            return Moment(float(pause), rows=int(size["ROWS"]), columns=int(size["COLS"]))
        case ["H" | "S" | "I", *_]:
            return None
    raise ValueError(words)


def play(
    what: Iterable[Moment], write: Callable[[bytes], object], sleep: Callable[[float], object], *,
    speed: float, skip_idle: bool, restore: bool,
) -> None:  # fmt: skip
    """Write the output as it came, faster or slower; afterwards the terminal is as terminals are."""
    try:
        for moment in what:
            pause = min(moment.pause, _IDLE) if skip_idle else moment.pause
            if pause > 0:
                sleep(pause / speed)
            if moment.output:
                write(moment.output)
    finally:
        if restore:
            write(_RESTORE)


def to_events(what: Iterable[Moment]) -> Iterator[dict[str, Any]]:
    """The moments as plain data, each with the seconds since the beginning."""
    at = 0.0
    for moment in what:
        at += moment.pause
        if moment.output:
            yield {"at": round(at, 6), "output": moment.output.decode(errors="replace")}
        else:
            yield {"at": round(at, 6), "rows": moment.rows, "columns": moment.columns}
