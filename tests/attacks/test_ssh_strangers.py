"""Attacks on a host's SSH server by who has not logged in: bytes that are no SSH, and certificates that are no good."""

import asyncio
import os
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.attacks.host import HostUnderAttack, host
from tests.proxy.badges import Badge


@pytest.mark.parametrize(
    "said",
    [b"", b"SSH-2.0-x", b"GET / HTTP/1.1\r\n\r\n", b"SSH-1.5-old\r\n", b"\x00" * 64, b"SSH-2.0-\xff\xff\r\n",
     b"SSH-2.0-x\r\n",
     b"SSH-2.0-x\r\n\xff\xff\xff\xff" + b"x" * 64, b"SSH-2.0-x\r\n\x00\x00\x00\x0c\x0a\x14" + b"x" * 10],
    ids=["nothing", "half a banner", "http", "ssh1", "zeros", "no text", "banner only", "huge packet", "bad kexinit"],
)  # fmt: skip
async def test_a_peer_that_gets_nowhere_is_hung_up_on_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr("teleport.agents.ssh.server.LOGIN_SECONDS", 0.1)
    async with host(tmp_path) as made:
        peer = await made.raw(made.authorities.user())
        await peer.send(said)

        await peer.wait_end()
        await asyncio.wait_for(asyncio.gather(*made.serving), 10)

        peer.close()
        assert tuple(made.gate.live) == ()


async def test_a_banner_without_an_end_is_not_collected_for_ever(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        peer = await made.raw(made.authorities.user())

        babble = peer.send(b"x" * 10_000_000)

        with pytest.raises(OSError):
            await babble
        peer.close()


async def test_a_flood_before_the_keys_are_exchanged_does_not_keep_others_waiting(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        bystander = await made.connect(made.authorities.user("bob"))
        peer = await made.raw(made.authorities.user())
        await peer.send(b"SSH-2.0-x\r\n")
        ignored = b"\x00\x00\x00\x0c\x06\x02" + bytes(10)
        flooding = asyncio.create_task(peer.send(ignored * 500_000))

        assert await bystander.works()

        flooding.cancel()
        await asyncio.wait([flooding])
        peer.close()
        await bystander.close()


async def test_every_refused_key_is_written_down_but_not_without_end(tmp_path: Path) -> None:
    """Offers cost the client nothing; here each would cost an event on disk."""
    async with host(tmp_path) as made:
        expired = made.authorities.user(expires_in=-5)
        key = asyncssh.import_private_key(expired.ssh_key)
        certificate = asyncssh.import_certificate(expired.ssh_certificate)

        with pytest.raises((asyncssh.Error, OSError)):
            await made.log_in(expired, client_keys=[(key, certificate)] * 300)

        assert 1 <= len(made.events("auth")) <= 20


async def refused(made: HostUnderAttack, badge: Badge, **more: Any) -> None:
    """An attempt to log in that must fail, and leave no session behind."""
    with pytest.raises((asyncssh.Error, OSError)):
        await made.connect(badge, **more)
    assert tuple(made.gate.live) == ()


async def test_the_certificate_of_whom_the_proxy_announced_is_good(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        ann = await made.connect(made.authorities.user())

        assert await ann.works()

        await ann.close()


@pytest.mark.parametrize(
    "announced",
    [{"user": "bob"}, {"user_uid": "u-other"}, {"cluster": "elsewhere.org"}, {"scope": ("dev",)}, {"scope": ()}],
)
async def test_the_certificate_of_another_than_the_proxy_announced_is_refused(
    tmp_path: Path, announced: dict[str, Any]
) -> None:
    async with host(tmp_path) as made:
        await refused(made, made.authorities.user(), **announced)


async def test_somebody_elses_certificate_is_refused_on_a_connection_that_was_routed(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        await refused(made, made.authorities.user("bob"), shows=made.authorities.user("ann"))


async def test_a_wider_certificate_than_the_one_that_was_routed_is_refused(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        narrow, wide = made.authorities.user(requested_roles=()), made.authorities.user()

        await refused(made, narrow, shows=wide)


@pytest.mark.parametrize("address", ["192.0.2.8", "", "nonsense", "::1", "192.0.2.70"])
async def test_a_pinned_certificate_is_refused_from_another_address(tmp_path: Path, address: str) -> None:
    async with host(tmp_path) as made:
        await refused(made, made.authorities.user(pinned_ip="192.0.2.7"), client_address=address)


async def test_a_pinned_certificate_is_good_from_its_own_address_whoever_the_sockets_peer_is(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        ann = await made.connect(made.authorities.user(pinned_ip="192.0.2.7"), client_address="192.0.2.7")

        assert await ann.works()
        await ann.close()


async def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        ann, bob = made.authorities.user("ann"), made.authorities.user("bob")
        pair = bob.showing(asyncssh.import_certificate(ann.ssh_certificate).public_data)

        with pytest.raises(asyncssh.PermissionDenied):
            await made.log_in(ann, client_keys=[pair])

        assert tuple(made.gate.live) == ()


async def test_passwords_are_not_asked_for(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        more = {"password": "x", "preferred_auth": "password,keyboard-interactive,hostbased,none"}

        with pytest.raises(asyncssh.PermissionDenied):
            await made.log_in(made.authorities.user(), client_keys=None, more=more)


@pytest.mark.parametrize("login", ["-oProxyCommand=id", "x" * 900, "a\nb", "../root", "no-such-login", "röot"])
async def test_a_login_that_is_none_is_refused(tmp_path: Path, login: str) -> None:
    async with host(tmp_path) as made:
        await refused(made, made.authorities.user(), login=login)


async def test_a_login_of_the_auth_service_is_refused_on_its_own_host(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        made.server.host.forbidden_uid = os.geteuid()

        await refused(made, made.authorities.user())

        (event,) = made.events("session.rejected")
        assert "the user that the auth service runs as" in event["reason"]
