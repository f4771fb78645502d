"""What is worth telling others about the policy, and in which words. Pure.

A transition is told once: what was told of a source is a value that is compared with what the source is now. A message
names sources, commits and counts; what may name people, hosts or files is apart, for those who are configured to have
it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from teleport.audit.events import CATALOGUE, BreakGlass
from teleport.gitops.loop import SourceState
from teleport.service.notifications import WORDS, Word

__all__ = ["CommitState", "Notice", "Told", "of_event", "of_state", "word_of"]

CommitState = Literal["pending", "success", "failure", "error"]

_PREFIX: Final = "policy."
_PROBLEMS: Final = 20
_LONGEST: Final = 2000
_BEGUN: Final = "somebody changed a declared resource for an emergency, past its source"
_REFUSED: Final = "an emergency change, past the source of a resource, was tried and refused"
_PUBLIC: Final = ("event", "code", "source", "commit", "revision", "created", "updated", "deleted", "guard", "count")
"""Fields of events that name neither people nor hosts; lists among them are counted, for what they list may."""


@dataclass(frozen=True)
class Notice:
    """One message, before it is known who gets it."""

    word: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    private: Mapping[str, Any] = field(default_factory=dict)
    """Only for receivers with `details`."""
    id: str = ""
    """The event's own, so that one that is written twice is known to be the same; empty for transitions."""

    def body(self, *, id_: str, time: str, cluster: str, details: bool) -> bytes:
        """As it is sent: a JSON object, whose `text` chat programs show."""
        told = {"id": id_, "time": time, "cluster": cluster, "notice": self.word, "text": f"{cluster}: {self.text}"}
        more = {"details": dict(self.private)} if details and self.private else {}
        return json.dumps({**told, **self.facts, **more}, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Told:
    """What was told of a source last."""

    stalled: str = ""
    """Why and at which commit it was told to be stalled; empty if it is not, as far as anybody was told."""
    commit: str = ""
    state: str = ""
    """What the forge shows of that commit."""


def of_state(told: Told, state: SourceState) -> tuple[Told, list[Notice], tuple[str, CommitState] | None]:
    """What is to be told now, and of which commit the forge is to show what."""
    stalled, notices = told.stalled, list[Notice]()
    if state.state == "Stalled":
        stalled = f"{state.reason} {state.attempted_commit}".strip()
        if stalled != told.stalled:
            notices.append(_stalled(state))
    elif state.state == "Ready" and stalled:
        stalled = ""
        notices.append(_recovered(state))
    shown = _shown(state)
    if shown is None or shown == (told.commit, told.state):
        return Told(stalled, told.commit, told.state), notices, None
    return Told(stalled, *shown), notices, shown


def of_event(event: Mapping[str, Any]) -> Notice | None:
    """A message about an event of the audit log; nothing for events that nobody waits for."""
    word = word_of(str(event.get("event", "")))
    if word is None or word == "stalled":
        return None
    facts = {name: _counted(event[name]) for name in _PUBLIC if name in event}
    source = f" of source {event['source']}" if event.get("source") else ""
    commit = f" at commit {str(event['commit'])[:12]}" if event.get("commit") else ""
    private = {key: value for key, value in event.items() if key not in ("seq", "prev") and facts.get(key) != value}
    return Notice(word, f"{_text(event)} ({word}{source}{commit})", facts, private, str(event.get("uid", "")))


def _text(event: Mapping[str, Any]) -> str:
    """What an event means; an emergency change that was refused is no emergency change."""
    name = str(event["event"])
    if name == BreakGlass.event and "success" in event:
        return _BEGUN if event["success"] else _REFUSED
    known = CATALOGUE.get(name)
    return known.summary if known is not None else name


def _counted(value: Any) -> Any:
    return len(value) if isinstance(value, list | tuple) else value


def word_of(event: str) -> Word | None:
    """`applied` for `policy.applied`; a word also stands for what begins with it: `policy.rollback_accepted`."""
    if not event.startswith(_PREFIX):
        return None
    rest = event.removeprefix(_PREFIX)
    return next((word for word in WORDS if rest == word or rest.startswith((f"{word}_", f"{word}."))), None)


def _shown(state: SourceState) -> tuple[str, CommitState] | None:
    if state.state == "Ready":
        found: CommitState = "success"
    elif state.state == "Stalled":
        found = "failure"
    elif state.reason in ("Applying", "Failed"):
        found = "pending" if state.reason == "Applying" else "error"
    else:
        return None
    commit = state.applied_commit if found == "success" else state.attempted_commit
    if not commit or (found != "success" and commit == state.applied_commit):
        return None
    return commit, found


def _stalled(state: SourceState) -> Notice:
    commit = f" at commit {state.attempted_commit[:12]}" if state.attempted_commit else ""
    count = len(state.problems)
    problems = f"{count} problem{'' if count == 1 else 's'}"
    text = f"source {state.name} is stalled{commit}: {state.reason}, {problems}; the last good state stays in force"
    texts = [str(one)[:_LONGEST] for one in state.problems[:_PROBLEMS]]
    return Notice("stalled", text, dict(_facts(state), problems=count), {"problems": texts, "place": state.place})


def _recovered(state: SourceState) -> Notice:
    commit = f", commit {state.applied_commit[:12]}" if state.applied_commit else ""
    text = f"source {state.name} is in force again: {state.objects} objects at revision {state.revision}{commit}"
    return Notice("recovered", text, dict(_facts(state), objects=state.objects), {"place": state.place})


def _facts(state: SourceState) -> Iterator[tuple[str, Any]]:
    yield from {
        "source": state.name, "state": state.state, "reason": state.reason, "revision": state.revision,
        "commit": state.attempted_commit, "applied_commit": state.applied_commit,
    }.items()  # fmt: skip
