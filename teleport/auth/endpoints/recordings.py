"""Routes for recordings at rest: listing those the caller may see, and reading one, which is itself audited."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.audit.events import RecordingAccessed
from teleport.audit.recording import OUTPUT
from teleport.auth.endpoints.parts import Parts
from teleport.core.errors import NotFound

__all__ = ["RecordingAccess"]


class RecordingAccess:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def on_recordings(self, caller: Caller, request: m.RecordingQuery) -> m.Recordings:
        """The newest first; `prefix` is the beginning of a session id."""
        rows: list[m.RecordingRow] = []
        for meta in await self._parts.recordings.all():
            if len(rows) >= request.limit:
                break
            if str(meta["sid"]).startswith(request.prefix) and self._may(caller, "list", meta):
                rows.append(_row(meta))
        return m.Recordings(recordings=tuple(rows))

    async def on_recording(self, caller: Caller, request: m.RecordingFile) -> AsyncGenerator[bytes]:
        """A file of a recording. Whoever reads any of the output leaves an event, from whatever offset."""
        meta = await self._parts.recordings.meta(request.sid)
        if not self._may(caller, "read", meta):
            raise NotFound(f"recording {request.sid} does not exist, or is not complete yet")
        if request.name == OUTPUT:
            await self._parts.audit.append(
                RecordingAccessed(**self._parts.actor(caller).fields(), sid=request.sid, format=request.format)
            )
        return self._parts.recordings.read(request.sid, request.name, request.offset)

    def _may(self, caller: Caller, verb: str, meta: Mapping[str, Any]) -> bool:
        attributes: dict[str, str | tuple[str, ...]] = {
            "session.participants": (str(meta["user"]),), "session.user": str(meta["user"]),
            "session.login": str(meta["login"]), "session.sid": str(meta["sid"]),
            "session.server_id": str(meta["server_id"]), "session.server_hostname": str(meta["server_hostname"]),
            "session.kind": "ssh", "session.cluster": self._parts.authorities.cluster,
        }  # fmt: skip
        return self._parts.may_on(caller, verb, "session", attributes)


def _row(meta: Mapping[str, Any]) -> m.RecordingRow:
    return m.RecordingRow(
        sid=meta["sid"], user=meta["user"], login=meta["login"], server_hostname=meta["server_hostname"],
        started=meta["started"], stopped=meta["stopped"], interactive=meta["interactive"],
        bytes=meta.get("bytes_seen", meta["output_bytes"]), command=meta.get("command", ""),
        interrupted=bool(meta.get("interrupted", False)), truncated=bool(meta.get("truncated", False)),
    )  # fmt: skip
