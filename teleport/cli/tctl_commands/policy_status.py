"""`tctl policy status`: what governs the cluster, what differs from it for a while, and who enforces it already."""

import time
from typing import TYPE_CHECKING, Any, Final

import click

from teleport.cli.options import listed, output_option, seconds
from teleport.cli.tctl import Target
from teleport.core.errors import BadInput, TeleportError, Unavailable, problem_from_wire
from teleport.core.output import complain, printable, table, to_json, write

if TYPE_CHECKING:
    from teleport.api import models as m
    from teleport.cli.standing import Standing

__all__ = ["status"]

_SHOWN: Final = 20
"""Problems and warnings of a source that people are shown."""
_POLL_SECONDS: Final = 0.5
_SHORT: Final = 2
"""Seconds that are not worth a number."""


@click.command()
@click.argument("what", nargs=-1, metavar="[KIND[/NAME]]...")
@click.option("--check", is_flag=True, help="Exit with 0 only if all of it is in force.")
@click.option("--wait", "commit", default="", metavar="COMMIT", help="Wait until a commit is in force everywhere.")
@click.option("--timeout", default="60s", show_default=True, metavar="TIME", help="With --wait: how long at most.")
@output_option()
@click.pass_obj
def status(target: Target, /, what: tuple[str, ...], check: bool, commit: str, timeout: str, form: str) -> int:
    """Show each source of policy, every problem of it, emergency changes, and the revision each service enforces.

    A stalled source has problems and changes nothing; the last good state stays in force. With KIND or KIND/NAME:
    of single objects the source, file, line, commit and revision, and the problems of their files.

    With --check or --wait it exits with 0 if all sources are ready, the commit (or a later one that contains it) is
    in force, and every connected service enforces it; with 4 if it is refused; with 5 if it is not in force yet, for
    --wait after the time is over; and with 1, 2 or 3 if something else is wrong.

    Example: tctl policy status --wait $(git rev-parse HEAD) --timeout 2m
    """
    if what and (check or commit):
        raise BadInput("--check and --wait are about the whole policy", hint="leave KIND/NAME out")
    if what:
        return _objects(target, what, form)
    found, ended = _waited(target, commit, seconds(timeout)) if commit else _now(target)
    if form == "json":
        write(to_json(found.model_dump(mode="json")))
    else:
        write(_text(found, time.time()))
    if not check and not commit:
        return 0
    told = [*ended.reasons, *(ended.problems if form == "json" else ())]
    if told:
        complain("tctl", TeleportError("\n".join(told)))
    return ended.status


def _now(target: Target) -> "tuple[m.PolicyStatus, Standing]":
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask
    from teleport.cli.standing import standing

    found = ask(target, r.POLICY_STATUS, m.Empty())
    return found, standing(found)


def _waited(target: Target, commit: str, limit: float) -> "tuple[m.PolicyStatus, Standing]":
    """Ask until it is clear, or the time is over. An auth service that is away for a moment is asked again."""
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask
    from teleport.cli.standing import WAITING, standing

    query = _query(commit)
    until = time.monotonic() + limit
    while True:
        try:
            known = ask(target, r.POLICY_COMMIT, query).sources
            found = ask(target, r.POLICY_STATUS, m.Empty())
            ended = standing(found, commit, known)
            if ended.status != WAITING or time.monotonic() >= until:
                return found, ended
        except Unavailable:
            if time.monotonic() >= until:
                raise
        time.sleep(max(0.0, min(_POLL_SECONDS, until - time.monotonic())))


def _query(commit: str) -> "m.CommitQuery":
    from pydantic import ValidationError

    from teleport.api import models as m

    try:
        return m.CommitQuery(commit=commit)
    except ValidationError:
        raise BadInput(f"{commit!r} is no commit", hint="write its name, or at least seven digits of it") from None


# -- of single objects


def _objects(target: Target, what: tuple[str, ...], form: str) -> int:
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import administer
    from teleport.cli.connect import run
    from teleport.cli.tctl_commands.get import fetch, wanted

    async def ask() -> "tuple[list[m.Resource], m.PolicyStatus]":
        async with administer(target) as client:
            found = [one for pair in wanted(what) for one in await fetch(client, pair)]
            return found, await client.call(r.POLICY_STATUS, m.Empty())

    found, policy = run(ask())
    sources = {one.name: one for one in policy.sources}
    rows = [_object(one, sources.get(one.source)) for one in found]
    if form == "json":
        write(to_json(rows))
        return 0
    heads = ("Object", "Source", "State", "Declared in", "Commit", "Revision")
    cells = [
        (f"{row['kind']}/{row['name']}", row["source"], row["state"] or "-", _declared(row), row["commit"][:12] or "-",
         str(row["revision"] or "-"))
        for row in rows
    ]  # fmt: skip
    write(table(heads, cells))
    problems = dict.fromkeys(_problem(one) for row in rows for one in row["problems"])
    for problem in problems:
        write(f"problem: {problem}")
    return 0


def _object(one: "m.Resource", source: "m.SourceStatus | None") -> dict[str, Any]:
    """What is in force of it; and what is wrong with its file as it was read last."""
    body = one.resource
    problems = source.problems if source is not None and one.file else ()
    return {
        "kind": body["kind"], "name": body["metadata"]["name"], "source": one.source,
        "state": source.state if source is not None else "", "file": one.file, "line": one.line, "commit": one.commit,
        "revision": one.revision, "problems": [problem for problem in problems if problem.get("file") == one.file],
    }  # fmt: skip


def _declared(row: dict[str, Any]) -> str:
    return f"{row['file']}:{row['line']}" if row["line"] else row["file"] or "-"


# -- for people


def _text(found: "m.PolicyStatus", now: float) -> str:
    from teleport.cli.emergency import lines

    parts = [f"Policy revision {found.revision}; {_enforced(found)}.\n"]
    parts += [_source(source, now) for source in found.sources]
    if not found.sources:
        parts.append("No folder or repository governs this cluster: see `policies` in teleport.yaml.\n")
    parts += lines(found.emergencies, now)
    rows = [
        (one.hostname, listed(one.roles), str(one.revision), _ago(one.last_seen, now), listed(one.problems))
        for one in found.services
    ]
    if rows:
        parts.append(table(("Service", "Roles", "Revision", "Seen", "Problems"), rows))
    return "\n".join(parts)


def _enforced(found: "m.PolicyStatus") -> str:
    if not found.services:
        return "no service is connected"
    if found.oldest_acknowledged >= found.revision:
        return "every connected service enforces it"
    return f"connected services enforce at least {found.oldest_acknowledged}"


def _source(source: "m.SourceStatus", now: float) -> str:
    since = f" for {_span(source.since, now)}" if source.since and now - source.since >= _SHORT else ""
    reason = f": {_REASONS.get(source.reason, source.reason)}" if source.state != "Ready" else ""
    place = source.place if source.place.startswith(f"{source.kind}+") else f"{source.kind} {source.place}"
    lines = [
        printable(f"{source.name} ({place})"),
        printable(f"  {source.state}{since}{reason}"),
        f"  {source.objects} object{'' if source.objects == 1 else 's'} at revision {source.revision},"
        f" applied {_ago(source.last_applied, now)}, looked at {_ago(source.last_seen, now)}",
    ]
    if source.applied_commit or source.attempted_commit:
        lines.append(
            f"  commit {source.applied_commit or 'none'} in force, {source.attempted_commit or 'none'} read last"
        )
    if source.ceiling is not None:
        lines.append("  below the ceiling that teleport.yaml gives it")
    if source.unapplied_since:
        lines.append(f"  what is newer has waited for {_span(source.unapplied_since, now)}")
    if source.state not in ("Ready", "Stalled") and source.message:
        lines.append(f"  because: {printable(source.message)}")
        if source.problems:
            lines.append("  what was read last is refused:")
    lines += _some("problem", source.problems)
    lines += _some("warning", source.warnings)
    return "\n".join(lines) + "\n"


_REASONS: Final = {
    "Invalid": "what is declared has problems; what was in force stays in force",
    "Emptied": "it is suddenly empty; what was in force stays in force",
    "Guarded": "a guard, test or invariant refuses it; what was in force stays in force",
    "Partial": "some of its objects are refused or wait; of these what was in force stays in force",
    "WentBack": "the branch went back; what was in force stays in force",
    "Unverified": "a commit is not signed as demanded; what was in force stays in force",
    "Unapproved": "the commit waits for an approval; what was in force stays in force",
    "Unreachable": "it cannot be read; what is in force stays, and it is tried again",
    "Failed": "it could not be applied, and is tried again; what was in force stays in force",
    "Applying": "what was read is being judged and applied",
    "Suspended": "nothing is read, applied or repaired; what was in force stays in force",
    "NotRead": "it is being read for the first time",
}
"""In words; the word itself is for programs."""


def _some(word: str, bodies: "tuple[dict[str, Any], ...]") -> list[str]:
    left = len(bodies) - _SHOWN
    more = [f"  {left} more {word}{'' if left == 1 else 's'}: -o json has all"] if left > 0 else []
    return [*(f"  {word}: {_problem(one)}" for one in bodies[:_SHOWN]), *more]


def _problem(body: dict[str, Any]) -> str:
    return printable(str(problem_from_wire(body)))


def _ago(when: float, now: float) -> str:
    """A moment in the past, roughly."""
    if not when:
        return "never"
    return f"{_span(when, now)} ago" if now - when >= _SHORT else "just now"


def _span(since: float, now: float) -> str:
    age = max(0, int(now - since))
    if age < _SHORT:
        return "a moment"
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if age >= 2 * size:
            return f"{age // size} {unit}"
    return f"{age} seconds"
