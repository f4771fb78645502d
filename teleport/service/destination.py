"""The auth service as an uplink's destination, through the API."""

from collections.abc import Mapping, Sequence
from typing import Any

from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient

__all__ = ["ApiDestination"]


class ApiDestination:
    """See `audit.spool.Destination`."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def send_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        await self._client.call(r.EMIT, m.EventBatch(events=tuple(dict(event) for event in events)))

    async def send_part(self, sid: str, name: str, offset: int, data: bytes) -> None:
        part = m.RecordingPart(sid=sid, name=name, offset=offset)
        await self._client.call(r.UPLOAD, part, body=data)

    async def seal(self, sid: str, meta: Mapping[str, Any]) -> None:
        await self._client.call(r.SEAL, m.SealRequest(sid=sid, meta=dict(meta)))
