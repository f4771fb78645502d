"""Tells the auth service that a service is alive, which policy it enforces, and what it offers."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import teleport
from teleport.api import models as m
from teleport.api import routes as r
from teleport.core.errors import TeleportError
from teleport.resources.reading import own_reads
from teleport.service.site import Member, Site

if TYPE_CHECKING:
    from teleport.proxy.leaves import LeafTunnels

__all__ = ["Heart"]

log = logging.getLogger(__name__)

_SECONDS: Final = 10.0
_TTL: Final = 25.0
"""Lost ones are off the list half a minute after they were lost, at the latest."""
_GATHER: Final = 0.2
"""Changes that come together are told together."""
_IN_FULL: Final = 30
"""Every so many beats it is told in full what the service reads: an auth service that was restarted asks nobody."""


class Heart:
    """Beats for one service. `labels` are a host's, `address` is where a proxy is reached."""

    def __init__(
        self, site: Site, member: Member, *, labels: Callable[[], Mapping[str, str]] | None = None, address: str = "",
        tunnel_address: str = "", acknowledged: Callable[[m.Ack], None] = lambda _: None,
        leaves: "LeafTunnels | None" = None, roots: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:  # fmt: skip
        self._news = asyncio.Event()
        self._leaves, self._roots = leaves, roots
        if leaves is not None:
            leaves.subscribe(self.tell)
        self._site, self._member, self._labels, self._address = site, member, labels, address
        self._tunnel_address, self._acknowledged = tunnel_address, acknowledged
        self._reads, self._beats = own_reads(), 0
        self.known = asyncio.Event()
        """Set once auth has taken a heartbeat: from then on the service can be found."""

    def tell(self) -> None:
        """Something has changed that others should know."""
        self._news.set()

    async def run(self) -> None:
        """Beat regularly, and soon after a change, until cancelled."""
        self._member.policy.subscribe(lambda _: self.tell())
        while True:
            self._news.clear()
            try:
                async with asyncio.timeout(_SECONDS):
                    self._acknowledged(await self._member.client.call(r.HEARTBEAT, self._heartbeat()))
                self.known.set()
                self._beats += 1
            except (TeleportError, TimeoutError) as error:
                self._beats = 0
                why = str(error) or "no answer"
                log.warning("the heartbeat of the %s was not taken: %s", self._member.name, why)
            try:
                async with asyncio.timeout(_SECONDS):
                    await self._news.wait()
                await asyncio.sleep(_GATHER)
            except TimeoutError:
                continue

    def _heartbeat(self) -> m.Heartbeat:
        policy, reads = self._member.policy.current, None
        if self._beats % _IN_FULL == 0:
            reads = m.ReadsFormat(versions=self._reads.versions, fields=tuple(sorted(self._reads.fields)))
        return m.Heartbeat(
            revision=policy.revision, version=teleport.__version__, hostname=self._site.config.nodename,
            labels=dict(self._labels()) if self._labels is not None else None, ttl=_TTL, address=self._address,
            leaves=self._leaves.online if self._leaves is not None else (), roots=self._roots(),
            tunnel_address=self._tunnel_address,
            problems=(*(f"{ref}: {why}" for ref, why in policy.unreadable.items()), *self._site.health.warnings),
            format=self._reads.format, reads=reads,
        )  # fmt: skip
