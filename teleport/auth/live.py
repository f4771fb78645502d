"""Live sessions as their hosts report them: gone when the host says so, or says nothing for a while.

Kept in memory alone; hosts repeat themselves, so a restart knows them again within seconds. Whether somebody may see a
session or take part in it is not decided here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from teleport.api.models import LiveReport, LiveReported
from teleport.core.aio import Clock
from teleport.core.identity import Identity

__all__ = ["Live", "LiveTable"]


@dataclass(frozen=True)
class Live:
    """A session, and the host whose certificate reported it."""

    session: LiveReported
    server_id: str
    server_hostname: str


@dataclass(frozen=True)
class _Report:
    until: float
    sids: frozenset[str]


class LiveTable:
    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._reports: dict[str, _Report] = {}
        self._sessions: dict[str, Live] = {}

    def report(self, host: Identity, report: LiveReport, plain: Mapping[str, str] = MappingProxyType({})) -> None:
        """Take what a host says of itself, instead of what it said before. Another host's session it cannot claim.

        A proxy speaks for the hosts with only OpenSSH, `plain`: their names by id.
        """
        self._forget_silent()
        self._drop(host.uid)
        mine = {
            one.sid: Live(one, uid, plain.get(uid, host.name))
            for one in report.sessions
            if one.sid not in self._sessions and ((uid := one.server_id or host.uid) == host.uid or uid in plain)
        }
        self._sessions |= mine
        self._reports[host.uid] = _Report(self._clock.time() + report.ttl, frozenset(mine))

    def leave(self, host: Identity) -> None:
        """A host has stopped in an orderly way."""
        self._drop(host.uid)

    def find(self, sid: str) -> Live | None:
        self._forget_silent()
        return self._sessions.get(sid)

    def __iter__(self) -> Iterator[Live]:
        """All, the oldest first."""
        self._forget_silent()
        return iter(sorted(self._sessions.values(), key=lambda one: (one.session.started, one.session.sid)))

    def _forget_silent(self) -> None:
        now = self._clock.time()
        for uid in [uid for uid, report in self._reports.items() if report.until <= now]:
            self._drop(uid)

    def _drop(self, uid: str) -> None:
        report = self._reports.pop(uid, None)
        for sid in report.sids if report is not None else ():
            del self._sessions[sid]
