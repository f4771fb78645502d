"""Finds what lives of sessions, which means looking at every process of the host: those that end together share it."""

import asyncio

from teleport.agents.ssh.members import Look

__all__ = ["Census"]


class Census:
    """Finds the processes of sessions. One look at all processes answers everybody who asked before it began."""

    def __init__(self) -> None:
        self._present: asyncio.Future[Look] | None = None
        self._next: asyncio.Future[Look] | None = None

    async def find(self, leader: int, audit: int | None) -> list[int]:
        """Those that live of the session that `leader` began, and of an audit session if one is known."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._take(after=self._present))
        look = await asyncio.shield(self._next)
        return look.of(leader, audit)

    async def _take(self, *, after: "asyncio.Future[Look] | None") -> Look:
        if after is not None:
            await asyncio.wait([after])
        self._present, self._next = self._next, None
        return await asyncio.to_thread(Look.take)
