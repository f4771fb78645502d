"""An SSH client's way in: where a certificate is good, and in which order it is offered, proved and decided about."""

import asyncio
import time

import pytest

from teleport.core.errors import AccessDenied, Unauthenticated
from teleport.pki.credentials import SSHUser
from teleport.pki.ssh_login import SSHLogin, read_ssh_login, refusal_text
from tests.proxy.badges import CLUSTER, Authorities, Badge


def read(badge: Badge, *authorities: Authorities, address: str = "127.0.0.1") -> SSHUser:
    trusted = [one for own in authorities for one in own.public]
    return read_ssh_login(badge.ssh_certificate.encode(), trusted, cluster=CLUSTER, address=address, now=time.time())


class Door:
    """A way in, and what was said on it."""

    def __init__(self, own: Authorities) -> None:
        self.refusals: list[tuple[str, str]] = []
        self.told: list[str] = []
        self.login = SSHLogin(
            lambda line: read_ssh_login(line, own.public, cluster=CLUSTER, address="127.0.0.1", now=time.time()),
            refused=self._refused, tell=self.told.append,
        )  # fmt: skip

    async def _refused(self, login: str, error: Unauthenticated) -> None:
        self.refusals.append((login, error.message))

    async def offers(self, badge: Badge, *, proved: bool = False) -> str | None:
        return await self.login.check("root", badge.ssh_certificate.encode(), proved)


@pytest.mark.parametrize("address", ["192.0.2.8", "192.0.2.70", "::1", "", "nonsense"])
def test_a_pinned_certificate_is_good_from_its_own_address_alone(address: str) -> None:
    own = Authorities()
    pinned = own.user(pinned_ip="192.0.2.7")

    assert read(pinned, own, address="192.0.2.7").identity == pinned.identity
    with pytest.raises(Unauthenticated, match="pinned to another address"):
        read(pinned, own, address=address)


def test_a_certificate_of_another_cluster_is_not_good_though_its_authority_is_trusted() -> None:
    own, leaf = Authorities(), Authorities("leaf.org")

    with pytest.raises(Unauthenticated, match="another cluster's"):
        read(leaf.user(), own, leaf)


async def test_a_certificate_that_is_offered_is_answered_with_its_key_and_decides_nothing() -> None:
    own = Authorities()
    door, ann = Door(own), own.user()

    key = await door.offers(ann)

    assert key == read(ann, own).public_key
    assert not door.login.proved.done()


@pytest.mark.parametrize("line", [b"ssh-ed25519 AAAA", b"", b"x" * 100 + b"-cert-v01@openssh.com AAAA"])
async def test_bare_keys_are_passed_over_without_a_word(line: bytes) -> None:
    door = Door(Authorities())

    assert await door.login.check("root", line, False) is None
    assert (door.refusals, door.told) == ([], [])


async def test_a_bad_certificate_is_told_to_whoever_keeps_the_door() -> None:
    own = Authorities()
    door = Door(own)

    assert await door.offers(own.user(expires_in=-5)) is None
    assert door.refusals == [("root", "the certificate has expired or is not valid yet")]


async def test_who_has_proved_the_key_waits_for_the_verdict() -> None:
    own = Authorities()
    door, ann = Door(own), own.user()
    waiting = asyncio.create_task(door.offers(ann, proved=True))
    found, login = await door.login.proved
    assert not waiting.done()

    door.login.decide("")

    assert await waiting == found.public_key
    assert (found.identity, login) == (ann.identity, "root")


async def test_a_verdict_against_it_is_told_and_final() -> None:
    own = Authorities()
    door, ann = Door(own), own.user()
    waiting = asyncio.create_task(door.offers(ann, proved=True))
    await door.login.proved

    door.login.decide("error: no")
    door.login.decide("")

    assert await waiting is None
    assert door.told == ["error: no"]
    assert await door.offers(ann, proved=True) is None


def test_a_refusal_reads_like_any_error_with_its_hint() -> None:
    assert refusal_text(AccessDenied("no")) == "error: no"
    assert refusal_text(AccessDenied("no", hint="ask")) == "error: no\r\nhint: ask"
