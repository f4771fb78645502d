"""What a session runs, as its channel sees it: begun once, carrying bytes, ended in time. Here, by a child process.

Where there is no agent, what runs is a session on the host's own sshd: see `agents.openssh`. The channel cannot tell.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from teleport.agents.ssh import terminal
from teleport.agents.ssh.environment import host_variables, sent_variables
from teleport.agents.ssh.files import sftp_server
from teleport.agents.ssh.process import Account, Custody, Program, start
from teleport.agents.ssh.pump import Reader, Writer

__all__ = ["LocalRunner", "Runner", "Running", "Taker", "Wanted"]

_DRAIN_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Wanted:
    """What a client asked to be run."""

    sid: str
    command: str | None = None
    """None for a shell; bytes that are no UTF-8 as surrogates."""
    subsystem: str = ""
    term: tuple[str, int, int] | None = None
    """Its name, rows and columns, where there is a terminal."""
    modes: Mapping[int, int] = field(default_factory=dict)
    sent: Mapping[str, str] = field(default_factory=dict)
    """Variables as the client sent them."""
    forwarded: Mapping[str, str] = field(default_factory=dict)
    """Variables that lead programs to what is forwarded."""
    display: bytes | None = None
    """The client's request to forward X11, if that was granted."""

    @property
    def agent(self) -> bool:
        """Whether the client's agent is forwarded."""
        return "SSH_AUTH_SOCK" in self.forwarded


@dataclass(frozen=True)
class Taker:
    """Who takes what a program prints, and hears whether its input is full."""

    output: Callable[[bytes], None]
    errors: Callable[[bytes], None]
    full: Callable[[bool], None]


class Running(Protocol):
    """Something that runs. Until `carry` nothing of it is read."""

    def carry(self, taker: Taker) -> None: ...
    def write(self, data: bytes) -> None: ...
    def end_input(self) -> None: ...
    def hold(self, held: bool) -> None:
        """Read nothing more of what it prints, or go on."""
        ...

    def resize(self, rows: int, columns: int) -> None: ...
    def signal(self, number: int) -> None: ...
    async def wait(self) -> int:
        """Its status, negative for a signal, once it has ended and all that it printed was taken."""
        ...

    async def stop(self, *, withdrawn: bool, at_once: bool) -> None:
        """End it: wholly if the right to it was withdrawn, otherwise as the loss of a terminal does.

        `at_once`: not a byte more is carried.
        """
        ...

    def release(self) -> None:
        """It has ended by itself, and its status is known."""
        ...


class Runner(Protocol):
    """Begins what is wanted, on one connection."""

    @property
    def home(self) -> str:
        """Where relative paths of files begin; empty where nobody knows."""
        ...

    async def begin(self, wanted: Wanted) -> Running:
        """Raises TeleportError."""
        ...


@dataclass(frozen=True)
class LocalRunner:
    """Runs programs of this host, as the login's user."""

    account: Account
    custody: Custody
    variables: Mapping[str, str]
    """What every program of the connection is told of it."""

    @property
    def home(self) -> str:
        return self.account.entry.pw_dir

    async def begin(self, wanted: Wanted) -> "LocalRunning":
        return LocalRunning(await asyncio.to_thread(self._start, wanted))

    def _start(self, wanted: Wanted) -> Program:
        account, shell = self.account, self.account.shell
        name = os.path.basename(shell)
        arguments = [f"-{name}"] if wanted.command is None else [name, "-c", wanted.command]
        if wanted.subsystem:
            shell = sftp_server(account)
            arguments = [shell]
        term = (wanted.modes, wanted.term[1], wanted.term[2]) if wanted.term is not None else None
        return start(
            account, arguments, self._environment(wanted), program=shell, terminal=term,
            leash=self.custody.leash(wanted.sid),
        )  # fmt: skip

    def _environment(self, wanted: Wanted) -> dict[str, str]:
        environment = self.account.environment(host_variables())
        environment |= sent_variables(wanted.sent)
        environment |= {**self.variables, "SSH_SESSION_ID": wanted.sid}
        environment |= wanted.forwarded
        if wanted.term is not None:
            environment["TERM"] = wanted.term[0]
        return environment


class LocalRunning:
    """A program of this host."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._writer: Writer | None = None
        self._readers: list[Reader] = []

    @property
    def _on_terminal(self) -> bool:
        return self._program.output == self._program.input

    def carry(self, taker: Taker) -> None:
        program = self._program
        self._writer = Writer(
            program.input, full=partial(taker.full, True), drained=partial(taker.full, False),
            close=not self._on_terminal,
        )  # fmt: skip
        self._readers = [Reader(program.output, taker.output)]
        if program.errors >= 0:
            self._readers.append(Reader(program.errors, taker.errors))

    def write(self, data: bytes) -> None:
        if self._writer is not None:
            self._writer.write(data)

    def end_input(self) -> None:
        if self._writer is not None and not self._on_terminal:
            self._writer.end()

    def hold(self, held: bool) -> None:
        for reader in self._readers:
            (reader.pause if held else reader.resume)()

    def resize(self, rows: int, columns: int) -> None:
        if self._on_terminal:
            terminal.resize(self._program.output, rows, columns)

    def signal(self, number: int) -> None:
        self._program.signal(number)

    async def wait(self) -> int:
        status = await self._program.wait()
        drained = asyncio.gather(*(reader.ended for reader in self._readers))
        if self._on_terminal:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(drained), _DRAIN_SECONDS)
        else:
            await drained
        return status

    async def stop(self, *, withdrawn: bool, at_once: bool) -> None:
        if at_once or self._on_terminal:
            self._stop_pumps()  # closing the terminal hangs it up
        elif not withdrawn and self._writer is not None:
            self._writer.end()
        await (self._program.stop() if withdrawn else self._program.hang_up())
        self._stop_pumps()

    def release(self) -> None:
        self._program.release()
        self._stop_pumps()

    def _stop_pumps(self) -> None:
        if self._writer is not None:
            self._writer.stop()
        for reader in self._readers:
            reader.stop()
