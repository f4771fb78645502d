"""What our SSH servers offer, in the eyes of ssh-audit, and a man in the middle who cuts off a beginning (Terrapin)."""

import asyncio
import contextlib
import json
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

import asyncssh
import pytest
from asyncssh.connection import SSHConnection

from tests.attacks.host import LOGIN, HostUnderAttack, host
from tests.net.sockets import Peer, tcp_pair
from tests.proxy.edge import edge

NEWKEYS, IGNORE = 21, 2


@asynccontextmanager
async def agents_server(tmp_path: Path) -> AsyncIterator[int]:
    async with host(tmp_path) as made, made.listening(made.authorities.user()) as port:
        yield port


@asynccontextmanager
async def proxys_server(_: Path) -> AsyncIterator[int]:
    async with edge() as made:
        yield made.port


SERVERS: Final[dict[str, Callable[[Path], AbstractAsyncContextManager[int]]]] = {
    "agent": agents_server, "proxy": proxys_server,
}  # fmt: skip
"""Every SSH server of ours, as what serves it on a port of loopback."""

_TOLERATED: Final = {
    ("curve25519-sha256", "does not provide protection against post-quantum attacks"),
    ("curve25519-sha256@libssh.org", "does not provide protection against post-quantum attacks"),
}
"""Who has nothing newer gets this: PuTTY, paramiko, Dropbear and OpenSSH before 9.9. Others get ML-KEM."""


async def audited(port: int) -> dict[str, Any]:
    """What ssh-audit finds out. How fast connections are taken is the business of the proxy's port."""
    program = str(Path(sys.executable).with_name("ssh-audit"))
    ran = await asyncio.create_subprocess_exec(
        program, "--json", "--skip-rate-test", "-p", str(port), "127.0.0.1", stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        printed, _ = await ran.communicate()
    found: dict[str, Any] = json.loads(printed)
    return found


@pytest.mark.parametrize("server", SERVERS)
async def test_ssh_audit_finds_nothing_to_blame(tmp_path: Path, server: str) -> None:
    async with SERVERS[server](tmp_path) as port:
        found = await audited(port)

    offered = {kind: {one["algorithm"]: one.get("notes", {}) for one in found[kind]} for kind in _KINDS}
    blamed = {
        (name, text)
        for notes_of in offered.values()
        for name, notes in notes_of.items()
        for level in ("fail", "warn")
        for text in notes.get(level, ())
    }
    assert all(offered.values())
    assert blamed == _TOLERATED
    assert found["cves"] == []


_KINDS: Final = ("kex", "key", "enc", "mac")


@pytest.mark.parametrize("server", SERVERS)
async def test_the_counter_of_packets_begins_anew_with_the_keys(tmp_path: Path, server: str) -> None:
    """The marker of strict key exchange, without which the beginning of a connection can be cut off."""
    async with SERVERS[server](tmp_path) as port:
        found = await audited(port)

    assert "kex-strict-s-v00@openssh.com" in {one["algorithm"] for one in found["kex"]}


# -- Terrapin (CVE-2023-48795)


class Middle:
    """Whoever holds the wire between a client and a server, and cuts the server's first protected message out.

    A message of no consequence is put in while nothing is protected, so that both ends count alike again.
    """

    def __init__(self, client: Peer, server: Peer) -> None:
        self._client, self._server = client, server

    async def carry(self) -> None:
        with contextlib.suppress(OSError):
            await self._greetings(self._server, self._client)
            await self._greetings(self._client, self._server)
            ours, theirs = self._until_keys(self._client, self._server), self._to_client()
            await asyncio.gather(ours, theirs)
            await self._cut_out()
            await asyncio.gather(self._rest(self._client, self._server), self._rest(self._server, self._client))

    async def _greetings(self, source: Peer, sink: Peer) -> None:
        line = b""
        while not line.endswith(b"\n"):
            line += await _exactly(source, 1)
        await sink.send(line)

    async def _until_keys(self, source: Peer, sink: Peer) -> None:
        while True:
            whole, kind = await _packet(source)
            await sink.send(whole)
            if kind == NEWKEYS:
                return

    async def _to_client(self) -> None:
        while True:
            whole, kind = await _packet(self._server)
            if kind == NEWKEYS:
                await self._client.send(struct.pack(">IBBI", 12, 6, IGNORE, 0) + bytes(6))
            await self._client.send(whole)
            if kind == NEWKEYS:
                return

    async def _cut_out(self) -> None:
        """All that the server says before it is asked anything: its extensions."""
        cut = await self._server._loop.sock_recv(self._server.sock, 65536)
        assert cut

    async def _rest(self, source: Peer, sink: Peer) -> None:
        while chunk := await source._loop.sock_recv(source.sock, 65536):
            await sink.send(chunk)


async def _packet(source: Peer) -> tuple[bytes, int]:
    """A packet that is not protected, and its type."""
    head = await _exactly(source, 4)
    body = await _exactly(source, int.from_bytes(head, "big"))
    return head + body, body[1]


async def _exactly(source: Peer, count: int) -> bytes:
    found = await source.receive(count)
    if len(found) < count:
        raise ConnectionResetError
    return found


@asynccontextmanager
async def logged_in_through_the_middle(made: HostUnderAttack) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A login with the cipher that Terrapin is about, over the attacker's wire."""
    badge = made.authorities.user()
    near, far = tcp_pair()
    client, server = Peer(far), await made.raw(badge)
    carrying = asyncio.create_task(Middle(client, server).carry())
    key = (asyncssh.import_private_key(badge.ssh_key), asyncssh.import_certificate(badge.ssh_certificate))
    try:
        async with asyncssh.connect(
            sock=near, username=LOGIN, client_keys=[key], known_hosts=None, config=[], agent_path=None,
            encryption_algs=["chacha20-poly1305@openssh.com"], login_timeout=10, connect_timeout=10,
        ) as connection:  # fmt: skip
            yield connection
    finally:
        carrying.cancel()
        await asyncio.wait([carrying])
        for sock in (near, client.sock, server.sock):
            sock.close()


async def test_the_beginning_of_a_connection_cannot_be_cut_off(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        with pytest.raises((asyncssh.Error, OSError)):
            async with logged_in_through_the_middle(made):
                pass

        assert tuple(made.gate.live) == ()


@contextlib.contextmanager
def before_2023() -> Iterator[None]:
    """Neither end knows of strict key exchange."""

    def algorithms(self: SSHConnection) -> list[bytes]:
        return [b"ext-info-c"] if self.is_client() else [b"ext-info-s"]

    with mock.patch.object(SSHConnection, "_get_extra_kex_algs", algorithms):
        yield


async def test_where_neither_end_counts_anew_it_can_so_that_the_attack_is_one(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        with before_2023():
            async with logged_in_through_the_middle(made) as connection:
                result = await connection.run("echo works", encoding="utf-8")

        assert result.stdout == "works\n"
