"""What becomes of clusters whose declarations are taken back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from teleport.auth import keys
from teleport.pki.authority import new_authority
from teleport.pki.foreign import Foreign
from teleport.service.auth import AuthService
from teleport.service.remotes import forget_undeclared
from teleport.service.roots import Roots
from teleport.service.secrets import default_references
from tests.auth.cluster import Cluster

REMOTE = "kind: remote_cluster\nversion: v3\nmetadata: {name: leaf, labels: {env: prod}}\n"
TRUSTED = "kind: trusted_cluster\nversion: v2\nmetadata: {name: root}\nspec: {enabled: yes, web_proxy_addr: 'a:1'}\n"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster.open(tmp_path / "data") as cluster:
        yield cluster


async def joined(service: AuthService, key: str, name: str) -> None:
    foreign = Foreign(name, (new_authority("host", name, now=1_700_000_000.0).public,))
    await service.auth.policy.wait_for(await service.store.put(key, foreign.encode()))


async def until_gone(service: AuthService, key: str) -> None:
    async with asyncio.timeout(5):
        while await service.store.get(key) is not None:
            await asyncio.sleep(0.01)


async def test_a_leaf_whose_declaration_is_taken_back_is_forgotten(cluster: Cluster) -> None:
    await joined(cluster.service, keys.leaf("leaf"), "leaf")
    await cluster.declare(REMOTE)
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(forget_undeclared(cluster.service))
        while await cluster.service.store.get(keys.DECLARED_REMOTES) is None:
            await asyncio.sleep(0.01)

        await cluster.declare()

        await until_gone(cluster.service, keys.leaf("leaf"))
        work.cancel()
    assert cluster.events("trusted_cluster.forget")[0]["name"] == "leaf"


async def test_it_is_forgotten_also_if_that_happened_while_nobody_looked(cluster: Cluster) -> None:
    await joined(cluster.service, keys.leaf("leaf"), "leaf")
    await cluster.service.store.put(keys.DECLARED_REMOTES, b'["leaf"]')

    work = asyncio.create_task(forget_undeclared(cluster.service))

    await until_gone(cluster.service, keys.leaf("leaf"))
    work.cancel()


async def test_a_leaf_that_was_never_declared_stays_until_an_administrator_removes_it(cluster: Cluster) -> None:
    from teleport.api import models as m

    await joined(cluster.service, keys.leaf("leaf"), "leaf")

    (row,) = (await cluster.call("resources", m.ResourceQuery(kind="rc"))).resources
    await cluster.call("delete", m.ResourceName(kind="rc", name="leaf"))

    assert row.status == {"connection": "offline"}
    assert await cluster.service.store.get(keys.leaf("leaf")) is None
    assert cluster.events("trusted_cluster.forget")[0]["name"] == "leaf"


async def test_a_root_that_is_declared_no_more_is_forgotten_with_its_authorities(cluster: Cluster) -> None:
    await joined(cluster.service, keys.root("root"), "root")
    await cluster.declare(TRUSTED)
    roots = Roots(cluster.service, default_references(cluster.directory), clock=cluster.clock)
    work = asyncio.create_task(roots.run())

    await cluster.declare()

    await until_gone(cluster.service, keys.root("root"))
    work.cancel()
    assert not cluster.auth.policy.roots


async def test_another_pin_takes_the_trust_in_the_earlier_authority_away(cluster: Cluster) -> None:
    await joined(cluster.service, keys.root("root"), "root")
    (pin,) = cluster.auth.policy.roots["root"].pins
    declared = TRUSTED.replace("'a:1'", f"'127.0.0.1:1', ca_pin: '{pin}'")
    await cluster.declare(declared)
    roots = Roots(cluster.service, default_references(cluster.directory), clock=cluster.clock)

    await roots._settle()
    kept = await cluster.service.store.get(keys.root("root"))
    await cluster.declare(declared.replace(pin, "sha256:" + "0" * 64))
    await roots._settle()

    assert kept is not None
    assert await cluster.service.store.get(keys.root("root")) is None


async def test_why_a_cluster_cannot_be_joined_is_told_by_its_status(cluster: Cluster) -> None:
    from teleport.api import models as m

    roots = Roots(cluster.service, default_references(cluster.directory), clock=cluster.clock)
    await cluster.declare(TRUSTED)

    await roots._settle()

    (row,) = (await cluster.call("resources", m.ResourceQuery(kind="trusted_cluster"))).resources
    assert row.status["state"] == "stalled"
    assert "without ca_pin" in row.status["message"]
    assert cluster.events("trusted_cluster.join")[0]["success"] is False
