"""Writes of one turn of the loop leave together, and none is lost or reordered."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.net.coalesce import CoalescingTransport


class Wire(asyncio.Transport):
    """Notes what reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.calls.append(bytes(data))

    def write_eof(self) -> None:
        self.calls.append("eof")

    def close(self) -> None:
        self.calls.append("close")
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 5


async def turn() -> None:
    await asyncio.sleep(0)


async def test_what_is_written_in_one_turn_leaves_as_one() -> None:
    wire = Wire()
    transport = CoalescingTransport(wire, asyncio.get_running_loop())

    for piece in (b"one ", b"two ", b"three"):
        transport.write(piece)
    before = list(wire.calls)
    await turn()
    transport.write(b"later")
    await turn()

    assert before == []
    assert wire.calls == [b"one two three", b"later"]


async def test_much_does_not_wait_for_the_end_of_the_turn() -> None:
    wire = Wire()
    transport = CoalescingTransport(wire, asyncio.get_running_loop())

    transport.write(bytes(1 << 20))

    assert wire.calls == [bytes(1 << 20)]


@pytest.mark.parametrize("end", [CoalescingTransport.close, CoalescingTransport.write_eof])
async def test_the_end_comes_after_everything_that_was_written(end: Callable[[CoalescingTransport], None]) -> None:
    wire = Wire()
    transport = CoalescingTransport(wire, asyncio.get_running_loop())
    transport.write(b"last words")

    end(transport)
    await turn()

    assert wire.calls == [b"last words", end.__name__.removeprefix("write_")]


async def test_nothing_is_written_to_a_transport_that_closed_meanwhile() -> None:
    wire = Wire()
    transport = CoalescingTransport(wire, asyncio.get_running_loop())
    transport.write(b"too late")

    wire.close()
    await turn()

    assert wire.calls == ["close"]


async def test_what_waits_counts_as_not_yet_sent() -> None:
    transport = CoalescingTransport(Wire(), asyncio.get_running_loop())

    transport.write(b"1234")

    assert transport.get_write_buffer_size() == 9


@given(st.lists(st.binary(min_size=1, max_size=100_000), max_size=12), st.sets(st.integers(0, 11)))
async def test_every_byte_arrives_in_order(pieces: list[bytes], flushes: set[int]) -> None:
    wire = Wire()
    transport = CoalescingTransport(wire, asyncio.get_running_loop())

    for number, piece in enumerate(pieces):
        transport.write(piece)
        if number in flushes:
            transport.flush()
    await turn()

    assert b"".join(wire.calls) == b"".join(pieces)
