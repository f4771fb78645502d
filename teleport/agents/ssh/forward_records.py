"""Whose forwarding it is, and its events: of each thing that is forwarded its beginning, and its end or refusal."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from teleport.agents.ssh.recorded import RecordingHost
from teleport.audit.events import Event, Forwarded
from teleport.core.errors import TeleportError
from teleport.sessions.session import Session

__all__ = ["Party", "another"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Party:
    """Whose connection it is, and who keeps its records. `sid` names the connection."""

    session: Session
    records: RecordingHost
    sid: str
    touched: Callable[[], None]

    def about(self) -> dict[str, Any]:
        session = self.session
        return {
            "user": session.user, "user_kind": 1, "user_roles": session.user_roles, "sid": self.sid,
            **self.records.place, "login": session.login,
            "addr__remote": session.client_address,
            "with_mfa": True if session.request.identity.mfa_verified else None,
        }  # fmt: skip

    async def write(self, event: Event) -> None:
        """Raises TeleportError: then what it tells of may not happen."""
        await self.records.sink(self.session.conditions.recording_mode).emit(event)

    async def write_end(self, event: Forwarded, reason: str) -> None:
        """`reason` is empty for what ended by itself."""
        await self._write_anyway(another(event, outcome="S", reason=reason))

    async def write_refusal(self, event: Forwarded, error: Exception) -> None:
        await self._write_anyway(another(event, outcome=event.codes[-1][-1], error=str(error)))

    async def _write_anyway(self, event: Event) -> None:
        """For what has happened already: at auth or in the spool."""
        try:
            await self.write(event)
        except TeleportError:
            try:
                await self.records.spool.emit(event)
            except TeleportError as error:
                log.error("an audit event could not be kept: %s", error)


def another(event: Forwarded, **changes: Any) -> Forwarded:
    """An event of the same thing."""
    return replace(event, uid=Event().uid, **changes)
