"""What runs in a process and what is to be closed at its end; a part that fails ends all of it."""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from functools import partial

from teleport.core.aio import cancel_and_wait
from teleport.core.errors import TeleportError, Unavailable

__all__ = ["Lifetime"]

log = logging.getLogger(__name__)


class Lifetime:
    """From the first thing that is opened to the last that is closed."""

    def __init__(self) -> None:
        self.stack = AsyncExitStack()
        """What is pushed here is closed at the end, in reverse order."""
        self.stopping = asyncio.Event()
        self.hurried = asyncio.Event()
        """Told to stop a second time: nobody is waited for any more."""
        self.failure: TeleportError | None = None
        """Why the process ends by itself."""

    def stop(self) -> None:
        """Wind up; called again, at once."""
        if self.stopping.is_set():
            self.hurried.set()
        self.stopping.set()

    def background(self, work: Awaitable[None], name: str) -> None:
        """Run something until the end. If it ends before, so does everything."""
        task = asyncio.ensure_future(work)
        task.add_done_callback(partial(self._ended, name))
        self.stack.push_async_callback(cancel_and_wait, task)

    def _ended(self, name: str, task: "asyncio.Future[None]") -> None:
        if task.cancelled() or self.stopping.is_set():
            return
        log.critical("%s ended unexpectedly; the process stops", name, exc_info=task.exception())
        self.failure = Unavailable(f"{name} ended unexpectedly", hint="the log says why")
        self.stopping.set()
