"""Command lines run inside the test's own process: what they print, and the status they leave with."""

import contextlib
import io
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from unittest.mock import patch

import click

from teleport.cli import tctl as tctl_program
from teleport.cli import tsh as tsh_program
from teleport.core.program import run_program
from teleport.service.__main__ import cli as teleport_program

__all__ = ["Ended", "tctl", "teleport", "tsh"]


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    status: int
    output: str
    errors: str


def tctl(*arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Ended:
    return _run("tctl", tctl_program.cli, arguments, stdin=stdin, env=env or {})


def tsh(*arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Ended:
    return _run("tsh", tsh_program.cli, arguments, stdin=stdin, env=env or {})


def teleport(*arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Ended:
    return _run("teleport", teleport_program, arguments, stdin=stdin, env=env or {})


def _run(name: str, command: click.Command, arguments: tuple[str, ...], *, stdin: str, env: Mapping[str, str]) -> Ended:
    streams = [io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="") for data in (stdin.encode(), b"", b"")]
    given, output, errors = streams
    status = 0
    with (
        patch.object(sys, "argv", [name, *arguments]),
        patch.object(sys, "stdin", given),
        patch.dict(os.environ, env),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        try:
            run_program(name, command)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    return Ended(status, _text(output), _text(errors))


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode(errors="replace")
