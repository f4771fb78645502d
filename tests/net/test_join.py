"""Two connections as one: nothing lost, nothing piled up, and nobody left waiting."""

import asyncio
import os

import pytest

from teleport.net.join import join
from tests.net.sockets import Peer, line_connection


class Pair:
    """Two connections joined, and the far ends of both."""

    left: Peer
    right: Peer
    joined: "asyncio.Task[tuple[int, int]]"

    async def __aenter__(self) -> "Pair":
        self.near_left, self.left = await line_connection()
        self.near_right, self.right = await line_connection()
        self.joined = asyncio.create_task(join(self.near_left, self.near_right))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.joined.cancel()
        await asyncio.wait([self.joined])
        self.left.close()
        self.right.close()


async def test_bytes_go_both_ways_and_are_counted() -> None:
    async with Pair() as pair:
        there, back = os.urandom(300_000), os.urandom(200_000)

        sending = asyncio.gather(pair.left.send(there), pair.right.send(back))
        assert await pair.right.receive(len(there)) == there
        assert await pair.left.receive(len(back)) == back
        await sending
        pair.left.close()

        assert await asyncio.wait_for(pair.joined, 2) == (len(there), len(back))


async def test_what_was_said_before_the_lines_ended_is_delivered_first() -> None:
    near_left, left = await line_connection()
    near_right, right = await line_connection()
    await left.send(b'{"a":1}\nfirst')
    await near_left.receive(timeout=2)

    joined = asyncio.create_task(join(near_left, near_right))
    await left.send(b", second")

    assert await right.receive(13) == b"first, second"
    joined.cancel()
    await asyncio.wait([joined])
    left.close()
    right.close()


@pytest.mark.parametrize("leaving", ["left", "right"])
async def test_when_one_side_leaves_the_other_gets_the_rest_and_is_closed(leaving: str) -> None:
    async with Pair() as pair:
        gone, staying = (pair.left, pair.right) if leaving == "left" else (pair.right, pair.left)

        await gone.send(b"last words")
        gone.close()

        assert await staying.wait_end() == b"last words"
        await asyncio.wait_for(pair.joined, 2)


async def test_a_reset_of_one_side_closes_the_other() -> None:
    async with Pair() as pair:
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        pair.left.sock.setsockopt(1, 13, linger)  # SOL_SOCKET, SO_LINGER: close becomes a reset
        pair.left.close()

        assert await pair.right.wait_end() == b""
        await asyncio.wait_for(pair.joined, 2)


async def test_cancelling_cuts_both_at_once_whatever_is_buffered() -> None:
    async with Pair() as pair:
        sending = asyncio.create_task(pair.left.send(b"x" * 30_000_000))
        await asyncio.sleep(0.1)

        pair.joined.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pair.joined

        with pytest.raises(OSError):
            await asyncio.wait_for(sending, 2)
        await pair.right.wait_end()
        assert pair.near_left.transport.is_closing()
        assert pair.near_right.transport.is_closing()


async def test_a_side_that_does_not_read_stops_the_other_and_memory_stays_bounded() -> None:
    async with Pair() as pair:
        sending = asyncio.create_task(pair.left.send(b"x" * 60_000_000))
        largest = 0
        for _ in range(20):
            await asyncio.sleep(0.01)
            largest = max(largest, pair.near_right.transport.get_write_buffer_size())

        assert not sending.done()
        assert 0 < largest < 1 << 20

        assert len(await pair.right.receive(60_000_000)) == 60_000_000
        await sending


async def test_a_side_that_does_not_read_does_not_stop_what_it_sends() -> None:
    async with Pair() as pair:
        flood = asyncio.create_task(pair.left.send(b"x" * 60_000_000))
        await asyncio.sleep(0.05)

        await pair.right.send(b"stop!")

        assert await pair.left.receive(5) == b"stop!"
        flood.cancel()


async def test_who_never_fetches_the_last_words_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleport.net.join._LINGER", 0.1)
    async with Pair() as pair:
        sending = asyncio.create_task(pair.left.send(b"x" * 30_000_000))
        await asyncio.sleep(0.05)
        sending.cancel()
        pair.near_left.transport.abort()

        await asyncio.wait_for(pair.joined, 2)

        assert pair.near_right.transport.get_write_buffer_size() == 0


@pytest.mark.parametrize("gone", [("left",), ("right",), ("left", "right")])
async def test_joining_who_left_already_ends_at_once(gone: tuple[str, ...]) -> None:
    near_left, left = await line_connection()
    near_right, right = await line_connection()
    for name in gone:
        peer, near = (left, near_left) if name == "left" else (right, near_right)
        peer.close()
        await asyncio.wait_for(near.lost, 2)

    await asyncio.wait_for(join(near_left, near_right), 2)

    left.close()
    right.close()
