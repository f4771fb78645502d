"""What a program that connected to `tsh proxy ssh --local` asks for, asked of the host; and the answers, brought back.

Channel by channel, with nothing looked at: whoever writes faster than the other side reads is made to wait.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncssh

__all__ = ["NearSession"]

_NO_SESSION = 255
"""What ssh exits with where there was no session, or nobody says how it ended."""


class NearSession(asyncssh.SSHServerSession[bytes]):
    """A session of the local program; its twin at the host is opened once it is known what it is for."""

    def __init__(self, host: asyncssh.SSHClientConnection) -> None:
        self._host = host
        self._near: Any
        self._far: Any = None
        self._opening: asyncio.Task[None] | None = None
        self._early: list[Callable[[Any], None]] = []
        """What came before the host had a session."""

    # -- what asyncssh calls

    def connection_made(self, chan: Any) -> None:
        self._near = chan

    def pty_requested(self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Any) -> bool:
        return True

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        return True

    def session_started(self) -> None:
        self._opening = asyncio.get_running_loop().create_task(self._open())

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._opening is not None:  # before, it is the size that the terminal has from its beginning
            self._pass_on(lambda far: far.change_terminal_size(width, height, pixwidth, pixheight))

    def signal_received(self, signal: str) -> None:
        self._pass_on(lambda far: far.send_signal(signal))

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._pass_on(lambda far: far.write(data))

    def eof_received(self) -> bool:
        self._pass_on(lambda far: far.write_eof())
        return True

    def pause_writing(self) -> None:
        if self._far is not None:
            self._far.pause_reading()

    def resume_writing(self) -> None:
        if self._far is not None:
            self._far.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._far is not None:
            self._far.close()
        elif self._opening is not None:
            self._opening.cancel()

    # -- ours

    def _pass_on(self, act: Callable[[Any], None]) -> None:
        if self._far is None:
            self._early.append(act)
            self._near.pause_reading()
            return
        with suppress(OSError):  # the program has ended, and this comes too late
            act(self._far)

    async def _open(self) -> None:
        near = self._near
        try:
            self._far, _ = await self._host.create_session(
                lambda: _FarSession(near), near.get_command(), subsystem=near.get_subsystem(),
                env=near.get_environment_bytes(), request_pty="force" if near.get_terminal_type() else False,
                term_type=near.get_terminal_type(), term_size=near.get_terminal_size(),
                term_modes=near.get_terminal_modes(), x11_forwarding=False, encoding=None,
            )  # fmt: skip
        except (asyncssh.Error, OSError) as error:
            near.write_stderr(f"tsh: error: the host opens no session: {error}\r\n".encode())
            near.exit(_NO_SESSION)
            return
        for act in self._early:
            self._pass_on(act)
        near.resume_reading()


class _FarSession(asyncssh.SSHClientSession[bytes]):
    """The session at the host. How it ended is passed on when all it wrote was."""

    def __init__(self, near: Any) -> None:
        self._near = near
        self._far: Any
        self._status: int | None = None
        self._signal: tuple[str, bool, str, str] | None = None

    def connection_made(self, chan: Any) -> None:
        self._far = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        with suppress(OSError):  # the local program has gone
            self._near.write(data, datatype)

    def eof_received(self) -> bool:
        with suppress(OSError):
            self._near.write_eof()
        return True

    def exit_status_received(self, status: int) -> None:
        self._status = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self._signal = (signal, core_dumped, msg, lang)

    def pause_writing(self) -> None:
        self._near.pause_reading()

    def resume_writing(self) -> None:
        self._near.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._signal is not None:
            self._near.exit_with_signal(*self._signal)
        else:
            self._near.exit(_NO_SESSION if self._status is None else self._status)
