"""`tctl policy adopt`: lets a source take over what belongs to the API or to another source."""

import click

from teleport.cli.options import output_option
from teleport.cli.tctl import Target
from teleport.core.errors import BadInput
from teleport.core.output import printable, to_json, write

__all__ = ["adopt"]


@click.command()
@click.argument("resource", metavar="KIND/NAME")
@click.option("--source", required=True, metavar="NAME", help="The source that is to own it; it must declare it.")
@output_option()
@click.pass_obj
def adopt(target: Target, /, resource: str, source: str, form: str) -> None:
    """Let a source take over an object that belongs to the API or to another source.

    The source must declare it already, and is stalled for that; the other source must not declare it any more. Both
    ceilings hold. A source without a ceiling takes over from the API by itself what it labels
    `teleport.dev/adopt: "true"`.

    Example: tctl policy adopt role/dev --source team-b
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    kind, _, name = resource.partition("/")
    if not kind or not name:
        raise BadInput(f"{resource} names no resource", hint="write KIND/NAME, as role/dev")
    answer = ask(target, r.ADOPT, m.AdoptRequest(kind=kind, name=name, source=source))
    if form == "json":
        write(to_json(answer.model_dump(mode="json")))
    else:
        write(printable(f"source {answer.source} may take over {answer.resource} from {answer.before}"))
