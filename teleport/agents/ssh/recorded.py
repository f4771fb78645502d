"""One session on a connection: its audit events and its recording, from before its first byte to its sealed end.

`session.start` is durable before anything runs: in the sync modes at auth, otherwise on this host's disk. If it
cannot be, there is no session. What happens when recording fails later depends on the role: strict ends it.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from teleport.agents.ssh.copies import Copy
from teleport.audit.events import (
    CommandExecuted,
    Event,
    FileCopied,
    RecordingLost,
    SessionEnded,
    SessionResized,
    SessionStarted,
)
from teleport.audit.recording import OUTPUT, TIMING, Recorder, RecordingInfo, Sign
from teleport.audit.sink import EventSink
from teleport.audit.spool import Destination, Spool
from teleport.core.aio import Clock, utc
from teleport.core.errors import TeleportError, Unavailable
from teleport.sessions.gate import Session

__all__ = ["Recording", "RecordingHost", "Request"]

log = logging.getLogger(__name__)

_SYNC_SECONDS = 0.5
_PART = 1 << 20


@dataclass(frozen=True)
class RecordingHost:
    """What a host needs to keep records: where they wait, where they go, and its own signature."""

    host_id: str
    hostname: str
    spool: Spool
    destination: Destination
    sign: Sign
    clock: Clock
    exec_limit: Callable[[], int]
    """Bytes of a command's output that are kept."""

    owed: list[Callable[[], Awaitable[bool]]] = field(default_factory=list)
    """Ends of sessions that could not be written when they happened; each says whether it has been, now."""
    sub_kind: str = ""
    """`openssh` for a host without an agent."""

    @property
    def place(self) -> dict[str, str]:
        """Which host it is, as events say it."""
        return {"server_id": self.host_id, "server_hostname": self.hostname, "server_sub_kind": self.sub_kind}

    async def settle(self) -> None:
        """Write what is owed, as far as that can be done now."""
        for finish in tuple(self.owed):
            if not await finish():
                return
            self.owed.remove(finish)

    def sink(self, mode: str) -> EventSink:
        return _Direct(self.destination, self.clock) if mode.endswith("-sync") else self.spool


class _Direct:
    """Events to auth at once."""

    def __init__(self, destination: Destination, clock: Clock) -> None:
        self._destination, self._clock = destination, clock

    async def emit(self, event: Event) -> None:
        try:
            await self._destination.send_events([{"time": utc(self._clock.time()), **event.to_dict()}])
        except TeleportError as error:
            raise Unavailable(f"the audit log cannot be reached: {error.message}") from error


@dataclass(frozen=True)
class Request:
    """What a client asked to be run: a shell, a command or a subsystem."""

    interactive: bool
    command: str = ""
    subsystem: str = ""
    copy: Copy | None = None
    rows: int = 0
    columns: int = 0
    term: str = ""

    @property
    def asked(self) -> str:
        return self.command or self.subsystem


class Recording:
    """The records of one session. `on_failure` is called once when they can no longer be kept as demanded.

    `on_full` is told when the disk does not keep up, and when it has caught up.
    """

    def __init__(
        self, host: RecordingHost, session: Session, request: Request, *, on_failure: Callable[[str], None],
        on_full: Callable[[bool], None],
    ) -> None:  # fmt: skip
        self.sid = str(uuid.uuid4())
        self._end_uid = str(uuid.uuid4())
        """Of the session's end, whoever writes it: a restart may write it again, and auth takes one of them."""
        self._host, self._session, self._request, self._on_failure = host, session, request, on_failure
        self._on_full = on_full
        self._mode = session.conditions.recording_mode
        self._strict = session.conditions.recording == "strict" or self._mode.endswith("-sync")
        self._sink = host.sink(self._mode)
        self._recorder: Recorder | None = None
        self._following: asyncio.Task[None] | None = None
        self._started = ""
        self._lost = ""
        self._participants = {session.user: None}
        self._told: set[type[Event]] = set()
        """Of the last events, those that are written."""

    @classmethod
    async def begin(
        cls, host: RecordingHost, session: Session, request: Request, *, on_failure: Callable[[str], None],
        on_full: Callable[[bool], None] = lambda _: None,
    ) -> "Recording":  # fmt: skip
        """Write `session.start` and open the recording. Raises Unavailable: then nothing may run."""
        recording = cls(host, session, request, on_failure=on_failure, on_full=on_full)
        await recording._begin()
        return recording

    async def _begin(self) -> None:
        now = self._host.clock.time()
        self._started = utc(now)
        try:
            await asyncio.to_thread(self._host.spool.begin, self.sid, self._end("the agent stopped").to_dict())
        except OSError as error:
            raise Unavailable(f"the session cannot be recorded: {error.strerror or error}") from None
        try:
            if self._mode != "off":
                await self._open(now)
            decision = self._session.decision
            await self._sink.emit(
                SessionStarted(
                    **self.about(), size=self._size(), interactive=self._request.interactive,
                    initial_command=self._command(), session_recording=self._mode, **decision.rule,
                    policy_revision=decision.revision, connection=self._session.connection,
                )
            )  # fmt: skip
        except BaseException:
            await self._forget()
            raise

    async def _forget(self) -> None:
        """There will be no session: leave nothing that a restart would take for one."""
        if self._following is not None:
            self._following.cancel()
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.abandon)
        await asyncio.to_thread(self._host.spool.finished, self.sid)

    async def _open(self, now: float) -> None:
        session, request = self._session, self._request
        info = RecordingInfo(
            sid=self.sid, user=session.user, login=session.login, server_id=self._host.host_id,
            server_hostname=self._host.hostname, interactive=request.interactive, started=now, rows=request.rows,
            columns=request.columns, term=request.term, command=request.asked,
            limit=None if request.interactive else self._host.exec_limit(),
        )  # fmt: skip
        recorder = Recorder(
            self._host.spool.recordings / self.sid, info, clock=self._host.clock, on_failure=self._failed,
            on_full=self._on_full,
        )  # fmt: skip
        try:
            await recorder.start()
        except Unavailable:
            if self._strict:
                raise
            self._lost = "the recording could not be started"
            return
        self._recorder = recorder
        if self._mode.endswith("-sync"):
            self._following = asyncio.create_task(self._follow())

    @property
    def keeps(self) -> bool:
        """Whether anything is recorded."""
        return self._recorder is not None

    def joined(self, user: str) -> None:
        """Somebody else takes part from now on."""
        self._participants[user] = None

    def output(self, data: bytes) -> None:
        """Bytes on their way to the client."""
        if self._recorder is not None:
            self._recorder.output(data)

    async def note(self, events: Iterable[Event]) -> None:
        """Write down what has happened in this session, in order. Never raises: failing is like a failing recording."""
        if self._mode.endswith("-sync"):
            for event in events:
                await self._note(event)
        else:
            await asyncio.gather(*map(self._note, events))

    async def _note(self, event: Event) -> None:
        try:
            await self._sink.emit(event)
        except TeleportError as error:
            self._failed(error.message)
            with contextlib.suppress(TeleportError):
                await self._host.spool.emit(event)

    async def resize(self, rows: int, columns: int) -> None:
        if self._recorder is not None:
            self._recorder.resize(rows, columns)
        with contextlib.suppress(TeleportError):
            await self._sink.emit(SessionResized(**self.about(), size=f"{columns}:{rows}"))

    async def end(self, *, reason: str = "", status: int | None = None, error: str = "") -> None:
        """Seal the recording and write the session's end. Never raises.

        What auth cannot take now waits in the spool; what the spool cannot, until the host settles it.
        """
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        finish = partial(self._finish, reason, status, error)
        if not await finish():
            self._host.owed.append(finish)
            if self._strict:
                self._on_failure("the end of the session cannot be recorded")

    async def _finish(self, reason: str, status: int | None, error: str) -> bool:
        """Whether everything has been written. May be asked again."""
        digest, size = await self._seal()
        try:
            await self._tell_last(self._last_events(reason, status, error, digest=digest, size=size))
            await asyncio.to_thread(self._host.spool.finished, self.sid)
        except (TeleportError, OSError) as failure:
            log.warning("the end of session %s is not recorded yet: %s", self.sid, failure)
            return False
        self._host.spool.news.set()
        return True

    async def _seal(self) -> tuple[str, int]:
        """Digest and size of the recording, as far as there is one."""
        if self._recorder is None:
            return "", 0
        try:
            sealed = await self._recorder.seal(self._host.sign)
        except (TeleportError, OSError) as failure:
            self._lost = self._lost or str(failure)
            return "", 0
        return sealed.sha256, sealed.bytes_seen

    def _last_events(self, reason: str, status: int | None, error: str, *, digest: str, size: int) -> Iterator[Event]:
        yield from self._done(status, error or reason)
        if self._lost:
            yield RecordingLost(**self.about(), error=self._lost)
        yield self._end(reason, digest=digest, size=size)

    def _done(self, status: int | None, error: str) -> Iterator[Event]:
        """What a command came to; `status` is None if it did not come to its end."""
        copy, outcome = self._request.copy, "I" if status == 0 else "E"
        if copy is not None and copy.program == "scp":
            yield FileCopied(
                **self.about(), outcome=outcome, action=copy.action, path=copy.path, exitCode=status or 0,
                exitError=error,
            )  # fmt: skip
        if not self._request.interactive and self._request.command and status is not None:
            yield CommandExecuted(
                **self.about(), outcome=outcome, command=self._request.command, exitCode=status, exitError=error,
            )  # fmt: skip

    async def _tell_last(self, events: Iterable[Event]) -> None:
        """Those that are not written yet, in order; in the spool, with one write. Raises TeleportError."""
        missing = [event for event in events if type(event) not in self._told]
        if self._mode.endswith("-sync"):
            for event in missing:
                await self._emit_last(event)
            return
        for outcome in await asyncio.gather(*map(self._emit_last, missing), return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _emit_last(self, event: Event) -> None:
        """At auth if the mode says so and it answers, otherwise in the spool, from where it will get there."""
        try:
            await self._sink.emit(event)
        except TeleportError:
            await self._host.spool.emit(event)
        self._told.add(type(event))

    def _end(self, reason: str, *, digest: str = "", size: int = 0) -> SessionEnded:
        return SessionEnded(
            **self.about(), uid=self._end_uid, interactive=self._request.interactive,
            participants=tuple(self._participants), session_start=self._started,
            session_stop=utc(self._host.clock.time()), session_recording=self._mode,
            initial_command=self._command(), reason=reason, recording_sha256=digest, recording_bytes=size,
            recording_error=self._lost, policy_revision=self._session.decision.revision,
        )  # fmt: skip

    async def _follow(self) -> None:
        """In the sync modes: bring what was recorded to auth as it grows; what fails ends the session."""
        assert self._recorder is not None
        offsets = {OUTPUT: 0, TIMING: 0}
        folder = self._host.spool.recordings / self.sid
        while True:
            await asyncio.sleep(_SYNC_SECONDS)
            try:
                await self._recorder.flush()
                for name in (OUTPUT, TIMING):
                    data = await asyncio.to_thread(_read_from, folder / name, offsets[name])
                    if data:
                        await self._host.destination.send_part(self.sid, name, offsets[name], data)
                        offsets[name] += len(data)
            except (TeleportError, OSError) as error:
                self._failed(f"the recording cannot be brought to the auth service: {error}")
                return

    def _failed(self, why: str) -> None:
        if not self._lost:
            self._lost = why
            if self._strict:
                self._on_failure(why)

    def about(self) -> dict[str, Any]:
        """What every event of this session says."""
        session = self._session
        return {
            "user": session.user, "user_kind": 1, "user_roles": session.user_roles, "sid": self.sid,
            **self._host.place, "login": session.login, "addr__remote": session.client_address,
            "with_mfa": True if session.request.identity.mfa_verified else None,
        }  # fmt: skip

    def _command(self) -> tuple[str, ...]:
        return (self._request.asked,) if self._request.asked else ()

    def _size(self) -> str:
        return f"{self._request.columns}:{self._request.rows}" if self._request.interactive else ""


def _read_from(path: Any, offset: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset)
        return bytes(file.read(_PART))
