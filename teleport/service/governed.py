"""A source of policy as the auth service steers it: suspend, resume, and fetch at once when a server tells of news."""

import asyncio
import base64
import binascii
import logging
from pathlib import Path
from typing import Final

from teleport.api import models as m
from teleport.core.aio import Clock
from teleport.core.errors import AccessDenied
from teleport.gitops.loop import Loop
from teleport.service.policies import Git
from teleport.service.webhook import SHORTEST_SECRET, is_ping, is_signed, ref_of

__all__ = ["GovernedSource"]

log = logging.getLogger(__name__)

_LONGEST_SECRET: Final = 1024


class GovernedSource:
    """`git` is None for sources that no server of repositories knows."""

    def __init__(self, loop: Loop, git: Git | None, *, clock: Clock) -> None:
        self._loop, self._git, self._clock = loop, git, clock

    @property
    def suspended(self) -> str:
        return self._loop.suspended

    def declares(self, kind: str, name: str) -> bool:
        return (kind, name) in self._loop.declared

    async def suspend(self, reason: str) -> None:
        await self._loop.suspend(reason)

    def resume(self) -> None:
        self._loop.resume()

    def poke(self) -> None:
        self._loop.poke()

    async def told(self, delivery: m.WebhookDelivery) -> m.WebhookAnswer:
        """See `Governed`. However often it is told, one pass at a time follows."""
        try:
            body = base64.b64decode(delivery.body, validate=True)
        except binascii.Error:
            body = b""
        secret = await asyncio.to_thread(self._secret)
        if not is_signed(delivery.headers, body, secret, now=self._clock.time()) or self._git is None:
            raise AccessDenied("this is not signed with the secret of a source")
        if is_ping(delivery.headers):
            return m.WebhookAnswer(message="pong", fetches=False)
        ref = ref_of(delivery.headers, body)
        if ref is not None and ref != f"refs/heads/{self._git.branch}" and not ref.startswith("refs/tags/"):
            return m.WebhookAnswer(message="nothing that governs has changed", fetches=False)
        self._loop.poke()
        return m.WebhookAnswer(message="the repository is asked for news", fetches=True)

    def _secret(self) -> bytes:
        if self._git is None or self._git.webhook is None:
            return b""
        path = Path(self._git.webhook.secret_file)
        try:
            with path.open("rb") as file:
                secret = file.read(_LONGEST_SECRET).strip()
        except OSError as error:
            log.error("the secret of the webhook of %s cannot be read: %s", self._loop.state.name, error)
            return b""
        if len(secret) < SHORTEST_SECRET:
            log.error(
                "the secret of the webhook of %s is shorter than %d bytes", self._loop.state.name, SHORTEST_SECRET
            )
        return secret
