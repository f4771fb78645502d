"""Tells the auth service that a service is alive, which policy it enforces, and what it offers."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

import teleport
from teleport.api import models as m
from teleport.api import routes as r
from teleport.core.errors import TeleportError
from teleport.service.site import Member, Site

__all__ = ["beat"]

log = logging.getLogger(__name__)

_SECONDS: Final = 10.0
_TTL: Final = 30.0
_GATHER: Final = 0.2
"""Changes that come together are told together."""


async def beat(
    site: Site, member: Member, *, labels: Callable[[], Mapping[str, str]] | None = None,
    news: asyncio.Event | None = None, address: str = "",
) -> None:  # fmt: skip
    """Regularly, and soon after the policy or, by `news`, something else has changed. `labels` are a host's."""
    changed = news or asyncio.Event()
    member.policy.subscribe(lambda _: changed.set())
    while True:
        changed.clear()
        unreadable = member.policy.current.unreadable.items()
        heartbeat = m.Heartbeat(
            revision=member.policy.current.revision, version=teleport.__version__, hostname=site.config.nodename,
            labels=dict(labels()) if labels is not None else None, ttl=_TTL, address=address,
            problems=(*(f"{ref}: {why}" for ref, why in unreadable), *site.health.warnings),
        )  # fmt: skip
        try:
            await member.client.call(r.HEARTBEAT, heartbeat)
        except TeleportError as error:
            log.warning("the heartbeat of the %s was not taken: %s", member.name, error)
        try:
            async with asyncio.timeout(_SECONDS):
                await changed.wait()
            await asyncio.sleep(_GATHER)
        except TimeoutError:
            continue
