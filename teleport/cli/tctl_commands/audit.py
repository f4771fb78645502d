"""`tctl audit`: search the log, verify it, take its signed head away."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from teleport.cli.options import moment, output_option
from teleport.cli.tctl import Target
from teleport.core.errors import BadInput
from teleport.core.output import table, to_json, write
from teleport.core.program import Group

if TYPE_CHECKING:
    from teleport.api import models as m

__all__ = ["audit"]

_DETAILS = (
    "login",
    "server_hostname",
    "node_name",
    "role",
    "action",
    "name",
    "source",
    "commit",
    "created",
    "updated",
    "deleted",
    "reason",
    "error",
    "command",
    "exitCode",
    "sid",
)
"""Fields that say most about an event in a line."""


@click.group(cls=Group)
def audit() -> None:
    """Search and verify the audit log."""


@audit.command()
@click.option("--type", "event", default="", metavar="EVENT", help="Only events of this type, such as session.start.")
@click.option("--user", default="", metavar="NAME", help="Only what this user did.")
@click.option("--session", default="", metavar="ID", help="Only one session; the beginning of its id is enough.")
@click.option("--since", default="", metavar="WHEN", help="A time as RFC 3339, or a span back from now: 24h, 7d.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, 100_000), help="The newest so many.")
@output_option()
@click.pass_obj
def search(target: Target, /, event: str, user: str, session: str, since: str, limit: int, form: str) -> None:
    """Show the events that match everything given, oldest first; only those the admin rules let you see.

    Example: tctl audit search --type session.start --user ann --since 24h
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask
    from teleport.core.aio import utc

    begin = utc(moment(since, now=time.time())) if since else ""
    query = m.EventQuery(event=event, user=user, session=session, since=begin, limit=limit)
    found = ask(target, r.EVENTS, query).events
    if form == "json":
        write(to_json(found))
    else:
        write(table(("Time", "Event", "User", "What"), map(_row, found)))


def _row(event: Mapping[str, Any]) -> tuple[str, ...]:
    failed = "refused: " if event.get("success") is False else ""
    details = ", ".join(f"{name}={event[name]}" for name in _DETAILS if event.get(name) not in (None, "", 0))
    return str(event.get("time", "-")), str(event.get("event", "-")), str(event.get("user", "-")), failed + details


@audit.command()
@click.option(
    "--checkpoint", "files", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help="Checkpoints that were kept elsewhere, as `tctl audit checkpoint` prints them, one a line.",
)  # fmt: skip
@output_option()
@click.pass_obj
def verify(target: Target, /, files: tuple[Path, ...], form: str) -> int:
    """Hold the log against its own chain of hashes and against checkpoints. Exits with 1 if anything was changed.

    The log's own checkpoints lie beside it. Only one that was kept elsewhere shows what somebody did who could
    change both.

    Example: tctl audit verify --checkpoint /mnt/elsewhere/checkpoints
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    lines = tuple(line for path in files for line in _lines(path))
    found = ask(target, r.VERIFY, m.AuditCheck(checkpoints=lines))
    if form == "json":
        write(to_json(found.model_dump(mode="json")))
    else:
        write(_verdict(found, len(lines)))
    return 1 if found.faults else 0


def _lines(path: Path) -> list[str]:
    from teleport.audit.chain import Checkpoint

    try:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
        for line in lines:
            Checkpoint.of_line(line)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise BadInput(f"{path}: {error}", hint="write it with `tctl audit checkpoint`") from None
    if not lines:
        raise BadInput(f"{path} holds no checkpoint")
    return lines


def _verdict(found: "m.AuditVerdict", kept: int) -> str:
    from teleport.core.output import printable

    span = f"events {found.first} to {found.last}, {found.checkpoints} checkpoints compared ({kept} kept elsewhere)"
    if not found.faults:
        return f"The log is whole: {span}.\nhead {found.head}\n"
    return "".join(f"fault: {printable(fault)}\n" for fault in found.faults) + f"The log was changed: {span}.\n"


@audit.command()
@click.pass_obj
def checkpoint(target: Target, /) -> None:
    """Print the head of the log as it is now, signed. Keep it where nobody on the auth host can change it.

    Example: tctl audit checkpoint >> /mnt/elsewhere/checkpoints
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    write(ask(target, r.CHECKPOINT, m.Empty()).checkpoint)
