"""How far a source has come, kept in a file beside the database: a restored backup does not reset it.

The file holds the last commit that was applied, when commits not yet applied were first seen, and the one step back
that an administrator has accepted. A file that cannot be understood is an error, not a fresh start.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Self

from teleport.core.errors import Unavailable

__all__ = ["Mark", "MarkFile"]


@dataclass(frozen=True)
class Mark:
    applied: str = ""
    """The commit that was applied last."""
    accepted: str = ""
    """A commit that may follow though it does not contain the last one."""
    seen: Mapping[str, float] = field(default_factory=dict)
    """Commits and tags that are not applied, and when each was first seen; seconds since the epoch."""

    def noticing(self, ids: list[str], now: float) -> Self:
        """Forgets what is no longer asked for."""
        return replace(self, seen={one: self.seen.get(one, now) for one in ids})


class MarkFile:
    """Reads and writes it, whole or not at all. Raises Unavailable."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Mark:
        try:
            body = json.loads(self.path.read_bytes())
            seen = {str(key): float(value) for key, value in body["seen"].items()}
            return Mark(str(body["applied"]), str(body["accepted"]), seen)
        except FileNotFoundError:
            return Mark()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            hint = "put it back from a copy; if it is removed, the database alone remembers what was applied"
            raise Unavailable(f"{self.path} cannot be read: {error!r}", hint=hint) from None

    def write(self, mark: Mark) -> None:
        fresh = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(asdict(mark), file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be written: {error.strerror}") from None


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some file systems have no such thing
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
