"""A plan for a person at a terminal: what changes, who gains and who loses, and what is worth a look."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from teleport.access.groups import Group
from teleport.access.impact import Change as Kind
from teleport.cli.plan.report import Report
from teleport.cli.plan.words import Words, counted, field_text, listed, plural
from teleport.core.output import printable
from teleport.gitops.plan import Change
from teleport.gitops.review import Violation

__all__ = ["HEADINGS", "summary", "tests_summary", "to_text", "unsaid_roles"]

_SIGNS: Final = {"create": "+", "update": "~", "delete": "-", "adopt": "»"}
_FIELDS: Final = 8
_GROUPS: Final = 25
"""Of each kind of change; the others are counted."""
_ROLES: Final = 3
"""Named in a summary; more are counted."""
_WIDTH: Final = 110

HEADINGS: Final[dict[Kind, tuple[str, str]]] = {
    "gained": ("Gained", "Nobody gains anything."),
    "lost": ("Lost", "Nobody loses anything."),
    "changed": ("Kept under other conditions", ""),
}


def to_text(report: Report) -> str:
    """The whole of it; the last paragraph is the answer in short."""
    parts = [_changes(report)]
    if not report.empty:
        parts += [*_impact(report), *_roles(report), *_partners(report)]
    parts += [*_tests(report), *_violations(report), *_warnings(report), *_notes(report)]
    if not report.empty:
        parts.append(summary(report))
    return "\n".join(part for part in parts if part)


def _changes(report: Report) -> str:
    plan = report.plan
    head = f"{report.title}, compared with {report.against}"
    if plan.empty:
        return f"{printable(head)}: nothing changes ({plural(plan.unchanged, 'object')}).\n"
    counts = counted([
        (plan.count("create"), "to create"), (plan.count("update"), "to update"), (plan.count("adopt"), "to adopt"),
        (plan.count("delete"), "to delete"), (plan.unchanged, "unchanged"), (len(plan.left_alone), "left alone"),
    ])  # fmt: skip
    lines = [f"{printable(head)}: {counts}", ""]
    for change in plan.changes:
        lines += _change(change)
    return "\n".join(lines) + "\n"


def _change(change: Change) -> Iterator[str]:
    place = change.origin.file + (f":{change.origin.line}" if change.origin.line else "")
    yield printable(f"  {_SIGNS[change.action]} {change.shown:<36}  {place}".rstrip())
    shown = [one for one in change.fields if change.action != "create" or one.path != "version"]
    for one in shown[:_FIELDS]:
        yield printable(f"      {one.path}: {field_text(one)}")
    if len(shown) > _FIELDS:
        yield f"      and {plural(len(shown) - _FIELDS, 'field')} more"


def _impact(report: Report) -> Iterator[str]:
    if not any(report.hosts):
        yield _paragraph(
            "No hosts are known, so nobody can be said to gain or lose anything. Name them with --inventory FILE"
            " (tctl policy inventory > fleet.yaml), or declare nodes."
        )
        return
    if not report.groups:
        count = max(len(hosts) for hosts in report.hosts)
        yield f"Nobody gains or loses anything on {plural(count, 'host')}.\n"
        return
    words = Words(report)
    for kind, (heading, nobody) in HEADINGS.items():
        groups = [one for one in report.groups if one.change == kind]
        if groups:
            yield "\n".join([heading, "", *_told(groups, words)])
        elif nobody:
            yield f"{nobody}\n"


def _told(groups: Sequence[Group], words: Words) -> Iterator[str]:
    for one in groups[:_GROUPS]:
        yield from _item(words.sentence(one), words.differences(one) or f"because {words.reason(one)}")
    if len(groups) > _GROUPS:
        rest = groups[_GROUPS:]
        people = {name for one in rest for name in one.people}
        who = plural(len(people), "person", "people")
        yield f"  and {plural(len(rest), 'smaller change')} for {who}: -o json has all\n"


def _item(text: str, detail: str) -> Iterator[str]:
    yield from _wrapped(f"  {printable(text)}", "    ")
    yield from _wrapped(f"      {printable(detail)}", "      ")
    yield ""


def _roles(report: Report) -> Iterator[str]:
    """What changes for whoever holds a role that nobody declared holds."""
    groups, unsaid = report.roles, unsaid_roles(report)
    if not groups and not unsaid:
        return
    words = Words(report)
    lines = ["Roles that nobody declared holds: for people who are known at login alone", ""]
    for one in groups[:_GROUPS]:
        lines += [*_wrapped(f"  {printable(words.role_sentence(one))}", "    "), ""]
    for text in unsaid.values():
        lines += [*_wrapped(f"  {printable(text)}", "    "), ""]
    yield "\n".join(lines)


def _partners(report: Report) -> Iterator[str]:
    """What changes for whoever holds a role of a cluster that is trusted."""
    if report.partner_groups:
        words, groups = Words(report), report.partner_groups
        lines = ["Roles of clusters that are trusted, each taken alone", ""]
        for one in groups[:_GROUPS]:
            lines += [*_wrapped(f"  {printable(words.partner_sentence(one))}", "    "), ""]
        if len(groups) > _GROUPS:
            lines += [f"  and {plural(len(groups) - _GROUPS, 'smaller change')}: -o json has all", ""]
        yield "\n".join(lines)


def unsaid_roles(report: Report) -> Mapping[str, str]:
    """Changed roles of which only their holders' traits could tell what changes, each with a sentence that says so."""
    told = {name for one in report.roles for name in one.people}
    changed = {one.name for one in report.plan.changes if one.kind == "role"}
    return {
        name: f"role/{name} changes; which hosts it opens depends on its holders' {listed(traits)}"
        for name, traits in report.unheld.depends.items()
        if traits and name in changed - told
    }


def _tests(report: Report) -> Iterator[str]:
    if report.tests:
        yield f"{tests_summary(report)}\n"


def tests_summary(report: Report) -> str:
    """How many tests and invariants hold under the change."""
    held = sum(one.passed for one in report.tests)
    whole = plural(len(report.tests), "test or invariant holds", "tests and invariants hold")
    return f"{whole}." if held == len(report.tests) else f"{held} of {whole}."


def _refusal(found: Violation) -> str:
    return printable(f"{found.guard}: {found.problem if found.problem.file else found.message}")


def _violations(report: Report) -> Iterator[str]:
    if report.violations:
        lines = [line for one in report.violations for line in _wrapped(f"  {_refusal(one)}", "    ")]
        yield "\n".join(["Refused", "", *lines, ""])


def _warnings(report: Report) -> Iterator[str]:
    new = [one.problem for one in report.warnings if one.new]
    old = len(report.warnings) - len(new)
    lines = [line for one in new for line in _wrapped(f"  {printable(str(one))}", "    ")]
    if old and new:
        lines.append(f"  {plural(old, 'earlier warning')}, of what does not change: -o json has all")
    if new:
        yield "\n".join(["Worth a look", "", *lines, ""])
    elif old and not report.empty:
        yield f"Nothing new is worth a look; {plural(old, 'earlier warning')}: -o json has all\n"


def _notes(report: Report) -> Iterator[str]:
    if report.notes:
        yield "\n".join(f"Note: {printable(one)}" for one in report.notes) + "\n"


def summary(report: Report) -> str:
    """Who gains and who loses, in one line."""
    if not any(report.hosts):
        return "In all: no hosts are known."
    told = []
    verbs: tuple[tuple[Kind, str], ...] = (("gained", "gain"), ("lost", "lose"))
    for kind, verb in verbs:
        total = report.totals[kind]
        if not total.people:
            told.append(f"nobody {verb}s")
            continue
        s = "s" if len(total.people) == 1 else ""
        logins = plural(total.pairs, "login")
        told.append(
            f"{plural(len(total.people), 'person', 'people')} {verb}{s} {logins} on {plural(len(total.hosts), 'host')}"
        )
    changed = report.totals["changed"]
    if changed.people:
        who = plural(len(changed.people), "person", "people")
        told.append(f"for {who} conditions change on {plural(len(changed.hosts), 'host')}")
    roles = sorted({*(name for one in report.roles for name in one.people), *unsaid_roles(report)})
    if roles:
        which = listed([f"role/{name}" for name in roles]) if len(roles) <= _ROLES else plural(len(roles), "role")
        told.append(f"access changes for holders of {which}, none of whom is declared")
    told += _told_of_partners(report)
    return f"In all: {'; '.join(told)}."


def _told_of_partners(report: Report) -> Iterator[str]:
    """How many roles of other clusters gain or lose."""
    verbs: tuple[tuple[Kind, str], ...] = (("gained", "gain"), ("lost", "lose"))
    for kind, verb in verbs:
        roles = {name for one in report.partner_groups if one.change == kind for name in one.people}
        if roles:
            s = "s" if len(roles) == 1 else ""
            yield f"{plural(len(roles), 'role of a trusted cluster', 'roles of trusted clusters')} {verb}{s}"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _paragraph(text: str) -> str:
    return "\n".join(_wrapped(text, "")) + "\n"
