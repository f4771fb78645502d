"""The one port: peek at the first bytes, choose by ALPN who takes the connection, hand the socket on.

Everything before authentication is bounded: the time to say hello, the connections that have not said who they are,
in all and from one address. Newcomers are never turned away for it: who has been at it longest makes room, so that
idlers cannot keep others out.
"""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from teleport.net.accept import Acceptor
from teleport.net.addresses import holder, plain
from teleport.net.alpn import HTTP, PLAIN_SSH
from teleport.net.keepalive import KEEPALIVE, KeepAlive, keep_alive
from teleport.net.peek import peek, take
from teleport.wire.hello import ClientHello, Hello, ProxyHeader, SshBanner, Unknown, recognise, recognise_proxy_header

__all__ = ["Arrival", "Limits", "Listener", "SocketHandler"]

log = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Limits:
    """What strangers may take up."""

    hello_seconds: float = 10.0
    strangers: int = 4000
    """Connections at once whose peers have not said who they are."""
    strangers_per_address: int = 1000
    """The same for one IPv4 address or IPv6 network of 64 bits."""


@dataclass(frozen=True)
class Arrival:
    """A connection whose first bytes were looked at: where the client is, and what it asked for."""

    address: str
    port: int
    server_name: str
    alpn: str
    admitted: Callable[[], None] = field(default=lambda: None, compare=False)
    """Call when the peer has shown who it is: from then on it does not count as a stranger."""


SocketHandler = Callable[[socket.socket, Arrival], Awaitable[None]]
"""Takes over the socket: whatever it makes of it, it also closes. Until it returns or calls `admitted`, the peer is a
stranger, and the call may be cancelled to make room."""


class Listener:
    """Serves a bound, listening socket.

    `handlers` are by ALPN, or PLAIN_SSH for SSH outside TLS, and looked up when a connection arrives, so services may
    add theirs later; a name ending in `@` stands for all that start so. `full` is told why nobody can be let in, and
    nothing once that is over.
    """

    def __init__(
        self, sock: socket.socket, handlers: Mapping[str, SocketHandler], *, balancers: Sequence[Network] = (),
        limits: Limits = Limits(), keepalive: KeepAlive = KEEPALIVE, full: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._handlers, self._limits, self._keepalive = handlers, limits, keepalive
        self._acceptor = Acceptor(sock, full)
        self.balancers = tuple(balancers)
        """Networks whose PROXY headers are believed; may be changed at any time."""
        self._strangers = _Strangers(limits)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Accept until cancelled."""
        while True:
            connection, peer = await self._acceptor.accept()
            address = plain(str(peer[0]))
            task = asyncio.create_task(self._serve(connection, address, int(peer[1])))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._strangers.add(task, None if self._is_balancer(address) else address)
            await asyncio.sleep(0)  # accepting a flood leaves no pause by itself

    async def close(self) -> None:
        """Stop accepting, and end what was handed on and has not ended yet."""
        self._acceptor.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, connection: socket.socket, address: str, port: int) -> None:
        try:
            connection.setblocking(False)
            keep_alive(connection, self._keepalive)
            address, port = await self._behind_balancer(connection, address, port)
            hello: Hello = await peek(connection, recognise, timeout=self._limits.hello_seconds)
            found = self._handler(hello, address, port)
            if found is not None:
                handler, arrival = found
                await handler(connection, arrival)
                return
        except (OSError, TimeoutError) as error:
            log.debug("a connection from %s ended early: %s", address, error)
        except Exception:
            log.exception("a connection from %s was dropped", address)
        except asyncio.CancelledError:
            connection.close()
            raise
        finally:
            self._strangers.remove(_this_task())
        connection.close()

    def _is_balancer(self, address: str) -> bool:
        peer = ipaddress.ip_address(address)
        return any(peer in network for network in self.balancers)

    async def _behind_balancer(self, connection: socket.socket, address: str, port: int) -> tuple[str, int]:
        """The client's address, from the PROXY header where the peer is a known balancer."""
        if not self._is_balancer(address):
            return address, port
        timeout = self._limits.hello_seconds
        found: ProxyHeader | Unknown = await peek(connection, recognise_proxy_header, timeout=timeout)
        if isinstance(found, ProxyHeader):
            take(connection, found.length)
            if found.source is not None:
                address, port = found.source, found.port
        self._strangers.add(_this_task(), address)
        return address, port

    def _handler(self, hello: Hello, address: str, port: int) -> tuple[SocketHandler, Arrival] | None:
        wanted: Sequence[str] = ()
        server_name = ""
        if isinstance(hello, SshBanner):
            wanted = (PLAIN_SSH,)
        elif isinstance(hello, ClientHello):
            wanted, server_name = hello.alpn or (HTTP,), hello.server_name
            wanted = tuple(name for name in wanted if name != PLAIN_SSH)
        task = _this_task()
        for protocol in wanted:
            handler = self._handlers.get(protocol) or self._handlers.get(protocol.partition("@")[0] + "@")
            if handler is not None:
                return handler, Arrival(address, port, server_name, protocol, lambda: self._strangers.remove(task))
        return None


class _Strangers:
    """The tasks that serve somebody unknown, oldest first, in all and by address."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all: dict[asyncio.Task[None], str | None] = {}
        self._of: dict[str, dict[asyncio.Task[None], None]] = {}

    def add(self, task: "asyncio.Task[None]", address: str | None) -> None:
        """Count a connection, under an address once that is known; who is over the limit is cancelled."""
        self.remove(task)
        bucket = None if address is None else holder(address)
        self._all[task] = bucket
        if len(self._all) > self._limits.strangers:
            self._evict(next(iter(self._all)))
        if bucket is not None:
            neighbours = self._of.setdefault(bucket, {})
            neighbours[task] = None
            if len(neighbours) > self._limits.strangers_per_address:
                self._evict(next(iter(neighbours)))

    def remove(self, task: "asyncio.Task[None]") -> None:
        bucket = self._all.pop(task, None)
        if bucket is not None:
            self._of[bucket].pop(task)
            if not self._of[bucket]:
                del self._of[bucket]

    def _evict(self, task: "asyncio.Task[None]") -> None:
        self.remove(task)
        task.cancel()


def _this_task() -> "asyncio.Task[None]":
    task = asyncio.current_task()
    assert task is not None
    return task
