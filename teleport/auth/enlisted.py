"""Which identities of hosts are good: each is renewed in generations, and one that exists twice is shut out.

The generation before stays good until the new one is used, for an answer may be lost on its way. Whoever comes with
an older one shows that the identity was copied; which of the two is the host nobody can tell, so both are locked.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from typing import Final

from teleport.auth import keys
from teleport.core.aio import Clock
from teleport.core.errors import AccessDenied, Unauthenticated
from teleport.core.identity import Identity
from teleport.store.base import Store

__all__ = ["GRACE_SECONDS", "Enlisted"]

log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 60.0
"""After the first use of a new generation: what the host had sent before it may arrive so much later."""
_KEPT_SECONDS: Final = 86400.0
"""How long it is remembered beyond the last certificate, whatever clocks say."""

ShutOut = Callable[[Identity], Awaitable[None]]
"""Locks a host and writes down why."""


@dataclass(frozen=True)
class _Standing:
    used: int
    """The generation that the host uses."""
    issued: int
    """The newest that it was given; ahead of `used` until it was seen."""
    replaced: int = -1
    """The one that was used before."""
    since: float = 0.0
    """When `used` was seen first."""
    copied: bool = False


class Enlisted:
    """Keeps the generation of every host that joined. `shut_out` is called for one that was copied."""

    def __init__(self, store: Store, shut_out: ShutOut, *, clock: Clock) -> None:
        self._store, self._shut_out, self._clock = store, shut_out, clock
        self._known: dict[str, _Standing] = {}
        self._one = asyncio.Lock()

    def forget(self) -> None:
        """Drop what is kept in memory beside the store."""
        self._known.clear()

    async def enrol(self, host: Identity) -> Identity:
        """A host that joins: its first generation."""
        first = replace(host, generation=1)
        await self._keep(first, _Standing(used=1, issued=1, since=self._clock.time()))
        return first

    async def renew(self, host: Identity, expires: float) -> Identity:
        """The next generation of a host, which `admit` has let in."""
        async with self._one:
            standing = await self._standing(host)
            _refuse_copied(standing)
            fresh = replace(host, generation=standing.issued + 1, expires=expires)
            await self._keep(fresh, replace(standing, issued=fresh.generation))
            return fresh

    async def admit(self, host: Identity) -> None:
        """Before each request of a host. Raises AccessDenied for an identity that exists twice, Unauthenticated."""
        known = self._known.get(host.uid)
        if known is not None and not known.copied and known.used == host.generation:
            return
        async with self._one:
            standing = await self._standing(host)
            _refuse_copied(standing)
            if host.generation == standing.used:
                return
            if host.generation >= standing.issued:  # beyond it: the store is older than the certificate
                await self._keep(host, _Standing(host.generation, host.generation, standing.used, self._clock.time()))
                return
            moment = self._clock.time() - standing.since
            if host.generation == standing.replaced and 0 <= moment <= GRACE_SECONDS:
                raise Unauthenticated("the certificate was renewed, and the new one is in use")
            await self._shut_out(host)  # first: what is noted as copied is not locked once more
            await self._keep(host, replace(standing, copied=True))
            log.error("the identity of host %s (%s) exists twice; it is locked", host.name, host.uid)
            raise _exists_twice()

    async def _standing(self, host: Identity) -> _Standing:
        """What is known of a host; one that joined before generations were counted begins with what it shows."""
        known = self._known.get(host.uid)
        if known is None:
            record = await self._store.get(keys.enlisted(host.uid))
            known = _Standing(host.generation, host.generation)
            if record is not None:
                known = _Standing(**json.loads(record.value))
            self._known[host.uid] = known
        return known

    async def _keep(self, host: Identity, standing: _Standing) -> None:
        body = json.dumps(asdict(standing)).encode()
        await self._store.put(keys.enlisted(host.uid), body, expires=host.expires + _KEPT_SECONDS)
        self._known[host.uid] = standing


def _refuse_copied(standing: _Standing) -> None:
    if standing.copied:
        raise _exists_twice()


def _exists_twice() -> AccessDenied:
    return AccessDenied(
        "the identity of this host exists twice: an older generation of it was used after a newer one; join again",
        hint="find out where the copy is; then remove `hosts` from the data directory and join with a new token",
    )
