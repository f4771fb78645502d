"""Looking at a connection's first bytes without taking them, and without spinning while they trickle in.

A level-triggered loop reports a socket readable as long as anything lies there; `SO_RCVLOWAT` makes it wait until
enough does (socket(7)). It is set back before the socket is handed over.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import TypeVar

from teleport.wire.hello import MAX_HELLO, Incomplete

__all__ = ["peek", "take"]

T = TypeVar("T")


async def peek(sock: socket.socket, parse: Callable[[bytes], T | Incomplete], *, timeout: float) -> T:
    """What `parse` makes of the first bytes, as soon as it can.

    The socket must be non-blocking. Raises TimeoutError, and ConnectionError if the peer leaves first.
    """
    need = 1
    try:
        async with asyncio.timeout(timeout):
            while True:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, need)
                await _readable(sock)
                data = sock.recv(MAX_HELLO, socket.MSG_PEEK)
                if len(data) < need:
                    raise ConnectionResetError("the peer left before it said what it wants")
                found = parse(data)
                if not isinstance(found, Incomplete):
                    return found
                if found.need <= len(data) or found.need > MAX_HELLO:
                    raise ConnectionResetError("the peer's first message is too long")
                need = found.need
    finally:
        if sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def take(sock: socket.socket, count: int) -> bytes:
    """Take bytes that were just peeked."""
    return sock.recv(count)


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, wake)
    try:
        await ready
    finally:
        loop.remove_reader(sock)
