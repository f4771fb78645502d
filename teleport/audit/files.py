"""Writing to disk so that it stays: appends that are whole or not at all, many of them under one fsync."""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Generic, TypeVar

from teleport.core.errors import Unavailable

__all__ = ["Batcher", "append_durably", "mend", "replace_whole", "sync_directory", "try_append", "write_durably"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_ROOM: Final = 16 * 1024


class Batcher(Generic[T]):
    """Gathers what wants to be written while a write is under way, and writes it together, in a thread."""

    def __init__(self, write: Callable[[Sequence[T]], None], *, what: str) -> None:
        self._write, self._what = write, what
        self._pending: list[tuple[T, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None
        self.failure = ""
        """Why the last write failed; empty while all is well."""
        self.failures = 0
        """How many writes have failed."""

    async def add(self, *items: T) -> None:
        """Return when the items are durable. Raises Unavailable if they cannot be."""
        waits: list[asyncio.Future[None]] = []
        for item in items:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._pending.append((item, done))
            waits.append(done)
        if waits and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._write_pending())
        for outcome in await asyncio.gather(*waits, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def recheck(self, attempt: Callable[[], None]) -> str:
        """Make an attempt that writes nothing of importance; `failure` says afterwards how it went."""
        await self.finish()
        self._task = asyncio.create_task(self._attempt_first(attempt))
        await asyncio.shield(self._task)
        return self.failure

    async def finish(self) -> None:
        """Wait until nothing is pending."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _write_pending(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            await self._attempt(partial(self._write, [item for item, _ in batch]))
            for _, done in batch:
                if done.done():
                    continue
                if self.failure:
                    done.set_exception(Unavailable(self.failure, hint="free disk space, or mount it writable"))
                else:
                    done.set_result(None)

    async def _attempt_first(self, attempt: Callable[[], None]) -> None:
        """As a write of its own, so that none is under way meanwhile; what came in then follows."""
        await self._attempt(attempt)
        await self._write_pending()

    async def _attempt(self, write: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(write)
            self.failure = ""
        except OSError as error:
            self.failure = f"{self._what} cannot be written: {error.strerror or error}"
            self.failures += 1
        except Exception as error:
            log.exception("a defect in writing %s", self._what)
            self.failure = f"{self._what} cannot be written: {type(error).__name__}"
            self.failures += 1


def try_append(path: Path) -> None:
    """Find out whether an append would work, on the file itself and for room beside it. Raises OSError."""
    append_durably(path, b"")
    beside = path.with_name(f".{path.name}.room")
    try:
        append_durably(beside, bytes(_ROOM))
    finally:
        beside.unlink(missing_ok=True)


def append_durably(path: Path, data: bytes) -> None:
    """Append and sync; after a failure the file is as long as before. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        before = os.fstat(descriptor).st_size
        try:
            written = 0
            while written < len(data):
                written += os.write(descriptor, data[written:])
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
        if before == 0:
            sync_directory(path.parent)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace a file as a whole: readers see the old one or the new one. Raises OSError."""
    replace_whole(path, data, mode=mode, sync=True)
    sync_directory(path.parent)


def replace_whole(path: Path, data: bytes, *, mode: int = 0o600, sync: bool = False) -> None:
    """The same for readers; but unless it is synced, a crash of the machine may leave the old one, or an empty one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(descriptor)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def sync_directory(directory: Path) -> None:
    """Make a new name in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def mend(path: Path) -> None:
    """Cut off a last line that a crash left without its end."""
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
