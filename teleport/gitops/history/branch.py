"""One folder of one repository, as far as a commit: its history, the policy in force at some moment, single files.

Of a mirror, what was left with the server is fetched when it is needed; of any other clone, all of it must be there.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from teleport.access.judge import judge
from teleport.access.snapshot import Snapshot, compile_snapshot
from teleport.api import history as h
from teleport.core.errors import BadInput, NotFound, Problem
from teleport.gitops.history.spans import Tables
from teleport.gitops.history.steps import GONE, Line, commit_at, cut_off, last_change, read_line
from teleport.gitops.history.telling import skipped_told
from teleport.gitops.history.walk import Moment, walk
from teleport.gitops.mirror import Mirror
from teleport.gitops.revision import Commit, Entry, Repository, choose
from teleport.gitops.tree import SUFFIXES
from teleport.resources.kinds import AnyResource
from teleport.resources.load import Loader
from teleport.resources.node import Node
from teleport.resources.values import parse_duration, parse_timestamp

__all__ = ["Around", "Branch", "State"]

_TRIES: Final = 200
"""Commits that are looked at for one that holds."""
_LINK: Final = "120000"
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_DAYS: Final = re.compile(r"(\d{1,6})d")


@dataclass(frozen=True)
class Around:
    """What counts besides the repository: hosts that report themselves, and what other sources declare."""

    hosts: tuple[Node, ...] = ()
    beside: tuple[AnyResource, ...] = ()


@dataclass(frozen=True)
class State:
    """What was in force at a commit: by this one, if it holds, or by an earlier one."""

    commit: Commit
    when: float
    snapshot: Snapshot
    skipped: tuple[h.Skipped, ...]


@dataclass(frozen=True)
class Branch:
    """See the module. Whatever is asked for must be contained in `head`."""

    repository: Repository
    head: Commit
    source: str = ""
    mirror: Mirror | None = None

    def walk(self, line: Line, around: Around, stop: Callable[[], bool]) -> Iterator[Moment]:
        return walk(self.repository, self.head, line, source=self.source, beside=around.beside, stop=stop)

    async def line(self, limit: int) -> Line:
        """The last so many commits, with everything that is needed to walk them."""
        line = await asyncio.to_thread(read_line, self.repository, self.head, limit)
        if self.mirror is not None:
            if line.base is not None:
                await self._bring(line.base.commit, await self._entries(line.base.commit))
            wanted = _wanted(entry for step in line.steps for entry in step.entries)
            since = line.base.commit if line.base is not None else ""
            await self.mirror.complete_line(since, self.head.id, self.head.path, wanted)
        return line

    async def meant(self, text: str, now: float) -> tuple[str, float | None]:
        """The commit that somebody means by a revision or a time; with the time, if it was one."""
        return await asyncio.to_thread(self._meant, text, now)

    async def state(self, commit: str, around: Around) -> State:
        """What was in force at a commit. Raises NotFound if no commit up to it holds."""
        line = await asyncio.to_thread(read_line, self.repository, Commit(commit, self.head.path), _TRIES)
        skipped: list[h.Skipped] = []
        for step in reversed([*([line.base] if line.base is not None else []), *line.steps]):
            await self._bring(step.commit, await self._entries(step.commit))
            here = Commit(step.commit, self.head.path)
            resources, problems = await asyncio.to_thread(self._read, here, around)
            if not problems:
                snapshot = compile_snapshot(Tables((*around.beside, *resources)))
                return State(here, step.when, snapshot, tuple(skipped))
            skipped.append(skipped_told(step, problems))
        where = f"in {self.head.path}" if self.head.path else "there"
        why = f": {skipped[0].problem}" if skipped else ""
        raise NotFound(f"no commit up to {commit[:12]} has a policy that holds {where}{why}")

    async def file(self, commit: str, name: str) -> bytes | None:
        """A policy file of a commit, links followed as in a folder."""
        entries = {one.name: one for one in await self._entries(commit)}
        links = [one for one in entries.values() if one.mode == _LINK]
        targets = {one.name: (await self._blob(commit, one) or b"").decode(errors="replace") for one in links}
        chosen = dict(choose(entries, targets)[0])
        return await self._blob(commit, chosen[name]) if name in chosen else None

    async def written_by(self, commit: str, file: str) -> str:
        """The commit that changed a file last, up to one; nothing if none did."""
        return await asyncio.to_thread(last_change, self.repository, Commit(commit, self.head.path), file)

    async def changed_before(self, file: str, moment: float) -> str:
        """The commit that changed a file last, of those that say they were made by then; nothing if none did."""
        try:
            commit = await asyncio.to_thread(commit_at, self.repository, self.head, moment)
        except BadInput:
            return ""
        return await self.written_by(commit, file)

    async def begins_with(self, commit: str) -> bool:
        """Whether a clone reaches back to a commit and no further, though others were before."""
        begin = await asyncio.to_thread(cut_off, self.repository, self.head)
        return begin is not None and begin.commit == commit

    async def contains(self, commit: str) -> bool:
        return await asyncio.to_thread(self._contains, commit)

    # -- reading

    def _meant(self, text: str, now: float) -> tuple[str, float | None]:
        try:
            commit = self.repository.commit(text).id
        except BadInput:
            moment = _moment(text, now)
            return commit_at(self.repository, self.head, moment), moment
        if not self._contains(commit):
            raise BadInput(f"{text} is not in the history of {self.head.id[:12]}", hint=_EXAMPLES)
        return commit, None

    def _contains(self, commit: str) -> bool:
        try:
            self.repository.ask("merge-base", "--is-ancestor", commit, self.head.id)
        except BadInput:
            return False
        return True

    def _read(self, commit: Commit, around: Around) -> tuple[tuple[AnyResource, ...], Sequence[Problem]]:
        try:
            files, problems = self.repository.read(commit)
        except BadInput as error:
            return (), [Problem("", 0, 0, error.message)]
        loaded = Loader(source=self.source).load(files)
        found = [*problems, *loaded.problems]
        if not loaded.resources:
            found.append(Problem("", 0, 0, "nothing is declared"))
        return loaded.resources, found or judge([*around.beside, *loaded.resources]).problems

    async def _entries(self, commit: str) -> list[Entry]:
        return await asyncio.to_thread(self._listed, Commit(commit, self.head.path))

    def _listed(self, commit: Commit) -> list[Entry]:
        try:
            return list(self.repository.entries(commit))
        except BadInput:
            return []

    async def _bring(self, commit: str, entries: Sequence[Entry]) -> None:
        if self.mirror is not None and entries:
            await self.mirror.complete(f"{commit}:{self.head.path}", _wanted(entries))

    async def _blob(self, commit: str, entry: Entry) -> bytes | None:
        await self._bring(commit, [entry])
        return await asyncio.to_thread(self._content, entry.id)

    def _content(self, id_: str) -> bytes | None:
        with self.repository.objects() as batch:
            return batch.get(id_)


def _wanted(entries: Iterable[Entry]) -> set[str]:
    """What may have to be read: policy files, and links, which may lead to any."""
    known = list(entries)
    links = any(one.mode == _LINK for one in known)
    return {one.id for one in known if one.mode != GONE and (links or one.name.endswith(SUFFIXES))}


_EXAMPLES: Final = "for example 3f2c1a9, 2030-01-31T12:00:00Z, 2030-01-31 (its end, in UTC) or 7d"


def _moment(text: str, now: float) -> float:
    """A time as RFC 3339, a day (its end), or so long ago. Raises BadInput."""
    try:
        if _DATE.fullmatch(text):
            return (datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=1)).timestamp() - 1
        if days := _DAYS.fullmatch(text):
            return now - int(days[1]) * 86400.0
    except (ValueError, OverflowError):
        raise BadInput(f"{text!r} is no day", hint=_EXAMPLES) from None
    for parse in (parse_timestamp, lambda span: now - parse_duration(span)):
        try:
            return parse(text)
        except (ValueError, OverflowError):
            continue
    raise BadInput(f"{text!r} is neither a commit nor a time", hint=_EXAMPLES)
