"""Time and waiting: the clock that services are given, and retrying with jitter."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Backoff", "Clock", "SystemClock", "cancel_and_wait", "started_threads", "utc"]


class Clock(Protocol):
    """Wall time for what is written down, monotonic time for what is waited for; both in seconds."""

    def time(self) -> float: ...
    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def utc(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 with milliseconds, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Backoff:
    """Waiting times between attempts: doubling from `first` to `limit`, each with full jitter."""

    first: float = 0.2
    limit: float = 30.0
    factor: float = 2.0
    jitter: Callable[[], float] = random.random

    async def attempts(self, clock: Clock) -> AsyncIterator[int]:
        """Yield 0, 1, 2, ... and wait before each but the first; leave the loop to stop trying."""
        pause, attempt = self.first, 0
        while True:
            yield attempt
            await clock.sleep(pause * (0.5 + self.jitter() / 2))
            pause, attempt = min(self.limit, pause * self.factor), attempt + 1


def started_threads(count: int) -> ThreadPoolExecutor:
    """Threads that are there from the beginning, so that work goes on on a host that has none to give any more."""
    pool, all_there = ThreadPoolExecutor(count, thread_name_prefix="worker"), threading.Barrier(count + 1)
    for _ in range(count):
        pool.submit(all_there.wait)
    all_there.wait()
    return pool


async def cancel_and_wait(*tasks: "asyncio.Task[object]") -> None:
    """Cancel tasks and wait until they are gone; their own errors are not ours."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
