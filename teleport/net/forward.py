"""Hands a whole connection on to another address, byte for byte, without looking into it."""

import asyncio
import socket

from teleport.net.join import join
from teleport.net.leaving import connected_socket
from teleport.net.lines import LineConnection

__all__ = ["splice_streams"]


async def splice_streams(sock: socket.socket, host: str, port: int) -> None:
    """Connect and carry both ways until either side ends. Raises OSError if the other side cannot be reached."""
    loop = asyncio.get_running_loop()
    here, there = LineConnection(), LineConnection()
    async with asyncio.timeout(15):
        onward = await connected_socket(host, port)
    await loop.create_connection(lambda: there, sock=onward)
    try:
        await loop.connect_accepted_socket(lambda: here, sock)
        await join(here, there)
    finally:
        there.abort()
