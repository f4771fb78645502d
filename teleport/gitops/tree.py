"""Which files of a folder are policy: every `*.yaml`, `*.yml` and `*.json` below it that is not hidden.

Links are followed as far as they stay inside, to hidden places too: a mounted config map consists of links into a
hidden folder. Each folder is read once, whatever links to it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["SUFFIXES", "Found", "policy_files"]

SUFFIXES: Final = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Found:
    """A policy file, or what stands in its way."""

    path: Path
    target: Path
    """Where that leads: the path itself, if it is no link."""
    refusal: str = ""
    """Why it, or what may be below it, cannot count."""
    hint: str = ""


def policy_files(root: Path) -> Iterator[Found]:
    """In the order of their names, the files of a folder before those of the folders in it."""
    real = _real(root)
    return _below(root, real, {real})


def _below(folder: Path, real: Path, seen: set[Path]) -> Iterator[Found]:
    try:
        with os.scandir(folder) as found:
            entries = sorted((one for one in found if not one.name.startswith(".")), key=lambda one: one.name)
    except OSError as error:
        yield Found(folder, folder, f"cannot be read: {error.strerror}")
        return
    deeper = []
    for entry in entries:
        if _is_folder(entry):
            deeper.append(_followed(folder, entry, real))
        elif entry.name.endswith(SUFFIXES):
            yield _followed(folder, entry, real)
    for one in deeper:
        if one.refusal:
            yield one
        elif (place := _real(one.path)) not in seen:
            seen.add(place)
            yield from _below(one.path, real, seen)


def _followed(folder: Path, entry: "os.DirEntry[str]", real: Path) -> Found:
    path = folder / entry.name
    if not entry.is_symlink():
        return Found(path, path)
    target = _real(path)
    if target.is_relative_to(real):
        return Found(path, target)
    return Found(path, target, "a link that leads out of the folder", "put what it leads to here")


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
