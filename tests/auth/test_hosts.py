"""Presence: hosts are listed while they tell of themselves, whatever the time of day is said to be."""

import asyncio
from pathlib import Path

import pytest

from teleport.api import models as m
from tests.auth.cluster import Cluster
from tests.builders import FakeClock

DAY = 86400.0


async def beat(cluster: Cluster, *, ttl: float = 30.0) -> None:
    heartbeat = m.Heartbeat(revision=0, version="1", hostname="db-1", labels={}, ttl=ttl)
    await cluster.call("heartbeat", heartbeat, cluster.host())


async def listed(cluster: Cluster, after: float = 0.0) -> list[str]:
    """The hosts after some seconds, every one of which passes."""
    for _ in range(int(after)):
        cluster.clock.advance(1.0)
        for _ in range(5):
            await asyncio.sleep(0.001)
    return [host.hostname for host in await cluster.auth.presence.hosts()]


async def test_a_host_that_is_silent_for_as_long_as_it_said_is_off_the_list(cluster: Cluster) -> None:
    await beat(cluster, ttl=10)

    assert await listed(cluster, after=8) == ["db-1"]
    assert await listed(cluster, after=4) == []


async def test_a_host_that_was_off_the_list_is_on_it_again_when_it_tells_of_itself(cluster: Cluster) -> None:
    await beat(cluster, ttl=2)
    await listed(cluster, after=4)

    await beat(cluster, ttl=10)

    assert await listed(cluster, after=5) == ["db-1"]


@pytest.mark.parametrize("jump", [DAY, -DAY])
async def test_a_clock_that_is_set_takes_no_host_off_the_list_and_keeps_none(cluster: Cluster, jump: float) -> None:
    await beat(cluster, ttl=10)

    cluster.clock.jump(jump)

    assert await listed(cluster, after=5) == ["db-1"]
    assert [one.hostname for one in cluster.auth.presence.services()] == ["db-1"]
    assert await listed(cluster, after=6) == []
    assert cluster.auth.presence.services() == []


async def test_hosts_stay_on_the_list_while_auth_is_away_however_long_and_go_if_they_are_gone(tmp_path: Path) -> None:
    clock = FakeClock()
    async with Cluster.open(tmp_path, clock) as cluster:
        await beat(cluster)
    clock.advance(3600)

    async with Cluster.open(tmp_path, clock) as again:
        assert await listed(again, after=20) == ["db-1"]
        assert await listed(again, after=15) == []


async def test_a_host_that_tells_the_same_again_is_not_written_again(cluster: Cluster) -> None:
    await beat(cluster)
    before = (await cluster.auth.store.list()).revision

    await beat(cluster)

    assert (await cluster.auth.store.list()).revision == before
    assert await listed(cluster) == ["db-1"]


async def test_agents_are_told_of_the_proxies_that_are_alive(cluster: Cluster) -> None:
    for uid, address, tunnel in (("p-1", "lb.example.com:443", "edge-1:3080"), ("p-2", "edge-2:3080", "")):
        heartbeat = m.Heartbeat(
            revision=0, version="1", hostname=uid, address=address, tunnel_address=tunnel, ttl=60 if tunnel else 10
        )
        assert (await cluster.call("heartbeat", heartbeat, cluster.host("Proxy", uid=uid))).proxies == ()

    both = await told(cluster)
    cluster.clock.advance(11)

    assert both == {"p-1": "edge-1:3080", "p-2": "edge-2:3080"}
    assert await told(cluster) == {"p-1": "edge-1:3080"}


async def told(cluster: Cluster) -> dict[str, str]:
    heartbeat = m.Heartbeat(revision=0, version="1", hostname="db-1", labels={}, address="evil:1")
    ack: m.Ack = await cluster.call("heartbeat", heartbeat, cluster.host())
    return {one.host_id: one.address for one in ack.proxies}
