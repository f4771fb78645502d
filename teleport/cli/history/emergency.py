"""Emergency changes behind a decision: by the audit log those that were in force at a moment, or those of now.

What they lay over is a declaration like any other, with a place and a commit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from teleport.api import history as h
from teleport.api import models as m
from teleport.api import routes as r
from teleport.cli.admin import ask
from teleport.core.aio import utc
from teleport.core.errors import AccessDenied
from teleport.gitops.fields import FieldChange, differing

__all__ = ["BEGUN", "Emergency", "at_session", "concerning", "in_force", "source_of"]

BEGUN: Final = "policy.break_glass"
_ENDED: Final = "policy.break_glass.end"
_BREAK_GLASS: Final = "break-glass"
"""The source that rules are shown with that an emergency changed."""

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Emergency:
    """Who changed what over which declaration, why, and until when."""

    ref: str
    actor: str
    reason: str
    until: str
    fields: tuple[str, ...]
    changes: tuple[FieldChange, ...]
    """The same with the values, where they may be told."""
    place: h.RulePlace
    """Of the declaration beneath."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "ref": self.ref, "actor": self.actor, "reason": self.reason, "until": self.until,
            "fields": list(self.fields), "changes": [one.to_dict() for one in self.changes],
            "declared": self.place.model_dump(mode="json"),
        }  # fmt: skip


def source_of(place: h.RulePlace, ref: str, emergencies: Iterable[Emergency]) -> h.RulePlace:
    """Where a rule is declared that may be in force otherwise for a while: no commit wrote it as it is in force."""
    found = next((one for one in emergencies if one.ref == ref), None)
    return found.place if found is not None and place.source == _BREAK_GLASS else place


def concerning(emergencies: Iterable[Emergency], refs: Sequence[str]) -> list[Emergency]:
    return [one for one in emergencies if one.ref in refs]


def in_force(target: Any) -> list[Emergency]:
    """Those of now; none where they may not be read."""
    try:
        rows = ask(target, r.EMERGENCIES, m.Empty()).emergencies
    except AccessDenied:
        return []
    return [_of_row(row) for row in rows]


def at_session(events: Sequence[Event], ended: Sequence[Event], moment: str) -> list[Emergency]:
    """Those in force at a moment, by the events that began and ended emergency changes, oldest first."""
    over = {str(one.get("id")) for one in ended if str(one.get("time")) <= moment}
    current: dict[str, Event] = {}
    for event in events:
        if event.get("success") and str(event.get("time")) <= moment:
            current[str(event.get("name"))] = event  # a later one of an object takes the place of an earlier one
    counting = (one for one in current.values() if str(one.get("id")) not in over)
    return [_of_event(one) for one in counting if str(one.get("expires")) > moment]


def _of_event(event: Event) -> Emergency:
    changes = (FieldChange(one["path"], one.get("old"), one.get("new")) for one in event.get("changes", ()))
    place = h.RulePlace(
        source=str(event.get("source", "")), file=str(event.get("file", "")), line=int(event.get("line", 0)),
        commit=str(event.get("commit", "")),
    )  # fmt: skip
    return Emergency(
        str(event.get("name")), str(event.get("user")), str(event.get("reason")), str(event.get("expires")),
        tuple(map(str, event.get("fields", ()))), tuple(changes), place,
    )  # fmt: skip


def _of_row(row: m.EmergencyRow) -> Emergency:
    known = row.beneath is not None and row.resource is not None
    place = h.RulePlace(source=row.source, file=row.file, line=row.line, commit=row.commit)
    return Emergency(
        f"{row.kind}/{row.name}", row.actor, row.reason, utc(row.expires), row.fields,
        tuple(differing(row.beneath, row.resource)) if known else (), place,
    )  # fmt: skip
