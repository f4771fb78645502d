"""What services follow: everything they may see, nothing secret, in order."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from teleport.api import models as m
from teleport.auth.feed import feed
from teleport.core.identity import HostRole
from tests.auth.cluster import Cluster, role, user

TOKEN = "kind: token\nversion: v2\nmetadata: {name: abcdefghijklmnop}\nspec: {roles: [Node]}\n"


def followed(cluster: Cluster, service: HostRole, after: int = 0) -> AsyncGenerator[bytes]:
    return feed(cluster.auth.store, cluster.host(service).known, after)


async def following(lines: AsyncGenerator[bytes]) -> Any:
    return json.loads(await anext(lines))


@pytest.mark.parametrize(("service", "hosts"), [("Node", False), ("Proxy", True)])
async def test_a_listing_holds_policy_and_authorities_for_proxies_also_hosts_and_never_a_secret(
    cluster: Cluster, service: HostRole, hosts: bool
) -> None:
    await cluster.declare(role(), user(), TOKEN, source="teleport.yaml")
    await cluster.enrol()
    await cluster.call(
        "heartbeat", m.Heartbeat(revision=0, version="1", hostname="h", labels={}, ttl=30), cluster.host()
    )

    async with aclosing(followed(cluster, service)) as lines:
        listing = (await following(lines))["listing"]

    prefixes = {record["key"].partition("/")[0] for record in listing["records"]}
    assert prefixes == {"policy", "ca"} | ({"presence"} if hosts else set())


async def test_changes_follow_in_order_and_those_of_secrets_are_empty_commits(cluster: Cluster) -> None:
    await cluster.declare(role(), source="teleport.yaml")
    async with aclosing(followed(cluster, "Node")) as lines:
        revision = (await following(lines))["listing"]["revision"]

        await cluster.declare(role(), TOKEN, source="teleport.yaml")
        await cluster.declare(role(logins="admin"), TOKEN, source="teleport.yaml")
        keys, revisions = [], []
        while "policy/role/dev" not in keys:
            commit = (await following(lines))["commit"]
            revisions.append(commit["revision"])
            keys += [change["key"] for change in commit["changes"]]

    assert revisions == sorted(revisions)
    assert revisions[0] > revision
    assert not any("token" in key or key.startswith("secret/") for key in keys)


async def test_who_was_away_goes_on_where_they_stopped(cluster: Cluster) -> None:
    await cluster.declare(role())
    revision = (await cluster.auth.store.list()).revision
    await cluster.declare(role("later"))

    async with aclosing(followed(cluster, "Node", revision)) as lines:
        first = await following(lines)

    assert first["commit"]["revision"] > revision
