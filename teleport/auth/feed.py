"""What services follow: a listing of what they may see, then every change, as lines of JSON.

Secrets never pass: only the policy, the public authorities (also those of other clusters) and, for proxies, the hosts.
"""

import base64
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

from teleport.core.identity import Identity
from teleport.store.base import Compacted, Record, Store

__all__ = ["feed"]


def visible(identity: Identity) -> tuple[str, ...]:
    """The prefixes that a service may follow."""
    followed = ("policy/", "ca/", "overlay/", "trust/")
    return (*followed, "presence/") if identity.has_role("Proxy") else followed


Barred = Callable[[int], Awaitable[bool]]
"""Whether whoever follows may do so no longer, as things are from a revision on."""
_LOCKS: Final = "policy/lock/"


async def _never(_revision: int) -> bool:
    return False


async def feed(store: Store, identity: Identity, after: int, barred: Barred = _never) -> AsyncGenerator[bytes]:
    """NDJSON: `{"listing": …}` when asked from 0 or from before the log, then `{"commit": …}` for ever.

    It ends with the commit that bars the one who follows.
    """
    prefixes = visible(identity)
    revision = after
    if after == 0:
        listing = await store.list()
        revision = listing.revision
        records = [_record(one) for one in listing.records if one.key.startswith(prefixes)]
        yield _line({"listing": {"revision": revision, "records": records}})
    try:
        async with aclosing(store.watch(after=revision)) as commits:
            async for commit in commits:
                changes = [
                    {"key": change.key, "record": None if change.record is None else _record(change.record)}
                    for change in commit.changes
                    if change.key.startswith(prefixes)
                ]
                yield _line({"commit": {"revision": commit.revision, "changes": changes}})
                if any(one.key.startswith(_LOCKS) for one in commit.changes) and await barred(commit.revision):
                    return
    except Compacted:
        yield _line({"compacted": True})


def _record(record: Record) -> dict[str, Any]:
    return {
        "key": record.key,
        "value": base64.b64encode(record.value).decode(),
        "revision": record.revision,
        "expires": record.expires,
    }


def _line(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"
