"""An SSH client for systems without one: commands and shells, nothing of ssh's further options."""

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

import asyncssh

from teleport.cli.clusters import known_hosts_of
from teleport.cli.tsh_commands.ssh import Call, proxy_words
from teleport.core.errors import BadInput, Unavailable

__all__ = ["connected", "options_of", "run_builtin", "run_captured"]

_KNOWN_FLAGS = frozenset({"-t", "-T", "-q"})


def run_builtin(call: Call) -> int:
    """Run one session; its exit status, 255 when there was none. Raises BadInput for options that need ssh."""
    unknown = [flag for flag in call.flags if flag not in _KNOWN_FLAGS]
    if unknown:
        raise BadInput(f"{unknown[0]} needs an ssh program, and there is none", hint="install OpenSSH's client")
    try:
        return asyncio.run(_session(call))
    except (asyncssh.Error, OSError) as error:
        raise Unavailable(f"the session ended: {error}") from None


async def _session(call: Call) -> int:
    wants_terminal = "-t" in call.flags or (not call.command and "-T" not in call.flags)
    terminal = wants_terminal and sys.stdin.isatty()
    async with connected(call) as connection:
        with _raw() if terminal else _as_is():  # before there is anything on the screen that one could answer
            process = await connection.create_process(
                " ".join(call.command) or None, encoding=None, stdin=sys.stdin, stdout=sys.stdout, stderr=sys.stderr,
                term_type=os.environ.get("TERM", "xterm") if terminal else None,
                term_size=_size() if terminal else None,
            )  # fmt: skip
            if terminal:
                asyncio.get_running_loop().add_signal_handler(
                    signal.SIGWINCH, lambda: process.change_terminal_size(*_size())
                )
            await process.wait_closed()
    status = process.exit_status
    return 255 if status is None or process.exit_signal else status


async def run_captured(call: Call, output: Callable[[bytes], object], errors: Callable[[bytes], object]) -> int:
    """Run a command without input, and give away what it prints; its exit status, 255 when there was none.

    Raises Unavailable.
    """
    try:
        async with connected(call) as connection:
            process = await connection.create_process(
                " ".join(call.command), encoding=None, stdin=asyncssh.DEVNULL
            )  # fmt: skip
            await asyncio.gather(_pour(process.stdout, output), _pour(process.stderr, errors))
            await process.wait_closed()
    except (asyncssh.Error, OSError) as error:
        raise Unavailable(f"the session ended: {error}") from None
    status = process.exit_status
    return 255 if status is None or process.exit_signal else status


async def _pour(stream: "asyncssh.SSHReader[bytes]", sink: Callable[[bytes], object]) -> None:
    while chunk := await stream.read(64 * 1024):
        sink(chunk)


def connected(call: Call) -> AbstractAsyncContextManager[asyncssh.SSHClientConnection]:
    """A connection to a host by way of the proxy."""
    words = [*proxy_words(call.profile, tls=call.tls, cluster=call.cluster), f"{call.login}@{call.host}:22"]
    return asyncssh.connect(call.host_name, proxy_command=words, client_factory=_Client, **options_of(call))


def options_of(call: Call) -> dict[str, Any]:
    """Who logs in, with what, and which hosts are trusted; nothing of the user's own configuration."""
    key = call.key or call.profile.ssh_key
    certificate = call.certificate or call.profile.ssh_certificate
    known_hosts = known_hosts_of(call.profile, call.cluster) if call.cluster else call.profile.known_hosts
    return {
        "username": call.login, "client_keys": [(str(key), str(certificate))], "agent_path": None, "config": [],
        "known_hosts": str(known_hosts),
    }  # fmt: skip


class _Client(asyncssh.SSHClient):
    """Shows what the host says before it lets anybody in."""

    def auth_banner_received(self, msg: str, lang: str) -> None:
        from teleport.core.output import printable

        sys.stderr.write(printable(msg.replace("\r", ""), multiline=True))


def _size() -> tuple[int, int, int, int]:
    size = os.get_terminal_size()
    return size.columns, size.lines, 0, 0


@contextmanager
def _raw() -> Iterator[None]:
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _as_is() -> Iterator[None]:
    yield
