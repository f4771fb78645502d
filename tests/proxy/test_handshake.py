"""Who may speak which protocol with the proxy, and what becomes of those who do not finish the handshake."""

import asyncio
import logging
import socket
import ssl
from dataclasses import replace

import pytest

from teleport.core.errors import Unavailable
from teleport.net import alpn
from teleport.net.lines import LineConnection
from tests.net.sockets import Peer
from tests.proxy.badges import Authorities, Badge
from tests.proxy.edge import Edge, edge
from tests.wire.test_hello import client_hello

EVERY = [alpn.PROXY_SSH, alpn.CONTROL, alpn.DIALBACK]
HOST_PROTOCOLS = [alpn.CONTROL, alpn.DIALBACK]


async def turned_away(made: Edge, badge: Badge, protocol: str, *says: dict[str, object]) -> bool:
    """Whether somebody is sent off, by the handshake, with an error, or with silence."""
    try:
        connection = await made.connect(badge, protocol)
        for message in says:
            await connection.send(message)
        answer = await connection.receive(timeout=2)
    except (OSError, Unavailable):
        return True
    return "error" in answer


@pytest.mark.parametrize("protocol", EVERY)
async def test_without_a_certificate_there_is_no_handshake(protocol: str) -> None:
    async with edge() as made:
        assert await turned_away(made, made.authorities.stranger(), protocol)


@pytest.mark.parametrize("protocol", EVERY)
async def test_a_certificate_of_another_clusters_authorities_is_refused(protocol: str) -> None:
    async with edge() as made:
        others = Authorities("elsewhere.org")
        for badge in (others.user(), others.host("h", "Node", "Proxy")):
            ours = replace(badge, trust=made.authorities.hosts.public.certificates)
            assert await turned_away(made, ours, protocol)


@pytest.mark.parametrize("protocol", EVERY)
async def test_a_certificate_of_a_namesake_of_our_authority_is_refused(protocol: str) -> None:
    async with edge() as made:
        impostor = Authorities(made.authorities.cluster)
        badge = replace(impostor.host("h", "Node"), trust=made.authorities.hosts.public.certificates)

        assert await turned_away(made, badge, protocol)


@pytest.mark.parametrize("protocol", EVERY)
async def test_an_expired_certificate_is_refused(protocol: str) -> None:
    async with edge() as made:
        assert await turned_away(made, made.authorities.user(expires_in=-5), protocol)
        assert await turned_away(made, made.authorities.host("h", "Node", expires_in=-5), protocol)


@pytest.mark.parametrize("protocol", HOST_PROTOCOLS)
async def test_a_user_cannot_pass_for_an_agent(protocol: str) -> None:
    async with edge() as made:
        user = made.authorities.user(system_roles=("Node", "Proxy"))

        assert await turned_away(made, user, protocol, {"hello": "agent", "version": "1"})
        assert await turned_away(made, user, protocol, {"ticket": "0" * 32})
        assert not made.tunnels.connected(user.identity.uid)


@pytest.mark.parametrize("roles", [(), ("Proxy",), ("Auth",), ("node",)])
@pytest.mark.parametrize("protocol", HOST_PROTOCOLS)
async def test_a_host_without_the_role_cannot_pass_for_an_agent(protocol: str, roles: tuple[str, ...]) -> None:
    async with edge() as made:
        host = made.authorities.host("h", *roles)

        assert await turned_away(made, host, protocol, {"hello": "agent", "version": "1"})
        assert not made.tunnels.connected(host.identity.uid)


async def test_a_host_cannot_pass_for_a_client() -> None:
    async with edge() as made:
        await made.agent("db-1")

        error = await made.refused(made.authorities.host("h", "Node", "Proxy", "Auth"))

        assert error["code"] == "access_denied"


async def test_the_port_answers_with_the_protocol_it_was_asked_for() -> None:
    async with edge() as made:
        connection = await made.connect(made.authorities.user(), alpn.PROXY_SSH)

        tls: ssl.SSLObject = connection.transport.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == alpn.PROXY_SSH
        assert tls.version() == "TLSv1.3"


async def test_older_tls_is_not_spoken_with_our_own() -> None:
    async with edge() as made:
        context = made.authorities.user().client(alpn.PROXY_SSH)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2

        with pytest.raises(OSError):
            await asyncio.get_running_loop().create_connection(
                LineConnection, "127.0.0.1", made.port, ssl=context, server_hostname="proxy.example.com"
            )


async def test_who_says_hello_and_then_nothing_is_hung_up_on() -> None:
    async with edge() as made:
        sock = socket.create_connection(("127.0.0.1", made.port))
        sock.setblocking(False)
        peer = Peer(sock)
        await peer.send(client_hello(alpn=[alpn.PROXY_SSH]))

        await peer.wait_end()

        peer.close()


@pytest.mark.parametrize("protocol", EVERY)
@pytest.mark.parametrize("said", [b"not json\n", b"[]\n", b"{}\n", b'{"x":1}\n', b"\xff" * 70_000, b'{"host":null}\n'])
async def test_nonsense_instead_of_a_question_ends_the_connection(protocol: str, said: bytes) -> None:
    async with edge() as made:
        badge = made.authorities.user() if protocol == alpn.PROXY_SSH else made.authorities.host("h", "Node")
        connection = await made.connect(badge, protocol)
        connection.transport.write(said)

        await asyncio.wait_for(connection.lost, 2)


async def test_a_failure_in_serving_closes_the_connection_and_is_loud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with edge() as made:
        caplog.set_level(logging.ERROR)
        monkeypatch.setattr(made.relay, "_route", lambda *_: 1 / 0)
        client = await made.ask(made.authorities.user())

        await asyncio.wait_for(client.lost, 2)

        assert "ZeroDivisionError" in caplog.text
        assert tuple(made.gate.live) == ()
