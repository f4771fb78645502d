"""The past of policy in words, for people. All of it comes from elsewhere, so nothing drives the terminal."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from teleport.api import history as h
from teleport.cli.options import listed
from teleport.cli.plan.words import field_text
from teleport.core.output import printable, table
from teleport.gitops.fields import FieldChange

if TYPE_CHECKING:
    from teleport.cli.history.emergency import Emergency
    from teleport.cli.history.session import Story

__all__ = ["Explained", "changes_text", "explained_text", "people_text", "since_text", "story_text"]

_LINES: Final = 40
"""Lines of a rule's text that are shown around the one that decided."""
_FIELDS: Final = 20
_SPANS: Final = 10
_SHORT: Final = 12

_SIGNATURES: Final[Mapping[str, str]] = {
    "unsigned": "not signed",
    "refused": "signed, but by no allowed signer",
    "unchecked": "signed, but nobody says here who may sign",
}


def story_text(story: "Story") -> str:
    """A session, by what the audit log says of it, and the rule behind it."""
    event, place, emergencies = story.event, story.place, story.emergencies
    verdict = "denied" if event["event"] == "session.rejected" else "allowed"
    deed = {
        "session.join": "looked on at a session as",
        "session.rejected": "asked to log in as",
        "session.connect": "was let through to log in as",
    }.get(str(event["event"]), "logged in as")
    lines = [
        f"{verdict}: {event.get('user', '')} {deed} {event.get('login', '')} on {event.get('server_hostname', '')}"
    ]
    session = f"session {event['sid']}, " if event.get("sid") else ""
    lines.append(f"  {session}{event.get('time', '')}, from {event.get('addr.remote', 'an unknown address')}")
    if verdict == "denied":
        lines.append(f"  {event.get('reason', '')}")
    role = str(event.get("role", ""))
    lines += _changed(emergencies)
    if place.file:
        lines += _place(place, f"role/{role}, " if role else "", declared=f"role/{role}" in _refs(emergencies))
    elif role:
        lines.append(f"  role/{role}")
    lines += _author(story.rule, place)
    if event["event"] == "session.connect":
        lines.append("  the rest is in the log of the host's own cluster, by the same id")
    if story.ended:
        lines.append(f"  ended: {story.ended}")
    return _shown([*lines, *_rule(story.rule, place.line if place.column else 0)])


def place_of(event: Mapping[str, Any]) -> h.RulePlace:
    """The place that an event names."""
    return h.RulePlace(
        source=str(event.get("source", "")), file=str(event.get("file", "")), line=int(event.get("line", 0)),
        column=int(event.get("column", 0)), commit=str(event.get("commit", "")),
    )  # fmt: skip


@dataclass(frozen=True)
class Explained:
    """An answer, the texts that it rests on, and what of that is changed for an emergency."""

    answer: h.ExplainAnswer
    rule: h.RuleText
    held: h.RuleText
    emergencies: tuple["Emergency", ...] = ()


def explained_text(found: Explained) -> str:
    answer, emergencies = found.answer, found.emergencies
    verdict, place, refs = answer.verdict, answer.verdict.place, _refs(emergencies)
    may = "may" if verdict.allowed else "may not"
    lines = [
        f"{'allowed' if verdict.allowed else 'denied'}: {answer.user} {may} log in as {answer.login} on {answer.node}"
    ]
    lines += [f"  {reason}" for reason in verdict.reasons]
    lines += _changed(emergencies)
    lines += [*_place(place, declared=f"role/{verdict.role}" in refs), *_author(found.rule, place)]
    if answer.held.file:
        told = f"the roles of {answer.user} are {'declared' if f'user/{answer.user}' in refs else 'given'} "
        lines += [*_place(answer.held, told), *_author(found.held, answer.held)]
    return _shown([*lines, *_rule(found.rule, place.line if place.column else 0), *_skipped(answer.skipped)])


def since_text(answer: h.SinceAnswer) -> str:
    asked = f"{answer.user} {{}}log in as {answer.login} on {answer.node}"
    spans = answer.spans
    current = spans[-1] if spans and not spans[-1].over else None
    if current is not None:
        lines = [f"allowed since {_begin(current)}: {asked.format('may ')}", *_of(current.since)]
        lines += [f"  {reason}" for reason in current.verdict.reasons]
    else:
        lines = [f"denied: {asked.format('may not ')}", *(f"  {reason}" for reason in answer.now.reasons)]
    past = [one for one in spans if one is not current]
    if past:
        lines += ["", "It was allowed before:" if current is not None else "It was allowed:"]
        lines += [f"  and {len(past) - _SPANS} times more"] if len(past) > _SPANS else []
        lines += [f"  from {_begin(one)} to {_end(one)} ({'; '.join(one.ended_by)})" for one in past[-_SPANS:]]
    if not spans and answer.complete:
        lines.append("  it never was allowed")
    return _shown([*lines, *_incomplete(answer.complete), *_skipped(answer.skipped)])


def changes_text(answer: h.ObjectHistory) -> str:
    lines: list[str] = []
    for change in answer.changes:
        word = "there already at" if change.action == "there" else f"{change.action} by"
        lines += [f"{word} {_commit(change.commit)}", *_of(change.commit)]
        if change.in_force:
            lines.append(f"  in force with {change.in_force[:_SHORT]}: before that, the policy did not hold")
        lines.append(f"  {'was ' if change.action == 'deleted' else ''}at {change.file}:{change.line}")
        lines += [
            f"    {one['path']}: {field_text(FieldChange(one['path'], one['old'], one['new']))}"
            for one in change.fields[:_FIELDS]
        ]
        if len(change.fields) > _FIELDS:
            lines.append(f"    and {len(change.fields) - _FIELDS} fields more")
        lines.append("")
    return _shown([*lines[:-1], *_incomplete(answer.complete), *_skipped(answer.skipped)])


def people_text(answer: h.People) -> str:
    rows = [(one.user or f"holders of {one.partner}", listed(one.logins), one.role) for one in answer.people]
    head = _shown([f"On {answer.node}, by {_commit(answer.at)}:"])
    return f"{head}{table(('User', 'Logins', 'Role'), rows)}{_shown(_skipped(answer.skipped))}"


# -- pieces


def _place(place: h.RulePlace, what: str = "", *, declared: bool = False) -> Iterator[str]:
    """`declared`: it is in force otherwise than it is declared there."""
    if place.file:
        at = ":".join(str(one) for one in (place.file, place.line, place.column) if one)
        source = f" of the source {place.source}" if place.source else ""
        yield f"  {what}{'declared otherwise ' if declared else ''}at {at}{source}"


def _refs(emergencies: Sequence["Emergency"]) -> set[str]:
    return {one.ref for one in emergencies}


def _changed(emergencies: Sequence["Emergency"]) -> Iterator[str]:
    """What is in force past what is declared, and by whom."""
    for one in emergencies:
        yield f"  {one.ref} is changed for an emergency by {one.actor} until {one.until}: {one.reason}"
        told = [f"{change.path}: {field_text(change)}" for change in one.changes] or one.fields
        yield from (f"    {text}" for text in told[:_FIELDS])


def _author(rule: h.RuleText, place: h.RulePlace) -> Iterator[str]:
    if rule.commit is not None:
        yield f"  commit {rule.commit.id}{f', {rule.commit.authored}' if rule.commit.authored else ''}"
        yield from (f"  {line}" for line in _of(rule.commit))
    elif place.commit.startswith("generation-"):
        yield f"  {place.commit.replace('-', ' ')} of the manifest"
    elif place.commit:
        yield f"  commit {place.commit}"
    if rule.note:
        yield f"  ({rule.note})"


def _of(note: h.CommitNote | None) -> Iterator[str]:
    """What a commit says of itself, and who signed it."""
    if note is not None and note.author:
        yield f"  {note.subject}"
        signed = f"signed by {note.signer}" if note.signature == "verified" else _SIGNATURES[note.signature]
        yield f"  by {note.author}, {signed}"


def _commit(note: h.CommitNote) -> str:
    return f"commit {note.id[:_SHORT]}, {note.authored}" if note.authored else f"commit {note.id[:_SHORT]}"


def _begin(span: h.Span) -> str:
    if span.since is None:
        return "something expired"
    return f"{_commit(span.since)}{' or earlier' if span.or_earlier else ''}"


def _end(span: h.Span) -> str:
    return _commit(span.until) if span.until is not None else "when something expired"


def _rule(rule: h.RuleText, line: int) -> Iterator[str]:
    """The lines around the one that decided, which is marked."""
    if not rule.text:
        return
    yield ""
    lines = list(enumerate(rule.text.split("\n"), start=rule.first_line))
    begin = max(0, min(line - rule.first_line - _LINES // 2, len(lines) - _LINES))
    width = len(str(lines[-1][0]))
    if begin:
        yield "  …"
    for number, text in lines[begin : begin + _LINES]:
        yield f"{'>' if number == line else ' '} {number:>{width}} | {text}".rstrip()
    if begin + _LINES < len(lines):
        yield "  …"


def _skipped(skipped: Sequence[h.Skipped]) -> Iterator[str]:
    if skipped:
        yield ""
        yield "Never in force by itself, because it does not hold:"
        yield from (f"  commit {one.commit[:_SHORT]}: {one.problem}" for one in skipped)


def _incomplete(complete: bool) -> Iterator[str]:
    if not complete:
        yield ""
        yield "What was before the oldest commit that was read is not known; --limit reads more,"
        yield "and in a shallow clone `git fetch --unshallow`."


def _shown(lines: Iterable[str]) -> str:
    return "".join(f"{printable(line)}\n" for line in lines)
