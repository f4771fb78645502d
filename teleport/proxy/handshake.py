"""From an accepted socket to a line connection whose peer is known: TLS, the certificate, and who that is."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final

from teleport.core.errors import TeleportError
from teleport.core.identity import Identity
from teleport.net.join import Leg
from teleport.net.lines import LineConnection
from teleport.proxy.listener import Arrival, SocketHandler

__all__ = ["HANDSHAKE_SECONDS", "line_handler"]

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS: Final = 15.0


def line_handler(
    context: Callable[[], ssl.SSLContext],
    verify: Callable[[Leg], Identity],
    serve: Callable[[Any, Identity, Arrival], Awaitable[None]],
    *,
    timeout: float = HANDSHAKE_SECONDS,
    begin: "Callable[[socket.socket, ssl.SSLContext], Awaitable[Any]] | None" = None,
) -> SocketHandler:
    """A handler for what speaks in lines. `verify` raises Unauthenticated; `serve` closes what it is given.

    It is given a LineConnection, or what `begin` makes of the socket: a LeavingConnection where TLS is to end with the
    last line, a QuietConnection where there is little to say.
    """
    shake = begin or _accept

    async def handler(sock: socket.socket, arrival: Arrival) -> None:
        async with asyncio.timeout(timeout):
            connection: Any = await shake(sock, context())
        try:
            identity = verify(connection)
            arrival.admitted()
            await serve(connection, identity, arrival)
        except TeleportError as error:
            log.info("a connection from %s was refused: %s", arrival.address, error)
            connection.close()
        except BaseException:
            connection.abort()
            raise

    return handler


async def _accept(sock: socket.socket, context: ssl.SSLContext) -> LineConnection:
    connection = LineConnection()
    await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, sock, ssl=context)
    return connection
