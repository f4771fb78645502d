"""Peers that vanish without a word are noticed, whether bytes were under way or not; who is merely slow is not."""

import asyncio
import select
import socket

import pytest

from teleport.net.keepalive import KEEPALIVE, KeepAlive, Vigil, is_deaf, keep_alive
from teleport.net.leaving import connected_socket
from teleport.net.lines import LineConnection
from teleport.net.splice import Pipes, splice
from tests.net.cable import Cable, cable
from tests.net.sockets import Peer, tcp_pair, wait_until

SOON = KeepAlive(idle=1, interval=1, probes=1)


async def test_who_connects_notices_that_the_other_side_vanished_too() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        await connected_socket("127.0.0.1", listening.getsockname()[1]) as sock,
    ):
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def join_across(
    made: Cable, *, times: KeepAlive = KEEPALIVE, deaf_after: float = 60
) -> tuple["asyncio.Task[tuple[int, int]]", Peer, Peer]:
    """A connection from beyond the cable joined with one from here; the ends of both."""
    (left, there), (right, here), vigil = made.pair(), tcp_pair(), Vigil(seconds=deaf_after, every=0.1)
    for sock in (left, right):
        keep_alive(sock, times)

    async def watched() -> tuple[int, int]:
        with vigil.over(left.fileno(), right.fileno()):
            return await splice(left, right, Pipes())

    return asyncio.create_task(watched()), Peer(there), Peer(here)


async def test_a_quiet_pair_ends_when_the_network_of_one_side_is_gone() -> None:
    with cable() as made:
        joined, there, here = await join_across(made, times=SOON)
        await there.send(b"x")
        assert await here.receive(1) == b"x"

        made.cut()

        assert await asyncio.wait_for(here.wait_end(), 10) == b""
        await asyncio.wait_for(joined, 10)
        there.close()
        here.close()


async def test_a_busy_pair_ends_too_although_the_kernel_goes_on_repeating_itself() -> None:
    with cable() as made:
        joined, there, here = await join_across(made, deaf_after=0.6)
        made.cut()

        await here.send(b"never acknowledged")

        assert await asyncio.wait_for(here.wait_end(), 5) == b""
        await asyncio.wait_for(joined, 5)
        there.close()
        here.close()


async def test_a_connection_of_the_loop_ends_too() -> None:
    with cable() as made:
        near, far = made.pair()
        stream = LineConnection()
        await asyncio.get_running_loop().connect_accepted_socket(lambda: stream, near)
        made.cut()

        with Vigil(seconds=0.5, every=0.1).over(stream.descriptor):
            await stream.send({"never": "acknowledged"})

            await asyncio.wait_for(stream.lost, 5)
        assert stream.descriptor == -1
        far.close()


async def test_who_reads_nothing_but_is_there_stays() -> None:
    near, far = tcp_pair()
    with Vigil(seconds=0.3, every=0.05).over(near.fileno()):
        sent = fill(near)

        await asyncio.sleep(1)

        assert len(await Peer(far).receive(sent)) == sent
        await wait_until(lambda: select.select([], [near], [], 0)[1])
        assert near.send(b"x") == 1
    near.close()
    far.close()


def fill(sock: socket.socket) -> int:
    """Send until no more is taken; how many bytes."""
    sent = 0
    while select.select([], [sock], [], 0.05)[1]:
        sent += sock.send(b"x" * 1_000_000)
    return sent


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_what_is_no_connection_is_not_deaf(family: socket.AddressFamily) -> None:
    with socket.socket(family) as sock:
        assert not is_deaf(sock, 0)


async def test_watching_ends_with_the_last_connection() -> None:
    near, far = tcp_pair()
    vigil = Vigil(seconds=0.1, every=0.01)

    with vigil.over(near.fileno(), -1):
        await asyncio.sleep(0.05)
        assert near.fileno() >= 0
    near.close()
    far.close()

    await wait_until(lambda: vigil._looking is None)
