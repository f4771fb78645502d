"""Real sockets on loopback, for tests."""

import asyncio
import socket
from collections.abc import Callable

from teleport.net.lines import LineConnection


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of one TCP connection, both non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        other, _ = listening.accept()
    one.setblocking(False)
    other.setblocking(False)
    return one, other


class Peer:
    """The far end of a connection under test: writes and reads raw bytes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self._loop = sock, asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.sock, data)

    async def receive(self, count: int) -> bytes:
        """Exactly that many bytes, fewer only at the end."""
        found = bytearray()
        async with asyncio.timeout(5):
            while len(found) < count:
                chunk = await self._loop.sock_recv(self.sock, min(65536, count - len(found)))
                if not chunk:
                    break
                found += chunk
        return bytes(found)

    async def wait_end(self) -> bytes:
        """Everything until the other side is gone, however it went."""
        found = bytearray()
        async with asyncio.timeout(5):
            try:
                while chunk := await self._loop.sock_recv(self.sock, 65536):
                    found += chunk
            except ConnectionError:
                pass
        return bytes(found)

    def close(self) -> None:
        self.sock.close()


async def line_connection() -> tuple[LineConnection, Peer]:
    """A connection under test and its far end."""
    near, far = tcp_pair()
    connection = LineConnection()
    await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, near)
    return connection, Peer(far)


async def wait_until(condition: Callable[[], object], *, within: float = 2.0) -> None:
    """Let the loop run until something is true; fail if it does not become so."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.005)
