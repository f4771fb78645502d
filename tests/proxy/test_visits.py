"""Ends of visits that the cluster at home asks for: of its own users, by that very connection, and nobody else's."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from teleport.access.target import AccessRequest, Target
from teleport.api.dialback import Cut
from teleport.core.identity import Identity
from teleport.proxy.tunnels import Tunnels
from teleport.proxy.visits import Visits
from teleport.sessions.gate import AccessWithdrawn, Gate
from tests.auth.cluster import Cluster
from tests.auth.foreign import ANN, ROUTE, SID, trusting
from tests.builders import FakeClock
from tests.proxy.test_leaves import UID, Wire, proxy_of

VISITOR = replace(ANN, name="remote-ann-root", passage=ROUTE)
OTHER_SID = "0a3c9d6e-0000-4000-8000-000000000002"
THERE = Target("node", "db-1", UID)


class Leaf:
    """A proxy of the leaf, with a way to a host and a session on a plain one, of whoever comes."""

    def __init__(self, cluster: Cluster) -> None:
        ways, plain = (Gate(cluster.auth.policy, clock=cluster.clock, staleness=1e9) for _ in range(2))
        self.gates = ways, plain
        self.tunnels = Tunnels("proxy-2", clock=FakeClock())
        self.visits = Visits(ways, plain, self.tunnels)
        self.tasks: list[asyncio.Task[None]] = []

    async def comes(self, identity: Identity) -> list["asyncio.Task[str]"]:
        """Until told why not."""

        async def stay(gate: Gate) -> str:
            try:
                async with gate.admit(AccessRequest(identity, THERE, "root")):
                    await asyncio.Event().wait()
            except AccessWithdrawn as end:
                return str(end)
            return "left"

        staying = [asyncio.create_task(stay(gate)) for gate in self.gates]
        await asyncio.sleep(0)
        assert not any(task.done() for task in staying)
        return staying

    async def agent(self) -> Wire:
        wire, agent = Wire({"hello": "agent", "version": "1"}), proxy_of("acme", role="Node")
        self.tasks.append(asyncio.create_task(self.tunnels.serve_control(wire.line, agent)))
        assert "welcome" in await asyncio.wait_for(wire.told.get(), 2)
        await asyncio.sleep(0)
        return wire


@pytest.fixture
async def leaf(tmp_path: Path) -> AsyncIterator[Leaf]:
    async with Cluster.open(tmp_path) as cluster:
        await trusting(cluster)
        leaf = Leaf(cluster)
        yield leaf
        for task in leaf.tasks:
            task.cancel()
        await asyncio.gather(*leaf.tasks, return_exceptions=True)


async def test_a_visit_ends_at_the_proxy_and_the_agent_is_told(leaf: Leaf) -> None:
    agent, staying = await leaf.agent(), await leaf.comes(VISITOR)

    leaf.visits.end("root", Cut(cut=SID, cluster="root"))

    told = await asyncio.wait_for(asyncio.gather(*staying), 2)
    assert told == ["access withdrawn by root"] * 2
    assert await asyncio.wait_for(agent.told.get(), 2) == {"cut": SID, "cluster": "root"}


@pytest.mark.parametrize(
    ("root", "told"),
    [
        ("root", Cut(cut=OTHER_SID, cluster="root")),
        ("root", Cut(cut=SID, cluster="acme")),
        ("third", Cut(cut=SID, cluster="root")),
        ("third", Cut(cut=SID, cluster="third")),
    ],
    ids=["another connection", "another cluster", "not its own", "a namesake's"],
)
async def test_no_cluster_ends_what_is_not_a_visit_of_its_own_users(leaf: Leaf, root: str, told: Cut) -> None:
    agent, staying = await leaf.agent(), await leaf.comes(VISITOR)

    leaf.visits.end(root, told)

    done, _ = await asyncio.wait(staying, timeout=0.05)
    assert not done
    assert agent.told.empty()
    for task in staying:
        task.cancel()
    await asyncio.gather(*staying, return_exceptions=True)
