"""Looks after the disk below the data directory: warns long before it is full, and finds out when it can be written."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from teleport.core.aio import Clock
from teleport.service.health import Health

__all__ = ["Room", "room", "watch_disk"]

_LEAST_BYTES: Final = 1 << 30
_LEAST_SHARE: Final = 0.1
_SECONDS: Final = 30.0
_FAILING_SECONDS: Final = 5.0
"""Between looks while something cannot be written."""

Check = Callable[[], Awaitable[str]]
"""Tries to write, and gives the reason why that fails, or nothing."""


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


async def watch_disk(path: Path, health: Health, checks: Callable[[], list[Check]], *, clock: Clock) -> None:
    """Look now and then until cancelled. What `checks` find remains with whoever asked for them."""
    while True:
        found = room(path)
        share = f"{found.free / max(1, found.size):.0%}"
        text = f"the disk of {path} is nearly full: {_amount(found.free)} ({share}) left; sessions need it for records"
        health.warn("disk", text if found.low else "")
        failures = [await check() for check in checks()]
        await clock.sleep(_FAILING_SECONDS if any(failures) else _SECONDS)


def _amount(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"
