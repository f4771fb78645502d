"""`tctl policy history`: each commit that changed an object, and what in it."""

from typing import Any

import click

from teleport.cli.history.means import Means, history_options
from teleport.cli.options import output_option, split_ref
from teleport.cli.tctl import Target
from teleport.core.output import to_json, write

__all__ = ["history"]


@click.command()
@click.argument("ref", metavar="KIND/NAME")
@click.option(
    "--limit", default=10_000, show_default=True, type=click.IntRange(1, 10_000),
    help="Read so many commits that changed policy, the newest.",
)  # fmt: skip
@click.option("--source", default="", metavar="NAME", help="With --live: which source, where several have commits.")
@history_options
@output_option()
@click.pass_obj
def history(target: Target, /, ref: str, limit: int, source: str, form: str, **where: Any) -> None:
    """Show each commit that changed an object, the newest first: author, signer, subject and the fields that changed.

    Reads the repository around the current folder, or asks the running cluster with --live. Where an object stands,
    and the order of lists, is no change.

    Example: tctl policy history role/dev
    """
    from teleport.api import history as h
    from teleport.api import routes as r
    from teleport.cli.history.text import changes_text

    kind, name = split_ref(ref)
    query = h.ObjectQuery(kind=kind, name=name, limit=limit, source=source)
    answer = Means(target, **where).ask(r.OBJECT_HISTORY, query, lambda past, asked: past.changes(asked))
    write(to_json(answer.model_dump(mode="json")) if form == "json" else changes_text(answer))
