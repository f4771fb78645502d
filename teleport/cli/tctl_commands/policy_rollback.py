"""`tctl policy accept-rollback`: lets a source follow a branch that went back or was rewritten."""

import click

from teleport.cli.options import output_option
from teleport.cli.tctl import Target
from teleport.core.output import printable, to_json, write

__all__ = ["accept_rollback"]


@click.command("accept-rollback")
@click.argument("commit", metavar="COMMIT")
@click.option("--reason", required=True, metavar="TEXT", help="Why; the audit log keeps it.")
@click.option("--source", default="", metavar="NAME", help="Which source, where several have commits.")
@output_option()
@click.pass_obj
def accept_rollback(target: Target, /, commit: str, reason: str, source: str, form: str) -> None:
    """Let a source go to a commit that does not contain the last one applied.

    A cluster refuses a branch that went back or was rewritten, since whoever can do that brings back what was
    revoked. Only the commit that is refused now can be accepted, once; `tctl policy status` names it. Signatures are
    demanded all the same. To undo a change without any of this, revert it by a new commit.

    Example: tctl policy accept-rollback 3f2c9ab --reason "history was rewritten to drop a file"
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    answer = ask(target, r.ACCEPT_ROLLBACK, m.RollbackRequest(commit=commit, reason=reason, source=source))
    if form == "json":
        write(to_json(answer.model_dump(mode="json")))
    else:
        write(printable(f"source {answer.source} may go to commit {answer.commit}"))
