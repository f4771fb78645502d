"""One session channel: what the client asks for, the program it gets, and how both end.

asyncssh calls in; every entry is an edge at which an error ends this session and nothing else.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

import asyncssh

from teleport.agents.ssh import copies
from teleport.agents.ssh.files import FileAudit, refused_copy
from teleport.agents.ssh.forwarding import Forwarding
from teleport.agents.ssh.live import Facts, LiveSessions, Watched
from teleport.agents.ssh.pump import Brake
from teleport.agents.ssh.recorded import Recording, RecordingHost, Request
from teleport.agents.ssh.running import Runner, Running, Taker, Wanted
from teleport.audit.events import Event, SubsystemRequested
from teleport.core.errors import AccessDenied, TeleportError
from teleport.sessions.conditions import file_copy, recorded_as
from teleport.sessions.gate import Session

__all__ = ["SessionChannel", "Surroundings"]

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_MAX_COMMAND: Final = 120_000
_SIGNALS: Final[Mapping[str, int]] = {
    name: getattr(signal, f"SIG{name}")
    for name in ("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2")
}
_NAMES: Final[Mapping[int, str]] = {number: name for name, number in _SIGNALS.items()}
_MAX_EARLY: Final = 1 << 20
"""Bytes that are kept for a program that has not started."""
_FORWARDED_TERM: Final = 64


@dataclass(frozen=True)
class Surroundings:
    """What a channel needs of its connection and host."""

    session: Session
    runner: Runner
    records: RecordingHost
    touched: Callable[[], None]
    """Call when bytes move: the connection is not idle."""
    forwarding: Forwarding
    live: LiveSessions
    file_copy: bool = True
    """Whether the host lets files be copied, whatever the roles permit."""


class SessionChannel(asyncssh.SSHServerSession[bytes]):
    """Serves one channel; see RFC 4254, section 6. `gone` is called when nothing of it is left."""

    def __init__(self, around: Surroundings, *, gone: Callable[["SessionChannel"], None]) -> None:
        self._around, self._when_gone = around, gone
        self._channel: Any = None
        self._modes: Mapping[int, int] = {}
        self._term: tuple[str, int, int] | None = None
        self._command: str | None = None
        self._subsystem = ""
        self._copy: copies.Copy | None = None
        self._files: FileAudit | None = None
        self._recording: Recording | None = None
        self._watched: Watched | None = None
        self._program: Running | None = None
        self._output_brake = Brake(stop=self._stop_reading, go=self._go_on_reading)
        self._carries = False
        self._early: list[bytes] = []
        self._early_end = False
        self._reason = ""
        self._forwarded: dict[str, str] = {}
        """Variables that lead programs to what is forwarded."""
        self._display: bytes | None = None
        self._task: asyncio.Task[None] | None = None
        self._beginning: asyncio.Future[Recording] | None = None
        self._starting: asyncio.Future[Running] | None = None
        self._finishing: asyncio.Future[None] | None = None
        self._noting_size: asyncio.Future[None] | None = None
        self._gone = False
        self._telling: set[asyncio.Future[None]] = set()

    # -- what asyncssh calls

    def connection_made(self, chan: Any) -> None:
        self._channel = chan
        self._brake = Brake(stop=chan.pause_reading, go=chan.resume_reading)

    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Mapping[int, int]
    ) -> bool:
        columns, rows, _, _ = term_size
        self._term, self._modes = (_printable(term_type), rows, columns), dict(term_modes)
        return True

    def agent_requested(self) -> "asyncio.Future[bool]":
        return asyncio.ensure_future(self._forward(self._around.forwarding.agent()))

    def x11_requested(self, body: bytes) -> "asyncio.Future[bool]":
        self._display = body
        return asyncio.ensure_future(self._forward(self._around.forwarding.display(self, body)))

    def shell_requested(self) -> bool:
        return not self._reason

    def exec_requested(self, command: str) -> bool:
        self._command, self._copy = command, copies.recognise(_readable(command))
        if self._copy is not None and self._term is not None:
            self._copy = replace(self._copy, alone=False)  # on a terminal it may be anything, and is recorded
        return not self._reason and len(command) <= _MAX_COMMAND and "\x00" not in command

    def subsystem_requested(self, subsystem: str) -> bool:
        if subsystem == "sftp":
            self._subsystem, self._copy, self._term = subsystem, copies.SFTP, None
            return not self._reason
        name, why = _printable(subsystem), "this subsystem is not offered"
        self._say(f"{why}: {name}")
        self._write_down(SubsystemRequested(**self._about(), outcome="E", name=name, exitError=why))
        return False

    def session_started(self) -> None:
        self._task = asyncio.create_task(self._guarded())
        self._task.add_done_callback(self._step_done)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._around.touched()
        if self._carries:
            self._input(data)
        elif not self._early_end:
            self._early.append(data)
            self._brake.hold("early", sum(map(len, self._early)) > _MAX_EARLY)

    def eof_received(self) -> bool:
        if not self._carries:
            self._early_end = True
        elif self._program is not None:
            self._program.end_input()
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._term is None:
            return
        self._term = (self._term[0], height, width)
        self._resize()
        if self._watched is not None:
            self._watched.resize(height, width)
        if self._recording is not None and (self._noting_size is None or self._noting_size.done()):
            self._noting_size = asyncio.ensure_future(self._note_size(self._recording))

    def signal_received(self, signal: str) -> None:
        number = _SIGNALS.get(signal)
        if number is not None and self._program is not None:
            self._program.signal(number)

    def break_received(self, msec: int) -> bool:
        return False

    def pause_writing(self) -> None:
        self._output_brake.hold("client", True)

    def resume_writing(self) -> None:
        self._output_brake.hold("client", False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        self._around.forwarding.release(self)
        if self._task is not None:
            self._task.cancel()
        self._step_done()

    # -- ours

    def end(self, reason: str) -> None:
        """Say why on the client's terminal or standard error, and stop; `wait_ended` waits until all is gone."""
        self._reason = reason
        self._say(reason)
        if self._task is not None:
            self._task.cancel()

    async def wait_ended(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._finishing is not None:
            await asyncio.wait([self._finishing])

    async def _forward(self, variables: Awaitable[Mapping[str, str]]) -> bool:
        """Whether something could be forwarded of which the programs of this channel are to know."""
        try:
            self._forwarded |= await variables
        except (OSError, TeleportError) as error:
            self._around.forwarding.say(str(error))
            return False
        if self._gone:
            self._around.forwarding.release(self)
        return True

    def _step_done(self, _: object = None) -> None:
        """Called when the channel is gone, when the session's task has ended, and when it has tidied up."""
        if self._gone and all(step is None or step.done() for step in (self._task, self._finishing)):
            self._when_gone(self)

    async def _note_size(self, recording: Recording) -> None:
        """Record the size that the terminal has; of those that come meanwhile, the last."""
        noted = None
        while self._term is not None and noted != self._term:
            noted = self._term
            await recording.resize(noted[1], noted[2])

    def _resize(self) -> None:
        if self._program is not None and self._term is not None:
            self._program.resize(self._term[1], self._term[2])

    async def _guarded(self) -> None:
        session, status = self._around.session, None
        try:
            with contextlib.ExitStack() as held:
                held.enter_context(session.hold(recorded_as(session.conditions), self.end))
                if self._copy is not None:
                    self._may_copy(self._copy)
                    held.enter_context(session.hold(file_copy, self.end))
                status = await self._serve()
        except TeleportError as error:
            self._fail(error.message)
        except asyncio.CancelledError:
            pass
        except Exception:
            log.exception("a session of %s failed", session.user)
            self._fail("an internal error ended this session")
        self._finishing = asyncio.ensure_future(self._finish(status))
        self._finishing.add_done_callback(self._step_done)
        await asyncio.shield(self._finishing)
        self._exit(status if status is not None else 255)

    def _may_copy(self, copy: copies.Copy) -> None:
        """Raises AccessDenied, and writes that down, where the host or the roles do not permit copying files."""
        around = self._around
        why = file_copy(around.session.conditions) if around.file_copy else "this host does not permit copying files"
        if why:
            self._write_down(refused_copy(copy, self._about(), why, command=_readable(self._command or "")))
            raise AccessDenied(why)

    async def _serve(self) -> int:
        """Run the program, with everything recorded; its status. `_finish` tidies up, however far this came."""
        around, term = self._around, self._term
        request = Request(
            interactive=term is not None,
            command=_readable(self._command or ""), subsystem=self._subsystem, copy=self._copy,
            term=term[0] if term else "", rows=term[1] if term else 0, columns=term[2] if term else 0,
        )  # fmt: skip
        beginning = Recording.begin(
            around.records,
            around.session,
            request,
            on_failure=self._unrecorded,
            on_full=partial(self._output_brake.hold, "recording"),
        )
        self._beginning = asyncio.ensure_future(beginning)
        self._recording = await asyncio.shield(self._beginning)
        await self._begin_copy(self._recording)
        self._starting = asyncio.ensure_future(around.runner.begin(self._wanted(self._recording.sid)))
        self._program = await asyncio.shield(self._starting)
        self._resize()
        if self._term is None:
            return await self._run(self._program)
        with around.live.lasting(self._to_be_watched(self._recording)) as self._watched:
            return await self._run(self._program)

    async def _begin_copy(self, recording: Recording) -> None:
        if self._subsystem:
            await recording.note([SubsystemRequested(**recording.about(), name=self._subsystem)])
        if self._copy is not None and self._copy.program == "sftp" and self._copy.alone:
            home = self._around.runner.home
            self._files = FileAudit(recording, home=home, brake=self._brake, unfollowable=self.end)

    def _to_be_watched(self, recording: Recording) -> Watched:
        session, (_, rows, columns) = self._around.session, self._term or ("", 0, 0)
        facts = Facts(
            sid=recording.sid, owner=session.user, owner_uid=session.request.identity.uid, login=session.login,
            started=self._around.records.clock.time(), server_id=self._around.records.host_id,
        )  # fmt: skip
        return Watched(facts, tell=self._say, joined=recording.joined, keep=recording.keeps, rows=rows, columns=columns)

    def _fail(self, why: str) -> None:
        """The session ends by a failure of ours."""
        self._reason = self._reason or why
        self._say(why)

    def _wanted(self, sid: str) -> Wanted:
        display = self._display if "DISPLAY" in self._forwarded else None
        return Wanted(
            sid, self._command, self._subsystem, self._term, self._modes, self._channel.get_environment(),
            self._forwarded, display,
        )  # fmt: skip

    async def _run(self, program: Running) -> int:
        """Carry bytes until the program has ended and its output is drained; its status."""
        program.carry(Taker(self._output, self._errors, partial(self._brake.hold, "program")))
        self._carries = True
        if self._output_brake.held:
            self._stop_reading()
        for data in self._early:
            self._input(data)
        self._early.clear()
        self._brake.hold("early", False)
        if self._early_end:
            program.end_input()
        return await program.wait()

    def _input(self, data: bytes) -> None:
        if self._program is not None and (self._files is None or self._files.client(data)):
            self._program.write(data)

    def _output(self, data: bytes) -> None:
        """What the program prints; where that is nothing but files it is not recorded: events tell of them."""
        self._around.touched()
        if self._files is not None and not self._files.server(data):
            return
        if self._recording is not None and not (self._copy is not None and self._copy.alone):
            self._recording.output(data)
        if not self._gone:
            self._channel.write(data)
        if self._watched is not None:
            self._watched.output(data)

    def _errors(self, data: bytes) -> None:
        self._around.touched()
        if self._recording is not None:
            self._recording.output(data)
        if not self._gone:
            self._channel.write_stderr(data)

    async def _finish(self, status: int | None) -> None:
        """Leave nothing behind: the program, the descriptors, the records. What had only begun is awaited first."""
        if self._recording is None:
            self._recording = await _outcome(self._beginning)
        if self._program is None:
            self._program = await _outcome(self._starting)
        if self._program is not None:
            if status is None:
                await self._program.stop(withdrawn=bool(self._reason), at_once=self._copy is not None)
            else:
                self._program.release()
        if self._files is not None:
            await self._files.finish()
        if self._recording is not None:
            reason = self._reason or ("" if status is not None else "the client disconnected")
            await self._recording.end(reason=reason, status=status)

    def _stop_reading(self) -> None:
        if self._program is not None:
            self._program.hold(True)

    def _go_on_reading(self) -> None:
        if self._program is not None:
            self._program.hold(False)

    def _exit(self, status: int) -> None:
        if self._gone:
            return
        with contextlib.suppress(OSError, asyncssh.Error):
            if status < 0:
                self._channel.exit_with_signal(_NAMES.get(-status, "TERM"))
            else:
                self._channel.exit(status)

    def _say(self, text: str) -> None:
        if self._gone or self._channel is None:
            return
        with contextlib.suppress(OSError, asyncssh.Error):
            line = f"\r\n{text}\r\n".encode()
            if self._term is not None:
                self._channel.write(line)
            else:
                self._channel.write_stderr(line)

    def _unrecorded(self, why: str) -> None:
        """The recording that the role demands cannot be kept."""
        self._around.session.end(f"the session must be recorded and cannot be: {why}")

    def _about(self) -> dict[str, Any]:
        """What events say while there is no session yet."""
        session, records = self._around.session, self._around.records
        return {
            "user": session.user, "user_kind": 1, "user_roles": session.user_roles, **records.place,
            "login": session.login, "addr__remote": session.client_address,
        }  # fmt: skip

    def _write_down(self, event: Event) -> None:
        """Write an event that nothing waits for."""
        task = asyncio.ensure_future(self._emit(event))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _emit(self, event: Event) -> None:
        with contextlib.suppress(TeleportError):
            await self._around.records.sink(self._around.session.conditions.recording_mode).emit(event)


async def _outcome(step: "asyncio.Future[_T] | None") -> _T | None:
    """What a step gave in the end; None if it was never taken or failed, of which the session's own task speaks."""
    if step is None:
        return None
    await asyncio.wait([step])
    return None if step.cancelled() or step.exception() is not None else step.result()


def _readable(command: str) -> str:
    """A command as events and recordings have it: what is no UTF-8 as `\\xNN`."""
    return command.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _printable(text: str) -> str:
    """A short text from a client without control characters."""
    return "".join(char for char in text[:_FORWARDED_TERM] if char.isprintable()) or "dumb"
