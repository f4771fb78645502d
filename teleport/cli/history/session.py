"""The story of a session: its event in the audit log, and the rule that the event names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from teleport.api import history as h
from teleport.api import models as m
from teleport.api import routes as r
from teleport.cli.admin import ask
from teleport.cli.history.emergency import BEGUN, Emergency, at_session, concerning, source_of
from teleport.cli.history.means import Means
from teleport.cli.history.text import place_of
from teleport.core.errors import AccessDenied, BadInput, NotFound
from teleport.resources.values import parse_timestamp

if TYPE_CHECKING:
    from teleport.gitops.history.answers import History

__all__ = ["Story", "rule_text", "story_of"]

Event = Mapping[str, Any]

_TELLING: Final = ("session.start", "session.join", "session.rejected", "session.connect")
"""The events that name a rule, those that tell most of a session first."""
_PRESET: Final = "preset"


@dataclass(frozen=True)
class Story:
    """The event that tells why, how the session ended, the rule, and what was changed then for an emergency."""

    event: Event
    ended: str
    rule: h.RuleText
    emergencies: tuple[Emergency, ...]

    @property
    def place(self) -> h.RulePlace:
        """Where the rule is declared."""
        return source_of(place_of(self.event), f"role/{self.event.get('role')}", self.emergencies)

    def to_dict(self) -> dict[str, Any]:
        return {
            "session": dict(self.event), "ended": self.ended, "rule": self.rule.model_dump(mode="json"),
            "emergencies": [one.to_dict() for one in self.emergencies],
        }  # fmt: skip


def story_of(means: Means, session: str) -> Story:
    """All that is known of a session. Raises NotFound, BadInput."""
    event = _event(means, session)
    end = "client.disconnect" if event["event"] == "session.connect" else "session.end"
    endings = _search(means, end, str(event.get("sid", session)))
    ended = str(endings[-1].get("reason", "")) if endings else ""
    story = Story(event, ended, h.RuleText(), tuple(_emergencies(means, event)))
    return replace(story, rule=_rule_of(means, story.place, str(event["time"])))


def _emergencies(means: Means, event: Event) -> list[Emergency]:
    """What was changed for an emergency when the session began, of what it rests on."""
    begun = _search(means, BEGUN, "")
    if not begun:
        return []
    found = at_session(begun, _search(means, f"{BEGUN}.end", ""), str(event["time"]))
    refs = (f"role/{event.get('role')}", f"user/{event.get('user')}", f"node/{event.get('server_hostname')}")
    return concerning(found, refs)


def _rule_of(means: Means, place: h.RulePlace, time: str) -> h.RuleText:
    if not means.repository:
        return rule_text(means, place)
    moment = parse_timestamp(time)

    async def work(history: "History") -> h.RuleText:
        return await (history.text_before(place, moment) if not place.commit else _text(history, place))

    return means.locally(work)


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
            raise BadInput(
                f"several sessions begin with {session}, or are on that connection",
                hint=f"for example {', '.join(ids[:3])}",
            )
        if found:
            return found[0]
    raise NotFound(
        f"no session {session} is in the audit log, as far as you may read it",
        hint="tctl audit search --type session.start lists them",
    )


def _search(means: Means, event: str, session: str) -> Sequence[Event]:
    return ask(means.target, r.EVENTS, m.EventQuery(event=event, session=session)).events
