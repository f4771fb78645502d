"""Attempts to get more from a certificate than it says, by having it issued again."""

from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.core.errors import AccessDenied, BadInput, TeleportError, Unauthenticated
from teleport.core.identity import Identity
from teleport.pki.credentials import read_ssh_user, read_tls
from tests.auth.cluster import SSH_KEY, TLS_KEY, Cluster, role, user

KEYS: dict[str, Any] = {"ssh_public_key": SSH_KEY, "tls_public_key": TLS_KEY}


def read(cluster: Cluster, issued: m.Certificates) -> Identity:
    """Who both certificates say their holder is: the same in both."""
    now, public = cluster.clock.time(), cluster.auth.authorities.public
    der = x509.load_pem_x509_certificate(issued.tls_certificate.encode()).public_bytes(Encoding.DER)
    identity = read_tls(der, public, now=now)
    ssh = read_ssh_user(issued.ssh_certificate.encode(), public, now=now).identity
    assert ssh == identity
    return identity


async def renew(cluster: Cluster, caller: Caller, **more: Any) -> Identity:
    return read(cluster, await cluster.call("renew", m.RenewRequest(**KEYS, **more), caller))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    held=st.none() | st.lists(st.sampled_from(["dev", "ops"]), max_size=2, unique=True).map(tuple),
    asked=st.none() | st.lists(st.sampled_from(["dev", "ops", "root"]), max_size=2, unique=True).map(tuple),
    left=st.floats(1, 100_000), ttl=st.floats(0, 200_000), age=st.floats(0, 50_000),
    pinned=st.sampled_from(["", "192.0.2.1"]), hosts=st.none() | st.just(("db-1",)),
)  # fmt: skip
async def test_whatever_is_asked_nothing_is_widened(
    cluster: Cluster, held: Any, asked: Any, left: float, ttl: float, age: float, pinned: str, hosts: Any
) -> None:
    await cluster.declare(role("dev"), role("ops", options="max_session_ttl: 10h"), user(roles="dev, ops"))
    now = cluster.clock.time()
    had = cluster.user(
        ttl=left, requested_roles=held, authenticated=now - age, pinned_ip=pinned, allowed_resources=hosts
    )

    try:
        got = await renew(cluster, had, roles=asked, ttl=ttl)
    except TeleportError:
        return

    before = had.known
    assert (got.name, got.uid, got.cluster) == (before.name, before.uid, before.cluster)
    assert got.expires <= before.expires
    assert held is None or (got.requested_roles is not None and set(got.requested_roles) <= set(held))
    assert (got.pinned_ip, got.allowed_resources, got.mfa_verified) == (pinned, hosts, False)
    assert abs(got.authenticated - before.authenticated) < 1
    assert got.expires <= before.authenticated + 36_000


async def test_renewing_again_and_again_ends_when_the_login_does(cluster: Cluster) -> None:
    await cluster.declare(role(options="max_session_ttl: 1h"), user())
    caller = cluster.user(ttl=3600)
    for _ in range(5):
        cluster.clock.advance(700)
        caller = Caller(await renew(cluster, caller), caller.address)

    cluster.clock.advance(200)

    with pytest.raises(AccessDenied, match="the login is older"):
        await renew(cluster, caller)


async def test_a_shorter_lifetime_in_the_roles_counts_at_the_next_renewal(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    caller = cluster.user(ttl=36_000)
    await cluster.declare(role(options="max_session_ttl: 30m"), user())

    got = await renew(cluster, caller)

    assert got.expires == caller.known.authenticated + 1800


async def test_a_role_that_was_taken_away_is_not_in_a_new_certificate(cluster: Cluster) -> None:
    await cluster.declare(role("dev"), role("ops", logins="admin"), user(roles="dev, ops"))
    caller = cluster.user()
    await cluster.declare(role("dev"), role("ops", logins="admin"), user(roles="dev"))

    issued: m.Certificates = await cluster.call("renew", m.RenewRequest(**KEYS), caller)

    assert (issued.roles, issued.logins) == (("dev",), ("root",))


async def test_a_role_that_one_does_not_have_cannot_be_asked_for(cluster: Cluster) -> None:
    await cluster.declare(role("dev"), role("ops"), user(roles="dev"))

    with pytest.raises(BadInput):
        await renew(cluster, cluster.user(), roles=("ops",))


async def session_certificate(cluster: Cluster, caller: Caller, code: str, host: str = "") -> Identity:
    request = m.SessionCertificateRequest(code=code, host=host, **KEYS)
    return read(cluster, await cluster.call("session_certificate", request, caller))


async def test_a_certificate_for_one_session_is_short_bound_and_has_no_children(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    totp = await cluster.enrol()

    got = await session_certificate(cluster, cluster.user(), cluster.code(totp), "db-1")

    assert got.expires - cluster.clock.time() <= 60
    assert (got.mfa_verified, got.reissuable, got.allowed_resources) == (True, False, ("db-1",))


async def test_the_code_for_a_session_works_once(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    totp = await cluster.enrol()
    await session_certificate(cluster, cluster.user(), cluster.code(totp))

    with pytest.raises(Unauthenticated):
        await session_certificate(cluster, cluster.user(), cluster.code(totp))
    with pytest.raises(Unauthenticated):
        await cluster.login(totp)


async def test_without_a_code_there_is_no_certificate_for_a_session_and_guessing_is_slow(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    await cluster.enrol()

    refusals = []
    for number in range(40):
        with pytest.raises(TeleportError) as caught:
            await session_certificate(cluster, cluster.user(), f"{number:06}")
        refusals.append(caught.value)

    assert sum(isinstance(one, Unauthenticated) for one in refusals) <= 6


async def test_a_certificate_for_some_hosts_gives_no_session_on_another(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    totp = await cluster.enrol()
    narrow = cluster.user(allowed_resources=("db-1",))

    with pytest.raises(AccessDenied, match="restricted to other resources"):
        await session_certificate(cluster, narrow, cluster.code(totp), "db-2")
    cluster.clock.advance(60)
    got = await session_certificate(cluster, narrow, cluster.code(totp))

    assert got.allowed_resources == ("db-1",)


async def test_a_certificate_of_a_deleted_namesake_obtains_nothing(cluster: Cluster) -> None:
    await cluster.declare(role(), user(), user("bob"))
    old = cluster.user()
    await cluster.declare(role(), user("bob"))
    await cluster.declare(role(), user("bob"), user())

    with pytest.raises(AccessDenied):
        await renew(cluster, old)


async def test_a_lock_stops_renewals(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    await cluster.apply("kind: lock\nversion: v2\nmetadata: {name: l}\nspec: {target: {user: ann}}\n")

    with pytest.raises(AccessDenied, match="lock/l is in force"):
        await renew(cluster, cluster.user())


async def test_who_administers_at_the_socket_has_no_certificate_to_renew(cluster: Cluster) -> None:
    admin = replace(cluster.admin.known, name="ann")

    with pytest.raises(Unauthenticated):
        await renew(cluster, Caller(admin, "local"))
