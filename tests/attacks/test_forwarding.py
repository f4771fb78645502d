"""Attacks on forwarding by who has logged in: amounts, addresses, the wrong time. Bystanders go on working."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from asyncssh.packet import Boolean, String, UInt32

from tests.attacks.host import LOGIN, RawChannel, Scene, host, scene
from tests.net.sockets import wait_until
from tests.sessions.policies import lock, role, user

_NO_FORWARDING = role("dev", logins=LOGIN, options={"port_forwarding": False})


class Far(asyncio.Protocol):
    """The far side of a forwarded connection."""

    transport: asyncio.Transport
    closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True


@asynccontextmanager
async def server() -> AsyncIterator[tuple[int, list[Far]]]:
    """The port of a server, and its connections."""
    came: list[Far] = []

    def accept() -> Far:
        came.append(Far())
        return came[-1]

    running = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    try:
        yield running.sockets[0].getsockname()[1], came
    finally:
        running.close()
        for far in came:
            far.transport.abort()


def tcp(port: int, name: bytes = b"127.0.0.1") -> bytes:
    return bytes(String(name) + UInt32(port) + String(b"127.0.0.1") + UInt32(1))


async def listen(at: Scene, name: bytes = b"", port: int = 0) -> bool:
    return await at.eve.global_request(b"tcpip-forward", String(name), UInt32(port))


async def test_hundreds_of_forwarded_connections_are_bounded_and_leave_room_for_sessions(tmp_path: Path) -> None:
    async with scene(tmp_path) as at, server() as (port, came):
        channels = [at.eve.request_channel(b"direct-tcpip", rest=tcp(port)) for _ in range(300)]
        await asyncio.wait_for(asyncio.gather(*(channel.answered for channel in channels)), 30)

        opened = [channel for channel in channels if channel.opened]
        assert len(opened) == 256
        assert await at.fine()
        for channel in opened:
            channel.close()
        await wait_until(lambda: all(far.closed for far in came), within=10)
        async with asyncio.timeout(10):  # the end of each is written down first
            while not (await at.eve.open(b"direct-tcpip", rest=tcp(port))).opened:
                pass


async def test_a_flood_of_requests_to_forward_is_answered_at_once_where_it_is_too_much(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channels = [at.eve.request_channel(b"direct-tcpip", rest=tcp(port)) for port in [9] * 3000]

        await asyncio.wait_for(asyncio.gather(*(channel.answered for channel in channels)), 60)

        assert await at.fine()
        assert 256 <= len(at.host.events("port")) <= 1500


async def test_listeners_are_bounded_and_end_with_the_connection(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        granted = [await listen(at) for _ in range(70)]

        assert sum(granted) == 64
        assert await at.fine()
        await at.eve.close()
        await wait_until(lambda: not _children(), within=10)
        assert await at.bystander_is_fine()


def _children() -> list[int]:
    """Forwarders that this process started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == os.getpid() and b"forwarder.py" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


async def test_a_reader_that_is_slow_stops_its_own_connection_alone(tmp_path: Path) -> None:
    async with scene(tmp_path) as at, server() as (port, came):
        slow = await at.eve.open(b"direct-tcpip", window=1000, rest=tcp(port))
        await wait_until(lambda: came)
        came[0].transport.write(b"x" * 30_000_000)

        await slow.prints(b"x" * 1000)

        assert await at.fine()
        assert len(slow.output) == 1000
        assert at.host.buffered < 1 << 20
        await wait_until(lambda: came[0].transport.get_write_buffer_size() > 10_000_000)


async def test_whatever_address_is_asked_for_only_the_loopback_listens(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        for name in (b"0.0.0.0", b"", b"*", b"::", b"192.0.2.1", _own_address().encode(), b"localhost"):
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            assert await listen(at, name, port)

            listening = [line.split()[1] for line in _listening() if line.split()[1].endswith(f":{port:04X}")]

            assert {one.split(":")[0] for one in listening} <= {"0100007F", "0" * 24 + "01000000"}
            assert listening


def _listening() -> list[str]:
    tables = [Path(f"/proc/net/{name}") for name in ("tcp", "tcp6")]
    lines = [line for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    return [line for line in lines if line.split()[3] == "0A"]


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        with contextlib.suppress(OSError):
            probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


async def test_addresses_that_are_none_are_refused_and_end_nothing(tmp_path: Path) -> None:
    bodies = [b"", b"\xff" * 20, String(b"h"), tcp(70_000), tcp(0), tcp(1, b""), tcp(1, b"\n"), tcp(1) + b"more",
              tcp(1, b"h" * 300), tcp(1, b"\xff"), b"x" * 10_000]  # fmt: skip
    async with scene(tmp_path) as at:
        for body in bodies:
            assert not (await at.eve.open(b"direct-tcpip", rest=bytes(body))).opened
            assert not (await at.eve.open(b"direct-streamlocal@openssh.com", rest=bytes(body))).opened
            for name in (b"streamlocal-forward@openssh.com", b"cancel-tcpip-forward", b"cancel-streamlocal-forward@openssh.com"):  # fmt: skip  # noqa: E501
                assert not await at.eve.global_request(name, bytes(body))

        assert await at.fine()


async def test_nothing_is_forwarded_after_the_permission_is_withdrawn_and_the_session_goes_on(tmp_path: Path) -> None:
    async with scene(tmp_path) as at, server() as (port, came):
        session = await at.eve.open()
        assert await session.grants(b"exec", String(b"cat"))
        channel = await at.eve.open(b"direct-tcpip", rest=tcp(port))
        assert await listen(at)
        await at.host.live.write(_NO_FORWARDING)

        await asyncio.wait_for(channel.closed, 2)
        await wait_until(lambda: came[0].closed, within=2)
        refused = [
            (await at.eve.open(b"direct-tcpip", rest=tcp(port))).opened,
            (await at.eve.open(b"direct-streamlocal@openssh.com", rest=String(b"/x") + String(b"") + UInt32(0))).opened,
            await listen(at),
        ]

        assert refused == [False, False, False]
        session.data(b"lives\n")
        await session.prints(b"lives")
        errors = {event["error"] for event in at.host.events("port") if event["code"] == "T3003E"}
        assert errors == {
            "the roles do not permit forwarding ports to here", "the roles do not permit forwarding ports from here"
        }  # fmt: skip


async def test_whoever_is_told_to_go_leaves_no_child_and_no_listener(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        assert await listen(at)
        assert _children()

        await at.host.live.write(lock(user="ann", message="gone fishing"))

        await wait_until(lambda: not _children(), within=5)
        assert await at.bystander_is_fine()
        assert [event["code"] for event in at.host.events("port")] == ["T3003I", "T3003S"]


async def test_an_agent_and_a_display_are_forwarded_to_nobody_whose_roles_do_not_permit_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()

        agent = await channel.grants(b"auth-agent-req@openssh.com")
        display = await channel.grants(
            b"x11-req", Boolean(False), String(b"MIT-MAGIC-COOKIE-1"), String(b"00" * 16), UInt32(0)
        )

        assert (agent, display) == (False, False)
        assert await channel.grants(b"exec", String(b'echo "<$SSH_AUTH_SOCK$DISPLAY>"'))
        await channel.prints(b"<>")
        assert await at.fine()


async def test_a_cookie_cannot_give_orders_to_xauth(tmp_path: Path) -> None:
    permitted = role("dev", logins=LOGIN, options={"permit_x11_forwarding": True})
    async with host(tmp_path, permitted, user("ann")) as made:
        ann = await made.connect(made.authorities.user())
        for protocol, cookie in ((b"X\nsource /etc/shadow", b"00"), (b"X", b"00\nquit"), (b"", b"00"), (b"X", b"zz")):
            channel = await ann.open()

            assert not await channel.grants(b"x11-req", Boolean(False), String(protocol), String(cookie), UInt32(0))

        assert await ann.works()
        await ann.close()


async def test_what_a_client_never_answers_is_bounded_and_dropped(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        port = _free_port()
        assert await listen(at, port=port)
        at.eve.connection._packet_handlers = {**at.eve.connection._packet_handlers, 90: lambda *_: None}

        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]

        assert await at.fine()
        await at.eve.close()
        for client in clients:
            with client:
                client.settimeout(10)
                assert await asyncio.to_thread(_read, client) == b""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _read(client: socket.socket) -> bytes:
    try:
        return client.recv(1)
    except ConnectionResetError:
        return b""


async def test_who_stops_or_kills_the_own_child_harms_nobody_and_may_begin_again(tmp_path: Path) -> None:
    async with scene(tmp_path) as at, server() as (port, _):
        channel = await at.eve.open(b"direct-tcpip", rest=tcp(port))
        (child,) = _children()
        os.kill(child, signal.SIGSTOP)
        waiting: RawChannel = at.eve.request_channel(b"direct-tcpip", rest=tcp(port))
        assert await at.bystander_is_fine()

        os.kill(child, signal.SIGKILL)

        await asyncio.wait_for(channel.closed, 5)
        assert not await asyncio.wait_for(waiting.answered, 5)
        assert (await at.eve.open(b"direct-tcpip", rest=tcp(port))).opened
        assert await at.fine()
