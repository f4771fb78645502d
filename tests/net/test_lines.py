"""Lines of JSON from a peer that may be anybody, and what is handed over afterwards."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.core.errors import BadInput, Unavailable
from teleport.net.lines import MAX_LINE, LineConnection
from tests.net.sockets import line_connection, wait_until


class Recorder(asyncio.Protocol):
    """Notes what asyncio tells a protocol, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        self.calls.append("data")
        self.data += data

    def eof_received(self) -> bool | None:
        self.calls.append("eof")
        return None

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost")


class Pretend(asyncio.Transport):
    """A transport for tests of pure bookkeeping."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = False
        self.protocol: asyncio.BaseProtocol | None = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


messages = st.lists(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20) | st.none(), max_size=3), max_size=5
)


@given(messages, st.lists(st.integers(1, 30), min_size=1, max_size=6), st.binary(max_size=20))
def test_any_cut_of_the_bytes_gives_the_same_messages(
    sent: list[dict[str, Any]], sizes: list[int], rest: bytes
) -> None:
    rest = rest.replace(b"\n", b"")
    data = b"".join(json.dumps(message, ensure_ascii=False).encode() + b"\n" for message in sent) + rest

    async def run() -> None:
        connection, successor = LineConnection(), Recorder()
        connection.connection_made(Pretend())
        reading = asyncio.create_task(receive(connection, len(sent)))
        at = 0
        for step in range(len(data)):
            connection.data_received(data[at : at + sizes[step % len(sizes)]])
            at += sizes[step % len(sizes)]
            await asyncio.sleep(0)
        async with asyncio.timeout(2):
            assert await reading == sent
        connection.become(successor)
        assert successor.data == rest

    asyncio.run(run())


async def receive(connection: LineConnection, count: int) -> list[dict[str, Any]]:
    return [await connection.receive() for _ in range(count)]


@pytest.mark.parametrize(
    "line",
    [
        b"", b"x", b"[]", b"null", b"1", b'"text"', b"{", b"\xff\xfe", b"[" * 60_000, b'{"a":' * 10_000, b"9" * 5000,
        b'{"a":1}{"b":2}', b"\x00",
    ],
    ids=lambda line: repr(line[:12]),
)  # fmt: skip
async def test_what_is_no_message_is_bad_input(line: bytes) -> None:
    connection, peer = await line_connection()
    await peer.send(line + b"\n")

    with pytest.raises(BadInput):
        await connection.receive(timeout=2)
    connection.abort()
    peer.close()


@pytest.mark.parametrize("ended", [False, True])
async def test_a_line_may_have_a_certain_length_and_no_more(ended: bool) -> None:
    connection, peer = await line_connection()
    longest = json.dumps({"a": "x" * (MAX_LINE - 10)}).encode()
    assert len(longest) == MAX_LINE - 1
    await peer.send(longest + b" \n" + longest + b"  " + (b"\n" if ended else b""))

    assert await connection.receive(timeout=2)
    with pytest.raises(BadInput, match="too long"):
        await connection.receive(timeout=2)
    connection.abort()
    peer.close()


async def test_a_flood_without_a_reader_is_left_in_the_network() -> None:
    connection, peer = await line_connection()
    sending = asyncio.create_task(peer.send(b'{"a":1}\n' * 4_000_000))

    await wait_until(lambda: not connection.transport.is_reading())

    await asyncio.sleep(0.05)
    assert len(connection._buffer) < 2 * MAX_LINE + 256 * 1024 + 1
    assert await connection.receive(timeout=1) == {"a": 1}
    sending.cancel()
    connection.abort()
    peer.close()


async def test_reading_goes_on_after_a_flood_until_every_message_is_there() -> None:
    connection, peer = await line_connection()
    count = 60_000
    sending = asyncio.create_task(peer.send(b'{"a":1}\n' * count))

    async with asyncio.timeout(5):
        for _ in range(count):
            assert await connection.receive() == {"a": 1}

    await sending
    connection.abort()
    peer.close()


async def test_a_silent_peer_is_given_up() -> None:
    connection, peer = await line_connection()
    await peer.send(b'{"half": ')

    with pytest.raises(Unavailable, match="did not answer in time"):
        await connection.receive(timeout=0.05)
    connection.abort()
    peer.close()


async def test_a_peer_that_drips_bytes_does_not_extend_its_time() -> None:
    connection, peer = await line_connection()

    async def drip() -> None:
        while True:
            await peer.send(b" ")
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drip())
    with pytest.raises(Unavailable, match="did not answer in time"):
        await connection.receive(timeout=0.1)
    dripping.cancel()
    connection.abort()
    peer.close()


@pytest.mark.parametrize("sent", [b"", b'{"half": '])
async def test_a_peer_that_leaves_is_unavailable(sent: bytes) -> None:
    connection, peer = await line_connection()
    await peer.send(sent)
    peer.close()

    with pytest.raises(Unavailable, match="closed"):
        await connection.receive(timeout=2)
    await asyncio.wait_for(connection.lost, 2)


async def test_a_message_before_the_end_is_still_received() -> None:
    connection, peer = await line_connection()
    await peer.send(b'{"a":1}\n')
    peer.close()
    await asyncio.wait_for(connection.lost, 2)

    assert await connection.receive(timeout=2) == {"a": 1}
    with pytest.raises(Unavailable):
        await connection.receive(timeout=2)


async def test_sending_to_who_is_gone_is_unavailable() -> None:
    connection, peer = await line_connection()
    peer.close()
    await asyncio.wait_for(connection.lost, 2)

    with pytest.raises(Unavailable):
        await connection.send({"a": 1})


async def test_sending_waits_for_a_slow_reader_and_goes_on_when_it_reads() -> None:
    connection, peer = await line_connection()
    message = {"a": "x" * 60_000}

    async def send_until_full() -> int:
        count = 0
        while connection.transport.get_write_buffer_size() == 0:
            count += 1
            sending = asyncio.create_task(connection.send(message))
            await asyncio.wait([sending], timeout=0.05)
        while not sending.done():
            await peer.receive(1_000_000)
            await asyncio.wait([sending], timeout=0.05)
        return count

    assert await asyncio.wait_for(send_until_full(), 5) > 1
    connection.abort()
    peer.close()


async def test_sending_to_who_reads_nothing_can_be_cancelled() -> None:
    connection, peer = await line_connection()

    async def send_for_ever() -> None:
        while True:
            await connection.send({"a": "x" * 60_000})

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(send_for_ever(), 0.2)

    assert connection.transport.get_write_buffer_size() < 1 << 20
    connection.abort()
    peer.close()


# -- becoming something else


async def test_bytes_beyond_the_last_line_are_handed_over() -> None:
    connection, peer = await line_connection()
    await peer.send(b'{"a":1}\nSSH-2.0-client\r\n')
    await connection.receive(timeout=2)

    successor = Recorder()
    connection.become(successor)
    await peer.send(b"more")
    await wait_until(lambda: successor.data.endswith(b"more"))

    assert successor.data == b"SSH-2.0-client\r\nmore"
    assert successor.calls[:2] == ["made", "data"]
    connection.abort()
    peer.close()


async def test_a_successor_learns_that_the_peer_is_gone_already() -> None:
    connection, peer = await line_connection()
    await peer.send(b'{"a":1}\nlast words')
    peer.close()
    await asyncio.wait_for(connection.lost, 2)
    await connection.receive()

    successor = Recorder()
    connection.become(successor)

    assert successor.calls == ["made", "data", "lost"]
    assert successor.data == b"last words"


async def test_a_successor_learns_that_the_peer_is_slow_already() -> None:
    connection, successor = LineConnection(), Recorder()
    connection.connection_made(Pretend())
    connection.pause_writing()

    connection.become(successor)

    assert successor.calls == ["made", "pause"]


async def test_a_connection_that_was_stopped_by_a_flood_flows_again_for_its_successor() -> None:
    connection, peer = await line_connection()
    sending = asyncio.create_task(peer.send(b"{}\n" + b"x" * 3_000_000))
    await wait_until(lambda: not connection.transport.is_reading())
    await connection.receive()

    successor = Recorder()
    connection.become(successor)
    await wait_until(lambda: len(successor.data) == 3_000_000)

    await sending
    connection.abort()
    peer.close()
