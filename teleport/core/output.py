"""How the command lines speak: tables and colours for people, JSON and YAML for programs, errors with hints."""

import io
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from teleport.core.errors import TeleportError

__all__ = ["complain", "printable", "table", "to_json", "write"]

_DRIVING = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str, *, multiline: bool = False) -> str:
    """Text from elsewhere with terminal controls made visible, so that a name cannot drive the terminal."""
    shown = _UNPRINTABLE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
    return shown if multiline else shown.replace("\n", "\\n").replace("\t", "\\t")


def to_json(value: Any) -> str:
    """JSON for programs: stable, indented, one trailing newline left to the caller.

    Controls that JSON itself would let through are escaped too, because people look at it on terminals.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return _DRIVING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, stream: TextIO | None = None) -> str:
    """Columns as wide as they need on a terminal, where some characters take two cells. Controls are neutralised.

    The header is bold on a terminal, plain everywhere else (also under NO_COLOR).
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    from rich.cells import cell_len  # not at the top: only tables need it, and it takes its time to import

    def line(row: Sequence[str]) -> str:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        return "  ".join(padded).rstrip()

    widths = [max([cell_len(head), *(cell_len(row[i]) for row in cells)]) for i, head in enumerate(headers)]
    out, head = io.StringIO(), line(headers)
    out.write(f"\x1b[1m{head}\x1b[0m\n" if coloured(stream or sys.stdout) else f"{head}\n")
    for row in cells:
        out.write(line(row) + "\n")
    return out.getvalue()


def coloured(stream: TextIO) -> bool:
    """Whether to use colours: a terminal that did not ask otherwise."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def write(text: str, *, stream: TextIO | None = None) -> None:
    """Print to standard output, ending the line if the text does not."""
    stream = stream or sys.stdout
    stream.write(text if text.endswith("\n") else text + "\n")
    stream.flush()


def complain(program: str, error: TeleportError) -> int:
    """Tell a person on standard error what failed and what to do; the exit status to leave with."""
    red, plain = ("\x1b[31m", "\x1b[0m") if coloured(sys.stderr) else ("", "")
    for line in printable(error.message, multiline=True).splitlines() or [""]:
        write(f"{program}: {red}error:{plain} {line}", stream=sys.stderr)
    for line in printable(error.hint, multiline=True).splitlines():
        write(f"{program}: hint: {line}", stream=sys.stderr)
    return error.exit_status
