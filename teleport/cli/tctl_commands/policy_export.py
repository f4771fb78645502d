"""`tctl policy export`: what a cluster has in force, as a folder to govern it from, proved to be the same."""

import shlex
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from teleport.cli.options import output_option
from teleport.cli.tctl import Target
from teleport.core.errors import BadInput, Refused
from teleport.core.output import printable, to_json, write

if TYPE_CHECKING:
    from teleport.cli.plan.states import State
    from teleport.resources.kinds import AnyResource

__all__ = ["export"]

_API: Final = "api"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--all", "everything", is_flag=True, help="Everything in force, whichever source declares it.")
@click.option("--source", default="", metavar="NAME", help="What this source declares; `api` is tctl and the API.")
@output_option()
@click.pass_obj
def export(target: Target, /, folder: Path, everything: bool, source: str, form: str) -> None:
    """Write what a cluster has in force into a folder: a file an object, a folder a kind.

    Then the folder is compared with the cluster as `tctl policy plan DIR` does it, and it is said that nothing would
    change. Secrets are left out, and named: join tokens among them. DIR is new, empty, or an earlier export that nobody
    has changed since; that is brought up to date. What you may not read is not exported.

    Example: tctl policy export --all policies
    """
    from teleport.cli.export import check_free, texts, write_export
    from teleport.cli.plan.live import EVERY

    if everything == bool(source):
        raise BadInput("say what to export", hint="either --all or --source NAME")
    check_free(folder)
    state, left_out = _in_force(target, EVERY if everything else source)
    if state.unreadable:
        first, why = next(iter(state.unreadable.items()))
        raise Refused(f"{first} cannot be read by this tctl: {why}", hint="export with a tctl as new as the cluster")
    wanted = [one for one in state.resources if (one.kind, one.name) not in state.others]
    write_export(folder, texts(wanted))
    _prove(state, folder)
    counts = Counter(one.kind for one in wanted)
    if form == "json":
        write(to_json({"objects": len(wanted), "kinds": counts, "left_out": left_out, "proved": True}))
        return
    for what in left_out:
        write(f"left out: {printable(what)} (a secret)")
    write(f"exported {len(wanted)} objects to {printable(str(folder))}")
    command = printable(shlex.join(["tctl", "policy", "plan", str(folder), *_as_whom(wanted, source)]))
    write(f"proved: compared with the running cluster, `{command}` changes nothing")
    by_hand = sum(one.origin.source == _API for one in wanted) if everything else 0
    if by_hand:
        write(f"made by hand: {by_hand} of them, which a folder or repository takes over with `tctl policy adopt`")


def _as_whom(wanted: "Sequence[AnyResource]", source: str) -> Sequence[str]:
    """What else `plan` has to know to compare like with like."""
    from teleport.cli.plan.live import EVERY

    owners = {one.origin.source for one in wanted}
    if source:
        return ("--source", source)
    return ("--source", EVERY) if len(owners) > 1 or owners == {_API} else ()


def _prove(state: "State", folder: Path) -> None:
    """Raises Refused if the folder would change anything."""
    from teleport.cli.plan.report import compared
    from teleport.cli.plan.states import offline_state
    from teleport.resources.load import Loader

    made = compared(
        state, offline_state(str(folder), "", Loader(source="folder")), inventory=None, now=time.time()
    ).plan
    if not made.empty:
        changes = ", ".join(f"{one.action} {one.shown}" for one in made.changes[:5])
        raise Refused(f"the export is not the same as what is in force: {changes}", hint="do not govern by it")


def _in_force(target: Target, source: str) -> tuple["State", Sequence[str]]:
    """What is in force, and what of it is secret, by names that may be printed."""
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import administer
    from teleport.cli.connect import run
    from teleport.cli.documents import name_of
    from teleport.cli.plan.live import live_state
    from teleport.resources.kinds import KINDS

    async def ask() -> tuple["State", Sequence[str]]:
        async with administer(target) as client:
            secret = [kind for kind, cls in KINDS.items() if cls.secret]
            rows = [(kind, await client.call(r.RESOURCES, m.ResourceQuery(kind=kind))) for kind in secret]
            left_out = [f"{kind}/{name_of(one)}" for kind, found in rows for one in found.resources]
            return await live_state(client, source), left_out

    return run(ask())
