"""Agents and the proxies of a cluster, as processes of one loop: how they find each other, and what they do without."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.core.errors import BadInput
from teleport.service.address import Address
from teleport.service.config import Config
from teleport.service.join import recognise
from teleport.service.process import Process
from tests.net.sockets import wait_until
from tests.service.support import administration, config, running

TOKEN = "static-token-of-the-file"


@dataclass
class Parts:
    """An auth service of its own, two proxies, and an agent that was told of the first."""

    client: ApiClient
    proxies: list[Process]
    agent: Process
    stacks: list[AsyncExitStack]
    agent_stack: AsyncExitStack

    def at(self, number: int) -> int:
        """How many agents are connected to a proxy."""
        tunnels = self.proxies[number]._site.tunnels
        return tunnels.agents if tunnels is not None else 0

    @property
    def locks(self) -> int:
        """How many are in force at a proxy."""
        return len(self.proxies[0]._site.members[0].policy.current.locks)

    async def listed(self) -> list[str]:
        found: m.Hosts = await self.client.call(r.HOSTS, m.Empty())
        return [one.hostname for one in found.hosts]


@asynccontextmanager
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    auth = config(
        tmp_path / "auth", roles="auth",
        auth_service={"tokens": [f"node,proxy:{TOKEN}"], "listen_addr": "127.0.0.1:0"},
    )  # fmt: skip
    async with running(auth) as authority, administration(auth) as client, AsyncExitStack() as rest:
        pin = (await client.call(r.STATUS, m.Empty())).ca_pins[0]
        joining: dict[str, Any] = {"ca_pin": [pin], "auth_token": TOKEN}
        stacks, proxies = [], []
        for name in ("edge-1", "edge-2"):
            stacks.append(await rest.enter_async_context(AsyncExitStack()))
            where = {"auth_server": str(authority.bound), "nodename": name, **joining}
            proxy = config(tmp_path / name, roles="proxy", teleport=where)
            proxies.append(await stacks[-1].enter_async_context(running(proxy)))
        where = {"proxy_server": str(proxies[0].bound), "nodename": "db-1", **joining}
        agent = config(tmp_path / "agent", roles="node", teleport=where)
        agent_stack = await rest.enter_async_context(AsyncExitStack())
        yield Parts(client, proxies, await agent_stack.enter_async_context(running(agent)), stacks, agent_stack)


async def test_an_agent_is_reached_through_every_proxy_and_still_works_when_the_one_it_was_told_of_is_gone(
    tmp_path: Path,
) -> None:
    async with parts(tmp_path) as made:
        await wait_until(lambda: (made.at(0), made.at(1)) == (1, 1), within=20)

        await made.stacks[0].aclose()
        member = made.agent._site.members[0]
        await wait_until(lambda: str(made.proxies[1].bound) in member.client._base, within=20)

        assert made.at(1) == 1
        await member.client.call(r.HEARTBEAT, m.Heartbeat(revision=0, version="1", hostname="db-1", labels={}))
        assert await made.listed() == ["db-1"]


async def test_a_locked_host_is_cut_off_everywhere_within_a_second(tmp_path: Path) -> None:
    async with parts(tmp_path) as made:
        await wait_until(lambda: (made.at(0), made.at(1)) == (1, 1), within=20)
        uid = made.agent._site.members[0].credentials.host_id
        lock = {"kind": "lock", "version": "v2", "metadata": {"name": "stolen"}, "spec": {"target": {"server_id": uid}}}

        await made.client.call(r.CREATE, m.ResourceWrite(kind="lock", resource=lock))

        await wait_until(lambda: (made.at(0), made.at(1)) == (0, 0), within=1)
        await asyncio.sleep(0.5)
        assert (made.at(0), made.at(1)) == (0, 0)


async def test_a_cluster_without_a_pin_is_recognised_only_by_a_certificate_that_is_trusted_for_its_name(
    tmp_path: Path,
) -> None:
    settings: Config = config(tmp_path, roles="auth,proxy")
    async with running(settings) as process:
        authority = await recognise(process.bound, set(_pins(process)))
        by_name = Address("localhost", process.bound.port)

        assert await recognise(by_name, set(), trust=authority.certificates) == authority
        with pytest.raises(BadInput, match="not publicly trusted"):
            await recognise(by_name, set())
        with pytest.raises(BadInput, match="pinned key"):
            await recognise(by_name, {"sha256:" + "0" * 64}, trust=authority.certificates)


async def test_a_data_directory_that_is_copied_and_started_elsewhere_is_noticed_and_both_are_shut_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teleport.auth.enlisted.GRACE_SECONDS", 0.0)
    async with parts(tmp_path) as made, AsyncExitStack() as elsewhere:
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path / "agent" / "hosts", copy / "hosts")
        where = {"proxy_server": str(made.proxies[1].bound), "nodename": "thief-1"}
        await elsewhere.enter_async_context(running(config(copy, roles="node", teleport=where)))

        await wait_until(lambda: (made.at(0), made.at(1)) == (0, 0) and made.locks, within=25)

        lock = await made.client.call(r.RESOURCES, m.ResourceQuery(kind="lock"))
        assert [one.resource["metadata"]["name"][:12] for one in lock.resources] == ["copied-host-"]


async def test_a_host_that_renews_goes_on_as_the_next_generation(tmp_path: Path) -> None:
    async with parts(tmp_path) as made:
        where = {"proxy_server": str(made.proxies[0].bound)}
        await made.agent_stack.aclose()
        again = config(tmp_path / "agent", roles="node", teleport={**where, "nodename": "db-2"})
        async with running(again):
            await _listed(made, "db-2")


async def _listed(made: Parts, name: str) -> None:
    async with asyncio.timeout(15):
        while await made.listed() != [name]:
            await asyncio.sleep(0.1)


def _pins(process: Process) -> tuple[str, ...]:
    return process._site.home.pins
