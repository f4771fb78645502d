"""What was found, in the words of the API. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from teleport.api import history as h
from teleport.core.aio import utc
from teleport.core.errors import Problem
from teleport.gitops.history.commits import CommitNote
from teleport.gitops.history.objects import ObjectChange
from teleport.gitops.history.spans import Span
from teleport.gitops.history.steps import Step

__all__ = ["change_told", "note_told", "skipped_told", "span_told"]

_LATEST: Final = 253402300799.0
_LONGEST: Final = 500

Notes = Mapping[str, CommitNote]


def note_told(note: CommitNote) -> h.CommitNote:
    return h.CommitNote(
        id=note.id, author=note.author, authored=utc(min(max(note.authored, 0.0), _LATEST)), subject=note.subject,
        signature=note.signature, signer=note.signer,
    )  # fmt: skip


def skipped_told(step: Step, problems: Sequence[Problem]) -> h.Skipped:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return h.Skipped(commit=step.commit, problem=f"{problems[0]}{more}"[:_LONGEST])


def change_told(change: ObjectChange, notes: Notes) -> h.ObjectChange:
    return h.ObjectChange(
        action=change.action, commit=_noted(change.commit, notes),
        in_force=change.in_force if change.in_force != change.commit else "",
        file=change.file, line=change.line, fields=tuple(one.to_dict() for one in change.fields),
    )  # fmt: skip


def span_told(span: Span, notes: Notes) -> h.Span:
    until = span.until
    return h.Span(
        since=_noted(span.since.step.commit, notes) if span.since.step.commit else None,
        verdict=h.Verdict.of(span.since.decision),
        or_earlier=span.since.base,
        until=_noted(until.step.commit, notes) if until is not None and until.step.commit else None,
        over=until is not None,
        ended_by=until.decision.reasons if until is not None else (),
    )


def _noted(commit: str, notes: Notes) -> h.CommitNote:
    """Of many commits, not all are read."""
    found = notes.get(commit)
    return note_told(found) if found is not None else h.CommitNote(id=commit)
