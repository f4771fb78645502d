"""A plan for programs: complete, written piece by piece, because there may be millions of rows."""

import json
from collections.abc import Iterator
from typing import Any

from teleport.access.fleet import positions
from teleport.access.groups import CHANGES
from teleport.access.impact import Impact
from teleport.cli.plan.report import Report
from teleport.core.output import to_json
from teleport.gitops.review import Violation

__all__ = ["to_document"]


def to_document(report: Report) -> Iterator[str]:
    """One JSON object, in pieces. Tests and violations are those that were judged."""
    yield '{\n  "changes": ' + _text([change.to_dict() for change in report.plan.changes])
    yield ',\n  "unchanged": ' + str(report.plan.unchanged)
    yield ',\n  "left_alone": ' + _text([f"{kind}/{name}" for kind, name in report.plan.left_alone])
    yield ',\n  "impact": {\n    "rows": ['
    yield from _separated(_rows(report.impact))
    yield '],\n    "roles": ['
    yield from _separated(_rows(report.unheld.impact, named=False))
    yield '],\n    "partners": ['
    yield from _separated(_rows(report.partners.impact, named=False, holder="partner"))
    yield '],\n    "summary": ' + _text(_summary(report)).replace("\n", "\n  ") + "\n  }"
    yield ',\n  "tests": ' + _text([one.to_dict() for one in report.tests])
    yield ',\n  "violations": ' + _text([_violation(one) for one in report.violations])
    yield ',\n  "warnings": ' + _text([{**one.problem.to_wire(), "new": one.new} for one in report.warnings])
    yield ',\n  "notes": ' + _text(list(report.notes)) + "\n}\n"


def _violation(found: Violation) -> dict[str, Any]:
    place = {"file": found.problem.file, "line": found.problem.line} if found.problem.file else {}
    return {"guard": found.guard, "message": found.message, **place}


def _summary(report: Report) -> dict[str, Any]:
    totals: dict[str, Any] = {
        change: {
            "people": len(report.totals[change].people),
            "logins": report.totals[change].pairs,
            "hosts": len(report.totals[change].hosts),
        }
        for change in CHANGES
    }
    return {**totals, "hosts_known": len(report.hosts[1]), "users_known": len(report.after.users)}


def _rows(impact: Impact, *, named: bool = True, holder: str = "") -> Iterator[str]:
    """One row a user, login and host. Those who are not named hold a role that nobody declared holds.

    `holder` names the field that says which role of another cluster they hold.
    """
    for user, login, written, found in impact.effects():
        who = {"user": user, "login": login} if named else {**({holder: user} if holder else {}), "login": written}
        for role, conditions, hosts in found.blocks():
            head = {"change": found.change, **who, "kind": "node"}
            tail = {"role": role, "conditions": conditions}
            before, after = _line(head)[:-1], _line(tail)[1:]
            for position in positions(hosts):
                yield f'{before}, "resource": {_line(found.fleet.at(position).name)}, {after}'


def _separated(rows: Iterator[str]) -> Iterator[str]:
    first = True
    for row in rows:
        yield f"{'' if first else ','}\n      {row}"
        first = False
    if not first:
        yield "\n    "


def _line(value: Any) -> str:
    return json.dumps(value)


def _text(value: Any) -> str:
    return to_json(value).replace("\n", "\n  ")
