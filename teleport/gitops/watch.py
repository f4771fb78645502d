"""Notices that a folder changes, whatever way it is changed: a file in it, a link on its path, the folder itself.

The operating system tells of files below the folder that was there when watching began. Whether the path still leads
to that folder is looked at besides: a new release is often made beside it and then put in its place.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

__all__ = ["watch_folder"]

_TOGETHER_MS: Final = 120
"""Changes that come within this time are one."""
_LOOK_MS: Final = 250


async def watch_folder(path: Path) -> AsyncGenerator[None]:
    """Yield when watching has begun, and after changes, once for those that come together."""
    while True:
        folder = _identity(path)
        if folder is None:
            await asyncio.sleep(_LOOK_MS / 1000)
            continue
        async for _ in _changes(path, folder):
            yield
        yield


async def _changes(path: Path, folder: tuple[int, int]) -> AsyncGenerator[None]:
    """Changes below the folder, as long as the path leads to it."""
    import watchfiles

    found = watchfiles.awatch(
        path, watch_filter=None, debounce=_TOGETHER_MS, step=20, recursive=True, ignore_permission_denied=True,
        rust_timeout=_LOOK_MS, yield_on_timeout=True,
    )  # fmt: skip
    first = True
    async with contextlib.aclosing(found):
        async for changes in found:
            if changes or first:
                first = False
                yield
            if _identity(path) != folder:
                return


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
