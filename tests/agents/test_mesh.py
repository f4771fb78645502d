"""An agent and several proxies: a tunnel to each, never two to one, and none to those that are gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from teleport.agents.mesh import Mesh
from teleport.agents.tunnel import ProxyAddress
from teleport.core.aio import SystemClock, cancel_and_wait
from tests.agents.test_tunnel import SESSION, Proxy
from tests.net.sockets import wait_until
from tests.proxy.badges import CLUSTER, Authorities


@dataclass
class Proxies:
    """Proxies of one cluster that welcome whoever comes, and an agent's mesh."""

    each: list[Proxy]
    mesh: Mesh

    def at(self, number: int) -> ProxyAddress:
        return ProxyAddress("127.0.0.1", self.each[number].port, f"proxy.{CLUSTER}")

    def told(self, *numbers: int) -> dict[str, ProxyAddress]:
        return {self.each[number].badge.identity.uid: self.at(number) for number in numbers}

    @property
    def reached(self) -> set[int]:
        return {number for number in range(len(self.each)) if self.at(number) in self.mesh.reached}


@asynccontextmanager
async def proxies(count: int = 2) -> AsyncIterator[Proxies]:
    authorities = Authorities()
    agent = authorities.host("db-1", "Node")
    each = [Proxy(authorities, authorities.host(f"edge-{number}", "Proxy"), agent) for number in range(count)]
    for one in each:
        await one.start()
    welcoming = [asyncio.create_task(_welcome(one)) for one in each]
    by_port = {one.port: one for one in each}
    clock = SystemClock()
    first = ProxyAddress("127.0.0.1", each[0].port, f"proxy.{CLUSTER}")
    mesh = Mesh(first, lambda address: by_port[address.port].tunnel(clock, to=address))
    running = asyncio.create_task(mesh.run())
    try:
        await asyncio.wait_for(mesh.connected.wait(), 3)
        yield Proxies(each, mesh)
    finally:
        await cancel_and_wait(running, *welcoming)
        await mesh.drain(timeout=0)
        for one in each:
            for connection in one.accepted:
                connection.abort()
            one.server.close()
        await asyncio.sleep(0.01)


async def _welcome(proxy: Proxy) -> None:
    while True:
        connection = await proxy.controls.get()
        await connection.receive(timeout=2)
        await connection.send({"welcome": "agent", "proxy_id": proxy.badge.identity.uid})


async def test_every_proxy_that_the_cluster_tells_of_is_reached() -> None:
    async with proxies(3) as made:
        made.mesh.told(made.told(0, 1, 2))

        await wait_until(lambda: made.reached == {0, 1, 2})


async def test_the_proxy_that_was_given_has_one_tunnel_also_by_another_address() -> None:
    async with proxies(1) as made:
        uid = made.each[0].badge.identity.uid

        made.mesh.told({uid: ProxyAddress("localhost", made.each[0].port, f"proxy.{CLUSTER}")})
        await asyncio.sleep(0.2)

        assert len([one for one in made.each[0].accepted if not one.lost.done()]) == 1


async def test_two_addresses_of_one_proxy_do_not_drive_each_other_out() -> None:
    async with proxies(2) as made:
        stranger = ProxyAddress("localhost", made.each[0].port, f"proxy.{CLUSTER}")

        made.mesh.told({made.each[1].badge.identity.uid: stranger})  # where in truth the first one answers
        await asyncio.sleep(0.5)

        assert made.mesh.first.connected.is_set()
        assert not made.each[0].accepted[0].lost.done()


async def test_a_proxy_that_is_gone_is_left_and_its_sessions_go_on() -> None:
    async with proxies(2) as made:
        made.mesh.told(made.told(0, 1))
        await wait_until(lambda: made.reached == {0, 1})
        control = next(one for one in made.each[1].accepted if not one.lost.done())
        await control.send(made.each[1].dial())
        back, _ = await made.each[1].back()

        made.mesh.told(made.told(0))
        await asyncio.wait_for(control.lost, 2)

        assert made.reached == {0}
        assert not back.lost.done()
        assert SESSION


async def test_it_is_connected_as_long_as_some_proxy_is_reached() -> None:
    async with proxies(2) as made:
        made.mesh.told(made.told(0, 1))
        await wait_until(lambda: made.reached == {0, 1})

        made.each[0].server.close()
        for connection in made.each[0].accepted:
            connection.abort()
        await wait_until(lambda: made.reached == {1})

        assert made.mesh.connected.is_set()


async def test_in_doubt_a_connection_that_lives_stays() -> None:
    async with proxies(1) as made:
        before = made.each[0].accepted[0]
        answering = asyncio.create_task(_answer(before))

        made.mesh.doubt()
        await asyncio.sleep(0.3)

        assert not before.lost.done()
        await cancel_and_wait(answering)


async def _answer(connection: "object") -> None:
    from teleport.net.lines import LineConnection

    assert isinstance(connection, LineConnection)
    while True:
        await connection.send(await connection.receive(timeout=5))
