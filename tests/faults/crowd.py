"""People who have sessions: each a connection of its own, whose program echoes what it is sent, line by line."""

import asyncio
import contextlib
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from teleport.core.errors import TeleportError, Unavailable, from_wire
from teleport.net import alpn
from tests.faults.spread import Badge, Spread, started

__all__ = ["Refusal", "Seat", "opened"]

PROGRAM = "echo $$ $SSH_SESSION_ID; cat; exec sleep 1000"
"""Echoes what it is sent, and goes on when nobody is there any more: somebody has to end it."""
_PERIOD = 0.5
_TIMEOUT = 60.0
"""Seconds: a machine that has too much to do answers late, and that is no refusal."""


class Refusal(Exception):
    """There is no session. `final` if somebody who decides has said no."""

    def __init__(self, why: str, *, final: bool) -> None:
        super().__init__(why)
        self.final = final


@dataclass(eq=False)
class Seat:
    """One session, from its first line to its end."""

    user: str
    host: str
    pid: int
    sid: str
    reader: Any
    writer: Any
    hang_up: Callable[[], Awaitable[None]]
    program: bool = False
    """Whether ssh itself has it."""
    born: float = field(default_factory=time.monotonic)
    sent: int = 0
    heard: list[tuple[float, int]] = field(default_factory=list)
    """When how many lines had come back."""
    ended: float = 0.0
    """When its end was noticed; 0 while it lives."""
    why: str = ""
    excused: str = ""
    """Why it may have ended: what it went through was killed, or its user's right was withdrawn meanwhile."""
    began: str = ""
    _tasks: "list[asyncio.Task[None]]" = field(default_factory=list)

    def __post_init__(self) -> None:
        self.began = started(self.pid)
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]

    @property
    def lives(self) -> bool:
        return not self.ended

    @property
    def program_lives(self) -> bool:
        return bool(self.began) and started(self.pid) == self.began

    def first_line(self) -> bytes:
        return f"{self.pid} {self.sid}\n".encode()

    def lines_before(self, moment: float) -> int:
        """How many lines had come back at a moment."""
        return max((count for at, count in self.heard if at <= moment), default=0)

    async def _write(self) -> None:
        with contextlib.suppress(OSError, asyncssh.Error):
            while self.lives:
                self.writer.write(f"{self.sent}\n".encode())
                self.sent += 1
                await asyncio.sleep(_PERIOD)

    async def _read(self) -> None:
        count = 0
        try:
            while line := await self.reader.readline():
                if line != f"{count}\n".encode():
                    self.why = line.decode(errors="replace")
                    break
                count += 1
                self.heard.append((time.monotonic(), count))
        except (OSError, asyncssh.Error, asyncio.IncompleteReadError) as error:
            self.why = self.why or str(error)
        self.ended = time.monotonic()
        self._tasks[0].cancel()
        await self.hang_up()

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self.hang_up()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def opened(spread: Spread, badge: Badge, login: str, host: str, *, program: bool = False) -> Seat:
    """A new session, by ssh itself if `program`. Raises Refusal."""
    open_one = _by_program if program else _in_process
    try:
        async with asyncio.timeout(_TIMEOUT):
            return await open_one(spread, badge, login, host)
    except TimeoutError:
        raise Refusal("nobody answered in time", final=False) from None


async def _in_process(spread: Spread, badge: Badge, login: str, host: str) -> Seat:
    banners = _Banners()
    try:
        plain = await asyncio.to_thread(_reach, spread.proxy, badge, {"host": host, "login": login, "cluster": ""})
        connection = await asyncssh.connect(
            sock=plain, username=login, client_keys=[(str(badge.ssh_key), str(badge.ssh_certificate))],
            known_hosts=None, config=[], agent_path=None, client_factory=lambda: banners, keepalive_interval=0,
        )  # fmt: skip
    except TeleportError as error:
        raise Refusal(str(error), final=not isinstance(error, Unavailable)) from None
    except (OSError, asyncssh.Error) as error:
        raise _refusal(banners.text, error) from None
    try:
        process = await connection.create_process(PROGRAM, encoding=None)
        pid, sid = (await process.stdout.readline()).split()
    except (OSError, ValueError, asyncssh.Error) as error:
        connection.abort()
        raise _refusal(banners.text, error) from None

    async def hang_up() -> None:
        connection.abort()

    return Seat(badge.user, host, int(pid), sid.decode(), process.stdout, process.stdin, hang_up)


class _Banners(asyncssh.SSHClient):
    """Keeps what a host says before it lets anybody in."""

    def __init__(self) -> None:
        self.text = ""

    def auth_banner_received(self, msg: str, lang: str) -> None:
        self.text += msg


def _refusal(said: str, error: Exception) -> Refusal:
    """A host that decides against somebody says why; a connection that breaks does not."""
    decided = "error:" in said and "seconds old" not in said
    return Refusal(said.strip() or f"{type(error).__name__}: {error}", final=decided)


def _reach(proxy: str, badge: Badge, question: dict[str, str]) -> socket.socket:
    """What `tsh proxy ssh` does: TLS, one question, one answer, and TLS is left. Blocks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(badge.trust)
    context.load_cert_chain(badge.certificate, badge.key)
    context.set_alpn_protocols([alpn.PROXY_SSH_LEAVING])
    host, _, port = proxy.rpartition(":")
    plain = socket.create_connection((host, int(port)), timeout=_TIMEOUT)
    try:
        tls = context.wrap_socket(plain, server_hostname="proxy.acme")
    except BaseException:
        plain.close()
        raise
    try:
        tls.sendall(json.dumps(question).encode() + b"\n")
        line = b""
        while not line.endswith(b"\n"):
            byte = tls.recv(1)
            if not byte:
                raise OSError("the proxy closed the connection")
            line += byte
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise from_wire(answer)
        tls.unwrap()
        left = socket.socket(fileno=tls.detach())
        left.setblocking(False)
        return left
    except BaseException:
        tls.close()
        raise


async def _by_program(spread: Spread, badge: Badge, login: str, host: str) -> Seat:
    """OpenSSH, with this module as its ProxyCommand."""
    words = [sys.executable, "-m", "tests.faults.crowd", spread.proxy, str(badge.certificate.parent), host, login]
    options = {
        "ProxyCommand": " ".join(words), "IdentityFile": badge.ssh_key, "CertificateFile": badge.ssh_certificate,
        "IdentitiesOnly": "yes", "StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR", "ProxyUseFdpass": "yes",
    }  # fmt: skip
    flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    process = await asyncio.create_subprocess_exec(
        "ssh", "-F", "none", *flags, f"{login}@{host}", PROGRAM, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    first = (await process.stdout.readline()).split()
    if len(first) != 2:
        said = (await process.stderr.read()).decode(errors="replace")
        await process.wait()
        raise _refusal(said, OSError("ssh ended"))

    async def hang_up() -> None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    return Seat(
        badge.user, host, int(first[0]), first[1].decode(), process.stdout, process.stdin, hang_up, program=True
    )


def _pass_on(proxy: str, folder: str, host: str, login: str) -> None:
    """Give ssh the connection, on our standard output."""
    names = ("tls.crt", "tls.key", "ca.pem", "ssh-cert.pub", "ssh")
    badge = Badge(Path(folder).name, *(Path(folder) / name for name in names))
    plain = _reach(proxy, badge, {"host": host, "login": login, "cluster": ""})
    with socket.socket(fileno=os.dup(1)) as ssh_waits:
        socket.send_fds(ssh_waits, [b"\0"], [plain.fileno()])


if __name__ == "__main__":
    try:
        _pass_on(*sys.argv[1:])
    except TeleportError as error:
        sys.exit(f"error: {error}" if not isinstance(error, Unavailable) else f"unavailable: {error}")
