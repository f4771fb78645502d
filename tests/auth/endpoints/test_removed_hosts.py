"""Hosts that are taken out of the cluster: locked for good, off the list, and blind at once."""

import asyncio

import pytest

from teleport.api import models as m
from teleport.core.errors import AccessDenied, BadInput, NotFound, Refused
from tests.auth.cluster import HOST, Cluster, role, user

OTHER = "5a3c9d6e-0000-4000-8000-00000000000b"


async def beat(cluster: Cluster, uid: str = HOST, name: str = "db-1") -> None:
    heartbeat = m.Heartbeat(revision=0, version="1", hostname=name, labels={"env": "lab"}, ttl=60)
    await cluster.call("heartbeat", heartbeat, cluster.host(uid=uid, name=name))


@pytest.mark.parametrize("name", [HOST, "db-1"])
async def test_a_host_is_removed_by_its_id_or_its_name(cluster: Cluster, name: str) -> None:
    await beat(cluster)

    await cluster.call("delete", m.ResourceName(kind="node", name=name))

    assert await cluster.auth.presence.hosts() == []
    (lock,) = cluster.auth.policy.current.locks
    assert lock.spec.target.server_id == HOST
    assert lock.metadata.expires is None
    assert [one["event"] for one in cluster.events("lock.created")] == ["lock.created"]


async def test_of_several_with_one_name_an_id_says_which(cluster: Cluster) -> None:
    await beat(cluster)
    await beat(cluster, OTHER)

    with pytest.raises(BadInput, match="several hosts"):
        await cluster.call("delete", m.ResourceName(kind="node", name="db-1"))
    await cluster.call("delete", m.ResourceName(kind="node", name=OTHER))

    assert [one.name for one in await cluster.auth.presence.hosts()] == [HOST]


async def test_what_does_not_exist_or_may_not_be_seen_is_not_removed(cluster: Cluster) -> None:
    await cluster.declare(role(rules="{resources: [lock], verbs: [create, delete]}"), user())
    await beat(cluster)

    for name, caller in (("db-9", None), ("db-1", cluster.user())):
        with pytest.raises(NotFound):
            await cluster.call("delete", m.ResourceName(kind="node", name=name), caller)


async def test_removing_needs_the_verb_and_that_the_api_may_write_locks(cluster: Cluster) -> None:
    await cluster.declare(role(rules="{resources: [node], verbs: [list, read, readnosecrets]}"), user())
    await beat(cluster)

    with pytest.raises(AccessDenied, match="may not delete"):
        await cluster.call("delete", m.ResourceName(kind="node", name="db-1"), cluster.user())
    cluster.auth.writer.closed = frozenset({"lock"})
    with pytest.raises(Refused, match="closed"):
        await cluster.call("delete", m.ResourceName(kind="node", name="db-1"))

    assert len(await cluster.auth.presence.hosts()) == 1


async def test_a_host_that_is_locked_reads_the_lock_and_nothing_after_it(cluster: Cluster) -> None:
    await beat(cluster)
    stream = await cluster.call("watch", m.WatchQuery(after=0), cluster.host())
    assert b"listing" in await anext(stream)

    await cluster.call("delete", m.ResourceName(kind="node", name="db-1"))

    async with asyncio.timeout(2):
        lines = [line async for line in stream]
    assert b"policy/lock/removed-host" in lines[-1]


async def test_a_lock_on_another_host_ends_no_stream(cluster: Cluster) -> None:
    await beat(cluster)
    await beat(cluster, OTHER, "db-2")
    stream = await cluster.call("watch", m.WatchQuery(after=0), cluster.host())
    await anext(stream)

    await cluster.call("delete", m.ResourceName(kind="node", name="db-2"))
    await cluster.declare(role("later"))

    async with asyncio.timeout(2):
        while b"policy/role/later" not in await anext(stream):
            pass
    await stream.aclose()
