"""`tctl policy`: validate and plan before a cluster reads it, and show what governs a cluster."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teleport.cli.options import output_option
from teleport.cli.tctl_commands.policy_adopt import adopt
from teleport.cli.tctl_commands.policy_approve import approve
from teleport.cli.tctl_commands.policy_break_glass import break_glass
from teleport.cli.tctl_commands.policy_export import export
from teleport.cli.tctl_commands.policy_fmt import fmt
from teleport.cli.tctl_commands.policy_history import history
from teleport.cli.tctl_commands.policy_new import new, schemas
from teleport.cli.tctl_commands.policy_patch import patch
from teleport.cli.tctl_commands.policy_plan import inventory, plan
from teleport.cli.tctl_commands.policy_rollback import accept_rollback
from teleport.cli.tctl_commands.policy_status import status
from teleport.cli.tctl_commands.policy_suspend import resume, suspend
from teleport.cli.tctl_commands.policy_test import test
from teleport.core.errors import Invalid
from teleport.core.output import printable, to_json, write
from teleport.core.program import Group

if TYPE_CHECKING:
    from teleport.cli.offline import Review

__all__ = ["policy"]


@click.group(cls=Group)
def policy() -> None:
    """Validate and test policy, show what a change of it would do, and what governs the cluster."""


policy.add_command(accept_rollback)
policy.add_command(adopt)
policy.add_command(approve)
policy.add_command(export)
policy.add_command(fmt)
policy.add_command(history)
policy.add_command(inventory)
policy.add_command(new)
policy.add_command(break_glass)
policy.add_command(inventory)
policy.add_command(patch)
policy.add_command(plan)
policy.add_command(resume)
policy.add_command(schemas)
policy.add_command(status)
policy.add_command(suspend)
policy.add_command(test)


@policy.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@output_option()
def validate(folder: Path, form: str) -> int:
    """Judge a folder as a cluster would: every problem of every file. No cluster needed.

    Exits with 0 if a cluster would accept it, with 2 if not. Warnings, about what is right and yet surprises people,
    change nothing about that.

    Example: tctl policy validate policies
    """
    from teleport.cli.offline import review

    found = review(folder)
    if form == "json":
        write(to_json(_report(found)))
        return Invalid.exit_status if found.problems else 0
    for warning in found.warnings:
        write(f"tctl: warning: {printable(str(warning))}", stream=sys.stderr)
    if found.problems:
        raise Invalid(found.problems)
    write(f"{printable(str(folder))} is valid: {_counted(found)}")
    return 0


def _report(found: "Review") -> dict[str, object]:
    return {
        "valid": not found.problems,
        "resources": len(found.resources),
        "problems": [one.to_wire() for one in found.problems],
        "warnings": [one.to_wire() for one in found.warnings],
    }


def _counted(found: "Review") -> str:
    kinds = Counter(one.kind for one in found.resources)
    return (
        ", ".join(f"{count} {kind if count == 1 else f'{kind}s'}" for kind, count in sorted(kinds.items())) or "empty"
    )
