"""Hands accepted sockets to an aiohttp server, and bounds what people without a certificate may take up there.

aiohttp waits for a first request, and for the rest of one, as long as it takes. Here a connection without a client
certificate has a lifetime, and the oldest of an address makes room when there are too many. Whether a request is under
way aiohttp tells nobody: `_request_in_progress` is its own, and `tests/net/test_http.py` notices if it goes.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

__all__ = ["HttpDoor", "HttpLimits"]


@dataclass(frozen=True)
class HttpLimits:
    """What clients without a certificate may take up."""

    handshake_seconds: float = 15.0
    lifetime: float = 60.0
    """Seconds after which such a connection takes no further request."""
    grace: float = 30.0
    """Seconds that the request under way then has to come to its end."""
    sweep: float = 5.0
    """Seconds between looks at who has stayed too long."""
    connections: int = 1000
    connections_per_address: int = 100


@dataclass(frozen=True)
class _Guest:
    address: str
    since: float


class HttpDoor:
    """The way into one aiohttp server, by TLS."""

    def __init__(
        self, server: web.Server, context: Callable[[], ssl.SSLContext], *, limits: HttpLimits = HttpLimits()
    ) -> None:
        self._server, self._context, self._limits = server, context, limits
        self._guests: dict[web.RequestHandler, _Guest] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    async def enter(self, sock: socket.socket, address: str) -> bool:
        """Shake hands and let aiohttp serve; whether the client showed a certificate.

        Raises OSError or TimeoutError where there is no handshake; then the socket is closed.
        """
        loop, handler = asyncio.get_running_loop(), self._server()
        async with asyncio.timeout(self._limits.handshake_seconds):
            transport, _ = await loop.connect_accepted_socket(lambda: handler, sock, ssl=self._context())
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.getpeercert(binary_form=True) is not None:
            return True
        self._forget_who_left()
        self._make_room(address)
        self._guests[handler] = _Guest(address, loop.time())
        self._sweep_later()
        return False

    def _forget_who_left(self) -> None:
        self._guests = {handler: guest for handler, guest in self._guests.items() if handler.transport is not None}

    def _make_room(self, address: str) -> None:
        neighbours = [handler for handler, guest in self._guests.items() if guest.address == address]
        if len(neighbours) >= self._limits.connections_per_address:
            self._turn_out(neighbours[0])
        elif len(self._guests) >= self._limits.connections:
            self._turn_out(next(iter(self._guests)))

    def _turn_out(self, handler: web.RequestHandler) -> None:
        del self._guests[handler]
        if handler.transport is not None:
            handler.transport.abort()

    def _sweep_later(self) -> None:
        if self._sweeping is None and self._guests:
            self._sweeping = asyncio.get_running_loop().call_later(self._limits.sweep, self._sweep)

    def _sweep(self) -> None:
        """Ask those whose time is over to go, and make those go who did not."""
        self._sweeping = None
        self._forget_who_left()
        now = asyncio.get_running_loop().time()
        for handler, guest in tuple(self._guests.items()):
            stayed = now - guest.since
            if stayed >= self._limits.lifetime + self._limits.grace:
                self._turn_out(handler)
            elif stayed >= self._limits.lifetime and handler._request_in_progress:
                handler.close()  # once it is answered
            elif stayed >= self._limits.lifetime:
                handler.force_close()
        self._sweep_later()
