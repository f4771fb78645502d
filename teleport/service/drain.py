"""The end of a process: nobody new is admitted, live sessions may go on for a while, then they are told and ended."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from teleport.api import models as m
from teleport.api import routes as r
from teleport.core.errors import TeleportError
from teleport.service.site import Member, Site

__all__ = ["END_SECONDS", "drain"]

log = logging.getLogger(__name__)

_REASON: Final = "the service is stopping"
_ENDING: Final = 10.0
"""Seconds that programs, once ended, have to go, and recordings to be sealed."""
_SENDING: Final = 5.0
"""Seconds for the last events and recordings to reach the auth service; what does not waits in the spool."""
_HURRY: Final = 1.0
END_SECONDS: Final = 2 * _ENDING + _SENDING
"""How long the end may take once sessions have been ended."""


async def drain(site: Site) -> None:
    """Return when no session is left, or nobody waits any more."""
    for member in site.members:
        member.gate.refuse(_REASON)
    live = _live(site)
    if live:
        log.info("%d sessions may go on for %.0f s", live, site.config.teleport.shutdown_timeout)
    await _wait(site, lambda: not _live(site), site.config.teleport.shutdown_timeout)
    for member in site.members:
        for session in member.gate.live:
            session.end(_REASON)
    for finish in site.drains:
        await finish(_HURRY if site.life.hurried.is_set() else _ENDING)
    await _wait(site, lambda: not _unfinished(site), _ENDING)
    await _wait(site, lambda: not _waiting(site), _SENDING)
    await asyncio.gather(*(_leave(member) for member in site.members))


async def _leave(member: Member) -> None:
    """Nobody is to look for this service any more. Auth finds out by itself if it cannot be told."""
    try:
        async with asyncio.timeout(_HURRY):
            await member.client.call(r.LEAVE, m.Empty())
    except (TeleportError, TimeoutError) as error:
        log.info("auth could not be told that the %s stops: %s", member.name, error)


async def _wait(site: Site, over: Callable[[], bool], seconds: float) -> None:
    """Until it is over, the time has passed, or the process was told to stop at once."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not over() and asyncio.get_running_loop().time() < deadline and not site.life.hurried.is_set():
        try:
            async with asyncio.timeout(0.05):
                await site.life.hurried.wait()
        except TimeoutError:
            continue


def _live(site: Site) -> int:
    return sum(len(tuple(member.gate.live)) for member in site.members)


def _unfinished(site: Site) -> int:
    """Sessions that are not over, or whose records are not."""
    return _live(site) + sum(member.spool.unfinished for member in site.members)


def _waiting(site: Site) -> bool:
    """Whether some event or recording is not at auth yet."""
    try:
        return any(any(member.spool.backlog()) for member in site.members)
    except (OSError, TeleportError):
        return False
