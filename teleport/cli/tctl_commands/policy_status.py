"""`tctl policy status`: what governs the cluster, what differs from it for a while, and who enforces it already."""

import time
from typing import TYPE_CHECKING, Any

import click

from teleport.cli.options import listed, output_option
from teleport.cli.tctl import Target
from teleport.core.errors import problem_from_wire
from teleport.core.output import printable, table, to_json, write

if TYPE_CHECKING:
    from teleport.api import models as m

__all__ = ["status"]


@click.command()
@output_option()
@click.pass_obj
def status(target: Target, /, form: str) -> None:
    """Show each source of policy, every problem of it, emergency changes, and the revision each service enforces.

    A stalled source has problems and changes nothing; the last good state stays in force.

    Example: tctl policy status -o json
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask

    found = ask(target, r.POLICY_STATUS, m.Empty())
    if form == "json":
        write(to_json(found.model_dump(mode="json")))
    else:
        write(_text(found, time.time()))


def _text(found: "m.PolicyStatus", now: float) -> str:
    from teleport.cli.emergency import lines

    parts = [f"Policy revision {found.revision}; every service enforces at least {found.oldest_acknowledged}.\n"]
    parts += [_source(source, now) for source in found.sources]
    parts += lines(found.emergencies, now)
    rows = [
        (one.hostname, listed(one.roles), str(one.revision), _ago(one.last_seen, now), listed(one.problems))
        for one in found.services
    ]
    parts.append(table(("Service", "Roles", "Revision", "Seen", "Problems"), rows))
    return "\n".join(parts)


def _source(source: "m.SourceStatus", now: float) -> str:
    head = f"{source.name} ({source.kind} {source.place}): {source.state}"
    lines = [
        printable(head),
        f"  {source.objects} objects at revision {source.revision}, applied {_ago(source.last_applied, now)},"
        f" looked at {_ago(source.last_seen, now)}",
    ]
    if source.applied_commit or source.attempted_commit:
        lines.append(
            f"  commit {source.applied_commit or 'none'} in force, {source.attempted_commit or 'none'} read last"
        )
    if source.ceiling is not None:
        lines.append("  below the ceiling that teleport.yaml gives it")
    if source.message and not source.problems:
        lines.append(f"  {printable(source.message)}")
    lines += [f"  problem: {_problem(one)}" for one in source.problems]
    lines += [f"  warning: {_problem(one)}" for one in source.warnings]
    return "\n".join(lines) + "\n"


def _problem(body: dict[str, Any]) -> str:
    return printable(str(problem_from_wire(body)))


def _ago(when: float, now: float) -> str:
    """A moment in the past, roughly."""
    if not when:
        return "never"
    age = max(0, int(now - when))
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if age >= 2 * size:
            return f"{age // size} {unit} ago"
    return f"{age} seconds ago" if age > 1 else "just now"
