"""A folder of YAML as a source: every `*.yaml`, `*.yml` and `*.json` below it, read as one set.

Links that lead out of the folder, hidden files, special files and more than a bounded number or size of files are
refused, so that no folder can make the reader leave it or choke.
"""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from teleport.core.errors import Problem
from teleport.resources.load import Loaded, Loader

__all__ = ["FolderSource", "read_folder"]

SUFFIXES: Final = (".yaml", ".yml", ".json")
MAX_FILES: Final = 50_000
MAX_BYTES: Final = 256 << 20


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
        """What the folder declares now, and everything wrong with it."""
        return await asyncio.to_thread(self._load)

    def _load(self) -> Loaded:
        files, problems = read_folder(self.path)
        loaded = self._loader.load(files)
        return replace(loaded, problems=(*problems, *loaded.problems))


def read_folder(root: Path) -> tuple[list[tuple[str, bytes]], list[Problem]]:
    """Names (relative to the folder, in order) and contents of the policy files, and what could not be read."""
    if not root.is_dir():
        return [], [Problem(str(root), 0, 0, "is not a folder")]
    real, total = os.path.realpath(root), 0
    files: list[tuple[str, bytes]] = []
    problems: list[Problem] = []
    for name in _policy_files(root):
        if len(files) >= MAX_FILES or total > MAX_BYTES:
            problems.append(Problem(name, 0, 0, f"more than {MAX_FILES} files or {MAX_BYTES} bytes"))
            break
        path = os.path.join(real, name)
        try:
            target = os.path.realpath(path, strict=True) if os.path.islink(path) else path
            if not target.startswith(f"{real}{os.sep}"):
                problems.append(Problem(name, 0, 0, "a link that leads out of the folder", "put the file itself here"))
                continue
            data = _read(target)
        except OSError as error:
            problems.append(Problem(name, 0, 0, f"cannot be read: {error.strerror or error}"))
            continue
        total += len(data)
        files.append((name, data))
    return files, problems


def _policy_files(root: Path) -> Iterator[str]:
    """Names relative to the folder. Links to other folders are not followed."""
    for directory, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(directory, root)
        for name in sorted(names):
            if name.endswith(SUFFIXES) and not name.startswith("."):
                yield name if below == os.curdir else f"{below}{os.sep}{name}"


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
