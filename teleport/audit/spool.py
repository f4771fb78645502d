"""What a service keeps until auth has it: events in one file, recordings in their folders.

An event is on this host's disk before `emit` returns. `Uplink` brings everything to auth, in order, again after
any failure; auth recognises what it has already.
"""

import asyncio
import json
import logging
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from teleport.audit.events import Event
from teleport.audit.files import Batcher, append_durably, mend, replace_whole, try_append, write_durably
from teleport.audit.recording import META, OUTPUT, START, TIMING, Sign, seal_folder
from teleport.core.aio import Clock, utc
from teleport.core.errors import AccessDenied, BadInput, Conflict, TeleportError

__all__ = ["Destination", "Spool", "Uplink"]

log = logging.getLogger(__name__)

_EVENTS: Final = "events.jsonl"
_SENT: Final = "events.sent"
_REFUSED_EVENTS: Final = "refused.jsonl"
_REFUSED_RECORDINGS: Final = "refused"
_BATCH: Final = 500
_PART: Final = 1 << 20
_MAX_KEPT: Final = 1 << 20
"""Bytes of events already sent that are kept in the file before it is started anew."""


class Spool:
    """A directory that survives this process."""

    def __init__(self, directory: Path, *, clock: Clock) -> None:
        self.directory = directory
        self.recordings = directory / "recordings"
        self._clock = clock
        self._events, self._sent = directory / _EVENTS, directory / _SENT
        self.live = directory / "live"
        for folder in (self.recordings, self.live):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._events.exists():
            mend(self._events)
        self._files = threading.Lock()
        self._batcher: Batcher[Mapping[str, Any]] = Batcher(self._write, what="the event spool")
        self.news = asyncio.Event()

    async def emit(self, event: Event) -> None:
        await self._batcher.add({"time": utc(self._clock.time()), **event.to_dict()})
        self.news.set()

    @property
    def failure(self) -> str:
        """Why the last event could not be kept; empty while all is well."""
        return self._batcher.failure

    @property
    def failures(self) -> int:
        """How many writes have failed since the spool was opened."""
        return self._batcher.failures

    async def check(self) -> str:
        """Find out whether events can be kept now: `failure`, renewed."""
        return await self._batcher.recheck(lambda: try_append(self._events))

    def backlog(self) -> tuple[int, int]:
        """What auth does not have yet: bytes of events, and sealed recordings."""
        with self._files:
            waiting = self._events.stat().st_size - self._position() if self._events.exists() else 0
        return waiting, len(self.sealed())

    def unsent(self) -> tuple[list[dict[str, Any]], int]:
        """The next events to send, and the position in the file to remember once they are; 0 if there is nothing."""
        with self._files:
            if not self._events.exists():
                return [], 0
            begin, file = self._position(), self._events.open("rb")
        events: list[dict[str, Any]] = []
        position = begin
        with file:
            file.seek(begin)
            for line in file:
                if not line.endswith(b"\n") or len(events) >= _BATCH:
                    break
                position += len(line)
                try:
                    events.append(json.loads(line))
                except ValueError:
                    log.error("a line of %s cannot be read and is left out", self._events)
        return events, position if position > begin else 0

    def set_aside(self, event: Mapping[str, Any], why: str) -> None:
        """Keep an event that auth will never take where it holds up nothing, for somebody to look at."""
        line = json.dumps({"refused": why, "event": event}, separators=(",", ":")).encode() + b"\n"
        append_durably(self.directory / _REFUSED_EVENTS, line)

    def set_recording_aside(self, folder: Path) -> None:
        """The same for a recording."""
        refused = self.directory / _REFUSED_RECORDINGS
        refused.mkdir(mode=0o700, exist_ok=True)
        folder.rename(refused / folder.name)

    def mark_sent(self, position: int) -> None:
        """Remember that everything before a position is at auth. Not durably: what a crash forgets is sent again."""
        with self._files:
            replace_whole(self._sent, str(position).encode())

    def _position(self) -> int:
        try:
            position = int(self._sent.read_text())
        except (FileNotFoundError, ValueError):
            return 0
        return position if position <= self._events.stat().st_size else 0

    def _write(self, events: Sequence[Mapping[str, Any]]) -> None:
        lines = b"".join(json.dumps(one, separators=(",", ":")).encode() + b"\n" for one in events)
        with self._files:
            self._start_anew_if_sent()
            append_durably(self._events, lines)

    def _start_anew_if_sent(self) -> None:
        """Drop a big file that is at auth entirely. A crash in between sends it again, which does no harm."""
        if self._events.exists() and _MAX_KEPT < self._events.stat().st_size == self._position():
            write_durably(self._sent, b"0")
            self._events.unlink()

    def begin(self, sid: str, end: Mapping[str, Any]) -> None:
        """Remember a session that runs, and the event that must be written if this process does not. OSError."""
        write_durably(self.live / f"{sid}.json", json.dumps(end).encode())

    def finished(self, sid: str) -> None:
        """The session's end has been written."""
        (self.live / f"{sid}.json").unlink(missing_ok=True)

    @property
    def unfinished(self) -> int:
        """How many sessions' ends are still to be written."""
        return sum(1 for _ in self.live.glob("*.json"))

    async def recover(self, sign: Sign) -> int:
        """Write the end of every session that a crash cut off, and seal what was recorded; how many there were."""
        found = sorted(self.live.glob("*.json"))
        for marker in found:
            try:
                end = json.loads(await asyncio.to_thread(marker.read_bytes))
            except ValueError:
                end = None
            more = await asyncio.to_thread(self._seal_abandoned, marker.stem, sign)
            if end is not None:
                now = utc(self._clock.time())
                await self._batcher.add({**end, **more, "time": now, "session_stop": now})
            marker.unlink()
        self.news.set()
        return len(found)

    def _seal_abandoned(self, sid: str, sign: Sign) -> dict[str, Any]:
        folder = self.recordings / sid
        if not (folder / START).exists() or (folder / META).exists():
            return {}
        for name in (OUTPUT, TIMING):
            (folder / name).touch(mode=0o600)
        meta = seal_folder(folder, sign, self._clock.time(), {"interrupted": True})
        return {"recording_sha256": meta["output_sha256"], "recording_bytes": meta["output_bytes"]}

    def sealed(self) -> list[Path]:
        """Recordings that are complete and wait to be brought to auth."""
        return [folder for folder in sorted(self.recordings.iterdir()) if (folder / META).exists()]


class Destination(Protocol):
    """The auth service, as the uplink needs it. Every method may raise TeleportError."""

    async def send_events(self, events: Sequence[Mapping[str, Any]]) -> None: ...
    async def send_part(self, sid: str, name: str, offset: int, data: bytes) -> None: ...
    async def seal(self, sid: str, meta: Mapping[str, Any]) -> None: ...


class Uplink:
    """Brings a spool's content to auth. Run `run()` as a task."""

    def __init__(self, spool: Spool, destination: Destination, *, clock: Clock) -> None:
        self._spool, self._destination, self._clock = spool, destination, clock
        self._pause = 0.2

    async def run(self) -> None:
        while True:
            self._spool.news.clear()
            try:
                await self.drain()
                self._pause = 0.2
            except (TeleportError, OSError) as error:
                log.warning("events and recordings wait to be sent: %s", error)
                await self._clock.sleep(self._pause)
                self._pause = min(30.0, self._pause * 2)
                continue
            try:
                async with asyncio.timeout(5.0):
                    await self._spool.news.wait()
            except TimeoutError:
                continue

    async def drain(self) -> None:
        """Send what is there now. Raises the first failure, after everything was tried that others may hold up."""
        while True:
            events, position = await asyncio.to_thread(self._spool.unsent)
            if not position:
                break
            await self._send(events)
            await asyncio.to_thread(self._spool.mark_sent, position)
        failures: list[TeleportError] = []
        for folder in await asyncio.to_thread(self._spool.sealed):
            try:
                await self._upload(folder)
            except Conflict as error:
                failures.append(error)
        if failures:
            raise failures[0]

    async def _send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """In order; events that are refused for ever are set aside one by one."""
        if not events:
            return
        try:
            await self._destination.send_events(events)
        except (BadInput, AccessDenied) as error:
            if not _is_final(error):
                raise
            if len(events) == 1:
                log.error("an event is refused and set aside in %s: %s", self._spool.directory, error)
                await asyncio.to_thread(self._spool.set_aside, events[0], error.message)
                return
            for event in events:
                await self._send([event])

    async def _upload(self, folder: Path) -> None:
        meta = json.loads(await asyncio.to_thread((folder / META).read_bytes))
        try:
            for name in (OUTPUT, TIMING):
                await self._upload_file(folder, name)
            await self._destination.seal(folder.name, meta)
        except (BadInput, AccessDenied) as error:
            if not _is_final(error):
                raise
            log.error("recording %s is refused and set aside in %s: %s", folder.name, self._spool.directory, error)
            await asyncio.to_thread(self._spool.set_recording_aside, folder)
            return
        except Conflict as error:
            if not error.details.get("complete"):
                raise
        await asyncio.to_thread(shutil.rmtree, folder)

    async def _upload_file(self, folder: Path, name: str) -> None:
        offset = 0
        with await asyncio.to_thread((folder / name).open, "rb") as file:
            while True:
                data = await asyncio.to_thread(file.read, _PART)
                if not data and offset:
                    return
                await self._destination.send_part(folder.name, name, offset, data)
                offset += len(data)
                if not data:
                    return


def _is_final(error: BadInput | AccessDenied) -> bool:
    """Whether trying again changes nothing: it is about what was sent, not about who sends it now."""
    return isinstance(error, BadInput) or bool(error.details.get("final"))
