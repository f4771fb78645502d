"""`tctl create`: declare resources through the API, all of them or none."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from teleport.cli.options import output_option
from teleport.cli.tctl import Target
from teleport.core.errors import BadInput
from teleport.core.output import printable, to_json, write

if TYPE_CHECKING:
    from teleport.api import models as m

__all__ = ["create"]

_STDIN: Final = "-"
_NO_VALUE: Final = "\0"
"""What -f has when no file follows it."""


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option(
    "-f", "--filename", "more", multiple=True, is_flag=False, flag_value=_NO_VALUE, metavar="FILE",
    help="The same as FILE alone; without a file standard input. To replace what exists use --force.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace what exists (elsewhere this is called -f).")
@click.option("--dry-run", is_flag=True, help="Judge it and say what would happen; write nothing.")
@output_option()
@click.pass_obj
def create(target: Target, /, files: tuple[str, ...], more: tuple[str, ...], form: str, **how: bool) -> None:
    """Create resources from files of YAML or JSON, or from standard input (-).

    Everything is judged first, and every fault is told with file, line and column. All of it is written in one
    transaction, so the order does not matter and nothing is half done. With --force a file that carries
    metadata.revision replaces only that revision.

    Example: tctl create -f role.yaml
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    request = m.ApplyRequest(files=_read(files, more), replace=how["force"], dry_run=how["dry_run"])
    answer = ask(target, r.APPLY, request)
    for warning in answer.warnings:
        _warn(warning)
    if form == "json":
        write(to_json(answer.model_dump(mode="json")))
        return
    would = " (dry run)" if how["dry_run"] else ""
    for one in answer.results:
        write(f"{printable(one.resource)} {one.change}{would}")


def _read(files: tuple[str, ...], more: tuple[str, ...]) -> tuple["m.PolicyFile", ...]:
    from teleport.api import models as m

    names = [*files, *(_STDIN if name == _NO_VALUE else name for name in more)]
    if _NO_VALUE in more and len(names) > 1:
        raise BadInput("-f names a file here", hint="to replace what exists use --force")
    if not names and sys.stdin.isatty():
        raise BadInput("which file?", hint="tctl create FILE, or - for standard input")
    return tuple(m.PolicyFile(file=_shown(name), text=_text(name)) for name in dict.fromkeys(names or [_STDIN]))


def _shown(name: str) -> str:
    return "stdin" if name == _STDIN else name


def _text(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == _STDIN else Path(name).read_bytes()
        return data.decode()
    except OSError as error:
        raise BadInput(f"{name} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{_shown(name)} is not UTF-8 text", hint="save the file as UTF-8") from None


def _warn(body: dict[str, object]) -> None:
    from teleport.core.errors import problem_from_wire

    write(f"tctl: warning: {printable(str(problem_from_wire(body)))}", stream=sys.stderr)
