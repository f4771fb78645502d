"""Connections of ours to hosts' sshd, as paced and as bounded as those of clients; touches asyncssh's internals.

The host's key is verified by the keys that the caller trusts, and by nothing else: no file of this machine is read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncssh
from asyncssh.channel import SSHClientChannel
from asyncssh.connection import SSHClientConnection
from asyncssh.constants import PTY_OP_END, PTY_OP_RESERVED
from asyncssh.packet import Byte, SSHPacket, String, UInt32

from teleport.net.asyncssh_flow import BoundedChannel, PacedConnection
from teleport.net.asyncssh_seams import ALGORITHMS, available

__all__ = ["Accept", "HostChannel", "HostConnection", "Trust", "connect_to_host"]

Accept = Callable[[str, int], Awaitable["asyncssh.SSHTCPSession[bytes]"]]
"""Takes a connection that the host opens, from an address and port there. Raises asyncssh.ChannelOpenError."""

_LOGIN_SECONDS: Final = 15
_FASTEST_FIRST: Final = sorted(ALGORITHMS["encryption_algs"], key=lambda name: "gcm" not in name)
"""Where OpenSSL does the work in one go."""
_PLAIN: Final = (
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512", "rsa-sha2-256",
)  # fmt: skip
_CERTIFIED: Final = tuple(f"{name}-cert-v01@openssh.com" for name in _PLAIN)
_WINDOW: Final = 4 << 20
_PACKET: Final = 128 * 1024


@dataclass(frozen=True)
class Trust:
    """Who the host may be: keys as OpenSSH writes them, of the host itself, or of authorities for `name`."""

    name: str
    keys: Sequence[str]
    authorities: Sequence[str]


class HostConnection(PacedConnection, SSHClientConnection):
    """A connection to a host. What it opens towards us goes to `agent` and `display`, or is refused."""

    agent: Accept | None = None
    display: Accept | None = None

    def connection_made(self, transport: Any) -> None:
        self.lost: asyncio.Future[None] = self._loop.create_future()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None = None) -> None:
        super().connection_lost(exc)
        if not self.lost.done():
            self.lost.set_result(None)

    def open_channel(self) -> "HostChannel":
        return HostChannel(self, self._loop, "replace", None, "strict", _WINDOW, _PACKET)

    def _process_auth_agent_at_openssh_dot_com_open(self, packet: SSHPacket) -> Any:
        packet.check_end()
        return self._accept(self.agent, "", 0)

    def _process_x11_open(self, packet: SSHPacket) -> Any:
        host, port = packet.get_string(), packet.get_uint32()
        packet.check_end()
        return self._accept(self.display, host.decode("utf-8", "replace"), port)

    def _accept(self, accept: Accept | None, host: str, port: int) -> Any:
        if accept is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "nobody asked for that")
        return self.create_tcp_channel(), accept(host, port)


class HostChannel(BoundedChannel, SSHClientChannel[bytes]):
    """A session on the host, whose requests are sent as they are given."""

    async def open(self, session: "asyncssh.SSHClientSession[bytes]") -> None:
        """Raises asyncssh.ChannelOpenError."""
        packet = await self._open(b"session")
        packet.check_end()
        self._session = session
        session.connection_made(self)

    async def want_terminal(self, name: str, size: tuple[int, int], modes: dict[int, int]) -> bool:
        """`size` is columns and rows."""
        packed = b"".join(
            Byte(mode) + UInt32(value) for mode, value in modes.items() if PTY_OP_END < mode < PTY_OP_RESERVED
        )
        return await self._asked(
            b"pty-req", String(name), UInt32(size[0]), UInt32(size[1]), UInt32(0), UInt32(0),
            String(packed + Byte(PTY_OP_END)),
        )  # fmt: skip

    def send_variable(self, name: str, value: str) -> None:
        self._send_request(b"env", String(name), String(value))

    async def want_agent(self) -> bool:
        return await self._asked(b"auth-agent-req@openssh.com")

    async def want_display(self, body: bytes) -> bool:
        """A client's own request, from its first field on."""
        return await self._asked(b"x11-req", body)

    async def run(self, *, command: bytes | None, subsystem: str) -> bool:
        """A command, a subsystem, or with neither a shell. What it says comes from now on."""
        if subsystem:
            begun = await self._asked(b"subsystem", String(subsystem))
        elif command is not None:
            begun = await self._asked(b"exec", String(command))
        else:
            begun = await self._asked(b"shell")
        if begun and self._connection is not None:
            self._connection.create_task(self._start_reading())
        return begun

    async def _asked(self, name: bytes, *parts: bytes) -> bool:
        return bool(await self._make_request(name, *parts))

    def send_forwarded_signal(self, name: str) -> None:
        self._send_request(b"signal", String(name))

    def send_size(self, columns: int, rows: int) -> None:
        self._send_request(b"window-change", UInt32(columns), UInt32(rows), UInt32(0), UInt32(0))


async def connect_to_host(
    address: tuple[str, int], login: str, *, key: str, certificate: str, trust: Trust, timeout: float
) -> HostConnection:
    """Log in to a host. Raises OSError, TimeoutError and asyncssh.Error."""
    loop = asyncio.get_running_loop()
    pair = asyncssh.import_private_key(key), asyncssh.import_certificate(certificate)
    options = asyncssh.SSHClientConnectionOptions(
        host=address[0], port=address[1], host_key_alias=trust.name, username=login, client_keys=[pair],
        known_hosts=_known(trust), agent_path=None, config=None, gss_host=None, preferred_auth="publickey",
        server_host_key_algs=_host_key_algorithms(trust), client_version="Teleport",
        login_timeout=_LOGIN_SECONDS, keepalive_interval=0, rekey_bytes="1G",
        **available({**ALGORITHMS, "encryption_algs": _FASTEST_FIRST}),
    )  # fmt: skip
    options.waiter = loop.create_future()
    async with asyncio.timeout(timeout):
        _, connection = await loop.create_connection(lambda: HostConnection(loop, options, wait="auth"), *address)
        try:
            await options.waiter
        except BaseException:
            connection.abort()
            raise
    return connection


def _host_key_algorithms(trust: Trust) -> list[str]:
    """What can be verified first. What cannot is asked for as well, so that it can be told who did not show it."""
    kinds = {line.split(" ", 1)[0].removeprefix("ssh-rsa") or "rsa-" for line in trust.keys}
    wanted = [name for name in _PLAIN if any(name.startswith(kind) for kind in kinds)]
    return [*wanted, *(name for name in (*_CERTIFIED, *_PLAIN) if name not in wanted)]


def _known(trust: Trust) -> tuple[list[Any], list[Any], list[Any]]:
    keys, authorities = ([asyncssh.import_public_key(line) for line in lines] for lines in (trust.keys, trust.authorities))  # fmt: skip  # noqa: E501
    return keys, authorities, []
