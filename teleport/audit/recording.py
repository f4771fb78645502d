"""The recording of one session: a folder of flat files that any tool reads.

`output` holds the raw bytes the terminal was sent, after one line that says what it is (as script(1) writes one);
`timing` is what `scriptreplay` reads: `O SECONDS BYTES` for output, `S SECONDS SIGWINCH ROWS=r COLS=c` for a new
size; `meta.json` is written when the session ends, with digests signed by the host.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from blake3 import blake3

from teleport.audit.files import sync_directory, write_durably
from teleport.core.aio import Clock, utc
from teleport.core.errors import Unavailable

__all__ = ["META", "OUTPUT", "TIMING", "Recorder", "RecordingInfo", "SealedRecording", "seal_folder", "signed_text"]

OUTPUT: Final = "output"
TIMING: Final = "timing"
META: Final = "meta.json"
START: Final = "start.json"
"""Written first: what `meta.json` will begin with, so that a crash leaves a recording that can be sealed later."""

_FLUSH_BYTES: Final = 256 * 1024
_FLUSH_SECONDS: Final = 0.5
_FULL_BYTES: Final = 4 << 20
"""Not yet written: at this much the source is asked to wait for the disk."""

Sign = Callable[[bytes], str]


@dataclass(frozen=True)
class RecordingInfo:
    """What is known when a session starts."""

    sid: str
    user: str
    login: str
    server_id: str
    server_hostname: str
    interactive: bool
    started: float
    rows: int = 0
    columns: int = 0
    term: str = ""
    command: str = ""
    limit: int | None = None
    """Bytes of output to keep; None for all."""

    def header(self) -> bytes:
        """The first line of `output`, which scriptreplay skips."""
        return (
            f"Script started on {utc(self.started)}"
            f" [SID={self.sid} USER={self.user} LOGIN={self.login} HOST={self.server_hostname}]\n"
        ).encode()


@dataclass(frozen=True)
class SealedRecording:
    """What a sealed recording came to."""

    sid: str
    sha256: str
    bytes_seen: int
    truncated: bool


class Recorder:
    """Writes one session's recording. Bytes are handed over without waiting and written soon after, in a thread.

    `failure` says why writing failed; from then on nothing is kept, and whoever demands a recording must end.
    `on_full` is told when the disk does not keep up, and when it has caught up.
    """

    def __init__(
        self, folder: Path, info: RecordingInfo, *, clock: Clock, on_failure: Callable[[str], None],
        on_full: Callable[[bool], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._folder, self._info, self._clock = folder, info, clock
        self._on_failure, self._on_full = on_failure, on_full
        self._last = info.started
        self._output: list[bytes] = []
        self._timing: list[str] = []
        self._buffered = 0
        self._full = False
        self._kept = self.bytes_seen = 0
        self._files: tuple[BinaryIO, BinaryIO] | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._digest = blake3()
        self.failure = ""

    @property
    def sid(self) -> str:
        return self._info.sid

    async def start(self) -> None:
        """Create the folder and its files. Raises Unavailable if they cannot be written."""
        try:
            await asyncio.to_thread(self._create)
        except OSError as error:
            raise Unavailable(f"the session cannot be recorded: {error.strerror or error}") from None

    def _create(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True)
        write_durably(self._folder / START, json.dumps(_start(self._info)).encode())
        output = (self._folder / OUTPUT).open("xb")
        timing = (self._folder / TIMING).open("xb")
        output.write(self._info.header())
        timing.write(_timing_header(self._info).encode())
        output.flush()
        timing.flush()
        sync_directory(self._folder)
        self._files = (output, timing)

    def output(self, data: bytes) -> None:
        """Note bytes that the client is being sent."""
        self.bytes_seen += len(data)
        self._digest.update(data)
        if self.failure or self._files is None:
            return
        limit = self._info.limit
        kept = data if limit is None else data[: max(0, limit - self._kept)]
        if not kept:
            return
        self._kept += len(kept)
        self._output.append(bytes(kept))
        self._timing.append(f"O {self._elapsed():.6f} {len(kept)}\n")
        self._buffered += len(kept)
        self._schedule(at_once=self._buffered >= _FLUSH_BYTES)
        self._press(self._buffered >= _FULL_BYTES)

    def resize(self, rows: int, columns: int) -> None:
        """Note a new terminal size."""
        if not self.failure and self._files is not None:
            self._timing.append(f"S {self._elapsed():.6f} SIGWINCH ROWS={rows} COLS={columns}\n")
            self._schedule(at_once=False)

    def _press(self, full: bool) -> None:
        if full != self._full:
            self._full = full
            self._on_full(full)

    def _elapsed(self) -> float:
        now = self._clock.time()
        elapsed, self._last = max(0.0, now - self._last), now
        return elapsed

    def _schedule(self, *, at_once: bool) -> None:
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_later(0.0 if at_once else _FLUSH_SECONDS))

    async def _flush_later(self, pause: float) -> None:
        """Until nothing is left: what is handed over during a write is not forgotten."""
        while True:
            await asyncio.sleep(pause)
            await self.flush()
            if not self._output and not self._timing:
                return
            pause = 0.0 if self._buffered >= _FLUSH_BYTES else _FLUSH_SECONDS

    async def flush(self, *, sync: bool = False) -> None:
        """Write what was handed over. Whoever is cancelled while waiting does not undo the write."""
        await asyncio.shield(asyncio.ensure_future(self._flush(sync)))

    async def _flush(self, sync: bool) -> None:
        """One write after another: what was handed over first is written first."""
        async with self._writing:
            output, timing = b"".join(self._output), "".join(self._timing).encode()
            self._output, self._timing, self._buffered = [], [], 0
            if self._files is None or self.failure:
                self._press(False)
                return
            try:
                await asyncio.to_thread(_write, self._files, output, timing, sync)
            except OSError as error:
                self.failure = f"the recording cannot be written: {error.strerror or error}"
                self._on_failure(self.failure)
            self._press(self._buffered >= _FLUSH_BYTES and not self.failure)

    def abandon(self) -> None:
        """Close and remove everything: nothing was recorded after all."""
        for file in self._files or ():
            file.close()
        self._files = None
        shutil.rmtree(self._folder, ignore_errors=True)

    async def seal(self, sign: Sign) -> SealedRecording:
        """Write the rest and `meta.json`, and close; after a failure over what there is. Raises Unavailable."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.wait([self._flushing])
        await self.flush(sync=True)
        if self._files is not None:
            for file in self._files:
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(file.close)
            self._files = None
        truncated = self.bytes_seen > self._kept
        more = {"bytes_seen": self.bytes_seen, "stream_blake3": self._digest.hexdigest(), "truncated": truncated}
        try:
            meta = await asyncio.to_thread(seal_folder, self._folder, sign, self._clock.time(), more)
        except OSError as error:
            raise Unavailable(f"the recording cannot be sealed: {error.strerror or error}") from None
        return SealedRecording(self.sid, meta["output_sha256"], self.bytes_seen, truncated)


def seal_folder(folder: Path, sign: Sign, now: float, more: Mapping[str, Any]) -> dict[str, Any]:
    """Write `meta.json` over what is in a folder: after a session, or after a crash for what it left. OSError."""
    meta: dict[str, Any] = json.loads((folder / START).read_bytes())
    _reconcile(folder)
    digests = {f"{name}_sha256": _sha256(folder / name) for name in (OUTPUT, TIMING)}
    meta |= {"stopped": utc(now), "output_bytes": (folder / OUTPUT).stat().st_size, **digests, **more}
    meta["signature"] = sign(signed_text(meta))
    write_durably(folder / META, json.dumps(meta, indent=1).encode() + b"\n")
    return meta


def signed_text(meta: Mapping[str, Any]) -> bytes:
    """What the host signs: everything in `meta.json` but the signature, as canonical JSON."""
    body = {key: value for key, value in meta.items() if key != "signature"}
    return b"teleport recording v1\n" + json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def _start(info: RecordingInfo) -> dict[str, Any]:
    return {
        "version": 1, "sid": info.sid, "user": info.user, "login": info.login, "server_id": info.server_id,
        "server_hostname": info.server_hostname, "interactive": info.interactive, "started": utc(info.started),
        "rows": info.rows, "columns": info.columns, "term": info.term, "command": info.command,
    }  # fmt: skip


def _timing_header(info: RecordingInfo) -> str:
    lines = [f"H 0.000000 START_TIME {utc(info.started)}"]
    if info.interactive:
        lines += [f"H 0.000000 TERM {info.term}", f"H 0.000000 COLUMNS {info.columns}", f"H 0.000000 LINES {info.rows}"]
    return "\n".join(lines) + "\n"


def _write(files: tuple[BinaryIO, BinaryIO], output: bytes, timing: bytes, sync: bool) -> None:
    for file, data in zip(files, (output, timing), strict=True):
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def _reconcile(folder: Path) -> None:
    """After a crash one file may be ahead of the other: lose no output, and keep only timing that has it."""
    timing = (folder / TIMING).read_bytes()
    whole = timing[: timing.rfind(b"\n") + 1]
    with (folder / OUTPUT).open("rb") as file:
        header = len(file.readline())
        size = file.seek(0, os.SEEK_END)
    kept, total = [], header
    for line in whole.splitlines(keepends=True):
        if line.startswith(b"O "):
            total += int(line.split()[2])
            if total > size:
                total -= int(line.split()[2])
                break
        kept.append(line)
    if size > total:
        kept.append(b"O 0.000000 %d\n" % (size - total))
    if b"".join(kept) != timing:
        write_durably(folder / TIMING, b"".join(kept))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def signature_text(signature: bytes) -> str:
    """A signature as `meta.json` has it."""
    return base64.b64encode(signature).decode()
