"""Attacks on the proxy's SSH server: by strangers, by holders of bad certificates, and by users with good ones."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import String, UInt32
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from teleport.audit.events import SessionRejected
from teleport.net.leaving import connected_socket
from tests.attacks.host import Client
from tests.net.sockets import Peer, wait_until
from tests.pki.forge import Forged, ed25519_of, forged
from tests.proxy.badges import Authorities, Badge
from tests.proxy.edge import Edge, edge
from tests.proxy.jumps import jump, jump_with
from tests.sessions.policies import role, user


async def raw(made: Edge) -> Peer:
    """A connection on which nothing has been said."""
    return Peer(await connected_socket("127.0.0.1", made.port))


async def refused(made: Edge, badge: Badge) -> str:
    """What is said about a certificate with which nobody gets in."""
    with pytest.raises(asyncssh.Error) as caught:
        await jump(made, badge)
    assert tuple(made.jump_gate.live) == ()
    return "\n".join(getattr(caught.value, "__notes__", ()))


def tcp(host: bytes = b"db-1", port: int = 22) -> bytes:
    """Where a channel should lead."""
    return bytes(String(host) + UInt32(port) + String(b"127.0.0.1") + UInt32(1))


# -- strangers


@pytest.mark.parametrize(
    "said",
    [b"SSH-2.0-x", b"SSH-1.5-old\r\n", b"SSH-2.0-\xff\xff\r\n", b"SSH-2.0-x\r\n",
     b"SSH-2.0-x\r\n\xff\xff\xff\xff" + b"x" * 64, b"SSH-2.0-x\r\n\x00\x00\x00\x0c\x0a\x14" + b"x" * 10],
    ids=["half a banner", "ssh1", "no text", "banner only", "huge packet", "bad kexinit"],
)  # fmt: skip
async def test_a_peer_that_gets_nowhere_is_hung_up_on_in_time(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr("teleport.proxy.ssh.server.LOGIN_SECONDS", 0.1)
    async with edge() as made:
        peer = await raw(made)
        await peer.send(said)

        await peer.wait_end()

        peer.close()
        assert tuple(made.jump_gate.live) == ()


@pytest.mark.parametrize(
    "babble", [b"SSH-2.0-" + b"x" * 5_000_000, b"SSH-2.0-x\r\n" + (b"\0\0\0\x0c\x06\x02" + bytes(10)) * 500_000]
)
async def test_a_flood_before_the_login_is_cut_off_and_keeps_nobody_waiting(babble: bytes) -> None:
    async with edge() as made:
        agent = await made.agent()
        ann = await jump(made, made.authorities.user())
        peer = await raw(made)
        flooding = asyncio.create_task(peer.send(babble))

        await ann.session(agent)

        await asyncio.wait_for(asyncio.wait([flooding]), 5)
        assert isinstance(flooding.exception(), OSError)
        peer.close()


async def test_tls_in_which_ssh_is_asked_for_by_name_is_not_taken_for_ssh() -> None:
    async with edge() as made:
        with pytest.raises(OSError):
            await made.connect(made.authorities.user(), "SSH-")


async def test_passwords_and_other_ways_are_not_asked_for() -> None:
    async with edge() as made:
        methods = "password,keyboard-interactive,hostbased,gssapi-with-mic,none"

        with pytest.raises(asyncssh.PermissionDenied):
            await jump_with(made, None, password="x", preferred_auth=methods)


async def test_a_bare_key_is_nobodys_also_that_of_a_user() -> None:
    async with edge() as made:
        keys = [asyncssh.import_private_key(made.authorities.user().ssh_key)]

        with pytest.raises(asyncssh.PermissionDenied):
            await jump_with(made, keys)


# -- certificates


Bad = Callable[[Authorities], Badge]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (lambda own: own.user(expires_in=-5), "expired or is not valid yet"),
        (lambda own: Authorities().user(), "not signed by a trusted user authority"),
        (lambda own: Authorities("elsewhere.org").user(), "not signed by a trusted user authority"),
        (lambda own: own.user(pinned_ip="192.0.2.7"), "pinned to another address"),
        (lambda own: _host(own), "not signed by a trusted user authority"),
    ],
    ids=["expired", "another authority under our name", "another cluster", "pinned elsewhere", "a host's"],
)
async def test_a_bad_certificate_is_refused_with_the_reason_and_no_event_by_which_strangers_fill_the_log(
    bad: Bad, why: str
) -> None:
    async with edge() as made:
        said = await refused(made, bad(made.authorities))

        assert why in said
        assert made.events.kept == []


async def test_a_certificate_of_another_cluster_that_is_trusted_is_refused_all_the_same() -> None:
    async with edge() as made:
        leaf = Authorities("leaf.org")
        await made.live.trust(leaf.users.public)

        assert "the certificate is another cluster's" in await refused(made, leaf.user())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"principals": ()}, "names no principal"),
        ({"type": 2}, "a host certificate cannot log in"),
        ({"critical": ((b"force-command", b"id"),)}, "unknown critical option"),
        ({"after": 2**33, "before": 2**33 + 60}, "not valid yet"),
        ({"extensions": ((b"permit-pty", None),)}, "carries no identity"),
        ({"key_id": b"bob"}, "contradicts itself"),
    ],
)
async def test_a_certificate_that_our_authority_would_not_have_made_is_refused(
    change: dict[str, Any], why: str
) -> None:
    async with edge() as made:
        good, signer = _good(made.authorities)

        blob = good.but(**change).signed(signer)

        assert why in await _shown(made, blob)


async def test_a_certificate_signed_by_a_certificate_is_refused() -> None:
    """Its inner key is that of the authority, which is what others were once satisfied with."""
    async with edge() as made:
        good, signer = _good(made.authorities)
        nested = forged(signer).signed(signer)

        blob = good.signed(signer, signature_key=nested)

        assert "not a certificate" in await _shown(made, blob)


async def test_a_certificate_shown_in_this_way_is_good_when_nothing_is_wrong_with_it() -> None:
    async with edge() as made:
        ann = made.authorities.user()
        good, signer = _good(made.authorities, ann)

        await jump_with(made, [ann.showing(good.signed(signer))])


async def test_a_certificate_without_its_key_is_refused() -> None:
    async with edge() as made:
        ann, bob = made.authorities.user("ann"), made.authorities.user("bob")

        with pytest.raises(asyncssh.PermissionDenied):
            await jump_with(made, [bob.showing(asyncssh.import_certificate(ann.ssh_certificate).public_data)])

        assert tuple(made.jump_gate.live) == ()


async def test_certificates_are_not_tried_without_end() -> None:
    async with edge() as made:
        expired = made.authorities.user(expires_in=-5)
        key = asyncssh.import_private_key(expired.ssh_key)
        certificate = asyncssh.import_certificate(expired.ssh_certificate)

        with pytest.raises(asyncssh.Error) as caught:
            await jump_with(made, [(key, certificate)] * 300)

        assert len(caught.value.__notes__[0].splitlines()) <= 21


@pytest.mark.parametrize("login", ["root", "-teleport-nologin", "", "röot", "x" * 900])
async def test_the_login_at_the_proxy_means_nothing(login: str) -> None:
    async with edge() as made:
        agent = await made.agent()
        ann = made.authorities.user()
        key = (asyncssh.import_private_key(ann.ssh_key), asyncssh.import_certificate(ann.ssh_certificate))

        jumper = await jump_with(made, [key], login=login)
        opening = asyncio.create_task(jumper.channel())

        assert (await agent.asked())["user"] == "ann"
        opening.cancel()


# -- users


async def eve_and_bob(made: Edge) -> tuple[Client, Any, Any]:
    """An attacker who has logged in, a bystander, and the host."""
    agent = await made.agent()
    eve = await jump(made, made.authorities.user("ann"))
    bob = await jump(made, made.authorities.user("bob"))
    return Client(eve.connection), bob, agent


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xff\xff\xff", tcp(b""), tcp(b"db-1", 0), tcp(b"db-1", 2**32 - 1), tcp(b"x" * 300), tcp(b"\xff\xfe"),
     tcp(b"db-1\n"), tcp(b"db-1\0"), tcp() + b"more", tcp(b"../../run"), tcp(b"127.0.0.1"), tcp(b"localhost"),
     tcp(b"-oProxyCommand=id"), tcp(b"*")],
)  # fmt: skip
async def test_nonsense_instead_of_a_host_leads_nowhere_and_ends_nothing(body: bytes) -> None:
    async with edge() as made:
        eve, bob, agent = await eve_and_bob(made)

        channel = await eve.open(b"direct-tcpip", rest=body)

        assert not channel.opened
        assert agent.dials.empty()
        assert (await eve.open(b"session")).opened is False
        await bob.session(agent)


@pytest.mark.parametrize(
    "kind", [b"session", b"x11", b"auth-agent@openssh.com", b"forwarded-tcpip", b"tun@openssh.com", b"\xff", b"x" * 999]
)
async def test_no_other_channel_is_opened(kind: bytes) -> None:
    async with edge() as made:
        eve, bob, agent = await eve_and_bob(made)

        if kind == b"\xff":
            eve.request_channel(kind)
        else:
            assert not (await eve.open(kind)).opened

        await bob.session(agent)


@pytest.mark.parametrize(
    "name",
    [b"tcpip-forward", b"cancel-tcpip-forward", b"streamlocal-forward@openssh.com", b"hostkeys-prove-00@openssh.com"],
)
async def test_nothing_of_the_whole_connection_is_granted(name: bytes) -> None:
    async with edge() as made:
        eve, bob, agent = await eve_and_bob(made)

        assert not await eve.global_request(name, String(b""), UInt32(0))
        assert not await eve.global_request(name, b"\xff" * 10_000)

        await bob.session(agent)


async def test_a_flood_of_channels_is_bounded_and_leaves_room_for_others() -> None:
    async with edge() as made:
        eve, bob, agent = await eve_and_bob(made)

        channels = [eve.request_channel(b"direct-tcpip", rest=tcp()) for _ in range(600)]
        await wait_until(lambda: sum(channel.answered.done() for channel in channels) >= 300, within=10)

        assert len(tuple(made.gate.live)) <= 256
        await eve.close()
        await wait_until(lambda: not tuple(made.gate.live), within=10)
        while not agent.dials.empty():
            agent.dials.get_nowait()
        await bob.session(agent)


async def test_hosts_that_are_asked_for_without_pause_keep_nobody_waiting() -> None:
    deny = role("freeze", labels={}, deny={"node_labels": {"env": "prod"}})
    async with edge(role("dev"), deny, user(roles="dev freeze"), user("bob")) as made:
        locked = await made.agent("db-2", env="prod")
        eve, bob, agent = await eve_and_bob(made)

        channels = [eve.request_channel(b"direct-tcpip", rest=tcp(b"db-2")) for _ in range(500)]
        await bob.session(agent)
        await asyncio.wait_for(asyncio.gather(*(channel.answered for channel in channels)), 20)

        assert not any(channel.opened for channel in channels)
        assert locked.dials.empty()
        assert made.events.of(SessionRejected)


@pytest.mark.parametrize("size", [1, 16, 255])
async def test_channels_that_take_only_crumbs_are_not_opened(size: int) -> None:
    async with edge() as made:
        eve, bob, agent = await eve_and_bob(made)

        assert not (await eve.open(b"direct-tcpip", size=size, rest=tcp())).opened

        assert agent.dials.empty()
        await bob.session(agent)


async def test_more_than_the_window_allows_ends_at_most_the_attackers_own_connection() -> None:
    async with edge() as made:
        eve, bob, agent = await eve_and_bob(made)
        channel = eve.request_channel(b"direct-tcpip", rest=tcp())
        host = await agent.take()
        host.transport.pause_reading()
        await asyncio.wait_for(channel.answered, 5)

        for _ in range(500):
            channel.data(b"x" * 32_000)

        await bob.session(agent)


async def test_who_offers_a_window_without_end_and_reads_nothing_has_no_memory_filled() -> None:
    async with edge() as made:
        eve, bob, agent = await eve_and_bob(made)
        channel = eve.request_channel(b"direct-tcpip", window=2**32 - 1, rest=tcp())
        host = await agent.take()
        await asyncio.wait_for(channel.answered, 5)
        eve.connection._transport.pause_reading()  # type: ignore[union-attr]
        host.transport.set_write_buffer_limits(0)

        sent = 0
        while host.transport.get_write_buffer_size() == 0 and sent < 100_000_000:
            host.transport.write(b"x" * 100_000)
            sent += 100_000
            await asyncio.sleep(0)

        assert sent < 50_000_000
        await bob.session(agent)


async def test_requests_on_a_channel_that_leads_to_a_host_are_refused() -> None:
    async with edge() as made:
        eve, bob, agent = await eve_and_bob(made)
        channel = eve.request_channel(b"direct-tcpip", rest=tcp())
        await agent.take()
        await asyncio.wait_for(channel.answered, 5)

        for name, parts in ((b"exec", (String(b"id"),)), (b"shell", ()), (b"auth-agent-req@openssh.com", ())):
            assert not await channel.grants(name, *parts)

        await bob.session(agent)


async def test_who_stays_whatever_is_said_is_cut_off_nevertheless() -> None:
    async with edge() as made:
        eve, _, _ = await eve_and_bob(made)
        eve.stay_whatever_is_said()

        await made.live.remove(user("ann"))

        await asyncio.wait_for(eve.connection.wait_closed(), 5)


# -- how the certificates are made


def _host(own: Authorities) -> Badge:
    badge = own.host("db-1", "Node")
    key, certificate = own.ssh_host(badge, "db-1")
    return replace(badge, ssh_key=key, ssh_certificate=certificate)


def _good(own: Authorities, holder: Badge | None = None) -> tuple[Forged, Any]:
    """A certificate of ann that would be good, once it is signed by what comes with it."""
    holder = holder or own.user()
    key: Any = load_ssh_private_key(holder.ssh_key.encode(), None)
    identity = holder.identity
    good = forged(key).but(after=int(own.now) - 60, before=int(own.now) + 3600).saying(identity.encode())
    return good, ed25519_of(own.users)


async def _shown(made: Edge, blob: bytes) -> str:
    """What the proxy says of a certificate."""
    with pytest.raises(asyncssh.Error) as caught:
        await jump_with(made, [made.authorities.user("bob").showing(blob)])
    assert tuple(made.jump_gate.live) == ()
    return "\n".join(getattr(caught.value, "__notes__", ()))
