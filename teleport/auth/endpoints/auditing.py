"""Routes for the audit log: searching it, verifying it, and heads of it to keep elsewhere.

A rule for `event` with a condition gives the events that meet it and no others; what concerns the log as a
whole needs a rule without one.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.audit.chain import Checkpoint
from teleport.audit.events import CATALOGUE
from teleport.audit.verify import verify_directory
from teleport.auth.endpoints.parts import Parts
from teleport.core.aio import utc
from teleport.core.errors import AccessDenied, BadInput
from teleport.resources.nouns import nearest
from teleport.resources.values import parse_timestamp

__all__ = ["Auditing"]

_EVENT_KEYS: Final = ("code", "user", "login", "sid", "server_id", "server_hostname", "cluster_name")


class Auditing:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def on_events(self, caller: Caller, request: m.EventQuery) -> m.EventPage:
        """The newest events that match, oldest first."""
        since = _moment(request.since)
        _check_type(request.event)

        def matches(event: Mapping[str, Any]) -> bool:
            return (
                (not request.event or event.get("event") == request.event)
                and (not request.user or event.get("user") == request.user)
                and _concerns(event, request.session)
                and (not since or str(event.get("time", "")) >= since)
                and self._parts.may_on(caller, "list", "event", _attributes(event))
            )

        found: deque[dict[str, Any]] = deque(maxlen=request.limit)
        async for event in self._parts.audit.search(matches, since=since):
            found.append(event)
        return m.EventPage(events=tuple(found))

    async def on_checkpoint(self, caller: Caller, _request: m.Empty) -> m.AuditCheckpoint:
        self._demand_everything(caller)
        newest = await self._parts.audit.checkpoint()
        return m.AuditCheckpoint(checkpoint=newest.to_line().decode().strip(), events=newest.seq, key=newest.key)

    async def on_verify(self, caller: Caller, request: m.AuditCheck) -> m.AuditVerdict:
        self._demand_everything(caller)
        try:
            kept = [Checkpoint.of_line(line) for line in request.checkpoints]
        except ValueError as error:
            raise BadInput(str(error)) from None
        key = self._parts.audit_key
        newest = await self._parts.audit.checkpoint()
        verdict = await verify_directory(self._parts.audit_directory, [*kept, newest], key=key)
        return m.AuditVerdict(
            events=verdict.events, first=verdict.first, last=verdict.last, head=verdict.head, faults=verdict.faults,
            checkpoints=verdict.checkpoints, key=key, checkpoint=newest.to_line().decode().strip(),
        )  # fmt: skip

    def _demand_everything(self, caller: Caller) -> None:
        """The log as a whole: a condition on single events cannot hold for it."""
        if not self._parts.may_on(caller, "read", "event", {}):
            raise AccessDenied(f"{caller.known.name} may read only some events, not the log as a whole")


def _check_type(event: str) -> None:
    """Nothing found would be a wrong answer to a misspelling."""
    if event and event not in CATALOGUE:
        likely = nearest(event, CATALOGUE)
        hint = f"did you mean {likely}?" if likely else "docs/audit-events.md lists them"
        raise BadInput(f"no event has the type {event}", hint=hint)


def _concerns(event: Mapping[str, Any], session: str) -> bool:
    """Whether an event is of a session, or of the connection, whose id begins so."""
    return any(str(event.get(key, "")).startswith(session) for key in ("sid", "connection"))


def _moment(text: str) -> str:
    """A time as events have it, so that texts compare like times. Raises BadInput."""
    if not text:
        return ""
    try:
        return utc(parse_timestamp(text))
    except (ValueError, OverflowError):
        raise BadInput(f"{text} is not a time as RFC 3339", hint="for example 2030-01-31T12:00:00Z") from None


def _attributes(event: Mapping[str, Any]) -> dict[str, str | tuple[str, ...]]:
    """An event as conditions of admin rules see it."""
    participants = event.get("participants") or [event.get("user", "")]
    texts = {
        "event.event": "event", **{f"event.{key}": key for key in _EVENT_KEYS},
        "session.user": "user", "session.login": "login",
        "session.sid": "sid", "session.server_id": "server_id", "session.server_hostname": "server_hostname",
        "session.cluster": "cluster_name", "session.kind": "proto",
    }  # fmt: skip
    return {
        **{name: str(event.get(key, "")) for name, key in texts.items()},
        "session.participants": tuple(str(one) for one in participants),
    }
