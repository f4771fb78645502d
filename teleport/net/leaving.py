"""A connection that begins in TLS with one question and one answer, and goes on as a plain socket.

For SSH, which protects its own bytes. Both sides say close_notify right after the answer and read exactly to the
other's: OpenSSL asks the socket for a record's header and then for its body, never for what follows. Nothing may be
said between question, answer and close, so whatever arrives there ends the connection.
"""

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from teleport.core.errors import BadInput, Unavailable
from teleport.net.keepalive import keep_alive
from teleport.net.lines import MAX_LINE, parse_line

__all__ = ["LeavingConnection", "connected_socket", "shaken"]

T = TypeVar("T")

_LEAVE_SECONDS: Final = 10.0


class LeavingConnection:
    """One end, after `accept` or `connect`. Its loop must not know the socket otherwise."""

    def __init__(self, wrapped: ssl.SSLSocket) -> None:
        self._tls: ssl.SSLSocket | None = wrapped
        self._plain: socket.socket | None = None
        self._loop = asyncio.get_running_loop()
        self._watching = False
        self.peer_certificate: bytes | None = wrapped.getpeercert(binary_form=True)
        self.handed_over = False
        """Whether the bytes are others' by now."""
        self.lost: asyncio.Future[None] = self._loop.create_future()

    # -- beginning

    @classmethod
    async def accept(cls, sock: socket.socket, context: ssl.SSLContext) -> "LeavingConnection":
        """Shake hands as the server. Closes the socket on failure. Raises OSError."""
        return await cls._shake(sock, context, server_side=True)

    @classmethod
    async def connect(cls, sock: socket.socket, context: ssl.SSLContext, server_name: str) -> "LeavingConnection":
        """Shake hands as the client. Closes the socket on failure. Raises OSError."""
        return await cls._shake(sock, context, server_hostname=server_name)

    @classmethod
    async def _shake(cls, sock: socket.socket, context: ssl.SSLContext, **options: Any) -> "LeavingConnection":
        return cls(await shaken(sock, context, **options))

    # -- the exchange

    async def receive(self, *, timeout: float | None = None) -> dict[str, Any]:
        """The one message. Raises Unavailable when the peer leaves or stays silent, BadInput for no message."""
        tls, buffer = self._secure(), bytearray()
        try:
            async with asyncio.timeout(timeout):
                while b"\n" not in buffer:
                    chunk: bytes = await _until(tls, partial(tls.recv, 4096))
                    if not chunk:
                        raise Unavailable("the peer closed the connection")
                    buffer += chunk
                    if len(buffer) > MAX_LINE:
                        raise BadInput("the peer's message is too long")
        except TimeoutError:
            raise Unavailable("the peer did not answer in time") from None
        except OSError:
            raise Unavailable("the peer closed the connection") from None
        line, _, rest = bytes(buffer).partition(b"\n")
        if rest or tls.pending():
            raise BadInput("the peer said more than was asked")
        self._watch()
        return parse_line(line)

    async def send(self, message: dict[str, Any]) -> None:
        """Send one message. Raises Unavailable if the peer is gone."""
        tls, data = self._secure(), json.dumps(message, separators=(",", ":")).encode() + b"\n"
        self._unwatch()
        try:
            while data:
                sent: int = await _until(tls, partial(tls.send, data))
                data = data[sent:]
        except OSError:
            raise Unavailable("the peer closed the connection") from None

    async def hand_over(self, message: dict[str, Any]) -> None:
        """Send the last message and leave TLS."""
        await self.send(message)
        await self.leave()

    async def leave(self) -> None:
        """Say close_notify and read the peer's. From then on `plain` is the connection. Raises Unavailable."""
        tls = self._secure()
        self._unwatch()
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                await _until(tls, tls.unwrap)
        except (OSError, ValueError, TimeoutError):
            self.abort()
            raise Unavailable("the peer did not leave TLS as agreed") from None
        self._tls = None
        self._plain = socket.socket(fileno=tls.detach())
        self._plain.setblocking(False)

    @property
    def descriptor(self) -> int:
        """Of the socket, -1 once it is closed."""
        found = self._plain or self._tls
        return found.fileno() if found is not None else -1

    def plain(self) -> socket.socket:
        """The plain socket, which is the caller's from now on."""
        assert self._plain is not None
        self.handed_over = True
        return self._plain

    # -- the end

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        """Close at once, unless the connection was handed over."""
        self._unwatch()
        if self.handed_over:
            return
        if self._tls is not None:
            self._tls.close()
        if self._plain is not None:
            self._plain.close()
        if not self.lost.done():
            self.lost.set_result(None)

    def _secure(self) -> ssl.SSLSocket:
        if self._tls is None or self._tls.fileno() < 0:
            raise Unavailable("the peer closed the connection")
        return self._tls

    def _watch(self) -> None:
        """Notice when the peer leaves, or says something it was not asked, while nobody reads."""
        if self._tls is not None and self._tls.fileno() >= 0:
            self._loop.add_reader(self._tls, self._stirred)
            self._watching = True

    def _unwatch(self) -> None:
        if self._watching and self._tls is not None and self._tls.fileno() >= 0:
            self._loop.remove_reader(self._tls)
        self._watching = False

    def _stirred(self) -> None:
        self._unwatch()
        if not self.lost.done():
            self.lost.set_result(None)


async def shaken(sock: socket.socket, context: ssl.SSLContext, **options: Any) -> ssl.SSLSocket:
    """A non-blocking socket after the handshake of TLS. Closes it on failure. Raises OSError; ssl.SSLError is one."""
    wrapped = context.wrap_socket(sock, do_handshake_on_connect=False, suppress_ragged_eofs=False, **options)
    try:
        await _until(wrapped, wrapped.do_handshake)
    except BaseException:
        wrapped.close()
        raise
    return wrapped


async def connected_socket(host: str, port: int) -> socket.socket:
    """A non-blocking socket, kept alive, to the first address of a host that answers. Raises OSError."""
    loop = asyncio.get_running_loop()
    failure: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, address)
            keep_alive(sock)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


async def _until(wrapped: ssl.SSLSocket, attempt: Callable[[], T]) -> T:
    """The result of a non-blocking call of OpenSSL, repeated as it asks. Raises OSError; ssl.SSLError is one."""
    while True:
        try:
            return attempt()
        except ssl.SSLWantReadError:
            await _ready(wrapped, write=False)
        except ssl.SSLWantWriteError:
            await _ready(wrapped, write=True)


async def _ready(sock: socket.socket, *, write: bool) -> None:
    loop = asyncio.get_running_loop()
    add, remove = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    add(sock, wake)
    try:
        await ready
    finally:
        remove(sock)
