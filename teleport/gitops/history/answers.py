"""Answers to what people ask of the past, in the words of the API: for command lines, and for a cluster's mirror.

Who may ask is not known here.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Final

from teleport.access.decide import place_of
from teleport.access.people import host_named, people
from teleport.access.snapshot import Snapshot, compile_snapshot
from teleport.api import history as h
from teleport.core.errors import BadInput, NotFound
from teleport.gitops.history.branch import Around, Branch, State
from teleport.gitops.history.commits import Notes
from teleport.gitops.history.objects import ObjectChange, changes_of
from teleport.gitops.history.rule import document_at
from teleport.gitops.history.spans import Judged, Question, Tables, follow, spans_of
from teleport.gitops.history.steps import Line, Step
from teleport.gitops.history.telling import change_told, note_told, skipped_told, span_told
from teleport.gitops.history.walk import Moment
from teleport.resources.kinds import AnyResource, shown
from teleport.resources.nouns import nearest

__all__ = ["History"]

_MOST_NOTES: Final = 200
"""Commits of one answer of which more than their names is told."""
_MOST_SKIPPED: Final = 50
_SHALLOW: Final = "this clone begins with that commit; an earlier one may have written it"

Stop = Callable[[], bool]


def _never() -> bool:
    return False


class History:
    """What a branch says about the past. `stop` of a question ends it early, with Unavailable."""

    def __init__(self, branch: Branch, notes: Notes, around: Around) -> None:
        self._branch, self._notes, self._around = branch, notes, around

    async def changes(self, query: h.ObjectQuery, *, stop: Stop = _never) -> h.ObjectHistory:
        """Each commit that changed an object. Raises NotFound if none did."""
        ref, line = (query.kind, query.name), await self._branch.line(query.limit)
        skipped: list[h.Skipped] = []

        def work() -> list[ObjectChange]:
            return list(changes_of(_noting(self._moments(line, stop), skipped), ref))

        found = await asyncio.to_thread(work)
        if not found:
            raise NotFound(f"{query.kind}/{shown(*ref)} was never declared {_there(line)}")
        notes = await self._notes.of(one.commit for one in found[-_MOST_NOTES:])
        return h.ObjectHistory(
            kind=query.kind, name=shown(*ref), changes=tuple(change_told(one, notes) for one in reversed(found)),
            skipped=tuple(skipped), complete=line.base is None,
        )  # fmt: skip

    async def since(self, asked: h.SinceQuestion, *, now: float, stop: Stop = _never) -> h.SinceAnswer:
        """When somebody was allowed, from which commit to which. Raises BadInput if nobody knows user or host."""
        line = await self._branch.line(asked.limit)
        question = Question(asked.user, asked.login, asked.node, self._around.hosts)
        skipped: list[h.Skipped] = []

        def work() -> list[Judged]:
            last = _Last()
            judged = list(follow(last.of(_noting(self._moments(line, stop), skipped)), question, self._around.beside))
            snapshot = compile_snapshot(Tables((*self._around.beside, *last.resources.values())))
            if not any(one.decision.allowed for one in judged):
                self._demand_known(snapshot, asked)
            return [*judged, Judged(Step("", now), question.decide(snapshot, now=now))]

        judged = await asyncio.to_thread(work)
        spans = spans_of(judged)
        ends = [one.step.commit for span in spans for one in (span.since, span.until) if one is not None]
        notes = await self._notes.of([one for one in ends if one][-_MOST_NOTES:])
        return h.SinceAnswer(
            user=asked.user, login=asked.login, node=asked.node, now=h.Verdict.of(judged[-1].decision),
            spans=tuple(span_told(span, notes) for span in spans), skipped=tuple(skipped),
            complete=line.base is None,
        )  # fmt: skip

    async def people(self, asked: h.PeopleQuery, *, now: float) -> h.People:
        """Who reached a host at a commit or a time."""
        state, moment = await self._state(asked.at, now)
        target = host_named(asked.node, state.snapshot.nodes, self._around.hosts)
        if target is None:
            raise _no_host(asked.node, state.snapshot)
        found = await asyncio.to_thread(people, state.snapshot, target, login=asked.login, now=moment)
        return h.People(
            node=target.name, at=await self._note(state.commit.id), skipped=state.skipped,
            people=tuple(h.Person(**asdict(one)) for one in found),
        )  # fmt: skip

    async def explain(self, asked: h.ExplainQuestion, *, at: str = "", now: float) -> h.ExplainAnswer:
        """One decision, with the commit that wrote its rule."""
        state, moment = await self._state(at, now)
        self._demand_known(state.snapshot, asked)
        decision = Question(asked.user, asked.login, asked.node, self._around.hosts).decide(state.snapshot, now=moment)
        verdict = h.Verdict.of(decision)
        held = h.RulePlace(**place_of(state.snapshot.users[asked.user].origin, ("spec", "roles")))
        place = await self._with_commit(verdict.place, state)
        return h.ExplainAnswer(
            user=asked.user, login=asked.login, node=asked.node,
            verdict=verdict.model_copy(update={"place": place}), held=await self._with_commit(held, state),
            at=await self._note(state.commit.id), skipped=state.skipped,
        )  # fmt: skip

    async def text(self, place: h.RulePlace) -> tuple[h.RuleText, AnyResource | None]:
        """The document that a place is in, and what it declares; only of commits that lead to what is in force."""
        if not place.commit or not await self._branch.contains(place.commit):
            return h.RuleText(note="its commit is not in the history of what is in force"), None
        note = await self._note(place.commit)
        data = await self._branch.file(place.commit, place.file)
        found = document_at(data, place.line, file=place.file) if data is not None else None
        if found is None:
            return h.RuleText(commit=note, note="the file has no such line at that commit"), None
        reach = _SHALLOW if await self._branch.begins_with(place.commit) else ""
        text = h.RuleText(commit=note, first_line=found.first, text="\n".join(found.lines), note=reach)
        return text, found.resource

    async def text_before(self, place: h.RulePlace, moment: float) -> h.RuleText:
        """The same of a place without a commit: as the file was written last before a time."""
        commit = await self._branch.changed_before(place.file, moment)
        if not commit:
            return h.RuleText(note=f"the repository had no {place.file} then")
        found, _ = await self.text(place.model_copy(update={"commit": commit}))
        return found.model_copy(update={"note": found.note or "as this repository had it then"})

    # -- what they rest on

    def _moments(self, line: Line, stop: Stop) -> Iterator[Moment]:
        return self._branch.walk(line, self._around, stop)

    async def _state(self, at: str, now: float) -> tuple[State, float]:
        """The state that is meant, and the time to judge it at: the one named, or that of the commit named."""
        if not at:
            return await self._branch.state(self._branch.head.id, self._around), now
        commit, moment = await self._branch.meant(at, now)
        state = await self._branch.state(commit, self._around)
        return state, state.when if moment is None else moment

    async def _with_commit(self, place: h.RulePlace, state: State) -> h.RulePlace:
        """A place in this repository, and the commit that wrote its file."""
        if not place.file or place.source != self._branch.source:
            return place
        commit = await self._branch.written_by(state.commit.id, place.file)
        return place.model_copy(update={"commit": commit})

    def _demand_known(self, snapshot: Snapshot, asked: h.ExplainQuestion) -> None:
        """A misspelt name must not look like a denial. Raises BadInput."""
        if asked.user not in snapshot.users:
            likely = nearest(asked.user, snapshot.users)
            raise BadInput(f"no user {asked.user} is declared", hint=f"did you mean {likely}?" if likely else "")
        if host_named(asked.node, snapshot.nodes, self._around.hosts) is None:
            raise _no_host(asked.node, snapshot)

    async def _note(self, commit: str) -> h.CommitNote:
        return note_told((await self._notes.of([commit]))[commit])


class _Last:
    """What was in force after the last moment that went by."""

    def __init__(self) -> None:
        self.resources: Mapping[tuple[str, str], AnyResource] = {}

    def of(self, moments: Iterable[Moment]) -> Iterator[Moment]:
        for moment in moments:
            self.resources = moment.resources
            yield moment


def _noting(moments: Iterable[Moment], skipped: list[h.Skipped]) -> Iterator[Moment]:
    """Keeps the commits that did not hold, the newest of them."""
    for moment in moments:
        if moment.problems:
            skipped.append(skipped_told(moment.step, moment.problems))
            del skipped[:-_MOST_SKIPPED]
        yield moment


def _there(line: Line) -> str:
    return f"in the last {len(line.steps)} commits" if line.base is not None else "in this history"


def _no_host(name: str, snapshot: Snapshot) -> BadInput:
    likely = nearest(name, snapshot.nodes)
    hint = f"did you mean {likely}?" if likely else "hosts that are not declared are named by --inventory FILE"
    return BadInput(f"no host {name} is known", hint=hint)
