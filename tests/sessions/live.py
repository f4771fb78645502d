"""The policy as services follow it: a replica of a source in memory, which tests write to."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from teleport.core.aio import Clock, SystemClock
from teleport.pki.authority import TrustedAuthority
from teleport.resources.codec import encode
from teleport.resources.kinds import AnyResource
from teleport.sessions.policy import AUTHORITIES, HOSTS, LiveFleet, LivePolicy, decoders, policy_prefix
from teleport.store.base import Change, Commit, Listing, Record
from teleport.store.replica import Replica


class Source:
    """A store in memory, as far as replicas see it."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._commits: list[Commit] = []
        self._news = asyncio.Condition()
        self.revision = 1

    async def list(self, prefix: str = "") -> Listing:
        return Listing(self.revision, tuple(self._records[key] for key in sorted(self._records)))

    async def watch(self, *, after: int) -> AsyncGenerator[Commit]:
        at = sum(commit.revision <= after for commit in self._commits)
        while True:
            async with self._news:
                await self._news.wait_for(lambda at=at: len(self._commits) > at)  # type: ignore[misc]
            yield self._commits[at]
            at += 1

    async def commit(self, changes: dict[str, bytes | None]) -> int:
        """One transaction: values by key, None to delete."""
        self.revision += 1
        found = []
        for key, value in changes.items():
            record = None if value is None else Record(key, value, self.revision)
            if record is None:
                self._records.pop(key, None)
            else:
                self._records[key] = record
            found.append(Change(key, record))
        async with self._news:
            self._commits.append(Commit(self.revision, tuple(found)))
            self._news.notify_all()
        return self.revision


class Live:
    """A service's view of the cluster, and the pen that writes it."""

    def __init__(self, source: Source, replica: Replica, policy: LivePolicy, fleet: LiveFleet) -> None:
        self.source, self.replica, self.policy, self.fleet = source, replica, policy, fleet

    async def write(self, *resources: AnyResource) -> None:
        """Declare resources; returns when the policy includes them."""
        await self._commit({policy_prefix(one.kind) + one.name: encode(one) for one in resources})

    async def remove(self, *resources: AnyResource) -> None:
        await self._commit({policy_prefix(one.kind) + one.name: None for one in resources})

    async def report(self, *hosts: AnyResource) -> None:
        """Hosts say that they are there."""
        await self._commit({HOSTS + one.name: encode(one) for one in hosts})

    async def vanish(self, uid: str) -> None:
        await self._commit({HOSTS + uid: None})

    async def trust(self, *authorities: TrustedAuthority) -> None:
        await self._commit({f"{AUTHORITIES}{one.cluster}/{one.kind}": one.encode() for one in authorities})

    async def _commit(self, changes: dict[str, bytes | None]) -> None:
        await self.replica.wait_for(await self.source.commit(changes))


@asynccontextmanager
async def live(*resources: AnyResource, clock: Clock | None = None) -> AsyncIterator[Live]:
    source = Source()
    replica = Replica(source, decoders(hosts=True), clock=clock or SystemClock())
    running = asyncio.create_task(replica.run())
    try:
        await replica.wait_ready()
        policy = LivePolicy(replica, clock=clock or SystemClock())
        found = Live(source, replica, policy, LiveFleet(replica, policy))
        await found.write(*resources)
        yield found
    finally:
        running.cancel()
        await asyncio.wait([running])
