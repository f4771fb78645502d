"""`tctl policy break-glass`: which emergency changes are in force, and ending one."""

import time

import click

from teleport.cli.options import listed, output_option, split_ref
from teleport.cli.tctl import Target
from teleport.core.output import printable, table, to_json, write
from teleport.core.program import Group

__all__ = ["break_glass"]


@click.group("break-glass", cls=Group)
def break_glass() -> None:
    """Show and end emergency changes. `tctl edit KIND/NAME --break-glass` makes one."""


@break_glass.command("ls")
@output_option()
@click.pass_obj
def ls(target: Target, /, form: str) -> None:
    """List the emergency changes in force: what differs from what is declared, who did it, why and until when.

    Example: tctl policy break-glass ls
    """
    from teleport.cli.emergency import in_force, left

    rows = in_force(target)
    if form == "json":
        write(to_json([row.model_dump(mode="json") for row in rows]))
        return
    cells = [
        (f"{row.kind}/{row.name}", left(row, time.time()), row.actor, row.reason, listed(row.fields)) for row in rows
    ]
    write(table(("Resource", "In force", "By", "Reason", "Fields"), cells))


@break_glass.command("end")
@click.argument("what", metavar="KIND/NAME")
@click.pass_obj
def end(target: Target, /, what: str) -> None:
    """End an emergency change now: what is declared is in force again, and sessions that rested on it end.

    Example: tctl policy break-glass end role/dba
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    kind, name = split_ref(what)
    ask(target, r.END_EMERGENCY, m.EmergencyEnd(kind=kind, name=name))
    write(printable(f"{kind}/{name} is as it is declared"))
