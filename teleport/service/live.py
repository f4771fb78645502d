"""Tells the auth service which sessions are live on this host: soon after each change, and regularly without one."""

import asyncio
import logging
from typing import Final

from teleport.agents.ssh.live import LiveSessions
from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.core.errors import TeleportError, Unavailable

__all__ = ["report_sessions"]

log = logging.getLogger(__name__)

_SECONDS: Final = 10.0
_TTL: Final = 30.0
_RETRY: Final = 1.0
_GATHER: Final = 0.2
"""Changes that come together are told together."""


async def report_sessions(client: ApiClient, live: LiveSessions) -> None:
    """Until cancelled. What could not be told is told again soon: the list is always a whole one."""
    while True:
        live.news.clear()
        pause = _SECONDS
        try:
            await client.call(r.LIVE, m.LiveReport(sessions=live.reported(), ttl=_TTL))
        except TeleportError as error:
            log.info("the live sessions of this host could not be reported: %s", error)
            pause = _RETRY if isinstance(error, Unavailable) else _SECONDS
        try:
            async with asyncio.timeout(pause):
                await live.news.wait()
            await asyncio.sleep(_GATHER)
        except TimeoutError:
            continue
