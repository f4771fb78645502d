"""Bytes between descriptors and callbacks, with back-pressure."""

import asyncio
import os

import pytest

from teleport.agents.ssh.pump import Brake, Reader, Writer


def pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    return reading, writing


async def test_a_reader_gives_everything_and_ends_with_the_writer() -> None:
    reading, writing = pipe()
    seen: list[bytes] = []
    reader = Reader(reading, seen.append)
    os.write(writing, b"one")
    os.close(writing)

    await reader.ended

    assert b"".join(seen) == b"one"


async def test_a_paused_reader_reads_nothing_until_resumed() -> None:
    reading, writing = pipe()
    seen: list[bytes] = []
    reader = Reader(reading, seen.append)
    reader.pause()
    os.write(writing, b"later")
    os.close(writing)
    await asyncio.sleep(0.02)
    before = list(seen)

    reader.resume()
    await reader.ended

    assert (before, seen) == ([], [b"later"])


async def test_a_stopped_reader_closes_its_descriptor_once() -> None:
    reading, writing = pipe()
    reader = Reader(reading, lambda _: None)

    reader.stop()
    reader.stop()

    assert reader.ended.done()
    os.close(writing)


async def test_a_writer_that_cannot_keep_up_asks_for_less_and_then_for_more() -> None:
    reading, writing = pipe()
    calls: list[str] = []
    writer = Writer(writing, full=lambda: calls.append("full"), drained=lambda: calls.append("drained"))
    data = os.urandom(1 << 20)

    writer.write(data)
    received = bytearray()
    while len(received) < len(data):
        await asyncio.sleep(0)
        try:
            received += os.read(reading, 1 << 16)
        except BlockingIOError:
            continue

    assert bytes(received) == data
    assert calls == ["full", "drained"]
    writer.stop()
    os.close(reading)


async def test_a_writer_ends_after_what_is_buffered() -> None:
    reading, writing = pipe()
    writer = Writer(writing, full=lambda: None, drained=lambda: None)

    writer.write(b"last")
    writer.end()

    assert os.read(reading, 10) == b"last"
    assert os.read(reading, 10) == b""
    assert writer.closed
    os.close(reading)


async def test_a_program_that_closed_its_input_stops_the_writer_and_lets_the_client_go_on() -> None:
    reading, writing = pipe()
    calls: list[str] = []
    writer = Writer(writing, full=lambda: calls.append("full"), drained=lambda: calls.append("drained"))
    writer.write(bytes(1 << 20))

    os.close(reading)
    await asyncio.sleep(0.02)

    assert writer.closed
    assert calls == ["full", "drained"]
    writer.write(b"ignored")


async def test_a_writer_to_whom_nobody_listens_asks_for_less_however_small_the_pieces_are() -> None:
    reading, writing = pipe()
    calls: list[str] = []
    writer = Writer(writing, full=lambda: calls.append("full"), drained=lambda: calls.append("drained"))

    for _ in range(100):
        writer.write(bytes(10_000))

    assert calls == ["full"]
    writer.stop()
    os.close(reading)


def test_a_brake_holds_until_the_last_reason_is_gone() -> None:
    calls: list[str] = []
    brake = Brake(stop=lambda: calls.append("stop"), go=lambda: calls.append("go"))

    for reason, wanted in [("a", True), ("a", True), ("b", True), ("a", False), ("a", False)]:
        brake.hold(reason, wanted)
    held = list(calls)
    brake.hold("b", False)

    assert (held, calls) == (["stop"], ["stop", "go"])


async def test_a_reader_whose_piece_cannot_be_handed_on_ends_with_what_kept_it() -> None:
    reading, writing = pipe()

    def no_room(_: bytes) -> None:
        raise MemoryError

    reader = Reader(reading, no_room)
    os.write(writing, b"x")

    with pytest.raises(MemoryError):
        await asyncio.wait_for(reader.ended, 2)
    with pytest.raises(BrokenPipeError):
        os.write(writing, b"y")
    os.close(writing)
