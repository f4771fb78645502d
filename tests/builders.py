"""Values for tests: builders that name only what matters, and a clock that tests move."""

import asyncio
from typing import Final

from argon2 import PasswordHasher

CHEAP: Final = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Hashes passwords as weakly as it can be done."""


class FakeClock:
    """A clock that stands still until told. Sleeping yields to the loop and returns when time has passed."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now, self._ahead = now, 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def time(self) -> float:
        return self._now + self._ahead

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + seconds, waiting))
        await waiting

    def jump(self, seconds: float) -> None:
        """Set wall time forward or back, as somebody does who corrects it: nothing that is waited for comes of it."""
        self._ahead += seconds

    def advance(self, seconds: float) -> None:
        """Move on, waking whoever slept until then."""
        self._now += seconds
        for due, waiting in list(self._sleepers):
            if due <= self._now:
                self._sleepers.remove((due, waiting))
                if not waiting.done():
                    waiting.set_result(None)
