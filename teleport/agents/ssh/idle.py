"""Ends a session over which no byte has moved for as long as its conditions allow, whatever they come to be."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from teleport.sessions.gate import Session

__all__ = ["IdleTime"]


class IdleTime:
    """Counts while `minded` runs. `message` gives the text that the client reads at the end, empty for our own."""

    def __init__(self, message: Callable[[], str]) -> None:
        self._message, self._loop = message, asyncio.get_running_loop()
        self._moved = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def touch(self) -> None:
        """Bytes moved."""
        self._moved = self._loop.time()

    @contextmanager
    def minded(self, session: Session) -> Iterator[None]:
        """End the session when it has been idle for too long; a changed limit counts at once."""

        def look() -> None:
            self._stop()
            limit = session.conditions.idle_timeout
            if not limit:
                return
            left = self._moved + limit - self._loop.time()
            if left > 0:
                self._timer = self._loop.call_later(left, look)
            else:
                written = session.conditions.to_dict()["idle_timeout"]
                session.end(self._message() or f"the session was idle for {written}")

        ignore_changes = session.watch(look)
        look()
        try:
            yield
        finally:
            ignore_changes()
            self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
