"""The emulation in a thread of its own, for tests that run programs and wait for them."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.kubernetes.emulation import Emulation, emulated

__all__ = ["Hosted", "hosted"]

T = TypeVar("T")


class Hosted:
    """A running emulation, and a way into its loop."""

    def __init__(self, emulation: Emulation, loop: asyncio.AbstractEventLoop) -> None:
        self.emulation, self._loop = emulation, loop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the emulation's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def fail(self, failing: bool) -> None:
        """Answer nothing but 503 from now on, or serve again. What is open is cut."""

        async def work() -> None:
            self.emulation.failing = failing
            self.emulation.silence()

        self.run(work())

    def forget_the_past(self) -> None:
        """Every watch that begins again before now is told 410."""

        async def work() -> None:
            self.emulation.objects.compact()
            self.emulation.silence()

        self.run(work())


@contextmanager
def hosted(*definitions: Path) -> Iterator[Hosted]:
    """A server as long as the block lasts."""
    ready: list[Hosted] = []
    started, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with emulated(*definitions) as emulation:
            ready.append(Hosted(emulation, asyncio.get_running_loop()))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=[serve()], daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        yield ready[0]
    finally:
        ready[0]._loop.call_soon_threadsafe(stop.set)
        thread.join(30)
