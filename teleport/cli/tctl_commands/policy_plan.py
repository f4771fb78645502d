"""`tctl policy plan` and `tctl policy inventory`: what a change would do, before it lands."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from teleport.cli.exits import ExitsWithOne
from teleport.cli.options import output_option
from teleport.cli.tctl import Target
from teleport.core.output import to_json, write

if TYPE_CHECKING:
    from teleport.cli.plan.report import Report
    from teleport.cli.plan.states import State

__all__ = ["inventory", "plan"]

NOTHING, CHANGES, REFUSED = 0, 2, 4


@click.command(cls=ExitsWithOne)
@click.argument("what", default=".", metavar="[DIR|GIT-REV]")
@click.option(
    "--against", default="live", show_default=True, metavar="live|DIR|GIT-REV", help="What it is compared with."
)
@click.option(
    "--inventory", "fleet", type=click.Path(path_type=Path), metavar="FILE",
    help="The hosts there are, as `tctl policy inventory` prints them.",
)  # fmt: skip
@click.option(
    "--source",
    default="",
    metavar="NAME",
    help="With live: which source of the cluster DIR stands for; * is all together.",
)
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE", help="The teleport.yaml that sets the guards."
)
@click.option("--max-people", type=click.IntRange(0), metavar="N", help="As the guards' max_people.")
@click.option("--max-pairs-percent", type=click.FloatRange(0, 100), metavar="P", help="As theirs.")
@output_option("text", "json", "markdown")
@click.pass_obj
def plan(target: Target, /, what: str, against: str, fleet: Path | None, source: str, form: str, **limits: Any) -> int:
    """Show what a change of policy would do: which objects change, who gains and who loses which login where.

    Compares a folder (the current one if none is named) or a git revision, REV or REV:PATH, with what a running
    cluster has in force, or with another folder or revision; then no cluster is needed. The hosts are those of the
    cluster, those of --inventory, or else the declared nodes. The guards are the usual ones, or those of --config.

    Exits with 0 if nothing changes, with 2 if something does, with 4 if a cluster would refuse it, and with 1 if
    something is wrong.

    Example: tctl policy plan policies --against origin/main --inventory fleet.yaml -o markdown
    """
    from teleport.resources.load import collection_paused

    with collection_paused():
        report = _report(target, (what, against), fleet, source, **limits)
        _write(report, form)
    return REFUSED if report.violations else NOTHING if report.empty else CHANGES


def _write(report: "Report", form: str) -> None:
    if form == "json":
        from teleport.cli.plan.document import to_document

        for piece in to_document(report):
            sys.stdout.write(piece)
    elif form == "markdown":
        from teleport.cli.plan.markdown import to_markdown

        write(to_markdown(report))
    else:
        from teleport.cli.plan.text import to_text

        write(to_text(report))


def _report(
    target: Target, sides: tuple[str, str], fleet: Path | None, source: str, *, config: Path | None, **limits: Any
) -> "Report":
    from teleport.cli.plan.guarded import guards
    from teleport.cli.plan.report import compared
    from teleport.cli.plan.states import LIVE, offline_state, read_inventory
    from teleport.resources.load import Loader

    what, against = sides
    loader, hosts = Loader(source="folder"), read_inventory(fleet) if fleet is not None else None
    checks = guards(config or target.config, **limits)
    old = _live(target, source) if against == LIVE else offline_state(against, what, loader)
    new = offline_state(what, against, loader)
    return compared(old, new, inventory=hosts, now=time.time(), checks=checks)


def _live(target: Target, source: str) -> "State":
    from teleport.cli.admin import administer
    from teleport.cli.connect import run
    from teleport.cli.plan.live import live_state

    async def ask() -> "State":
        async with administer(target) as client:
            return await live_state(client, source)

    return run(ask())


@click.command()
@output_option("yaml", "json")
@click.pass_obj
def inventory(target: Target, /, form: str) -> None:
    """Print the hosts of the cluster with their labels, as `tctl policy plan --inventory` reads them.

    These are the hosts that report themselves, with the labels they report. JSON is read much quicker than YAML.

    Example: tctl policy inventory > fleet.yaml
    """
    from teleport.api.models import Resource
    from teleport.cli.admin import administer
    from teleport.cli.connect import run
    from teleport.cli.documents import to_yaml
    from teleport.cli.plan.live import hosts_of

    async def ask() -> list[dict[str, Any]]:
        async with administer(target) as client:
            return await hosts_of(client)

    found = run(ask())
    write(to_json(found) if form == "json" else to_yaml(Resource(resource=one, source="api") for one in found))
