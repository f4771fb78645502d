"""Accepting connections, also when there are no descriptors left to accept them with.

A port at which somebody waits who cannot be let in stays readable: without a spare descriptor to take such peers and
hang up, they wait in vain and the loop is woken for nothing. The last descriptors below the limit are not given to
newcomers at all: those who are in need pipes, files and programs.
"""

import asyncio
import errno
import logging
import os
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from teleport.net.keepalive import hang_up

__all__ = ["Acceptor"]

log = logging.getLogger(__name__)

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_KEPT_BACK: Final = 256
"""Descriptors that newcomers do not get, where the limit is high enough; otherwise an eighth of them."""
_AT_ONCE: Final = 64
"""Peers that are turned away before others have their turn."""
_PAUSE: Final = 0.05
_CALM: Final = 10.0
"""Seconds without trouble after which it counts as over."""


class Acceptor:
    """Accepts from a listening socket. `full` is told why nobody is let in, once, and nothing when that is over."""

    def __init__(self, sock: socket.socket, full: Callable[[str], None]) -> None:
        self._sock, self._full = sock, full
        self._spare: int | None = None
        self._calming: asyncio.TimerHandle | None = None
        self._keep_spare()

    async def accept(self) -> tuple[socket.socket, Any]:
        """The next connection that there is room for, and its peer's address."""
        self._sock.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(self._sock)
            except OSError as error:
                await self._failed(error)
                continue
            if connection.fileno() < _ceiling():
                return connection, peer
            _turn_away(connection)
            self._tell()
            await asyncio.sleep(0)

    def close(self) -> None:
        self._sock.close()
        if self._calming is not None:
            self._calming.cancel()
        self._drop_spare()

    async def _failed(self, error: OSError) -> None:
        if error.errno in _EXHAUSTED:
            self._turn_waiting_away()
            self._tell()
        else:
            log.debug("a connection cannot be accepted: %s", error)
        await asyncio.sleep(_PAUSE)

    def _turn_waiting_away(self) -> None:
        self._drop_spare()
        with suppress(OSError):  # nobody waits any more, or somebody else was faster with the descriptor
            for _ in range(_AT_ONCE):
                _turn_away(self._sock.accept()[0])
        self._keep_spare()

    def _drop_spare(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _keep_spare(self) -> None:
        with suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _tell(self) -> None:
        if self._calming is None:
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            self._full(f"nearly all of the {limit} files that may be open are: new connections are refused")
        else:
            self._calming.cancel()
        self._calming = asyncio.get_running_loop().call_later(_CALM, self._is_over)

    def _is_over(self) -> None:
        self._calming = None
        self._full("")


def _ceiling() -> int:
    """The first descriptor that is not for newcomers: the kernel gives the lowest that is free."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limit - min(_KEPT_BACK, limit // 8)


def _turn_away(connection: socket.socket) -> None:
    hang_up(connection)
    connection.close()
