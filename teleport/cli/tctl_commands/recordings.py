"""`tctl recordings`: the recorded sessions that the caller may list."""

import click

from teleport.cli.options import output_option
from teleport.cli.tctl import Target
from teleport.core.program import Group

__all__ = ["recordings"]


@click.group(cls=Group)
def recordings() -> None:
    """List recorded sessions; `tsh play` replays them."""


@recordings.command()
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, 100_000), help="The newest so many.")
@output_option()
@click.pass_obj
def ls(target: Target, /, limit: int, form: str) -> None:
    """List recorded sessions, newest first.

    Example: tctl recordings ls -o json
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask
    from teleport.cli.recordings import show

    show(ask(target, r.RECORDINGS, m.RecordingQuery(limit=limit)).recordings, form)
