"""The story of a session: its event in the audit log, and the rule that the event names."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from teleport.api import history as h
from teleport.api import models as m
from teleport.api import routes as r
from teleport.cli.admin import ask
from teleport.cli.history.means import Means
from teleport.cli.history.text import place_of
from teleport.core.errors import AccessDenied, BadInput, NotFound
from teleport.resources.values import parse_timestamp

if TYPE_CHECKING:
    from teleport.gitops.history.answers import History

__all__ = ["rule_text", "story_of"]

Event = Mapping[str, Any]

_TELLING: Final = ("session.start", "session.join", "session.rejected")
"""The events that name a rule, those that tell most of a session first."""
_PRESET: Final = "preset"


def story_of(means: Means, session: str) -> tuple[Event, str, h.RuleText]:
    """The event that tells why, how the session ended, and the rule. Raises NotFound, BadInput."""
    event = _event(means, session)
    endings = _search(means, "session.end", str(event.get("sid", session)))
    ended = str(endings[-1].get("reason", "")) if endings else ""
    place = place_of(event)
    if not means.repository:
        return event, ended, rule_text(means, place)
    moment = parse_timestamp(str(event["time"]))

    async def work(history: "History") -> h.RuleText:
        return await (history.text_before(place, moment) if not place.commit else _text(history, place))

    return event, ended, means.locally(work)


async def _text(history: "History", place: h.RulePlace) -> h.RuleText:
    return (await history.text(place))[0]


def rule_text(means: Means, place: h.RulePlace) -> h.RuleText:
    """What the cluster tells of a place; what it does not is in the note."""
    if not place.file:
        return h.RuleText()
    if place.source == _PRESET:
        return h.RuleText(note="every cluster has this role")
    if place.commit.startswith("generation-"):
        return h.RuleText(note="a manifest of Kubernetes; whoever keeps these in git can say who wrote it")
    if not place.commit:
        return h.RuleText(note="that source has no commits; if its folder is kept in git, name it by --repository")
    try:
        return ask(means.target, r.RULE_TEXT, place)
    except (AccessDenied, NotFound) as error:
        return h.RuleText(note=error.message)


def _event(means: Means, session: str) -> Event:
    for event in _TELLING:
        found = _search(means, event, session)
        ids = sorted({str(one.get("sid", "")) for one in found})
        if len(ids) > 1:
            raise BadInput(f"several sessions begin with {session}", hint=f"for example {', '.join(ids[:3])}")
        if found:
            return found[0]
    raise NotFound(
        f"no session {session} is in the audit log, as far as you may read it",
        hint="tctl audit search --type session.start lists them",
    )


def _search(means: Means, event: str, session: str) -> Sequence[Event]:
    return ask(means.target, r.EVENTS, m.EventQuery(event=event, session=session)).events
