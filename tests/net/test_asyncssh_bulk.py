"""The short way of data through asyncssh: whole, in order, under new keys too, and for nothing that is not right."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncssh
import pytest
from asyncssh.crypto.cipher import GCMCipher
from asyncssh.encryption import GCMEncryption
from hypothesis import given
from hypothesis import strategies as st

from teleport.net.asyncssh_bulk import BulkConnection, Gcm
from teleport.net.asyncssh_seams import Connection, new_connection, server_options
from teleport.pki.keys import new_ssh_key, ssh_line, ssh_private
from tests.proxy.badges import Authorities

GCM, CHACHA = "aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"
AUTHORITIES = Authorities("acme")
HOST_KEY, HOST_CERTIFICATE = AUTHORITIES.ssh_host(AUTHORITIES.host("db-1", "Node"), "db-1")
USER = new_ssh_key()
CASES = st.lists(st.integers(0, 70_000), min_size=1, max_size=6)


class Echo(asyncssh.SSHServerSession[bytes]):
    """Sends back what it gets, what begins with `!` as errors."""

    def connection_made(self, chan: Any) -> None:
        self._channel = chan

    def exec_requested(self, command: str) -> bool:
        return True

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if data.startswith(b"fail"):
            raise RuntimeError("a defect")
        (self._channel.write_stderr if data.startswith(b"!") else self._channel.write)(data)

    def eof_received(self) -> bool:
        self._channel.exit(0)
        return False


class Owner(asyncssh.SSHServer):
    connection: Connection

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def session_requested(self) -> Any:
        return self.connection.open_channel(), Echo()


async def known(_login: str, _line: bytes, _proved: bool) -> str:
    return ssh_line(USER.public_key())


@asynccontextmanager
async def connected(
    cipher: str = GCM, **options: Any
) -> AsyncIterator[tuple[asyncssh.SSHClientConnection, Connection]]:
    """A client, and the server's end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    owner = Owner()
    owner.connection = new_connection(
        server_options(HOST_KEY, HOST_CERTIFICATE, login_timeout=30, keepalive_interval=0, **options), owner,
        check=known, client=("127.0.0.1", 1),
    )  # fmt: skip
    ours.setblocking(False)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: owner.connection, ours)
    client = await asyncssh.connect(
        sock=theirs, known_hosts=None, username="ann", config=None, agent_path=None,
        client_keys=[asyncssh.import_private_key(ssh_private(USER))], encryption_algs=[cipher],
    )  # fmt: skip
    try:
        yield client, owner.connection
    finally:
        client.abort()
        owner.connection.abort()
        await asyncio.gather(client.wait_closed(), owner.connection.wait_closed())


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which packets went the short way."""
    went: list[str] = []
    seal, take = Gcm.seal, BulkConnection._take_packet

    def sealed(cipher: Gcm, header: bytes, data: bytes) -> bytes:
        went.append("out" if data[1:2] in (b"\x5e", b"\x5f") else "other")
        return seal(cipher, header, data)

    def taken(connection: BulkConnection, packet: bytes, cipher: Gcm) -> bool:
        was = take(connection, packet, cipher)
        went.extend(["in"] * was)
        return was

    monkeypatch.setattr(Gcm, "seal", sealed)
    monkeypatch.setattr(BulkConnection, "_take_packet", taken)
    return went


def noise(size: int) -> bytes:
    """Random bytes that are no errors to `Echo`, wherever they are cut."""
    return os.urandom(size).replace(b"!", b"?").replace(b"f", b"g")


async def echoed(client: asyncssh.SSHClientConnection, data: bytes) -> tuple[bytes, bytes]:
    done = await asyncio.wait_for(client.run("echo", input=data, encoding=None), 20)
    assert isinstance(done.stdout, bytes)
    assert isinstance(done.stderr, bytes)
    return done.stdout, done.stderr


@pytest.mark.parametrize("size", [1, 15, 16, 17, 4096, 32_768, 32_769, 3_000_000])
async def test_data_comes_back_as_it_was_sent(short: list[str], size: int) -> None:
    data = b"x" + noise(size - 1)
    async with connected() as (client, _):
        assert await echoed(client, data) == (data, b"")

    assert short.count("in") >= size // 32_768
    assert short.count("out") >= size // 32_768


async def test_what_goes_to_standard_error_goes_there() -> None:
    async with connected() as (client, _):
        assert await echoed(client, b"!oh") == (b"", b"!oh")


async def test_several_channels_are_told_apart() -> None:
    several = [bytes([65 + number]) * (100_000 + number) for number in range(5)]
    async with connected() as (client, _):
        assert await asyncio.gather(*(echoed(client, data) for data in several)) == [(data, b"") for data in several]


async def test_keys_are_changed_under_way(short: list[str]) -> None:
    data = noise(2_000_000)
    async with connected(rekey_bytes="200K") as (client, server):
        changes = []
        send = server.send_newkeys

        def counted(*args: Any) -> None:
            changes.append(len(short))
            send(*args)

        server.send_newkeys = counted  # type: ignore[method-assign, assignment]
        assert await echoed(client, b"x" + data) == (b"x" + data, b"")

    assert len(changes) > 3
    assert {"in", "out"} <= set(short)


async def test_other_ciphers_go_asyncsshs_way(short: list[str]) -> None:
    data = b"x" * 200_000
    async with connected(CHACHA) as (client, _):
        assert await echoed(client, data) == (data, b"")

    assert short == []


async def test_nothing_goes_the_short_way_before_the_client_is_in(short: list[str]) -> None:
    async with connected() as (_, server):
        assert server._auth_complete

        assert "in" not in short
        assert "out" not in short


async def test_a_defect_in_taking_data_ends_the_connection_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as (client, server):
        process: Any = await client.create_process("echo", encoding=None)

        process.stdin.write(b"fail")

        await asyncio.wait_for(server.wait_closed(), 10)
        assert server.is_closed()


async def test_a_packet_that_was_tampered_with_ends_the_connection() -> None:
    async with connected() as (client, server):
        process: Any = await client.create_process("echo", encoding=None)
        process.stdin.write(b"x")
        await asyncio.wait_for(process.stdout.readexactly(1), 10)
        encrypt = client._send_encryption.encrypt_packet  # type: ignore[union-attr]

        def tampered(*args: Any) -> tuple[bytes, bytes]:
            packet, mac = encrypt(*args)
            return packet, bytes([mac[0] ^ 1]) + mac[1:]

        client._send_encryption.encrypt_packet = tampered  # type: ignore[union-attr,method-assign]
        process.stdin.write(b"more")

        await asyncio.wait_for(server.wait_closed(), 10)
        assert not process.stdout.at_eof() or await process.stdout.read() == b""


async def test_more_than_the_window_allows_ends_the_connection() -> None:
    async with connected() as (client, server):
        process: Any = await client.create_process("echo", encoding=None)
        (channel,) = server._channels.values()
        channel._recv_window = 10

        process.stdin.write(b"x" * 11)

        await asyncio.wait_for(server.wait_closed(), 10)


@given(sizes=CASES, cuts=st.lists(st.integers(1, 5000), min_size=1, max_size=8))
def test_any_cut_of_the_bytes_gives_the_same_data(sizes: list[int], cuts: list[int]) -> None:
    async def carried() -> bytes:
        async with connected() as (client, server):
            receive, rest = server.data_received, bytearray()

            def in_pieces(data: bytes, datatype: int | None = None) -> None:
                rest.extend(data)
                for cut in cuts:
                    piece = bytes(rest[:cut])
                    del rest[:cut]
                    if piece:
                        receive(piece)
                receive(bytes(rest))
                rest.clear()

            server.data_received = in_pieces  # type: ignore[method-assign]
            pieces = [bytes([65 + place]) * size for place, size in enumerate(sizes)]
            return (await echoed(client, b"x" + b"".join(pieces)))[0]

    expected = b"x" + b"".join(bytes([65 + place]) * size for place, size in enumerate(sizes))
    assert asyncio.run(carried()) == expected


@given(key=st.binary(min_size=16, max_size=16), iv=st.binary(min_size=12, max_size=12), data=st.binary(min_size=1))
def test_the_cipher_is_asyncsshs(key: bytes, iv: bytes, data: bytes) -> None:
    header = struct.pack(">I", len(data))
    theirs = GCMEncryption(GCMCipher("aes128-gcm", key, iv))
    ours = Gcm(GCMCipher("aes128-gcm", key, iv))

    for _ in range(3):
        assert ours.encrypt_and_sign(header, data) == theirs.encrypt_packet(0, header, data)


def test_its_counter_wraps_as_asyncsshs_does() -> None:
    iv = b"\0" * 4 + b"\xff" * 8
    theirs, ours = GCMCipher("aes128-gcm", b"k" * 16, iv), Gcm(GCMCipher("aes128-gcm", b"k" * 16, iv))

    assert [ours.encrypt_and_sign(b"1234", b"x") for _ in range(2)] == [
        theirs.encrypt_and_sign(b"1234", b"x") for _ in range(2)
    ]
