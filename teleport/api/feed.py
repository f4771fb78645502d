"""The client side of the watch route: the policy at the auth service as something a replica can follow."""

import base64
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

from teleport.api.client import ApiClient
from teleport.api.models import WatchQuery
from teleport.api.routes import WATCH
from teleport.core.errors import Unavailable
from teleport.store.base import Change, Commit, Compacted, Listing, Record

__all__ = ["RemoteFeed", "read_commit", "read_listing"]

_FAULTS: Final = (KeyError, TypeError, AttributeError, ValueError)
"""What a line of another form than ours raises where it is taken apart."""


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
            first = await anext(self._stream)
        except StopAsyncIteration:
            raise Unavailable("the auth service ended the policy's stream") from None
        return read_listing(first, prefix)

    async def watch(self, *, after: int) -> AsyncGenerator[Commit]:
        stream, self._stream = self._stream, None
        if stream is None:
            stream = self._client.lines(WATCH, WatchQuery(after=after))
        async with aclosing(stream):
            async for line in stream:
                if "compacted" in line:
                    raise Compacted
                commit = read_commit(line)
                if commit.revision > after or not commit.changes:
                    yield commit
        raise Unavailable("the auth service ended the policy's stream")

    async def _close(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()
            self._stream = None


def read_listing(line: Mapping[str, Any], prefix: str) -> Listing:
    """The first line of a stream. Raises Unavailable for any other form."""
    try:
        body = line["listing"]
        records = tuple(_record(one) for one in body["records"])
        return Listing(_revision(body), tuple(one for one in records if one.key.startswith(prefix)))
    except _FAULTS as error:
        raise _unreadable(error) from None


def read_commit(line: Mapping[str, Any]) -> Commit:
    """A later line of a stream. Raises Unavailable for any other form."""
    try:
        body = line["commit"]
        return Commit(_revision(body), tuple(_change(one) for one in body["changes"]))
    except _FAULTS as error:
        raise _unreadable(error) from None


def _change(body: Mapping[str, Any]) -> Change:
    return Change(_text(body["key"]), None if body["record"] is None else _record(body["record"]))


def _record(body: Mapping[str, Any]) -> Record:
    expires = body["expires"]
    if expires is not None and not isinstance(expires, int | float):
        raise TypeError("an expiry is a number")
    return Record(_text(body["key"]), base64.b64decode(body["value"], validate=True), _revision(body), expires)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a key is text")
    return value


def _revision(body: Mapping[str, Any]) -> int:
    revision = body["revision"]
    if not isinstance(revision, int):
        raise TypeError("a revision is a number")
    return revision


def _unreadable(error: Exception) -> Unavailable:
    return Unavailable(
        f"the policy's stream cannot be understood ({type(error).__name__})",
        hint="are both services of the same version?",
    )
