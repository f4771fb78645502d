"""Two sockets joined in the kernel: every byte, in order, both ways, whatever the ends do."""

import asyncio
import gc
import hashlib
import os
import resource
import select
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from teleport.net.splice import Pipes, splice
from tests.net.sockets import Peer, tcp_pair, wait_until


@dataclass
class Pair:
    """The far ends of the two connections that are joined."""

    left: Peer
    right: Peer
    joined: "asyncio.Task[tuple[int, int]]"
    pipes: Pipes
    near: tuple[socket.socket, socket.socket]


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    (left_far, left), (right, right_far), pipes = tcp_pair(), tcp_pair(), Pipes()
    joined = asyncio.create_task(splice(left, right, pipes))
    yield Pair(Peer(left_far), Peer(right_far), joined, pipes, (left, right))
    joined.cancel()
    await asyncio.gather(joined, return_exceptions=True)
    left_far.close()
    right_far.close()
    pipes.close()


async def test_bytes_go_both_ways_and_are_counted() -> None:
    async with pair() as at:
        await at.left.send(b"question")
        assert await at.right.receive(8) == b"question"
        await at.right.send(b"answer")
        assert await at.left.receive(6) == b"answer"
        at.left.sock.shutdown(socket.SHUT_WR)
        at.right.sock.shutdown(socket.SHUT_WR)

        assert await asyncio.wait_for(at.joined, 5) == (8, 6)


@pytest.mark.parametrize("size", [1, 65_537, 20_000_000])
async def test_what_comes_out_is_what_went_in_both_ways_at_once(size: int) -> None:
    there, back = os.urandom(size), os.urandom(size)

    async with pair() as at:
        _, _, right, left = await asyncio.gather(
            at.left.send(there), at.right.send(back), at.right.receive(size), at.left.receive(size)
        )

    assert hashlib.sha256(right).digest() == hashlib.sha256(there).digest()
    assert hashlib.sha256(left).digest() == hashlib.sha256(back).digest()


async def test_a_side_that_reads_nothing_makes_the_other_wait() -> None:
    async with pair() as at:
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                async with asyncio.timeout(0.3):
                    await at.left.send(b"x" * 65536)
                sent += 65536

        with pytest.raises(TimeoutError):
            await flood()
        assert sent < 100_000_000
        assert await at.right.receive(1_000_000) == b"x" * 1_000_000


async def test_a_side_that_has_said_all_may_go_on_reading() -> None:
    async with pair() as at:
        await at.left.send(b"that is all")
        at.left.sock.shutdown(socket.SHUT_WR)

        assert await at.right.receive(100) == b"that is all"
        await at.right.send(b"a late answer")
        assert await at.left.receive(13) == b"a late answer"
        assert not at.joined.done()


async def test_last_words_arrive_although_their_sender_is_reset_at_once() -> None:
    async with pair() as at:
        await at.left.send(b"unread" * 1000)
        await at.right.receive(1)

        await at.right.send(b"access withdrawn")
        await wait_until(lambda: select.select([at.left.sock], [], [], 0)[0])
        at.right.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        at.right.sock.close()

        assert await at.left.receive(100) == b"access withdrawn"
        await asyncio.wait_for(at.joined, 5)


async def test_both_sides_reset_in_the_same_moment_leave_nothing_in_the_log() -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with pair() as at:
        for side in (at.left, at.right):
            side.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            side.sock.close()

        await asyncio.wait_for(at.joined, 5)

    gc.collect()
    assert complaints == []


async def test_cancelling_cuts_both_at_once() -> None:
    async with pair() as at:
        await at.left.send(b"x")
        await at.right.receive(1)

        at.joined.cancel()
        await asyncio.gather(at.joined, return_exceptions=True)

        assert await at.left.receive(1) == b""
        assert await at.right.receive(1) == b""
        assert [one.fileno() for one in at.near] == [-1, -1]


async def test_a_pair_that_is_idle_holds_no_pipe_and_costs_no_time() -> None:
    async with pair() as at:
        await at.left.send(b"x" * 100_000)
        await at.right.receive(100_000)
        held = len(os.listdir("/proc/self/fd"))
        began = time.process_time()

        await asyncio.sleep(0.3)

        assert time.process_time() - began < 0.1
        assert len(os.listdir("/proc/self/fd")) == held


async def test_hundreds_of_idle_pairs_take_two_descriptors_each() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before, pipes = len(os.listdir("/proc/self/fd")), Pipes()
    sockets = [(tcp_pair(), tcp_pair()) for _ in range(200)]
    tasks = [asyncio.create_task(splice(one[1], other[0], pipes)) for one, other in sockets]
    for (far, _), _ in sockets:
        far.send(b"hello")
    for _, (_, far) in sockets:
        assert await Peer(far).receive(5) == b"hello"

    held = len(os.listdir("/proc/self/fd")) - before

    assert held <= 200 * 4 + 2 * 64 + 2
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for (far, _), (_, other) in sockets:
        far.close()
        other.close()
    pipes.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
