"""A session on a host's own sshd, as a session's channel sees what runs; see `agents.ssh.running`."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping
from typing import Final

import asyncssh

from teleport.agents.ssh.environment import sent_variables
from teleport.agents.ssh.process import GRACE, LEAVING
from teleport.agents.ssh.running import Taker, Wanted
from teleport.core.errors import AccessDenied, Unavailable
from teleport.net.asyncssh_host import HostChannel, HostConnection

__all__ = ["RemoteRunner"]

_SIGNALS: Final[Mapping[str, int]] = {
    name: getattr(signal, f"SIG{name}")
    for name in ("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2")
}
_NAMES: Final[Mapping[int, str]] = {number: name for name, number in _SIGNALS.items()}
_UNKNOWN: Final = 255
"""The status of what ended without one."""


class RemoteRunner:
    """Begins sessions on one connection to a host."""

    home = ""

    def __init__(self, connection: HostConnection) -> None:
        self._connection = connection

    async def begin(self, wanted: Wanted) -> "RemoteRunning":
        """Raises AccessDenied for what the host does not permit, Unavailable if it is gone."""
        running = RemoteRunning(self._connection.open_channel())
        try:
            await running.begin(wanted)
        except asyncssh.ChannelOpenError as error:
            raise Unavailable(f"the host's sshd serves no further session: {error.reason}") from None
        except (OSError, asyncssh.Error) as error:
            raise Unavailable(f"the host's sshd is gone: {error}") from None
        return running


class RemoteRunning(asyncssh.SSHClientSession[bytes]):
    """One session on the host."""

    def __init__(self, channel: HostChannel) -> None:
        self._channel = channel
        self._taker: Taker | None = None
        self._status: int | None = None
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def begin(self, wanted: Wanted) -> None:
        """Raises AccessDenied, OSError and asyncssh.Error."""
        channel = self._channel
        await channel.open(self)
        channel.pause_reading()
        for name, value in sent_variables(wanted.sent).items():
            channel.send_variable(name, value)
        if wanted.term is not None:
            name, rows, columns = wanted.term
            if not await channel.want_terminal(name, (columns, rows), dict(wanted.modes)):
                raise self._refused("opens no terminal for this login")
        if wanted.agent and not await channel.want_agent():
            raise self._refused("forwards no agent")
        if wanted.display is not None and not await channel.want_display(wanted.display):
            raise self._refused("forwards no X11")
        command = wanted.command.encode("utf-8", "surrogateescape") if wanted.command is not None else None
        if not await channel.run(command=command, subsystem=wanted.subsystem):
            raise self._refused(f"does not offer {wanted.subsystem or 'this'}")

    def _refused(self, what: str) -> AccessDenied:
        self._channel.close()
        return AccessDenied(f"the host's sshd {what}")

    # -- what asyncssh calls

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._taker is not None:
            (self._taker.errors if datatype else self._taker.output)(data)

    def eof_received(self) -> bool:
        return True

    def exit_status_received(self, status: int) -> None:
        self._status = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self._status = -_SIGNALS.get(signal, _SIGNALS["TERM"])

    def pause_writing(self) -> None:
        if self._taker is not None:
            self._taker.full(True)

    def resume_writing(self) -> None:
        if self._taker is not None:
            self._taker.full(False)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._gone.done():
            self._gone.set_result(None)

    # -- see `Running`

    def carry(self, taker: Taker) -> None:
        self._taker = taker
        self._channel.resume_reading()

    def write(self, data: bytes) -> None:
        self._tell(lambda: self._channel.write(data))

    def end_input(self) -> None:
        self._tell(self._channel.write_eof)

    def hold(self, held: bool) -> None:
        if not self._gone.done():
            (self._channel.pause_reading if held else self._channel.resume_reading)()

    def resize(self, rows: int, columns: int) -> None:
        self._tell(lambda: self._channel.send_size(columns, rows))

    def signal(self, number: int) -> None:
        self._tell(lambda: self._channel.send_forwarded_signal(_NAMES[number]))

    async def wait(self) -> int:
        await asyncio.shield(self._gone)
        return self._status if self._status is not None else _UNKNOWN

    async def stop(self, *, withdrawn: bool, at_once: bool) -> None:
        """sshd ends what has a terminal, and signals what has none; who leaves for a session of its own escapes."""
        if at_once:
            self._taker = None
        if not withdrawn:
            self.end_input()
            await self._ends(LEAVING)
        for number in (signal.SIGHUP, signal.SIGCONT, signal.SIGTERM) if withdrawn else (signal.SIGHUP,):
            if number in _NAMES:
                self.signal(number)
        if withdrawn and not at_once and not await self._ends(GRACE):
            self.signal(signal.SIGKILL)
        self._tell(self._channel.close)

    def release(self) -> None:
        """sshd has tidied up."""

    async def _ends(self, seconds: float) -> bool:
        await asyncio.wait([self._gone], timeout=seconds)
        return self._gone.done()

    def _tell(self, say: Callable[[], None]) -> None:
        """Say something to the host, unless it is gone."""
        if not self._gone.done():
            with contextlib.suppress(OSError, asyncssh.Error):
                say()
