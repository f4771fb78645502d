"""Attacks on joining: guessed and spent tokens, roles and names that a token does not give, secrets that leak."""

import json
from typing import Any

import pytest

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.auth.feed import feed
from teleport.core.errors import AccessDenied, BadInput, TeleportError, Throttled
from teleport.core.identity import Identity
from teleport.pki.credentials import read_tls
from tests.auth.cluster import SSH_KEY, TLS_KEY, Cluster, role, user

STRANGER = Caller(None, "192.0.2.66")


async def token(cluster: Cluster, *roles: str, ttl: float = 600.0) -> str:
    made: m.TokenSecret = await cluster.call("token", m.TokenRequest(roles=roles or ("node",), ttl=ttl))
    return made.token


async def join(cluster: Cluster, secret: str, caller: Caller = STRANGER, **more: Any) -> m.HostCertificates:
    fields = {"hostname": "db-9", "roles": ("Node",), **more}
    request = m.JoinRequest(token=secret, ssh_public_key=SSH_KEY, tls_public_key=TLS_KEY, **fields)
    joined: m.HostCertificates = await cluster.call("join", request, caller)
    return joined


def identity(cluster: Cluster, joined: m.HostCertificates) -> Identity:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    der = x509.load_pem_x509_certificate(joined.tls_certificate.encode()).public_bytes(Encoding.DER)
    return read_tls(der, cluster.auth.authorities.public, now=cluster.clock.time())


async def test_a_token_gives_its_role_and_an_id_that_the_cluster_chose(cluster: Cluster) -> None:
    secret = await token(cluster)

    one, other = await join(cluster, secret), await join(cluster, secret)

    assert identity(cluster, one).system_roles == ("Node",)
    assert one.host_id != other.host_id


async def test_a_token_gives_no_role_that_it_does_not_name(cluster: Cluster) -> None:
    secret = await token(cluster, "node")

    for roles in (("Proxy",), ("Node", "Proxy"), ()):
        with pytest.raises(AccessDenied, match="does not permit the role"):
            await join(cluster, secret, roles=roles)


@pytest.mark.parametrize("roles", [("Auth",), ("Admin",), ("node",), ("Node\x00",)])
def test_a_role_that_services_do_not_have_cannot_even_be_asked_for(roles: tuple[str, ...]) -> None:
    body = {"token": "t", "ssh_public_key": "", "tls_public_key": "", "hostname": "x", "roles": roles}

    with pytest.raises(ValueError, match="roles"):
        m.JoinRequest.model_validate(body)


async def test_a_token_that_ended_or_was_removed_is_refused_like_one_that_never_was(cluster: Cluster) -> None:
    ended, removed = await token(cluster, ttl=60), await token(cluster)
    cluster.clock.advance(61)
    await cluster.call("delete", m.ResourceName(kind="token", name=removed))

    said = set()
    for secret in (ended, removed, "never-was", "", "../token", "x" * 1000):
        with pytest.raises(AccessDenied) as caught:
            await join(cluster, secret)
        said.add((caught.value.message, caught.value.hint))

    assert len(said) == 1


async def test_guessing_tokens_is_slowed_down(cluster: Cluster) -> None:
    tried = 0
    for number in range(100):
        with pytest.raises((AccessDenied, Throttled)) as caught:
            await join(cluster, f"guess-number-{number}", client_address=f"203.0.113.{number}")
        tried += isinstance(caught.value, AccessDenied)

    assert tried <= 11
    assert len(cluster.events("instance.join")) == tried


async def test_a_token_for_services_in_the_same_process_is_good_once(cluster: Cluster) -> None:
    secret = cluster.auth.joining.memory_token(["Node"])
    await join(cluster, secret)

    with pytest.raises(AccessDenied):
        await join(cluster, secret)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b",
        "a,b",
        "*",
        "*.acme",
        "x\x1b[31m",
        "x\ny",
        "5a3c9d6e-0000-4000-8000-00000000000a",
        "x" * 300,
        "a/../b",
        "ssh+proxy",
    ],
)
async def test_a_host_cannot_take_a_name_that_means_more_than_itself(cluster: Cluster, name: str) -> None:
    secret = await token(cluster)

    with pytest.raises((BadInput, ValueError)):
        await join(cluster, secret, hostname=name)


@pytest.mark.parametrize("address", ["auth.acme", "node.acme", "*.acme", "5a3c9d6e-0000-4000-8000-00000000000a.acme"])
async def test_a_proxy_gets_no_certificate_for_the_name_of_another_service(cluster: Cluster, address: str) -> None:
    secret = await token(cluster, "proxy")

    with pytest.raises(AccessDenied):
        await join(cluster, secret, roles=("Proxy",), addresses=(address,))


async def test_the_name_by_which_ssh_knows_the_proxy_is_in_the_certificates_of_proxies_alone(cluster: Cluster) -> None:
    addresses = ("proxy.example.com", "192.0.2.1")
    secret = await token(cluster, "proxy", "node")

    proxy = await join(cluster, secret, roles=("Proxy",), addresses=addresses)
    node = await join(cluster, secret, roles=("Node",), addresses=addresses)

    assert {"ssh+proxy.acme", *addresses} <= principals(proxy)
    assert principals(node) == {"db-9", "db-9.acme", node.host_id, f"{node.host_id}.acme"}


def principals(joined: m.HostCertificates) -> set[str]:
    from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

    certificate = load_ssh_public_identity(joined.ssh_certificate.encode())
    assert isinstance(certificate, SSHCertificate)
    return {name.decode() for name in certificate.valid_principals}


async def test_the_secret_is_in_no_event_not_even_of_a_failed_attempt(cluster: Cluster) -> None:
    secret = await token(cluster)
    await join(cluster, secret)
    with pytest.raises(TeleportError):
        await join(cluster, secret, roles=("Proxy",))
    with pytest.raises(TeleportError):
        await join(cluster, f"{secret}x")

    assert secret[3:] not in str(cluster.events())


@pytest.mark.parametrize("service", ["Node", "Proxy"])
async def test_a_service_that_follows_the_policy_is_sent_no_secret(cluster: Cluster, service: Any) -> None:
    await cluster.declare(role(), user())
    totp = await cluster.enrol()
    secrets = [await token(cluster), totp.secret]
    invitation = await cluster.call("invite", m.InvitationRequest(user="ann"))

    stream = feed(cluster.auth.store, cluster.host(service).known, 0)
    listing = json.loads(await anext(stream))["listing"]
    await stream.aclose()

    prefixes = {record["key"].split("/")[0] for record in listing["records"]}
    assert prefixes <= {"policy", "ca", "presence"}
    assert not [secret for secret in [*secrets, invitation.token] if secret in str(listing)]
    assert "PRIVATE" not in str(listing)
