"""The channel of somebody who looks on at a session: output as it comes, and not a byte the other way.

No program runs for it. Who cannot keep up is given up: beyond a bound nothing waits for a client that does not read.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncssh

from teleport.agents.ssh.live import Watched
from teleport.agents.ssh.recorded import RecordingHost
from teleport.audit.events import SessionJoined, SessionLeft
from teleport.core.errors import TeleportError
from teleport.core.output import printable
from teleport.sessions.gate import Session

__all__ = ["Looking", "ObserverChannel"]

MAX_BEHIND: Final = 4 << 20
"""Bytes that wait for an observer before they are given up."""
_PIECE: Final = 32 * 1024
_LEAVING: Final = (b"\x03", b"\x04")
"""Keys that leave, where there is a terminal: Ctrl-C and Ctrl-D."""
_LEFT, _BEHIND, _ENDED = "", "you were too slow for what the session prints", "the session ended"
_MODE: Final = "observer"


@dataclass(frozen=True)
class Looking:
    """Who looks on at what. `session` is the observer's own, which the gate watches over."""

    session: Session
    watched: Watched
    records: RecordingHost
    touched: Callable[[], None]
    """Call when bytes move: the connection is not idle."""

    def about(self) -> dict[str, Any]:
        """What events say: whose act it is, in which session."""
        session, facts = self.session, self.watched.facts
        return {
            "user": session.user, "user_kind": 1, "user_roles": session.user_roles, "sid": facts.sid,
            **self.records.place, "login": facts.login,
            "addr__remote": session.client_address, "owner": facts.owner, "mode": _MODE,
            "with_mfa": True if session.request.identity.mfa_verified else None,
        }  # fmt: skip


class ObserverChannel(asyncssh.SSHServerSession[bytes]):
    """Serves one channel of an observer's connection."""

    def __init__(self, looking: Looking) -> None:
        self._looking = looking
        self._channel: Any = None
        self._terminal = self._paused = self._gone = False
        self._waiting = bytearray()
        self._task: asyncio.Task[None] | None = None
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why it is over, once it is; empty if the observer left."""

    @property
    def name(self) -> str:
        return self._looking.session.user

    # -- what asyncssh calls

    def connection_made(self, chan: Any) -> None:
        self._channel = chan

    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Mapping[int, int]
    ) -> bool:
        self._terminal = True
        return True

    def agent_requested(self) -> "asyncio.Future[bool]":
        return _no()

    def x11_requested(self, body: bytes) -> "asyncio.Future[bool]":
        return _no()

    def shell_requested(self) -> bool:
        return self._task is None

    def exec_requested(self, command: str) -> bool:
        return self._refuse("who looks on runs no command")

    def subsystem_requested(self, subsystem: str) -> bool:
        return self._refuse("who looks on starts no subsystem")

    def session_started(self) -> None:
        self._task = asyncio.create_task(self._serve())

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Nothing that is typed goes anywhere; two keys end it."""
        if self._terminal and any(key in data for key in _LEAVING):
            self._end(_LEFT)

    def eof_received(self) -> bool:
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """The observer's terminal is the observer's affair."""

    def signal_received(self, signal: str) -> None:
        """There is nothing that it could reach."""

    def break_received(self, msec: int) -> bool:
        return False

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        while self._waiting and not self._paused:
            piece = bytes(self._waiting[:_PIECE])
            del self._waiting[:_PIECE]
            self._write(piece)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        self._end(_LEFT)

    # -- what the session calls

    def show(self, data: bytes) -> None:
        self._looking.touched()
        if self.over.done():
            return
        if not self._paused:
            self._write(data)
            return
        self._waiting += data
        if len(self._waiting) > MAX_BEHIND:
            self._waiting.clear()
            self._end(_BEHIND)

    def resized(self, rows: int, columns: int) -> None:
        """Ask the terminal to take the size of the session's; those that cannot do nothing."""
        if self._terminal:
            self.show(f"\x1b[8;{rows};{columns}t".encode())

    # -- ours

    def end(self, reason: str) -> None:
        """The observer's right is gone, or the host stops."""
        self._end(reason)

    async def wait_ended(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])

    def _end(self, reason: str) -> None:
        if not self.over.done():
            self.over.set_result(reason)

    async def _serve(self) -> None:
        """From the event that says so to the one that says it is over."""
        try:
            await self._tell_of_joining()
        except TeleportError as error:
            self._finish(error.message)
            return
        try:
            self._greet(self._looking.watched.join(self))
            either: list[asyncio.Future[Any]] = [self.over, self._looking.watched.ended]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            self._end(_ENDED)
        except TeleportError as error:
            self._end(error.message)
        finally:
            self._looking.watched.leave(self)
            self._finish("an internal error ended it")
            await self._emit(SessionLeft(**self._looking.about(), reason=self.over.result()))

    def _finish(self, otherwise: str) -> None:
        """The last words, after all that the session printed, and the end of the channel."""
        self._end(otherwise)
        reason = self.over.result()
        self._write(bytes(self._waiting))
        self._waiting.clear()
        if reason:
            self._say(f"Teleport > {reason}")
        self._exit(0 if reason in (_LEFT, _ENDED) else 255)

    async def _tell_of_joining(self) -> None:
        """Nobody looks on without it being written down. Raises Unavailable."""
        decision = self._looking.session.decision
        event = SessionJoined(**self._looking.about(), **decision.rule, policy_revision=decision.revision)
        await self._looking.records.sink(self._looking.session.conditions.recording_mode).emit(event)

    async def _emit(self, event: SessionLeft) -> None:
        mode = self._looking.session.conditions.recording_mode
        try:
            await self._looking.records.sink(mode).emit(event)
        except TeleportError:
            with contextlib.suppress(TeleportError):
                await self._looking.records.spool.emit(event)

    def _greet(self, lately: bytes) -> None:
        watched = self._looking.watched
        whose = printable(f"{watched.facts.owner}'s session as {watched.facts.login}")
        keys = ", Ctrl-C leaves" if self._terminal else ""
        self._say(
            f"Teleport > you look on at {whose} on {self._looking.records.hostname}: "
            f"{watched.columns}x{watched.rows}, typing has no effect{keys}"
        )
        self.resized(watched.rows, watched.columns)
        if lately:
            self.show(lately)

    def _refuse(self, why: str) -> bool:
        self._say(why)
        return False

    def _say(self, text: str) -> None:
        line = f"\r\n{text}\r\n".encode()
        if self._terminal:
            self._write(line)
        elif not self._gone:
            with contextlib.suppress(OSError, asyncssh.Error):
                self._channel.write_stderr(line)

    def _write(self, data: bytes) -> None:
        if self._gone:
            return
        try:
            self._channel.write(data)
        except (OSError, asyncssh.Error):
            self._end(_LEFT)

    def _exit(self, status: int) -> None:
        if not self._gone:
            with contextlib.suppress(OSError, asyncssh.Error):
                self._channel.exit(status)


def _no() -> "asyncio.Future[bool]":
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    answer.set_result(False)
    return answer
