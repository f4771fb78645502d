"""A plan for a pull request: the answer first, tables to open, never more than a comment can hold.

Everything that somebody wrote stands in code spans: there it formats nothing, mentions nobody and links nowhere.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from teleport.cli.plan.report import Report
from teleport.cli.plan.text import HEADINGS, summary, tests_summary, unsaid_roles
from teleport.cli.plan.words import Words, field_text, plural
from teleport.core.output import printable

__all__ = ["MAX_BYTES", "to_markdown"]

MAX_BYTES: Final = 60_000
_ROWS: Final = (500, 100, 25, 5, 0)
"""Rows of a table, fewer and fewer until all of it fits."""
_CELL: Final = 300


def to_markdown(report: Report) -> str:
    """At most `MAX_BYTES`; what is left out is counted, and the way to all of it is named."""
    for rows in _ROWS:
        text = "\n".join(_parts(report, rows))
        if len(text.encode()) <= MAX_BYTES:
            return text
    return f"{_head(report)}\n\n{_POINTER}\n"


_POINTER: Final = "Too much to show here: `tctl policy plan -o json` has all of it."


def _parts(report: Report, rows: int) -> Iterator[str]:
    yield f"{_head(report)}\n"
    for one in report.violations:
        yield f"- **Refused:** {one.guard}: {_code(str(one.problem) if one.problem.file else one.message)}"
    if report.tests:
        yield f"- {tests_summary(report)}"
    yield from _changes(report, rows)
    if any(report.hosts):
        yield from _impact(report, rows)
    new = [one.problem for one in report.warnings if one.new]
    if new:
        cells = [(_code(str(one)),) for one in new]
        yield from _table(plural(len(new), "new warning"), ("worth a look",), cells, rows)
    for note in report.notes:
        yield f"- {_code(note)}"


def _head(report: Report) -> str:
    plan = report.plan
    title = f"### Access: {_code(report.title)} compared with {_code(report.against)}"
    if plan.empty:
        return f"{title}\n\n**Nothing changes.**"
    return f"{title}\n\n**{summary(report)}**"


def _changes(report: Report, rows: int) -> Iterator[str]:
    cells = [
        (change.action, _code(change.shown), _code(one.path) if one else "", _code(field_text(one)) if one else "")
        for change in report.plan.changes
        for one in (change.fields or (None,))
    ]
    if cells:
        head = plural(len(report.plan.changes), "object changes", "objects change")
        yield from _table(head, ("", "object", "field", "change"), cells, rows)


def _impact(report: Report, rows: int) -> Iterator[str]:
    words = Words(report)
    for kind, (heading, _) in HEADINGS.items():
        groups, total = [one for one in report.groups if one.change == kind], report.totals[kind]
        cells = []
        for one in groups[:rows]:
            who, names = words.people(one.people)
            why = words.differences(one) or words.reason(one)
            demands = " with a second factor" if ("mfa", "required") in one.demands else ""
            where = words.where(one.found(report.impact)) + demands
            told = f"{_code(who)}: {_code(names)}" if names else _code(who)
            cells.append((told, _code(words.logins(one)), _code(where), _code(why)))
        if groups:
            who = plural(len(total.people), "person", "people")
            head = f"{heading}: {who}, {plural(len(total.hosts), 'host')}"
            yield from _table(head, ("who", "logins", "hosts", "why"), cells, rows, of=len(groups), opened=True)
    unsaid = [(_code(text),) for text in unsaid_roles(report).values()]
    if report.roles or unsaid:
        told_roles = [*((_code(words.role_sentence(one)),) for one in report.roles[:rows]), *unsaid]
        count = len(report.roles) + len(unsaid)
        head = "Roles that nobody declared holds"
        yield from _table(head, ("role",), told_roles, rows, of=count, opened=True)
    if report.partner_groups:
        told_partners = [(_code(words.partner_sentence(one)),) for one in report.partner_groups[:rows]]
        head = "Roles of clusters that are trusted"
        yield from _table(head, ("role",), told_partners, rows, of=len(report.partner_groups), opened=True)


def _table(
    head: str, columns: Sequence[str], cells: Sequence[Sequence[str]], rows: int, *, of: int = 0, opened: bool = False
) -> Iterator[str]:
    """A table that opens and closes; a blank line before it makes it one."""
    shown, left = cells[:rows], max(of, len(cells)) - min(rows, len(cells))
    yield f"<details{' open' if opened else ''}><summary>{head}</summary>\n"
    if shown:
        yield f"| {' | '.join(columns)} |"
        yield f"|{' --- |' * len(columns)}"
        yield from (f"| {' | '.join(row)} |" for row in shown)
    if left:
        yield f"\n{left} more: `tctl policy plan -o json` has all of it."
    yield "\n</details>\n"


def _code(text: str) -> str:
    """A text that means only itself, whatever is in it."""
    if not text:
        return ""
    safe = printable(text).replace("`", "'").replace("|", "\\|").replace("<", "‹").replace(">", "›")
    return f"`{safe if len(safe) <= _CELL else safe[: _CELL - 1] + '…'}`"
