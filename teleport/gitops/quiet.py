"""Whether somebody is in the middle of writing to a folder: what its files look like, and whether git is at work.

A checkout that moves a file removes it first and writes it again later. Read in between, the folder would say that
somebody is gone, who would lose password and second factor. Knows nothing of what is in the files.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from teleport.gitops.tree import policy_files

__all__ = ["Glance", "glance"]


@dataclass(frozen=True)
class Glance:
    """What a folder looks like from outside; equal to a later one if nobody wrote to it in between."""

    files: tuple[tuple[str, int, int, int], ...]
    """Name, inode, size and time of change (ns) of every policy file."""
    locked: bool
    """Whether git is at work: it removes and writes files one by one."""


def glance(root: Path) -> Glance:
    """Look at a folder without reading its files."""
    files = []
    for one in policy_files(root):
        try:
            status = os.stat(one.target)
        except OSError:
            continue
        files.append((one.name, status.st_ino, status.st_size, status.st_ctime_ns))
    return Glance(tuple(files), _locked(root))


def _locked(root: Path) -> bool:
    """Whether the repository around a folder has its index locked."""
    real = root.resolve()
    for folder in (real, *real.parents):
        marker = folder / ".git"
        if marker.is_dir():
            return (marker / "index.lock").exists()
        if marker.is_file():
            return (folder / _git_directory(marker) / "index.lock").exists()
    return False


def _git_directory(marker: Path) -> str:
    """Where a linked working tree has its index."""
    try:
        return marker.read_text().removeprefix("gitdir:").strip()
    except (OSError, UnicodeDecodeError):
        return ".git"
