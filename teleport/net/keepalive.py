"""Noticing a peer that vanished without a word: a cable pulled, a machine that lost its power, a state table emptied.

On a quiet connection the kernel asks (keep-alive). On one with bytes under way it only repeats itself, for a quarter
of an hour: `Vigil` gives such a peer up earlier. TCP_USER_TIMEOUT would do that too, but it also gives up who is there
and merely reads nothing, as a pager does that waits for a key.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

__all__ = ["KEEPALIVE", "KeepAlive", "Vigil", "hang_up", "is_deaf", "keep_alive"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeepAlive:
    """Seconds of quiet, seconds between questions, and unanswered ones after which a peer counts as gone."""

    idle: int = 60
    interval: int = 15
    probes: int = 4

    @property
    def seconds(self) -> int:
        """How long a peer may have vanished."""
        return self.idle + self.interval * self.probes


KEEPALIVE: Final = KeepAlive()
_UNANSWERED: Final = 2
"""Repetitions of one segment, or of one question, without an answer: one may be on its way."""
_STATE: Final = struct.Struct("=8B 13I")
"""The beginning of the kernel's tcp_info; see linux/tcp.h."""
_RETRANSMITS, _PROBES, _LAST_ACK_RECEIVED = 2, 3, 8 + 12


def keep_alive(sock: socket.socket, times: KeepAlive = KEEPALIVE) -> None:
    """Have the kernel notice when the peer of a TCP socket is gone, and send what is written at once."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, times.idle)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, times.interval)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, times.probes)


def is_deaf(sock: socket.socket, seconds: float) -> bool:
    """Whether the peer has acknowledged nothing for so long although it was asked again and again."""
    try:
        state = _STATE.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _STATE.size))
    except (OSError, struct.error):
        return False  # no TCP, or gone already
    unanswered: bool = max(state[_RETRANSMITS], state[_PROBES]) >= _UNANSWERED
    return unanswered and bool(state[_LAST_ACK_RECEIVED] >= seconds * 1000)


class Vigil:
    """Looks at the connections of a process now and then, and shuts down those whose peers are deaf."""

    def __init__(self, *, seconds: float = KEEPALIVE.seconds, every: float = 15.0) -> None:
        self._seconds, self._every = seconds, every
        self._watched: set[tuple[int, ...]] = set()
        self._looking: asyncio.TimerHandle | None = None

    @contextmanager
    def over(self, *descriptors: int) -> Iterator[None]:
        """Watch sockets that belong together. Once a peer is deaf, all of them read and write as at their end."""
        self._watched.add(descriptors)
        self._look_later()
        try:
            yield
        finally:
            self._watched.discard(descriptors)

    def _look_later(self) -> None:
        if self._looking is None and self._watched:
            self._looking = asyncio.get_running_loop().call_later(self._every, self._look)

    def _look(self) -> None:
        self._looking = None
        for descriptors in self._watched:
            with ExitStack() as borrowed:
                self._look_at([borrowed.enter_context(_borrow(one)) for one in descriptors if one >= 0])
        self._look_later()

    def _look_at(self, sockets: Sequence[socket.socket]) -> None:
        deaf = [one for one in sockets if is_deaf(one, self._seconds)]
        if deaf:
            log.info("a connection is given up: its peer has not been heard of for %.0f s", self._seconds)
            for one in sockets:
                hang_up(one, at_once=one in deaf)


@contextmanager
def _borrow(descriptor: int) -> Iterator[socket.socket]:
    """A socket that is another's, as it is: nothing is asked of the kernel for it."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=descriptor)
    try:
        yield sock
    finally:
        sock.detach()


def hang_up(sock: socket.socket, *, at_once: bool = True) -> None:
    """End both directions; at once means that what is under way to the peer is forgotten when it is closed."""
    with suppress(OSError):
        if at_once:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RDWR)
