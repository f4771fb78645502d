"""`tctl policy approve`: a second person for what a guard refuses."""

import click

from teleport.cli.options import output_option
from teleport.cli.tctl import Target
from teleport.core.output import printable, to_json, write

__all__ = ["approve"]


@click.command()
@click.option("--guard", required=True, metavar="GUARD", help="Which guard refuses it.")
@click.option(
    "--source", default="", metavar="NAME", help="Of which source; `api` for what is written through the API."
)
@click.option("--proposal", default="", metavar="ID", help="Exactly which, as the refusal names it.")
@click.option("--reason", default="", metavar="TEXT", help="Why; the audit log keeps it.")
@output_option()
@click.pass_obj
def approve(target: Target, /, guard: str, source: str, proposal: str, reason: str, form: str) -> None:
    """Approve of a change that a guard refuses, as somebody else than who made it.

    The approval holds for exactly the change that was refused, once, and for a day; it does not count if you gain by
    the change. A folder is read again at once; what was refused of the API has to be written again. Changes that are
    signed are overridden by a signed tag instead: `tctl policy status` shows which.

    Example: tctl policy approve --guard people --proposal 3f2c9ab01d --reason "team data moves to the other cluster"
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    request = m.ApprovalRequest(guard=guard, source=source, proposal=proposal, reason=reason)
    answer = ask(target, r.APPROVE, request)
    if form == "json":
        write(to_json(answer.model_dump(mode="json")))
    else:
        write(printable(f"approved, though {answer.finding} (source {answer.source}, proposal {answer.proposal})"))
