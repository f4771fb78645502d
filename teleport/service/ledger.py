"""What outlives a restart of what watches the sources: what was told of each, what waits to be sent, and two times.

One file in the data directory, written whole or not at all; what it holds is no secret, and without it things are told
once more. Where it cannot be written the process goes on from memory.
"""

import asyncio
import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from teleport.audit.files import write_durably
from teleport.service.notices import Told

__all__ = ["Ledger", "Times", "Waiting"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Times:
    """Of a source; seconds since the epoch."""

    unapplied_since: float = 0.0
    last_applied: float = 0.0


@dataclass(frozen=True)
class Waiting:
    """A message that is to be sent."""

    id: str
    key: str
    """A later message with the same key takes its place; of those without one each is sent."""
    created: float
    content: Mapping[str, Any]


@dataclass
class Ledger:
    path: Path
    told: dict[str, Told] = field(default_factory=dict)
    times: dict[str, Times] = field(default_factory=dict)
    waiting: dict[str, list[Waiting]] = field(default_factory=dict)
    """By receiver, the oldest first."""

    def __post_init__(self) -> None:
        self._written, self._writing = b"", asyncio.Lock()
        self._one_thread = threading.Lock()

    @classmethod
    def open(cls, path: Path) -> "Ledger":
        """What an earlier process left; nothing if there is none, or what there is cannot be understood."""
        try:
            body = json.loads(path.read_bytes())
            return cls(
                path,
                {name: Told(**one) for name, one in body["told"].items()},
                {name: Times(**one) for name, one in body["times"].items()},
                {name: [Waiting(**one) for one in found] for name, found in body["waiting"].items()},
            )
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be read, so things may be told once more: %r", path, error)
            return cls(path)

    async def save(self) -> None:
        """Make durable what has changed. A failure is logged: telling goes on."""
        async with self._writing:
            body = {
                "told": {name: asdict(one) for name, one in self.told.items()},
                "times": {name: asdict(one) for name, one in self.times.items()},
                "waiting": {name: [asdict(one) for one in found] for name, found in self.waiting.items()},
            }
            data = json.dumps(body).encode()
            if data == self._written:
                return
            try:
                await asyncio.to_thread(self._write, data)
                self._written = data
            except OSError as error:
                log.warning("%s cannot be written, so things may be told once more: %s", self.path, error.strerror)

    def _write(self, data: bytes) -> None:
        with self._one_thread:  # a thread goes on when whoever waited for it is cancelled
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(self.path, data)
