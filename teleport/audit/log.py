"""The audit log at the auth service: JSON lines, one file a day, each line carrying the hash of the one before.

Events are durable before `append` returns; those that wait together share one fsync. Signed checkpoints of the
chain's head are written at intervals and at shutdown, so that a rewritten or shortened log does not verify
against a checkpoint that was copied elsewhere.
"""

import asyncio
import contextlib
import json
import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from teleport.audit.chain import GENESIS, Checkpoint, CheckpointSigner, line_hash, parse_event
from teleport.audit.events import Event
from teleport.audit.files import Batcher, append_durably, mend, try_append
from teleport.core.aio import Clock, utc

__all__ = ["AuditLog"]

log = logging.getLogger(__name__)

_RECENT: Final = 100_000
"""Uids remembered, so that an event sent twice is written once."""
CHECKPOINTS: Final = "checkpoints.jsonl"


class AuditLog:
    """Open with `await AuditLog.open(directory, ...)`; one per directory."""

    def __init__(self, directory: Path, *, cluster: str, clock: Clock, signer: CheckpointSigner) -> None:
        self._directory, self._cluster, self._clock, self._signer = directory, cluster, clock, signer
        self._at = (0, GENESIS)
        """Number and hash of the last event: one value, because a thread writes and the loop reads it."""
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._batcher = Batcher(self._write, what="the audit log")
        self._checkpointed = -1
        self._day = ""
        """Of the newest file."""
        self._listeners: list[Callable[[Mapping[str, Any]], None]] = []
        self.written: Counter[str] = Counter()
        """Events written since the log was opened, by code."""

    @classmethod
    async def open(cls, directory: Path, *, cluster: str, clock: Clock, signer: CheckpointSigner) -> "AuditLog":
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = cls(directory, cluster=cluster, clock=clock, signer=signer)
        await asyncio.to_thread(opened._resume)
        return opened

    @property
    def position(self) -> tuple[int, str]:
        """Number and hash of the last event."""
        return self._at

    async def append(self, event: Event) -> None:
        """Write one event of our own, stamped now. Raises Unavailable if it cannot be made durable."""
        await self.append_dicts([event.to_dict()])

    async def append_dicts(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Write events as they came from a service; those seen before (by uid) are skipped.

        Raises Unavailable if they cannot be made durable; whoever sent them sends them again.
        """
        now = utc(self._clock.time())
        bodies = [{"time": now, **event, "cluster_name": self._cluster} for event in events]
        await self._batcher.add(*bodies)
        for listener in self._listeners:
            for body in bodies:
                listener(body)

    def subscribe(self, written: Callable[[Mapping[str, Any]], None]) -> None:
        """Call back with each event once it is durable; what was sent twice may come twice, under one uid."""
        self._listeners.append(written)

    @property
    def failure(self) -> str:
        """Why the last write failed; empty while the log is healthy."""
        return self._batcher.failure

    @property
    def failures(self) -> int:
        """How many writes have failed since the log was opened."""
        return self._batcher.failures

    async def check(self) -> str:
        """Find out whether the log can be written now: `failure`, renewed."""
        return await self._batcher.recheck(lambda: try_append(self._today()))

    def _write(self, bodies: Sequence[Mapping[str, Any]]) -> None:
        """Append to today's file and sync. After a failure the file is cut back to what it was."""
        sequence, head = self._at
        fresh: dict[str, Mapping[str, Any]] = {}
        for body in bodies:
            if body["uid"] not in self._recent:
                fresh.setdefault(body["uid"], body)
        if not fresh:
            return
        lines: list[bytes] = []
        for body in fresh.values():
            sequence += 1
            line = _line({**body, "seq": sequence, "prev": head})
            head = line_hash(line)
            lines.append(line)
        append_durably(self._today(), b"".join(lines))
        self._at = (sequence, head)
        self.written.update(str(body.get("code", "")) for body in fresh.values())
        for uid in fresh:
            self._recent[uid] = None
        while len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    def _today(self) -> Path:
        """Today's file; after a clock was put back the newest there is, because files are read in the order of days."""
        self._day = max(self._day, utc(self._clock.time())[:10])
        return self._directory / f"{self._day}.jsonl"

    async def checkpoint(self) -> Checkpoint:
        """Sign the head of the chain and write it beside the log; repeated only when something was added."""
        sequence, head = self._at
        made = self._signer.sign(sequence, head, utc(self._clock.time()))
        if self._checkpointed != sequence:
            await asyncio.to_thread(append_durably, self._directory / CHECKPOINTS, made.to_line())
            self._checkpointed = sequence
        return made

    async def close(self) -> None:
        """Write what is pending and a last checkpoint."""
        await self._batcher.finish()
        with contextlib.suppress(OSError):
            await self.checkpoint()

    async def search(
        self, matches: Callable[[Mapping[str, Any]], bool], *, since: str = ""
    ) -> AsyncIterator[dict[str, Any]]:
        """Events in order that match, from files of about that day on; read in a thread, a file at a time.

        A file holds what was written on its day; a service whose clock is ahead may have sent it times of the next.
        """
        oldest = _day_before(since[:10]) if since else ""
        for path in day_files(self._directory):
            if path.stem < oldest:
                continue
            for event in await asyncio.to_thread(_matching, path, matches):
                yield event

    def forget_before(self, day: str) -> list[Path]:
        """Delete whole files of days before one (YYYY-MM-DD), never the newest, which continues the chain.

        A signed checkpoint says first where the log is cut, so that `verify` can tell retention from tampering.
        """
        gone = [path for path in day_files(self._directory)[:-1] if path.stem < day]
        if gone:
            sequence, head = _last_of(gone)
            cut = self._signer.sign(sequence, head, utc(self._clock.time()), purpose="cut")
            append_durably(self._directory / CHECKPOINTS, cut.to_line())
        for path in gone:
            path.unlink()
        return gone

    def _resume(self) -> None:
        """Find the head of the chain; drop a last line that a crash cut off, which nobody was told is safe."""
        files = day_files(self._directory)
        for path in (*files[-2:], self._directory / CHECKPOINTS):
            if path.exists():
                mend(path)
        self._at = _last_of(files)
        self._day = files[-1].stem if files else ""
        for path in files[-2:]:
            for event in read_events(path):
                self._recent[str(event.get("uid"))] = None


def day_files(directory: Path) -> list[Path]:
    """The log's files, oldest first."""
    return sorted(path for path in directory.glob("????-??-??.jsonl"))


def _last_of(files: Sequence[Path]) -> tuple[int, str]:
    """Number of the last event in files and hash of their last line, as whoever verifies the chain counts them.

    What is not an event has no number: somebody wrote it there, and the chain goes on so that `verify` shows it.
    """
    head = ""
    for path in reversed(files):
        for line in reversed(path.read_bytes().splitlines(keepends=True)):
            head = head or line_hash(line)
            event = parse_event(line)
            if event is not None:
                return int(event["seq"]), head
            log.error("%s holds a line that is not an event; see `tctl audit verify`", path)
    return 0, head or GENESIS


def _day_before(day: str) -> str:
    return (date.fromisoformat(day) - timedelta(days=1)).isoformat()


def _line(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def _matching(path: Path, matches: Callable[[Mapping[str, Any]], bool]) -> list[dict[str, Any]]:
    return [event for event in read_events(path) if matches(event)]


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of one file, without what else somebody wrote there, and without a last line that is cut."""
    with path.open("rb") as file:
        for line in file:
            event = parse_event(line) if line.endswith(b"\n") else None
            if event is not None:
                yield event
