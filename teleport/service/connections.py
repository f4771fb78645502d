"""The one port of a process: bound, shaken hands on, and handed to whoever serves the protocol that was asked for."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from aiohttp import web

from teleport.core.errors import Unavailable
from teleport.core.identity import Identity
from teleport.net.addresses import ClientAddresses
from teleport.net.forward import splice_streams
from teleport.net.http import HttpDoor
from teleport.net.join import Leg
from teleport.proxy.handshake import HANDSHAKE_SECONDS, line_handler
from teleport.proxy.listener import Arrival, Listener, Network, SocketHandler
from teleport.service.address import Address
from teleport.service.lifetime import Lifetime

__all__ = ["Connections", "Contexts", "ServeLines", "Verify", "bind", "run_application"]

log = logging.getLogger(__name__)

_BACKLOG: Final = 1024

Contexts = Callable[[], ssl.SSLContext]
"""The TLS context for a new connection."""
Verify = Callable[[Leg], Identity]
"""Who the TLS peer is. Raises Unauthenticated."""
Begin = Callable[[socket.socket, ssl.SSLContext], Awaitable[Any]]
"""Shakes hands on a socket, and makes a connection of lines of it. Raises OSError."""
ServeLines = Callable[[Any, Identity, Arrival], Awaitable[None]]
"""Serves a peer that shook hands with a certificate."""


def bind(address: Address) -> tuple[socket.socket, Address]:
    """A listening socket, and where it really is. Raises Unavailable."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((address.host, address.port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise Unavailable(
            f"{address} cannot be listened on: {error.strerror or error}", hint="choose another address or port"
        ) from None
    return sock, Address(address.host, sock.getsockname()[1])


async def run_application(application: web.Application, life: Lifetime) -> web.AppRunner:
    """Set an application up until the end; answers that never end are cut off then."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    life.stack.push_async_callback(runner.cleanup)
    return runner


class Connections:
    """Who takes which connection. Services add themselves by the protocol they serve, a name of ALPN.

    `full` is told why nobody can be let in, and nothing once that is over.
    """

    def __init__(self, sock: socket.socket, bound: Address, *, full: Callable[[str], None] = lambda _: None) -> None:
        self.bound = bound
        self.addresses = ClientAddresses()
        self._handlers: dict[str, SocketHandler] = {}
        self._listener = Listener(sock, self._handlers, full=full)

    def listen(self, life: Lifetime) -> None:
        """Take connections from now on."""
        life.background(self._listener.run(), "listener")
        life.stack.push_async_callback(self._listener.close)

    def believe(self, balancers: Sequence[Network]) -> None:
        """Take the client's address from the PROXY headers of these networks."""
        self._listener.balancers = tuple(balancers)

    def serve_http(self, protocol: str, runner: web.AppRunner, context: Contexts) -> None:
        self._handlers[protocol] = self._http_handler(runner, context)

    def serve_lines(
        self, protocol: str, context: Contexts, verify: Verify, serve: ServeLines, *, begin: Begin | None = None
    ) -> None:
        self._handlers[protocol] = line_handler(context, verify, serve, begin=begin)

    def serve_sockets(self, protocol: str, handler: SocketHandler) -> None:
        """For what begins without TLS, and does by itself whatever has to be done before anybody is known."""
        self._handlers[protocol] = handler

    def withdraw(self, protocol: str) -> None:
        """Serve a protocol no longer; connections that came by it go on."""
        self._handlers.pop(protocol, None)

    def forward(self, protocol: str, address: Address) -> None:
        """Hand connections on as they are: TLS ends at that address."""
        self._handlers[protocol] = partial(_forward, address)

    def _http_handler(self, runner: web.AppRunner, context: Contexts) -> SocketHandler:
        server = runner.server
        assert server is not None
        door = HttpDoor(server, context)

        async def handler(sock: socket.socket, arrival: Arrival) -> None:
            peer = sock.getpeername()
            self.addresses.note((str(peer[0]), int(peer[1])), (arrival.address, arrival.port))
            await door.enter(sock, arrival.address)

        return handler


async def _forward(address: Address, sock: socket.socket, arrival: Arrival) -> None:
    """The auth service behind the address has cut off by the end of a handshake's time who shook no hands."""
    known = asyncio.get_running_loop().call_later(HANDSHAKE_SECONDS, arrival.admitted)
    try:
        await splice_streams(sock, address.host, address.port)
    except OSError as error:
        log.warning("a connection from %s cannot be handed on to %s: %s", arrival.address, address, error)
        sock.close()
    finally:
        known.cancel()
