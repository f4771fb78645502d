"""For anybody: failures are written down and tell nothing; joining and logging in."""

import pytest

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.core.errors import AccessDenied, TeleportError
from tests.auth.cluster import SSH_KEY, TLS_KEY, Cluster, role, user

STRANGER = Caller(None, "192.0.2.7")


async def test_a_login_is_written_down_with_the_roles_and_the_certificate_that_left(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    totp = await cluster.enrol()
    cluster.clock.advance(60)

    certificates = await cluster.login(totp)

    (event,) = cluster.events("user.login")
    assert (event["success"], event["user_roles"], event["addr.remote"]) == (True, ["dev"], "192.0.2.1")
    assert cluster.events("cert.create")[-1]["identity"]["user"] == certificates.user == "ann"


async def test_a_failed_login_is_written_down_and_says_the_same_whoever_it_was(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    totp = await cluster.enrol()
    told = []

    for name in ("ann", "nobody"):
        with pytest.raises(TeleportError) as refused:
            await cluster.login(totp, name, password="wrong password here")
        told.append((type(refused.value), refused.value.message))

    assert told[0] == told[1]
    assert [(one["user"], one["success"]) for one in cluster.events("user.login")] == [
        ("ann", False),
        ("nobody", False),
    ]


async def test_a_cluster_without_local_logins_says_so(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    totp = await cluster.enrol()
    await cluster.declare(role(), user(), "kind: cluster_auth_preference\nversion: v2\nspec: {allow_local_auth: no}\n")

    with pytest.raises(AccessDenied, match="does not let users log in with a password"):
        await cluster.login(totp)


async def test_a_service_that_joins_is_written_down_without_its_token(cluster: Cluster) -> None:
    token = (await cluster.call("token", m.TokenRequest(roles=("node",), ttl=60))).token
    request = m.JoinRequest(
        token=token, hostname="db-1", roles=("Node",), ssh_public_key=SSH_KEY, tls_public_key=TLS_KEY
    )

    joined = await cluster.call("join", request, STRANGER)
    with pytest.raises(TeleportError):
        await cluster.call("join", request.model_copy(update={"token": "0" * 32}), STRANGER)

    assert [(one["success"], one.get("host_id", "")) for one in cluster.events("instance.join")] == [
        (True, joined.host_id), (False, ""),
    ]  # fmt: skip
    assert token not in str(cluster.events())


async def test_the_address_that_a_stranger_tells_is_not_believed_and_that_of_a_proxy_is(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    request = m.LoginRequest(
        user="ann", password="x" * 12, code="123456", ssh_public_key=SSH_KEY, tls_public_key=TLS_KEY,
        client_address="203.0.113.5",
    )  # fmt: skip

    for caller in (STRANGER, cluster.host("Proxy")):
        with pytest.raises(TeleportError):
            await cluster.call("login", request, caller)

    assert [one["addr.remote"] for one in cluster.events("user.login")] == ["192.0.2.7", "203.0.113.5"]
