"""`tctl rm`: delete resources that no other source declares."""

import click

from teleport.cli.options import split_ref
from teleport.cli.tctl import Target
from teleport.core.output import printable, write

__all__ = ["rm"]


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME...")
@click.pass_obj
def rm(target: Target, /, what: tuple[str, ...]) -> None:
    """Delete resources, one after another; the first that cannot be deleted ends it.

    What a folder declares can only be deleted there. A deleted user loses password, second factor and live sessions.
    A host that joined is cut off and locked for good.

    Example: tctl rm role/dev user/ann
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import administer
    from teleport.cli.connect import run

    refs = [split_ref(text) for text in what]

    async def delete() -> None:
        async with administer(target) as client:
            for kind, name in refs:
                await client.call(r.DELETE, m.ResourceName(kind=kind, name=name))
                write(f"{kind}/{printable(name)} deleted")

    run(delete())
