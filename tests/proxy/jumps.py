"""People who jump: SSH clients of the proxy, and what they send and get on a channel to a host."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncssh

from teleport.core.identity import ssh_name_of_proxies
from tests.net.sockets import wait_until
from tests.proxy.badges import CLUSTER, Badge
from tests.proxy.edge import Agent, Edge, Wire

_DISCONNECT = 1


class Far(asyncssh.SSHTCPSession[bytes]):
    """The client's end of a channel."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.paused = False
        self.channel: Any

    def connection_made(self, chan: Any) -> None:
        self.channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self.received += data

    def eof_received(self) -> bool:
        return True

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def write(self, data: bytes) -> None:
        self.channel.write(data)

    async def reads(self, data: bytes) -> None:
        """Wait until exactly that came."""
        await wait_until(lambda: len(self.received) >= len(data), within=10)
        assert bytes(self.received) == data
        self.received.clear()

    async def cut(self, *, within: float = 2.0) -> None:
        await asyncio.wait_for(asyncio.shield(self.lost), within)


@dataclass
class Jumper:
    """Somebody who has logged in to the proxy."""

    edge: Edge
    connection: asyncssh.SSHClientConnection
    said: list[str]
    """What the proxy said before it let the client in."""

    async def channel(self, host: str = "db-1", port: int = 22) -> Far:
        """A channel to a host. Raises asyncssh.ChannelOpenError."""
        _, session = await self.connection.create_connection(Far, host, port, encoding=None)
        assert isinstance(session, Far)
        return session

    async def refused(self, host: str = "db-1", port: int = 22) -> str:
        """Why there is no channel."""
        try:
            channel = await asyncio.wait_for(self.channel(host, port), 5)
        except asyncssh.ChannelOpenError as error:
            return error.reason
        channel.channel.abort()
        raise AssertionError(f"there is a way to {host}:{port}")

    async def session(self, agent: Agent) -> tuple[Far, Wire]:
        """A channel joined with an agent's connection: both ends."""
        opening = asyncio.create_task(self.channel(agent.badge.identity.name))
        host = await agent.take()
        return await asyncio.wait_for(opening, 2), Wire.over(host)

    async def ended(self, *, within: float = 5.0) -> str:
        """Why the proxy hung up."""
        async with asyncio.timeout(within):
            await self.connection.wait_closed()
        return self.said[-1] if self.said else ""


async def jump(made: Edge, badge: Badge) -> Jumper:
    """Log in to the proxy with somebody's certificate, trusting the cluster's authority. Raises asyncssh.Error."""
    key = (asyncssh.import_private_key(badge.ssh_key), asyncssh.import_certificate(badge.ssh_certificate))
    return await jump_with(made, [key])


async def jump_with(made: Edge, keys: Sequence[Any] | None, *, login: str = "anybody", **more: Any) -> Jumper:
    """Log in with whatever keys."""
    said: list[str] = []

    class Client(asyncssh.SSHClient):
        def auth_banner_received(self, msg: str, lang: str) -> None:
            said.append(msg.strip())

    trusted = f"@cert-authority *.{CLUSTER} {made.authorities.hosts.public.keys[0].ssh_public}\n"
    options = asyncssh.SSHClientConnectionOptions(
        client_factory=Client, username=login, client_keys=keys, known_hosts=trusted.encode(), config=[],
        agent_path=None, host_key_alias=ssh_name_of_proxies(CLUSTER), login_timeout=5, connect_timeout=5, **more,
    )  # fmt: skip
    try:
        connection = await asyncssh.connect("127.0.0.1", made.port, options=options)
    except asyncssh.Error as error:
        error.add_note("\n".join(said))
        raise
    made.jumpers.append(connection)
    _hear_goodbye(connection, said)
    return Jumper(made, connection, said)


def _hear_goodbye(connection: Any, said: list[str]) -> None:
    """Keep the reason with which the server hangs up, which asyncssh does not tell."""
    handlers = connection._packet_handlers

    def disconnected(protocol: Any, kind: int, number: int, packet: Any) -> Any:
        rest = packet.get_remaining_payload()
        said.append(rest[8 : 8 + int.from_bytes(rest[4:8], "big")].decode())
        return handlers[_DISCONNECT](protocol, kind, number, packet)

    connection._packet_handlers = {**handlers, _DISCONNECT: disconnected}
