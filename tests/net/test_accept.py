"""A port in a process that has no descriptors left: newcomers are told at once, and nothing spins meanwhile."""

import asyncio
import os
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import pytest

from teleport.net.accept import Acceptor
from tests.net.sockets import Peer, wait_until


@dataclass
class Port:
    number: int
    accepted: list[socket.socket] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def connect(self) -> Peer:
        sock = socket.create_connection(("127.0.0.1", self.number))
        sock.setblocking(False)
        return Peer(sock)


@asynccontextmanager
async def accepting() -> AsyncIterator[Port]:
    sock = socket.create_server(("127.0.0.1", 0), backlog=500)
    port = Port(sock.getsockname()[1])
    acceptor = Acceptor(sock, port.told.append)

    async def accept() -> None:
        while True:
            port.accepted.append((await acceptor.accept())[0])

    task = asyncio.create_task(accept())
    try:
        yield port
    finally:
        task.cancel()
        await asyncio.wait([task])
        acceptor.close()
        for one in port.accepted:
            one.close()


@contextmanager
def none_left(*, but: int) -> Iterator[None]:
    """As few descriptors as that may still be opened."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.dup(0)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe + but, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleport.net.accept._CALM", 0.3)


async def test_without_a_descriptor_who_waits_is_hung_up_on_and_nothing_spins(calm: None) -> None:
    async with accepting() as port:
        waiting = [socket.socket() for _ in range(30)]
        with none_left(but=0):
            began = time.process_time()
            for one in waiting:
                one.connect(("127.0.0.1", port.number))
            await wait_until(lambda: port.told)
            for one in waiting:
                one.setblocking(False)
                assert await Peer(one).wait_end() == b""
            await asyncio.sleep(0.5)
            assert time.process_time() - began < 0.25

        assert port.accepted == []
        await wait_until(lambda: port.told[-1] == "")
        assert len(port.told) == 2
        assert "new connections are refused" in port.told[0]
        for one in waiting:
            one.close()


async def test_the_last_descriptors_are_not_for_newcomers() -> None:
    async with accepting() as port:
        waiting = [socket.socket() for _ in range(200)]
        with none_left(but=100):
            for one in waiting:
                one.connect(("127.0.0.1", port.number))
            await wait_until(lambda: port.told)
            await asyncio.sleep(0.1)

            kept = [os.dup(0) for _ in range(8)]

        assert 0 < len(port.accepted) < 100
        for descriptor in kept:
            os.close(descriptor)
        for one in waiting:
            one.close()


async def test_as_soon_as_there_is_room_newcomers_are_let_in() -> None:
    async with accepting() as port:
        first, second = socket.socket(), socket.socket()
        with none_left(but=0):
            first.connect(("127.0.0.1", port.number))
            await wait_until(lambda: port.told)

        second.connect(("127.0.0.1", port.number))

        await wait_until(lambda: len(port.accepted) == 1)
        first.close()
        second.close()


async def test_trouble_that_lasts_is_told_once(calm: None) -> None:
    async with accepting() as port:
        callers = [socket.socket() for _ in range(12)]
        with none_left(but=0):
            for one in callers:
                one.connect(("127.0.0.1", port.number))
                await asyncio.sleep(0.06)

        assert len(port.told) == 1
        for one in callers:
            one.close()
