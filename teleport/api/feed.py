"""The client side of the watch route: the policy at the auth service as something a replica can follow."""

import base64
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from teleport.api.client import ApiClient
from teleport.api.models import WatchQuery
from teleport.api.routes import WATCH
from teleport.core.errors import Unavailable
from teleport.store.base import Change, Commit, Compacted, Listing, Record

__all__ = ["RemoteFeed"]


class RemoteFeed:
    """See `teleport.store.base.Watchable`. One stream answers both the listing and the watch that follows it."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._stream: AsyncGenerator[dict[str, Any]] | None = None

    async def list(self, prefix: str = "") -> Listing:
        """The listing a new stream begins with."""
        await self._close()
        self._stream = self._client.lines(WATCH, WatchQuery(after=0))
        try:
            first = (await anext(self._stream))["listing"]
        except StopAsyncIteration:
            raise Unavailable("the auth service ended the policy's stream") from None
        records = tuple(_record(one) for one in first["records"] if one["key"].startswith(prefix))
        return Listing(first["revision"], records)

    async def watch(self, *, after: int) -> AsyncGenerator[Commit]:
        stream, self._stream = self._stream, None
        if stream is None:
            stream = self._client.lines(WATCH, WatchQuery(after=after))
        async with aclosing(stream):
            async for line in stream:
                if "compacted" in line:
                    raise Compacted
                body = line["commit"]
                if body["revision"] > after or not body["changes"]:
                    yield Commit(body["revision"], tuple(_change(one) for one in body["changes"]))
        raise Unavailable("the auth service ended the policy's stream")

    async def _close(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()
            self._stream = None


def _change(body: Mapping[str, Any]) -> Change:
    return Change(body["key"], None if body["record"] is None else _record(body["record"]))


def _record(body: Mapping[str, Any]) -> Record:
    return Record(body["key"], base64.b64decode(body["value"]), body["revision"], body["expires"])
