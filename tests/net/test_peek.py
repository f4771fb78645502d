"""Looking without taking, and without burning the processor while waiting."""

import asyncio
import socket
import time

import pytest

from teleport.net.peek import peek, take
from teleport.wire.hello import MAX_HELLO, ClientHello, Hello, Incomplete, SshBanner, recognise
from tests.net.sockets import Peer, tcp_pair
from tests.wire.test_hello import client_hello


async def look(sock: socket.socket, *, timeout: float = 2.0) -> Hello:
    found: Hello = await peek(sock, recognise, timeout=timeout)
    return found


async def test_nothing_is_taken() -> None:
    near, far = tcp_pair()
    await Peer(far).send(b"SSH-2.0-client\r\n")

    assert await look(near) == SshBanner()
    assert take(near, 100) == b"SSH-2.0-client\r\n"
    near.close()
    far.close()


async def test_a_hello_in_pieces_is_waited_for() -> None:
    near, far = tcp_pair()
    peer, data = Peer(far), client_hello(alpn=["http/1.1"])
    looking = asyncio.create_task(look(near))

    for at in range(0, len(data), 40):
        assert not looking.done()
        await peer.send(data[at : at + 40])
        await asyncio.sleep(0)

    assert isinstance(await looking, ClientHello)
    near.close()
    far.close()


async def test_waiting_for_the_rest_costs_no_processor_time() -> None:
    near, far = tcp_pair()
    peer, data = Peer(far), client_hello()
    looking = asyncio.create_task(look(near))

    before = time.process_time()
    for byte in data[:40]:
        await peer.send(bytes([byte]))
        await asyncio.sleep(0.01)
    spent = time.process_time() - before

    assert not looking.done()
    assert spent < 0.1
    await peer.send(data[40:])
    assert isinstance(await looking, ClientHello)
    near.close()
    far.close()


async def test_the_mark_is_set_back_before_the_socket_is_handed_on() -> None:
    near, far = tcp_pair()
    peer = Peer(far)
    await peer.send(client_hello())

    await look(near)

    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
    near.close()
    far.close()


async def test_a_silent_peer_is_given_up_and_the_loop_forgets_its_socket() -> None:
    near, far = tcp_pair()

    with pytest.raises(TimeoutError):
        await look(near, timeout=0.05)

    assert not asyncio.get_running_loop().remove_reader(near)
    near.close()
    far.close()


@pytest.mark.parametrize("sent", [b"", b"SS", client_hello()[:30]], ids=["nothing", "half a banner", "half a hello"])
async def test_a_peer_that_leaves_early_is_an_error(sent: bytes) -> None:
    near, far = tcp_pair()
    await Peer(far).send(sent)
    far.close()

    with pytest.raises(ConnectionError):
        await look(near)
    near.close()


async def test_a_peer_that_resets_is_an_error() -> None:
    near, far = tcp_pair()
    looking = asyncio.create_task(look(near))
    await asyncio.sleep(0.01)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.close()

    with pytest.raises(ConnectionError):
        await looking
    near.close()


async def test_who_wants_to_say_more_than_is_looked_at_is_refused() -> None:
    near, far = tcp_pair()
    await Peer(far).send(b"x")

    with pytest.raises(ConnectionError, match="too long"):
        await peek(near, lambda _: Incomplete(MAX_HELLO + 1), timeout=2)
    near.close()
    far.close()


async def test_a_parser_that_asks_for_what_it_has_does_not_spin() -> None:
    near, far = tcp_pair()
    await Peer(far).send(b"xx")

    with pytest.raises(ConnectionError):
        await peek(near, lambda data: Incomplete(len(data)), timeout=2)
    near.close()
    far.close()


async def test_cancelling_leaves_the_socket_usable() -> None:
    near, far = tcp_pair()
    looking = asyncio.create_task(look(near))
    await asyncio.sleep(0.01)

    looking.cancel()
    await asyncio.wait([looking])
    await Peer(far).send(b"SSH-2.0-x")

    assert await look(near) == SshBanner()
    near.close()
    far.close()
