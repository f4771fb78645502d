"""Lists of hosts on their way from a leaf to who asked for one: as many lines as it takes, each of a bounded length.

Both ends of the way between proxies. Who may see which host is decided before.
"""

import asyncio
import json
import logging
from collections.abc import Iterable, Iterator
from typing import Final

from teleport.api.dialback import HostsPart, parse
from teleport.api.models import HostRow
from teleport.core.errors import Unavailable
from teleport.net.lines import MAX_LINE, Lines

__all__ = ["in_parts", "pass_on"]

log = logging.getLogger(__name__)

_ROOM: Final = MAX_LINE - 1024
"""Bytes of hosts in a line."""
_MOST_PARTS: Final = 4096
"""A quarter of a GiB: more than any fleet has, and less than a leaf could send without end."""
_WHOLE_SECONDS: Final = 120.0
_ANSWER_SECONDS: Final = 45.0


def in_parts(rows: Iterable[HostRow]) -> Iterator[HostsPart]:
    """The rows in as few lines as they fit; at least one, and all but the last say that there is more."""
    part: list[HostRow] = []
    room = _ROOM
    for row in rows:
        size = _size(row)
        if size > _ROOM:
            log.warning("host %s (%s) is too large for a list", row.hostname[:64], row.uuid)
            continue
        if size > room:
            yield HostsPart(hosts=tuple(part), more=True)
            part, room = [], _ROOM
        part.append(row)
        room -= size
    yield HostsPart(hosts=tuple(part))


def _size(row: HostRow) -> int:
    return len(json.dumps(row.model_dump(mode="json"))) + 1


async def pass_on(leaf: Lines, client: Lines) -> None:
    """Every part that a leaf sends, to a client that takes them. Raises Unavailable for one that does not end."""
    try:
        async with asyncio.timeout(_WHOLE_SECONDS):
            for _ in range(_MOST_PARTS):
                part: HostsPart = parse(HostsPart, await leaf.receive(timeout=_ANSWER_SECONDS))
                await client.send(part.model_dump(mode="json"))
                if not part.more:
                    return
    except TimeoutError:
        raise Unavailable("the list of hosts took too long") from None
    raise Unavailable("the list of hosts does not end")
