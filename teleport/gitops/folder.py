"""A folder of YAML as a source: its policy files, read as one set, and at rest.

Links that lead out of the folder, special files and more than a bounded number or size of files are refused, so
that no folder can make the reader leave it or choke.
"""

import asyncio
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from teleport.core.errors import Problem
from teleport.gitops.quiet import glance
from teleport.gitops.tree import policy_files
from teleport.resources.load import Loaded, Loader

__all__ = ["FolderSource", "read_folder"]

log = logging.getLogger(__name__)

MAX_FILES: Final = 50_000
MAX_BYTES: Final = 64 << 20
_REST_SECONDS: Final = 0.1
"""How long nobody may have written to the folder before it counts."""
_LOOKS: Final = 30
"""After so many looks at a folder that never comes to rest it is taken as it is."""


class FolderSource:
    """Loads a folder again and again, remembering files that did not change."""

    kind = "folder"

    def __init__(self, path: Path, *, name: str) -> None:
        self.path, self.name = path, name
        self._loader = Loader(source=name)

    @property
    def place(self) -> str:
        return str(self.path)

    async def load(self) -> Loaded:
        """What the folder declares, and everything wrong with it, read while nobody wrote to it."""
        for _ in range(_LOOKS):
            before = await asyncio.to_thread(glance, self.path)
            await asyncio.sleep(_REST_SECONDS)
            if before.locked or before != await asyncio.to_thread(glance, self.path):
                continue
            loaded = await asyncio.to_thread(self._load)
            if before == await asyncio.to_thread(glance, self.path):
                return loaded
        log.warning("%s does not come to rest, and is read as it is", self.path)
        return await asyncio.to_thread(self._load)

    def _load(self) -> Loaded:
        files, problems = read_folder(self.path)
        loaded = self._loader.load(files)
        return replace(loaded, problems=(*problems, *loaded.problems))


def read_folder(root: Path) -> tuple[list[tuple[str, bytes]], list[Problem]]:
    """Names (relative to the folder, in order) and contents of the policy files, and what could not be read."""
    if not root.is_dir():
        return [], [Problem(str(root), 0, 0, "is not a folder")]
    total = 0
    files: list[tuple[str, bytes]] = []
    problems: list[Problem] = []
    for found in policy_files(root):
        if len(files) >= MAX_FILES or total > MAX_BYTES:
            problems.append(Problem(found.name, 0, 0, f"more than {MAX_FILES} files or {MAX_BYTES} bytes"))
            break
        if found.refusal:
            problems.append(Problem(found.name, 0, 0, found.refusal, found.hint))
            continue
        try:
            data = _read(found.target)
        except OSError as error:
            problems.append(Problem(found.name, 0, 0, f"cannot be read: {error.strerror or error}"))
            continue
        total += len(data)
        files.append((found.name, data))
    return files, problems


def _read(path: str) -> bytes:
    """Regular files only: a pipe would block for ever, and a link is one that was put there just now."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if (status.st_mode & 0o170000) != 0o100000:
            raise OSError("not a regular file")
        if status.st_size > MAX_BYTES:
            raise OSError(f"larger than {MAX_BYTES} bytes")
        return file.read()
