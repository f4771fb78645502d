"""Which files of a folder are policy: every `*.yaml`, `*.yml` and `*.json` below it that is not hidden.

Links are followed as far as they stay inside, to hidden places too: a mounted config map consists of links into a
hidden folder. Each folder is read once, whatever links to it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["SUFFIXES", "Found", "policy_files"]

SUFFIXES: Final = (".yaml", ".yml", ".json")


class Found(NamedTuple):
    """A policy file, or what stands in its way."""

    name: str
    """Relative to the folder."""
    target: str
    """Where it really is, links followed."""
    refusal: str = ""
    """Why it, or what may be below it, cannot count."""
    hint: str = ""


def policy_files(root: Path) -> Iterator[Found]:
    """In the order of their names, the files of a folder before those of the folders in it."""
    real = os.path.realpath(root)
    return _below(Found(".", real), real, {real})


def _below(folder: Found, root: str, seen: set[str]) -> Iterator[Found]:
    try:
        with os.scandir(folder.target) as found:
            entries = sorted((one for one in found if not one.name.startswith(".")), key=lambda one: one.name)
    except OSError as error:
        yield folder._replace(refusal=f"cannot be read: {error.strerror}")
        return
    prefix = "" if folder.name == "." else f"{folder.name}/"
    deeper = []
    for entry in entries:
        if _is_folder(entry):
            deeper.append(_followed(entry, prefix, root))
        elif entry.name.endswith(SUFFIXES):
            yield _followed(entry, prefix, root)
    for one in deeper:
        if one.refusal:
            yield one
        elif one.target not in seen:
            seen.add(one.target)
            yield from _below(one, root, seen)


def _followed(entry: "os.DirEntry[str]", prefix: str, root: str) -> Found:
    name = prefix + entry.name
    if not entry.is_symlink():
        return Found(name, entry.path)
    target = os.path.realpath(entry.path)
    if f"{target}/".startswith(f"{root}/"):
        return Found(name, target)
    return Found(name, target, "a link that leads out of the folder", "put what it leads to here")


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
