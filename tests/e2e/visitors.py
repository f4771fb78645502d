"""Many sessions at once, from within this process: each a connection of its own, whose program echoes what it is sent.

Starting hundreds of `ssh` would measure the machine that starts them.
"""

import asyncio
import json
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from teleport.net import alpn
from tests.e2e.world import LOGIN, Person

_TIMEOUT = 30.0
_AT_ONCE = 10
PROGRAM = "echo $$; exec cat"


@dataclass(eq=False)
class Visitor:
    """One session. `ended` is when its end was noticed, by the monotonic clock; 0 while it lives.

    Without `reads` nothing of what the program prints is fetched.
    """

    connection: asyncssh.SSHClientConnection
    process: Any
    pid: int
    reads: bool = True
    ended: float = 0.0
    lines: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        if not self.reads:
            return
        try:
            while line := await self.process.stdout.readline():
                self.lines.put_nowait(line)
        except (OSError, asyncssh.Error):
            pass
        self.ended = time.monotonic()

    async def answers(self) -> float:
        """Seconds until what is sent comes back. Raises TimeoutError."""
        began = time.monotonic()
        self.process.stdin.write("are you there\n")
        assert await asyncio.wait_for(self.lines.get(), _TIMEOUT) == "are you there\n"
        return time.monotonic() - began

    async def gone(self) -> float:
        """When it ended, once it has."""
        await asyncio.wait_for(asyncio.shield(self._reading), _TIMEOUT)
        return self.ended

    async def leave(self) -> None:
        self.connection.abort()
        await asyncio.gather(self._reading, return_exceptions=True)


@dataclass(frozen=True)
class Keys:
    """What a person has after `tsh login`."""

    proxy: str
    folder: Path
    name: str
    trust: Path

    @classmethod
    def of(cls, person: Person) -> "Keys":
        kept = person.home / ".tsh"
        certificate = next((kept / "keys").glob(f"*/{person.name}.crt"))
        return cls(person.world.proxy, certificate.parent, person.name, kept / "cas" / "acme.pem")

    def context(self, protocol: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.trust)
        context.load_cert_chain(self.folder / f"{self.name}.crt", self.folder / f"{self.name}.key")
        context.set_alpn_protocols([protocol])
        return context

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.proxy.rpartition(":")
        return host, int(port)


async def visit(keys: Keys, *, program: str = PROGRAM, reads: bool = True) -> Visitor:
    """A new session on db-1. Raises OSError or asyncssh.Error where there is none."""
    sock = await asyncio.to_thread(_reach, keys)
    connection = await asyncssh.connect(
        sock=sock, username=LOGIN, known_hosts=None, config=[], agent_path=None, keepalive_interval=0,
        client_keys=[(str(keys.folder / keys.name), str(keys.folder / f"{keys.name}-cert.pub"))],
    )  # fmt: skip
    process = await connection.create_process(program)
    return Visitor(connection, process, int(await process.stdout.readline()), reads)


async def crowd(keys: Keys, count: int) -> list[Visitor]:
    """So many sessions, opened a few at a time."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def in_turn() -> Visitor:
        async with turns:
            return await visit(keys)

    return list(await asyncio.gather(*(in_turn() for _ in range(count))))


async def leave(visitors: Iterable[Visitor]) -> None:
    await asyncio.gather(*(one.leave() for one in visitors))


def _reach(keys: Keys) -> socket.socket:
    """TLS, one question, one answer, and TLS is left; waits."""
    plain = socket.create_connection(keys.address, timeout=_TIMEOUT)
    with keys.context(alpn.PROXY_SSH_LEAVING).wrap_socket(plain, server_hostname="proxy.acme") as tls:
        tls.sendall(json.dumps({"host": "db-1", "login": LOGIN}).encode() + b"\n")
        line = b""
        while not line.endswith(b"\n"):
            byte = tls.recv(1)
            if not byte:
                raise ConnectionError("the proxy closed the connection")
            line += byte
        if "error" in json.loads(line):
            raise ConnectionError(line.decode())
        tls.unwrap()
        left = socket.socket(fileno=tls.detach())
    left.setblocking(False)
    return left
