"""Looks after the disk below the data directory: warns long before it is full, and finds out when it can be written."""

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from teleport.core.aio import Clock
from teleport.service.health import Health

__all__ = ["Room", "Writable", "room", "watch_disk"]

_LEAST_BYTES: Final = 1 << 30
_LEAST_SHARE: Final = 0.1
_SECONDS: Final = 5.0
_TRY_EVERY: Final = 6
"""Looks between two attempts to write, as long as there is room and all is well."""


class Writable(Protocol):
    """Records that must be writable for sessions to be admitted."""

    @property
    def failure(self) -> str:
        """Why the last write failed; empty while all is well."""
        ...

    async def check(self) -> str:
        """Try to write; `failure`, renewed."""
        ...


@dataclass(frozen=True)
class Room:
    """Bytes of a file system: what is left to this user, and all."""

    free: int
    size: int

    @property
    def low(self) -> bool:
        return self.free < _LEAST_BYTES or self.free < _LEAST_SHARE * self.size


def room(path: Path) -> Room:
    """Of the file system that a path is on. Raises OSError."""
    found = os.statvfs(path)
    return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


async def watch_disk(path: Path, health: Health, records: Callable[[], Sequence[Writable]], *, clock: Clock) -> None:
    """Look now and then until cancelled. What cannot be written is tried again at every look."""
    for look in itertools.count():
        warning = _warning(path)
        health.warn("disk", warning)
        for one in records():
            if warning or one.failure or look % _TRY_EVERY == 0:
                await one.check()
        await clock.sleep(_SECONDS)


def _warning(path: Path) -> str:
    try:
        found = room(path)
    except OSError as error:
        return f"the disk of {path} cannot be looked at: {error.strerror}"
    share = f"{found.free / max(1, found.size):.0%}"
    return f"the disk of {path} is nearly full: {_amount(found.free)} ({share}) left" if found.low else ""


def _amount(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"
