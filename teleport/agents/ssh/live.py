"""Sessions on terminals of this host while they last: whose they are, what they printed lately, and who looks on.

Observers get copies. Nothing of theirs goes in, and none is waited for.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from teleport.access.joining import LiveSession
from teleport.access.target import Target
from teleport.api.models import LiveReported
from teleport.core.errors import Unavailable
from teleport.core.output import printable

__all__ = ["Backlog", "LiveSessions", "Observer", "Watched"]

BACKLOG: Final = 32 * 1024
"""Bytes of its latest output that a session keeps for those who join it."""
MAX_OBSERVERS: Final = 20
_MAX_NAME: Final = 64


class Observer(Protocol):
    """Whoever looks on."""

    @property
    def name(self) -> str: ...

    def show(self, data: bytes) -> None:
        """Output as it comes. Never raises, never waits."""
        ...

    def resized(self, rows: int, columns: int) -> None: ...


class Backlog:
    """The end of what was printed, from the beginning of a line on where it does not go back to the first."""

    def __init__(self, limit: int = BACKLOG) -> None:
        self._limit, self._kept, self._cut = limit, bytearray(), False

    def add(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > 2 * self._limit:
            del self._kept[: -self._limit]
            self._cut = True

    @property
    def text(self) -> bytes:
        tail = bytes(self._kept[-self._limit :])
        if not self._cut and len(self._kept) <= self._limit:
            return tail
        _, newline, rest = tail.partition(b"\n")
        return rest if newline else tail


@dataclass(frozen=True)
class Facts:
    """Whose session it is."""

    sid: str
    owner: str
    owner_uid: str
    login: str
    started: float
    server_id: str = ""
    """Of the host, where a process serves several."""


class Watched:
    """A session that may be looked at. `tell` writes a line on its own terminal, and nowhere else.

    `keep` is whether it keeps a backlog: one that is not recorded shows nothing of what was before.
    """

    def __init__(
        self, facts: Facts, *, tell: Callable[[str], None], joined: Callable[[str], None], keep: bool,
        rows: int, columns: int,
    ) -> None:  # fmt: skip
        self.facts = facts
        self.rows, self.columns = rows, columns
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tell, self._joined = tell, joined
        self._backlog = Backlog() if keep else None
        self._observers: list[Observer] = []
        self.changed: Callable[[], None] = lambda: None

    def as_judged(self, target: Target) -> LiveSession:
        facts = self.facts
        return LiveSession(
            sid=facts.sid, owner=facts.owner, owner_uid=facts.owner_uid, login=facts.login, target=target,
            participants=self.observers,
        )  # fmt: skip

    @property
    def observers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.name for one in self._observers))

    # -- what the session does

    def output(self, data: bytes) -> None:
        if self._backlog is not None:
            self._backlog.add(data)
        for observer in tuple(self._observers):
            observer.show(data)

    def resize(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        for observer in tuple(self._observers):
            observer.resized(rows, columns)

    def end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    # -- what observers do

    def join(self, observer: Observer) -> bytes:
        """From now on the observer sees what the session prints; what it printed lately. Raises Unavailable."""
        if self.ended.done():
            raise Unavailable("the session ended")
        if len(self._observers) >= MAX_OBSERVERS:
            raise Unavailable(f"{MAX_OBSERVERS} look on already, as many as can")
        self._announce(f"{_shown(observer.name)} joined as observer")
        self._observers.append(observer)
        self._joined(observer.name)
        self.changed()
        return self._backlog.text if self._backlog is not None else b""

    def leave(self, observer: Observer) -> None:
        if observer in self._observers:
            self._observers.remove(observer)
            self._announce(f"{_shown(observer.name)} left")
            self.changed()

    def _announce(self, what: str) -> None:
        line = f"Teleport > {what}"
        if not self.ended.done():
            self._tell(line)
        for observer in tuple(self._observers):
            observer.show(f"\r\n{line}\r\n".encode())


class LiveSessions:
    """Those of one host. `news` is set whenever somebody came or went."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self._live: dict[str, Watched] = {}

    @contextlib.contextmanager
    def lasting(self, watched: Watched) -> Iterator[Watched]:
        """While the block runs, the session can be found; after it, whoever looks on is told that it ended."""
        self._live[watched.facts.sid] = watched
        watched.changed = self.news.set
        self.news.set()
        try:
            yield watched
        finally:
            del self._live[watched.facts.sid]
            watched.end()
            self.news.set()

    def find(self, sid: str) -> Watched | None:
        return self._live.get(sid)

    def reported(self) -> tuple[LiveReported, ...]:
        """As the auth service hears of them."""
        return tuple(
            LiveReported(
                sid=one.facts.sid, user=one.facts.owner, user_uid=one.facts.owner_uid, login=one.facts.login,
                started=one.facts.started, observers=one.observers, server_id=one.facts.server_id,
            )
            for one in self._live.values()
        )  # fmt: skip


def _shown(name: str) -> str:
    """A name that drives no terminal and fills no screen."""
    return printable(name[:_MAX_NAME])
