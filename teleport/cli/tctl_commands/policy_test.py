"""`tctl policy test`: judge the tests and invariants of a folder, without a cluster."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teleport.cli.exits import ExitsWithOne
from teleport.cli.options import output_option
from teleport.core.output import write

if TYPE_CHECKING:
    from teleport.gitops.policytest import Outcome

__all__ = ["test"]

PASSED, REFUSED = 0, 4


@click.command(cls=ExitsWithOne)
@click.argument("what", default=".", metavar="[DIR|GIT-REV]")
@click.option(
    "--inventory", "fleet", type=click.Path(path_type=Path), metavar="FILE",
    help="The hosts there are, as `tctl policy inventory` prints them.",
)  # fmt: skip
@output_option("text", "json", "junit")
def test(what: str, fleet: Path | None, form: str) -> int:
    """Judge the tests and invariants of a folder, or of a git revision, as a cluster does before it applies one.

    No cluster is needed. The hosts are the declared nodes, and those of --inventory.

    Exits with 0 if all of them hold, with 4 if one does not, and with 1 if something is wrong.

    Example: tctl policy test policies --inventory fleet.yaml -o junit > tests.xml
    """
    from teleport.cli import promises

    found = _outcomes(what, fleet)
    write({"text": promises.to_text, "json": promises.to_document, "junit": promises.to_junit}[form](what, found))
    return PASSED if all(one.passed for one in found) else REFUSED


def _outcomes(what: str, fleet: Path | None) -> "Sequence[Outcome]":
    from teleport.access.inventory import declared_hosts, known_hosts
    from teleport.access.judge import judge
    from teleport.access.snapshot import Declared, compile_snapshot
    from teleport.cli.plan.states import offline_state, read_inventory
    from teleport.core.errors import Invalid
    from teleport.gitops.policytest import State, outcomes
    from teleport.resources.load import Loader, collection_paused

    with collection_paused():
        inventory = read_inventory(fleet) if fleet is not None else None
        state = offline_state(what, ".", Loader(source="folder"))
        judgement = judge([*state.resources, *state.loaded.remnants], broken=state.loaded.broken)
        problems = {*state.problems, *judgement.problems}
        if problems:
            raise Invalid(tuple(sorted(problems)))
        snapshot = compile_snapshot(Declared(state.resources))
        hosts = declared_hosts(snapshot.nodes) if inventory is None else known_hosts(inventory, snapshot.nodes)
        policy = State({(one.kind, one.name): one for one in state.resources}, snapshot, hosts)
        return outcomes(policy, policy.promises.values(), now=time.time())
