"""`tctl policy suspend` and `resume`: nothing of a source is applied or repaired meanwhile."""

import click

from teleport.cli.options import output_option
from teleport.cli.tctl import Target
from teleport.core.output import printable, to_json, write

__all__ = ["resume", "suspend"]


@click.command()
@click.argument("source", default="", metavar="[SOURCE]")
@click.option("--reason", required=True, metavar="TEXT", help="Why; status and the audit log show it.")
@output_option()
@click.pass_obj
def suspend(target: Target, /, source: str, reason: str, form: str) -> None:
    """Suspend a source of policy, or all of them: what is in force stays, and nothing is applied or repaired.

    It holds over restarts, until `tctl policy resume`. What is written through the API is no such source: its kinds
    are closed in teleport.yaml.

    Example: tctl policy suspend team-b --reason "their repository was broken into"
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    _tell(ask(target, r.SUSPEND, m.SuspendRequest(source=source, reason=reason)).sources, "is suspended", form)


@click.command()
@click.argument("source", default="", metavar="[SOURCE]")
@output_option()
@click.pass_obj
def resume(target: Target, /, source: str, form: str) -> None:
    """Let a suspended source of policy go on, or all that are suspended: what they declare now is applied.

    Example: tctl policy resume team-b
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    _tell(ask(target, r.RESUME, m.ResumeRequest(source=source)).sources, "goes on", form)


def _tell(sources: tuple[str, ...], what: str, form: str) -> None:
    if form == "json":
        write(to_json({"sources": list(sources)}))
    else:
        write("\n".join(printable(f"source {name} {what}") for name in sources))
