"""Quiet connections: lines in TLS, whatever the pieces, the peer's pace and its end."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from teleport.core.errors import BadInput, Unavailable
from teleport.net.lines import MAX_LINE, LineConnection
from teleport.net.quiet import QuietConnection
from tests.net.sockets import tcp_pair
from tests.proxy.badges import CLUSTER, Authorities


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[QuietConnection, LineConnection]]:
    """The connection under test, and its peer."""
    authorities = Authorities()
    badge, agent = authorities.host("edge", "Proxy"), authorities.host("db-1", "Node")
    near, far = tcp_pair()
    accepting = asyncio.create_task(QuietConnection.accept(near, authorities.server(badge, "x")))
    peer = LineConnection()
    await asyncio.get_running_loop().create_connection(
        lambda: peer, sock=far, ssl=agent.client("x"), server_hostname=f"proxy.{CLUSTER}"
    )
    quiet = await accepting
    try:
        yield quiet, peer
    finally:
        quiet.abort()
        peer.abort()
        await asyncio.sleep(0.01)


def raw(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


async def test_messages_come_and_go() -> None:
    async with pair() as (quiet, peer):
        await peer.send({"a": 1})
        assert await quiet.receive(timeout=2) == {"a": 1}

        await quiet.send({"b": 2})
        assert await peer.receive(timeout=2) == {"b": 2}
        assert quiet.peer_certificate is not None


async def test_pieces_and_several_at_once_are_messages_in_their_order() -> None:
    async with pair() as (quiet, peer):
        data = b"".join(raw({"n": number}) for number in range(50))
        for start in range(0, len(data), 7):
            peer.transport.write(data[start : start + 7])
            await asyncio.sleep(0)

        assert [(await quiet.receive(timeout=2))["n"] for _ in range(50)] == list(range(50))


async def test_what_was_said_before_the_end_is_heard_and_then_the_end() -> None:
    async with pair() as (quiet, peer):
        peer.transport.write(raw({"last": True}))
        peer.close()

        assert await quiet.receive(timeout=2) == {"last": True}
        with pytest.raises(Unavailable, match="closed"):
            await quiet.receive(timeout=2)
        await asyncio.wait_for(quiet.lost, 2)
        with pytest.raises(Unavailable):
            await quiet.send({})


async def test_silence_is_bounded() -> None:
    async with pair() as (quiet, _):
        with pytest.raises(Unavailable, match="in time"):
            await quiet.receive(timeout=0.05)


async def test_a_line_without_an_end_is_no_message_and_takes_no_memory_beyond_its_bound() -> None:
    async with pair() as (quiet, peer):
        peer.transport.write(b"x" * (20 * MAX_LINE))

        with pytest.raises(BadInput, match="too long"):
            await quiet.receive(timeout=2)

        await asyncio.sleep(0.1)
        assert len(quiet._buffer) < 2 * MAX_LINE


async def test_a_flood_of_messages_waits_in_the_network_until_they_are_taken() -> None:
    async with pair() as (quiet, peer):
        peer.transport.write(raw({"text": "x" * 1000}) * 2000)
        await asyncio.sleep(0.2)
        held = len(quiet._buffer)

        taken = [await quiet.receive(timeout=2) for _ in range(2000)]

        assert held < 2 * MAX_LINE
        assert len(taken) == 2000


async def test_a_peer_that_reads_nothing_is_given_up() -> None:
    async with pair() as (quiet, peer):
        peer.transport.pause_reading()

        async def flood() -> None:
            for _ in range(20_000):
                await quiet.send({"text": "x" * 1000})

        with pytest.raises(Unavailable, match="does not read"):
            await flood()

        assert quiet.lost.done()


async def test_what_a_slow_peer_could_not_take_at_once_comes_later() -> None:
    async with pair() as (quiet, peer):
        peer.transport.pause_reading()
        for number in range(600):
            await quiet.send({"n": number, "text": "x" * 1000})
        peer.transport.resume_reading()

        assert [(await peer.receive(timeout=2))["n"] for _ in range(600)] == list(range(600))


async def test_who_shakes_no_hands_is_refused_and_the_socket_closed() -> None:
    authorities = Authorities()
    near, far = tcp_pair()
    far.sendall(b"GET / HTTP/1.1\r\n\r\n")

    with pytest.raises(ssl.SSLError):
        await QuietConnection.accept(near, authorities.server(authorities.host("edge", "Proxy"), "x"))

    far.close()
