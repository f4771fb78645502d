"""Lets the auth service tell the past of a repository that governs it: from the copy that the source keeps.

One question at a time, in a thread, and not for long: who asks cannot keep the cluster from its work.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from teleport.api import history as h
from teleport.core.aio import Clock
from teleport.core.errors import NotFound
from teleport.gitops.git import GitSource
from teleport.gitops.history.answers import History, Stop
from teleport.gitops.history.branch import Around, Branch
from teleport.gitops.history.commits import Notes
from teleport.gitops.revision import Commit, Repository
from teleport.resources.kinds import AnyResource
from teleport.resources.node import Node

__all__ = ["SourceHistory"]

_SECONDS: Final = 25.0
"""Less than clients wait for an answer, so that they read why there is none."""


class SourceHistory:
    """See `auth.endpoints.parts.PolicyHistory`. `applied` tells the commit that is in force."""

    def __init__(self, source: GitSource, applied: Callable[[], Awaitable[str]], *, clock: Clock) -> None:
        self._source, self._applied, self._clock = source, applied, clock
        self._repository = Repository(source.mirror.folder)
        self._one = asyncio.Lock()

    async def changes(self, query: h.ObjectQuery, beside: Sequence[AnyResource]) -> h.ObjectHistory:
        async with self._asked((), beside) as (history, stop):
            return await history.changes(query, stop=stop)

    async def since(
        self, asked: h.SinceQuestion, hosts: Sequence[Node], beside: Sequence[AnyResource]
    ) -> h.SinceAnswer:
        async with self._asked(hosts, beside) as (history, stop):
            return await history.since(asked, now=self._clock.time(), stop=stop)

    async def people(self, asked: h.PeopleQuery, hosts: Sequence[Node], beside: Sequence[AnyResource]) -> h.People:
        async with self._asked(hosts, beside) as (history, _):
            return await history.people(asked, now=self._clock.time())

    async def text(self, place: h.RulePlace) -> tuple[h.RuleText, AnyResource | None]:
        async with self._asked((), ()) as (history, _):
            return await history.text(place)

    @asynccontextmanager
    async def _asked(self, hosts: Sequence[Node], beside: Sequence[AnyResource]) -> AsyncIterator[tuple[History, Stop]]:
        """The history of what is in force, for one question; and what ends the thread that works on it."""
        head = await self._applied()
        if not head:
            raise NotFound(f"the source {self._source.name} has applied no commit yet")
        end, over = self._clock.monotonic() + _SECONDS, threading.Event()
        async with self._one:
            branch = Branch(
                self._repository, Commit(head, self._source.path), source=self._source.name,
                mirror=self._source.mirror,
            )  # fmt: skip
            notes = Notes(self._repository, self._source.verifier)
            try:
                yield (
                    History(branch, notes, Around(tuple(hosts), tuple(beside))),
                    lambda: over.is_set() or self._clock.monotonic() > end,
                )
            finally:
                over.set()
