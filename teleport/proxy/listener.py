"""The one port: peek at the first bytes, choose by ALPN who takes the connection, hand the socket on.

Everything before authentication is bounded: the time to say hello, the connections doing so at once in all and
from one address.
"""

import asyncio
import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from teleport.net.alpn import HTTP
from teleport.net.peek import peek, take
from teleport.wire.hello import (
    ClientHello,
    Hello,
    Incomplete,
    ProxyHeader,
    SshBanner,
    Unknown,
    recognise,
    recognise_proxy_header,
)

__all__ = ["Arrival", "Listener", "SocketHandler"]

log = logging.getLogger(__name__)

HELLO_TIMEOUT: Final = 10.0
MAX_GREETING: Final = 2000
"""Connections that may be saying hello at once."""
MAX_GREETING_PER_ADDRESS: Final = 200

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Arrival:
    """A connection whose first bytes were looked at: where the client is, and what it asked for."""

    address: str
    port: int
    server_name: str
    alpn: str


SocketHandler = Callable[[socket.socket, Arrival], Awaitable[None]]
"""Takes over the socket: from then on closing it is the handler's business."""


class Listener:
    """Serves a bound, listening socket.

    `handlers` are by ALPN, and looked up when a connection arrives, so services may add theirs later; a name
    ending in `@` stands for all that start so.
    """

    def __init__(
        self, sock: socket.socket, handlers: Mapping[str, SocketHandler], *, balancers: Sequence[Network] = ()
    ) -> None:
        self._sock, self._handlers, self._balancers = sock, handlers, tuple(balancers)
        self._greeting: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Accept until cancelled."""
        self._sock.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(self._sock)
            except OSError as error:
                log.warning("a connection cannot be accepted: %s", error)
                await asyncio.sleep(0.1)
                continue
            address = str(peer[0])
            if self._greeting.total() >= MAX_GREETING or self._greeting[address] >= MAX_GREETING_PER_ADDRESS:
                connection.close()
                continue
            task = asyncio.create_task(self._greet(connection, address, int(peer[1])))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop accepting; what was handed on lives on."""
        self._sock.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _greet(self, connection: socket.socket, address: str, port: int) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._greeting[address] += 1
        try:
            source, source_port = await self._behind_balancer(connection, address, port)
            hello: Hello = await peek(connection, recognise, timeout=HELLO_TIMEOUT)
        except (TimeoutError, OSError):
            connection.close()
            return
        except asyncio.CancelledError:
            connection.close()
            raise
        finally:
            self._greeting[address] -= 1
            if not self._greeting[address]:
                del self._greeting[address]
        await self._hand_on(connection, hello, source, source_port)

    async def _behind_balancer(self, connection: socket.socket, address: str, port: int) -> tuple[str, int]:
        """The client's address, from the PROXY header where the peer is a known balancer."""
        peer = ipaddress.ip_address(address)
        if not any(peer in network for network in self._balancers):
            return address, port
        found: ProxyHeader | Unknown = await peek(connection, recognise_proxy_header, timeout=HELLO_TIMEOUT)
        if isinstance(found, Unknown):
            return address, port
        take(connection, found.length)
        return (found.source or address), (found.port or port)

    async def _hand_on(self, connection: socket.socket, hello: Hello, address: str, port: int) -> None:
        assert not isinstance(hello, Incomplete)
        if isinstance(hello, ClientHello):
            for protocol in hello.alpn or (HTTP,):
                handler = self._handlers.get(protocol) or self._handlers.get(protocol.partition("@")[0] + "@")
                if handler is not None:
                    arrival = Arrival(address, port, hello.server_name, protocol)
                    break
            else:
                handler = None
        elif isinstance(hello, SshBanner):
            handler, arrival = self._handlers.get("ssh"), Arrival(address, port, "", "ssh")
        else:
            handler = None
        if handler is None:
            connection.close()
            return
        try:
            await handler(connection, arrival)
        except (OSError, TimeoutError) as error:
            log.debug("a connection from %s ended early: %s", address, error)
            connection.close()
        except Exception:
            log.exception("a connection from %s was dropped", address)
            connection.close()
