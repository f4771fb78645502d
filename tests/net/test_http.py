"""HTTPS for people without a certificate: slow, silent and many of them, and that it harms nobody else."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from teleport.net.http import HttpDoor, HttpLimits
from teleport.net.tls import server_context
from tests.net.sockets import wait_until
from tests.proxy.badges import CLUSTER, Authorities, Badge

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class Guest:
    """A client's end of an HTTPS connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def gone(self, *, within: float = 2.0) -> bool:
        """Whether the server hangs up."""
        try:
            async with asyncio.timeout(within):
                while await self.reader.read(65536):
                    pass
        except TimeoutError:
            return False
        except (ConnectionError, ssl.SSLError):
            pass
        return True

    async def asks(self) -> bool:
        """Whether a request is answered."""
        try:
            self.writer.write(REQUEST)
            async with asyncio.timeout(2):
                return b"200 OK" in await self.reader.readuntil(b"hello")
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            return False


@dataclass
class Site:
    """A web server behind a door, and its port."""

    port: int
    authorities: Authorities
    body: "asyncio.Future[bytes]"
    guests: list[Guest] = field(default_factory=list)

    async def come(self, badge: Badge | None = None) -> Guest:
        context = (badge or self.authorities.stranger()).client("http/1.1")
        guest = Guest(
            *await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=f"auth.{CLUSTER}")
        )
        self.guests.append(guest)
        return guest


@asynccontextmanager
async def site(**limits: float) -> AsyncIterator[Site]:
    authorities = Authorities()
    badge = authorities.host("auth", "Auth")
    trust = "".join(one.certificates for one in authorities.public)
    tls = server_context(badge.certificate, badge.key, trust=trust, alpn=["http/1.1"])
    body: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def upload(request: web.Request) -> web.Response:
        body.set_result(await request.read())
        return web.Response(text="hello")

    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        return web.Response(text="hello")

    application = web.Application()
    application.router.add_get("/slow", slow)
    application.router.add_get("/", hello)
    application.router.add_post("/", upload)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server is not None
    door = HttpDoor(runner.server, lambda: tls, limits=HttpLimits(**limits))  # type: ignore[arg-type]
    sock = socket.create_server(("127.0.0.1", 0), backlog=200)
    sock.setblocking(False)
    made = Site(sock.getsockname()[1], authorities, body)

    async def accept() -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, peer = await loop.sock_accept(sock)
            connection.setblocking(False)
            entering = asyncio.create_task(door.enter(connection, peer[0]))
            entering.add_done_callback(lambda task: task.cancelled() or task.exception())
            await asyncio.sleep(0)

    accepting = asyncio.create_task(accept())
    try:
        yield made
    finally:
        for guest in made.guests:
            guest.writer.transport.abort()
        accepting.cancel()
        await asyncio.wait([accepting])
        await runner.cleanup()
        sock.close()


async def test_a_request_is_served() -> None:
    async with site() as made:
        assert await (await made.come()).asks()


async def test_who_never_asks_is_hung_up_on() -> None:
    async with site(lifetime=0.1, sweep=0.02) as made:
        guest = await made.come()

        assert await guest.gone()


async def test_who_drips_the_first_line_is_hung_up_on() -> None:
    async with site(lifetime=0.1, grace=0.1, sweep=0.02) as made:
        guest = await made.come()
        guest.writer.write(b"GET / HT")
        await asyncio.sleep(0.05)
        guest.writer.write(b"TP/1.1\r\nHost:")

        assert await guest.gone()


async def test_who_drips_a_body_is_hung_up_on() -> None:
    async with site(lifetime=0.1, grace=0.1, sweep=0.02) as made:
        guest = await made.come()
        guest.writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nonly this")

        assert await guest.gone()
        assert not made.body.done()


async def test_who_asks_again_and_again_has_to_come_again() -> None:
    async with site(lifetime=0.1, sweep=0.02) as made:
        guest = await made.come()
        assert await guest.asks()

        assert await guest.gone()
        assert await (await made.come()).asks()


async def test_a_request_under_way_is_still_answered_and_then_is_the_end() -> None:
    async with site(lifetime=0.1, grace=2.0, sweep=0.02) as made:
        guest = await made.come()
        guest.writer.write(REQUEST.replace(b"/ ", b"/slow "))

        assert b"200 OK" in await asyncio.wait_for(guest.reader.readuntil(b"hello"), 2)
        assert await guest.gone()


async def test_a_client_with_a_certificate_may_stay() -> None:
    async with site(lifetime=0.05, grace=0.0, sweep=0.02, connections_per_address=1) as made:
        known = await made.come(made.authorities.host("db-1", "Node"))
        for _ in range(3):
            assert await (await made.come()).asks()

        assert not await known.gone(within=0.2)
        assert await known.asks()


async def test_the_oldest_stranger_of_an_address_makes_room() -> None:
    async with site(connections_per_address=3) as made:
        guests = []
        for _ in range(5):
            guests.append(await made.come())
            assert await guests[-1].asks()

        assert await guests[0].gone()
        assert await guests[1].gone()
        assert [await guest.asks() for guest in guests[2:]] == [True] * 3


async def test_strangers_of_many_addresses_make_room_too() -> None:
    async with site(connections=2) as made:
        guests = [await made.come() for _ in range(4)]

        assert await guests[-1].asks()
        assert await guests[0].gone()


async def test_who_does_not_finish_the_handshake_is_hung_up_on() -> None:
    async with site(handshake_seconds=0.1) as made:
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        writer.write(b"\x16\x03\x01\x02\x00")

        async with asyncio.timeout(2):
            assert await reader.read() == b""
        writer.close()


async def test_who_left_is_forgotten() -> None:
    async with site(connections_per_address=2) as made:
        for _ in range(6):
            guest = await made.come()
            assert await guest.asks()
            guest.writer.transport.abort()
        await wait_until(lambda: True)

        staying = await made.come()
        assert await staying.asks()
        assert await staying.asks()
