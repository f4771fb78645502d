"""Leaving TLS: one question, one answer, and not a byte of what follows is lost, or of what came before believed."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from teleport.core.errors import BadInput, Unavailable
from teleport.net.join import as_stream, join
from teleport.net.leaving import LeavingConnection, connected_socket
from teleport.net.lines import LineConnection
from teleport.net.splice import Pipes
from tests.net.sockets import Peer, tcp_pair, wait_until
from tests.proxy.badges import CLUSTER, Authorities

PROTOCOL = "test"
PEOPLE = Authorities()
PROXY, ANN = PEOPLE.host("edge", "Proxy"), PEOPLE.user()


@dataclass
class Ends:
    server: LeavingConnection
    client: LeavingConnection


async def shaken() -> Ends:
    near, far = tcp_pair()
    server, client = await asyncio.gather(
        LeavingConnection.accept(near, PEOPLE.server(PROXY, PROTOCOL)),
        LeavingConnection.connect(far, ANN.client(PROTOCOL), f"proxy.{CLUSTER}"),
    )
    return Ends(server, client)


@asynccontextmanager
async def ends() -> AsyncIterator[Ends]:
    made = await shaken()
    try:
        yield made
    finally:
        made.server.abort()
        made.client.abort()


async def asked(at: Ends) -> None:
    await at.client.send({"host": "db-1"})
    assert await at.server.receive(timeout=2) == {"host": "db-1"}


async def test_after_question_and_answer_both_sides_hold_plain_sockets() -> None:
    async with ends() as at:
        assert at.server.peer_certificate is not None
        await asked(at)

        async def answered() -> None:
            assert await at.client.receive(timeout=2) == {"ok": True}
            await at.client.leave()

        await asyncio.gather(at.server.hand_over({"ok": True}), answered())
        left, right = Peer(at.server.plain()), Peer(at.client.plain())
        await left.send(b"SSH-2.0-server\r\n")
        await right.send(b"SSH-2.0-client\r\n")

        assert await right.receive(16) == b"SSH-2.0-server\r\n"
        assert await left.receive(16) == b"SSH-2.0-client\r\n"
        left.close()
        right.close()


async def test_bytes_right_behind_the_close_are_there_afterwards() -> None:
    """A side that has left may speak at once, in the same packet as its close_notify."""
    async with ends() as at:
        await asked(at)
        answering = asyncio.create_task(at.server.hand_over({"ok": True}))
        await at.client.receive(timeout=2)
        await at.client.leave()
        right = Peer(at.client.plain())
        await right.send(b"early" * 10_000)
        await answering

        left = Peer(at.server.plain())

        assert await left.receive(50_000) == b"early" * 10_000
        left.close()
        right.close()


async def test_a_peer_that_says_more_than_it_was_asked_is_not_believed() -> None:
    async with ends() as at:
        tls = at.client._secure()
        tls.send(b'{"host":"db-1"}\n{"host":"db-2"}\n')

        with pytest.raises(BadInput, match="more than was asked"):
            await at.server.receive(timeout=2)


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-x\r\n", b"\x17\x03\x03\xff\xff" + b"x" * 100, b"", b"\x15\x03\x03\x00\x02\x01\x00"]
)
async def test_a_peer_that_does_not_leave_as_agreed_is_cut_off(said: bytes) -> None:
    async with ends() as at:
        await asked(at)
        raw = at.client._secure()
        answering = asyncio.create_task(at.server.hand_over({"ok": True}))
        await at.client.receive(timeout=2)
        at.client._unwatch()
        socket.socket.send(raw, said) if said else raw.close()

        with pytest.raises(Unavailable, match="did not leave TLS"):
            await answering
        assert not at.server.handed_over


async def test_data_instead_of_a_close_ends_the_connection() -> None:
    async with ends() as at:
        await asked(at)
        answering = asyncio.create_task(at.server.hand_over({"ok": True}))
        await at.client.receive(timeout=2)
        at.client._secure().send(b"one more thing")

        with pytest.raises(Unavailable):
            await answering


async def test_a_silent_peer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from teleport.net import leaving

    monkeypatch.setattr(leaving, "_LEAVE_SECONDS", 0.1)
    async with ends() as at:
        with pytest.raises(Unavailable, match="in time"):
            await at.server.receive(timeout=0.05)
        await asked(at)
        with pytest.raises(Unavailable, match="did not leave TLS"):
            await at.server.hand_over({"ok": True})


async def test_who_leaves_while_its_answer_is_prepared_is_noticed() -> None:
    async with ends() as at:
        await asked(at)

        at.client.abort()

        await asyncio.wait_for(at.server.lost, 2)


async def test_a_line_that_never_ends_is_not_collected() -> None:
    async with ends() as at:
        tls = at.client._secure()

        async def babble() -> None:
            while True:
                try:
                    tls.send(b"x" * 4096)
                except ssl.SSLWantWriteError:
                    await asyncio.sleep(0.01)
                except OSError:
                    return

        babbling = asyncio.create_task(babble())
        with pytest.raises(BadInput, match="too long"):
            await at.server.receive(timeout=2)
        at.server.abort()
        babbling.cancel()
        await asyncio.gather(babbling, return_exceptions=True)


async def test_a_failed_handshake_closes_the_socket() -> None:
    near, far = tcp_pair()
    far.send(b"GET / HTTP/1.1\r\n\r\n" * 10)

    with pytest.raises(OSError):
        await LeavingConnection.accept(near, PEOPLE.server(PROXY, PROTOCOL))

    assert near.fileno() == -1
    far.close()


async def left(at: Ends) -> None:
    await asked(at)
    answering = asyncio.create_task(at.server.hand_over({"ok": True}))
    await at.client.receive(timeout=2)
    await at.client.leave()
    await answering


async def test_a_side_that_left_is_joined_with_one_that_keeps_tls() -> None:
    async with ends() as at:
        await left(at)
        near, far = tcp_pair()
        stream = LineConnection()
        await asyncio.get_running_loop().connect_accepted_socket(lambda: stream, near)
        joined = asyncio.create_task(join(at.server, stream, Pipes()))
        ssh, host = Peer(at.client.plain()), Peer(far)

        await ssh.send(b"question")
        assert await host.receive(8) == b"question"
        await host.send(b"answer")
        assert await ssh.receive(6) == b"answer"

        host.close()
        await asyncio.wait_for(joined, 5)
        ssh.close()


async def test_a_side_that_left_becomes_a_transport() -> None:
    async with ends() as at:
        await left(at)

        stream = await as_stream(at.client)
        await stream.send({"hello": 1})

        far = Peer(at.server.plain())
        assert await far.receive(12) == b'{"hello":1}\n'
        stream.abort()
        await wait_until(lambda: stream.lost.done())
        far.close()


async def test_an_address_where_nobody_listens_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]

    with pytest.raises(OSError):
        await connected_socket("127.0.0.1", port)
