"""The port that is open to everybody: what strangers try, and that it harms nobody else."""

import asyncio
import ipaddress
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from teleport.net.addresses import holder, plain
from teleport.proxy.listener import Arrival, Limits, Listener
from tests.net.sockets import Peer, wait_until
from tests.wire.test_hello import SIGNATURE, client_hello, server_name, version2, written_hello

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
HELLO = client_hello(alpn=["test"])


@dataclass
class Port:
    """A listener under test, whose handler for the protocol `test` notes who came and answers `hi`."""

    number: int
    arrivals: list[Arrival] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)
    stranger: bool = False
    """Whether the handler keeps its peers waiting without admitting them."""

    async def handle(self, sock: socket.socket, arrival: Arrival) -> None:
        self.arrivals.append(arrival)
        self.sockets.append(sock)
        if self.stranger:
            await asyncio.sleep(60)
        arrival.admitted()
        await asyncio.get_running_loop().sock_sendall(sock, b"hi")

    def connect(self, source: str = "127.0.0.1") -> Peer:
        sock = socket.create_connection(("127.0.0.1", self.number), source_address=(source, 0))
        sock.setblocking(False)
        return Peer(sock)

    async def greets(self, source: str = "127.0.0.1", hello: bytes = HELLO) -> bool:
        """Whether somebody who says hello properly is served."""
        peer = self.connect(source)
        await peer.send(hello)
        answered = await peer.receive(2) == b"hi"
        peer.close()
        return answered


Handlers = dict[str, Callable[[socket.socket, Arrival], Awaitable[None]]]


@asynccontextmanager
async def listening(
    *, limits: Limits | None = None, balancers: tuple[str, ...] = (), more: Handlers | None = None
) -> AsyncIterator[Port]:
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    port = Port(sock.getsockname()[1])
    networks = [ipaddress.ip_network(one) for one in balancers]
    handlers = {"test": port.handle, **(more or {})}
    listener = Listener(sock, handlers, balancers=networks, limits=limits or Limits())
    running = asyncio.create_task(listener.run())
    try:
        yield port
    finally:
        running.cancel()
        await asyncio.wait([running])
        await listener.close()
        for one in port.sockets:
            one.close()


async def closed(peer: Peer) -> bool:
    """Whether the other side hangs up without a word."""
    said = await peer.wait_end()
    peer.close()
    return said == b""


# -- saying hello


async def test_a_hello_split_at_every_boundary_arrives() -> None:
    async with listening() as port:
        for cut in range(1, len(HELLO), 7):
            peer = port.connect()
            await peer.send(HELLO[:cut])
            await asyncio.sleep(0)
            await peer.send(HELLO[cut:])
            assert await peer.receive(2) == b"hi"
            peer.close()

        assert {arrival.alpn for arrival in port.arrivals} == {"test"}
        assert {arrival.server_name for arrival in port.arrivals} == {"db-1.example.com"}


async def test_the_handler_gets_the_hello_whole_and_untouched() -> None:
    async with listening() as port:
        assert await port.greets(hello=HELLO + b"more")

        assert port.sockets[0].recv(100_000) == HELLO + b"more"


@pytest.mark.parametrize("sent", [b"", b"\x16", HELLO[:100], b"S"], ids=["silent", "one", "half", "ssh"])
async def test_who_does_not_finish_the_hello_is_hung_up_on(sent: bytes) -> None:
    async with listening(limits=Limits(hello_seconds=0.1)) as port:
        peer = port.connect()
        await peer.send(sent)

        assert await closed(peer)
        assert port.arrivals == []


async def test_who_drips_bytes_gets_no_more_time() -> None:
    async with listening(limits=Limits(hello_seconds=0.2)) as port:
        peer = port.connect()
        started = time.monotonic()

        async def drip() -> None:
            for byte in HELLO:
                await peer.send(bytes([byte]))
                await asyncio.sleep(0.02)

        with pytest.raises(OSError):
            await drip()

        assert time.monotonic() - started < 1
        peer.close()


async def test_waiting_for_many_slow_strangers_costs_no_processor_time() -> None:
    async with listening() as port:
        peers = [port.connect() for _ in range(50)]
        for peer in peers:
            await peer.send(HELLO[:50])
        await asyncio.sleep(0.1)

        before = time.process_time()
        await asyncio.sleep(0.4)
        spent = time.process_time() - before

        assert spent < 0.1
        for peer in peers:
            peer.close()


Talk = Callable[[list[socket.socket]], None]


def in_silence(_: list[socket.socket]) -> None:
    time.sleep(0.6)


def byte_by_byte(peers: list[socket.socket]) -> None:
    for byte in HELLO[:40]:
        for peer in peers:
            peer.send(bytes([byte]))
        time.sleep(0.01)


def in_two_pieces(peers: list[socket.socket]) -> None:
    for peer in peers:
        peer.send(HELLO[:90])
    time.sleep(0.6)


@pytest.mark.parametrize("talk", [in_silence, byte_by_byte, in_two_pieces])
async def test_hundreds_who_say_hello_slowly_or_never_cost_nothing_until_they_are_hung_up_on(talk: Talk) -> None:
    async with listening(limits=Limits(hello_seconds=1.5)) as port:
        began = time.monotonic()
        peers = [port.connect() for _ in range(300)]
        await asyncio.sleep(0.2)

        before = time.thread_time()
        await asyncio.to_thread(talk, [peer.sock for peer in peers])
        spent = time.thread_time() - before

        assert spent < 0.5, "of this thread, in which nobody but the listener is at work"
        assert port.arrivals == []
        for peer in peers:
            assert await closed(peer)
        assert 1.3 < time.monotonic() - began < 4


async def test_a_hello_in_two_pieces_is_served_however_many_others_wait() -> None:
    async with listening() as port:
        others = [port.connect() for _ in range(300)]
        peer = port.connect()
        await peer.send(HELLO[:90])
        await asyncio.sleep(0.05)

        await peer.send(HELLO[90:])

        assert await peer.receive(2) == b"hi"
        for one in [peer, *others]:
            one.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 20, b"\xff" * 50_000, b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
        b"\x16\x03\x01\x00\x00", b"SSH-2.0-client\r\n", client_hello(alpn=["unknown"]), client_hello(),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + HELLO, SIGNATURE + HELLO,
    ],
    ids=["http", "zeros", "noise", "oversize", "empty", "ssh", "unknown", "plain", "proxy1", "proxy2"],
)  # fmt: skip
async def test_what_nobody_here_speaks_is_hung_up_on_at_once(sent: bytes) -> None:
    async with listening() as port:
        peer = port.connect()
        await peer.send(sent)

        assert await closed(peer)
        assert port.arrivals == []
        assert await port.greets()


@pytest.mark.parametrize("name", [b"\xff" * 200, b"../../x", b"a\0b", b"x" * 10_000])
async def test_a_nonsensical_server_name_is_just_a_name(name: bytes) -> None:
    async with listening() as port:
        hello = written_hello(server_name(name), b"\x00\x10" + b"\x00\x07\x00\x05\x04test")

        assert await port.greets(hello=hello)
        assert port.arrivals[0].server_name == name.decode("latin-1")


async def test_the_clients_first_protocol_that_is_served_wins() -> None:
    async with listening() as port:
        assert await port.greets(hello=client_hello(alpn=["unknown", "test", "http/1.1"]))


async def test_a_name_with_a_cluster_behind_it_finds_the_handler_of_its_prefix() -> None:
    seen = []

    async def api(sock: socket.socket, arrival: Arrival) -> None:
        seen.append(arrival.alpn)
        sock.close()

    async with listening(more={"teleport-auth@": api}) as port:
        peer = port.connect()
        await peer.send(client_hello(alpn=["teleport-auth@example.com"]))
        await peer.wait_end()
        peer.close()

    assert seen == ["teleport-auth@example.com"]


async def test_a_reset_in_the_middle_of_the_hello_harms_nobody() -> None:
    async with listening() as port:
        for _ in range(20):
            peer = port.connect()
            await peer.send(HELLO[:60])
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.close()

        assert await port.greets()


# -- where the client is


async def test_a_header_from_a_balancer_says_where_the_client_is() -> None:
    async with listening(balancers=("127.0.0.2/32",)) as port:
        second = version2(b"\xc0\x00\x02\x08" + bytes(4) + b"\x30\x39\x01\xbb")
        assert await port.greets("127.0.0.2", b"PROXY TCP4 192.0.2.7 5.6.7.8 4711 443\r\n" + HELLO)
        assert await port.greets("127.0.0.2", second + HELLO)

        found = [(arrival.address, arrival.port) for arrival in port.arrivals]
        assert found == [("192.0.2.7", 4711), ("192.0.2.8", 12345)]
        assert port.sockets[0].recv(100_000) == HELLO


async def test_a_header_from_anybody_else_is_no_hello() -> None:
    async with listening(balancers=("127.0.0.2/32",)) as port:
        peer = port.connect("127.0.0.3")
        await peer.send(b"PROXY TCP4 192.0.2.7 5.6.7.8 4711 443\r\n" + HELLO)

        assert await closed(peer)
        assert port.arrivals == []


async def test_a_balancer_that_names_nobody_is_the_client_itself() -> None:
    async with listening(balancers=("127.0.0.2/32",)) as port:
        assert await port.greets("127.0.0.2", b"PROXY UNKNOWN\r\n" + HELLO)
        assert await port.greets("127.0.0.2", version2(b"", command=0x20, family=0) + HELLO)
        assert await port.greets("127.0.0.2")

        assert {arrival.address for arrival in port.arrivals} == {"127.0.0.2"}


@pytest.mark.parametrize(
    "header",
    [
        version2(bytes(12), length=600), version2(bytes(12), length=4), version2(bytes(12), command=0x11),
        b"PROXY TCP4 1.2.3.4\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 99999 1\r\n", b"PROXY " + b"x" * 200,
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" * 2,
    ],
)  # fmt: skip
async def test_a_balancers_lying_header_is_hung_up_on(header: bytes) -> None:
    async with listening(balancers=("127.0.0.2/32",)) as port:
        peer = port.connect("127.0.0.2")
        await peer.send(header + HELLO)

        assert await closed(peer)
        assert port.arrivals == []


async def test_a_header_that_promises_bytes_which_do_not_come_is_given_up() -> None:
    async with listening(balancers=("127.0.0.2/32",), limits=Limits(hello_seconds=0.1)) as port:
        peer = port.connect("127.0.0.2")
        await peer.send(version2(bytes(12), length=500))

        assert await closed(peer)


# -- many at once


async def test_a_thousand_half_open_connections_from_one_address_keep_nobody_out() -> None:
    async with listening(limits=Limits(strangers_per_address=20, strangers=40)) as port:
        peers = [port.connect("127.0.0.9") for _ in range(300)]
        for peer in peers:
            await peer.send(HELLO[:50])

        async with asyncio.timeout(2):
            assert await port.greets("127.0.0.10")
            assert await port.greets("127.0.0.9")
        gone = [await _ended(peer) for peer in peers]
        assert gone.count(False) <= 20
        for peer in peers:
            peer.close()


async def test_idlers_from_many_addresses_make_room_too_the_oldest_first() -> None:
    async with listening(limits=Limits(strangers_per_address=5, strangers=10)) as port:
        peers = [port.connect(f"127.0.1.{number}") for number in range(1, 31)]
        await wait_until(lambda: len(port.arrivals) == 0)

        assert await port.greets("127.0.0.10")

        gone = [await _ended(peer) for peer in peers]
        assert gone == [True] * 21 + [False] * 9
        for peer in peers:
            peer.close()


async def _ended(peer: Peer) -> bool:
    """Whether the other side has hung up by now."""
    await asyncio.sleep(0.001)
    try:
        return peer.sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def test_who_shakes_hands_for_ever_is_a_stranger_still_and_makes_room() -> None:
    async with listening(limits=Limits(strangers_per_address=3)) as port:
        port.stranger = True
        peers = []
        for _ in range(6):
            peers.append(port.connect())
            await peers[-1].send(HELLO)
            await wait_until(lambda: len(port.arrivals) == len(peers))

        assert [await _ended(peer) for peer in peers] == [True] * 3 + [False] * 3
        for peer in peers:
            peer.close()


async def test_who_was_admitted_does_not_count() -> None:
    async with listening(limits=Limits(strangers_per_address=3, strangers=5)) as port:
        peers = []
        for _ in range(20):
            peers.append(port.connect())
            await peers[-1].send(HELLO)
            assert await peers[-1].receive(2) == b"hi"

        assert not any([await _ended(peer) for peer in peers])
        for peer in peers:
            peer.close()


async def test_behind_a_balancer_each_client_counts_for_itself() -> None:
    async with listening(limits=Limits(strangers_per_address=3), balancers=("127.0.0.2/32",)) as port:
        peers = [port.connect("127.0.0.2") for _ in range(8)]
        for number, peer in enumerate(peers):
            source = "192.0.2.1" if number < 5 else f"192.0.2.{number}"
            await peer.send(f"PROXY TCP4 {source} 5.6.7.8 1 2\r\n".encode() + HELLO[:50])
            await asyncio.sleep(0.01)

        assert [await _ended(peer) for peer in peers] == [True] * 2 + [False] * 6
        for peer in peers:
            peer.close()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True), ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True), ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False), ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)  # fmt: skip
def test_in_ipv6_a_whole_network_counts_as_one(one: str, other: str, same: bool) -> None:
    assert (holder(one) == holder(other)) == same


async def test_accepting_a_flood_leaves_time_for_those_who_are_here() -> None:
    async with listening() as port:
        peers = [port.connect() for _ in range(200)]
        ticks = 0

        async def count() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        for peer in peers:
            await peer.send(HELLO)
        for peer in peers:
            await peer.receive(2)

        counting.cancel()
        assert ticks > 20
        for peer in peers:
            peer.close()


# -- handlers that fail


async def test_a_handler_that_fails_loses_its_own_connection_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(sock: socket.socket, arrival: Arrival) -> None:
        raise ZeroDivisionError

    caplog.set_level(logging.ERROR)
    async with listening(more={"broken": broken}) as port:
        peer = port.connect()
        await peer.send(client_hello(alpn=["broken"]))

        assert await closed(peer)
        assert await port.greets()
    assert "was dropped" in caplog.text


async def test_nothing_is_left_of_a_hundred_connections() -> None:
    async with listening() as port:
        for _ in range(100):
            assert await port.greets()
        tasks = [task for task in asyncio.all_tasks() if "_serve" in str(task.get_coro())]

        assert tasks == []


async def test_a_vanished_peer_is_noticed_by_the_kernel() -> None:
    async with listening() as port:
        assert await port.greets()

        assert port.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert port.sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


async def test_closing_ends_what_is_under_way() -> None:
    async with listening() as port:
        port.stranger = True
        peer = port.connect()
        await peer.send(HELLO)
        await wait_until(lambda: port.arrivals)

    assert await closed(peer)


def test_an_address_of_ipv4_is_one_on_a_port_of_ipv6_too() -> None:
    assert [plain(text) for text in ("::ffff:192.0.2.1", "192.0.2.1", "2001:db8::1", "::ffff:1")] == [
        "192.0.2.1", "192.0.2.1", "2001:db8::1", "::ffff:1"
    ]  # fmt: skip
