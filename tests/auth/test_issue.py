"""Certificates follow from the live roles, and one never leads to another that reaches further or lasts longer."""

import ssl
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.api import models as m
from teleport.auth.issue import PublicKeys, _narrower
from teleport.core.errors import AccessDenied, BadInput
from teleport.core.identity import Identity
from teleport.pki.credentials import read_ssh_user, read_tls
from tests.auth.cluster import SSH_KEY, TLS_KEY, Cluster, role, user

KEYS = PublicKeys(SSH_KEY, TLS_KEY)
LOCK = "kind: lock\nversion: v2\nmetadata: {name: stop}\nspec: {target: {user: ann}, message: lost laptop}\n"
SCOPES = st.none() | st.lists(st.sampled_from(["a", "b", "c"]), max_size=3, unique=True).map(tuple)


def login(cluster: Cluster, *, ttl: float = 0.0, roles: tuple[str, ...] | None = None) -> m.Certificates:
    return cluster.auth.issuer.login("ann", KEYS, ttl=ttl, roles=roles, address="192.0.2.1")


def in_tls(cluster: Cluster, made: m.Certificates) -> Identity:
    der = ssl.PEM_cert_to_DER_cert(made.tls_certificate)
    return read_tls(der, cluster.auth.authorities.public, now=cluster.clock.time())


async def test_both_certificates_carry_the_same_identity_and_its_incarnation(cluster: Cluster) -> None:
    await cluster.declare(role(), user())

    made = login(cluster)

    identity = in_tls(cluster, made)
    ssh = read_ssh_user(made.ssh_certificate.encode(), cluster.auth.authorities.public, now=cluster.clock.time())
    assert identity == ssh.identity
    assert (identity.name, identity.uid) == ("ann", cluster.auth.policy.current.users["ann"].uid)


@pytest.mark.parametrize(
    ("options", "asked", "hours"),
    [("", 0, 12), ("", 3600, 1), ("max_session_ttl: 2h", 0, 2), ("max_session_ttl: 2h", 36000, 2), ("", 864000, 30)],
)
async def test_a_login_lasts_as_asked_but_no_longer_than_the_roles_allow(
    cluster: Cluster, options: str, asked: float, hours: float
) -> None:
    await cluster.declare(role(options=options), user())

    made = login(cluster, ttl=asked)

    assert made.expires == cluster.clock.time() + hours * 3600


async def test_a_login_for_fewer_roles_covers_only_these_and_asking_for_others_is_refused(cluster: Cluster) -> None:
    await cluster.declare(role("a", logins="x"), role("b", logins="y"), role("c"), user("ann", "a, b"))

    made = login(cluster, roles=("a",))

    assert (made.roles, made.logins, in_tls(cluster, made).requested_roles) == (("a",), ("x",), ("a",))
    with pytest.raises(BadInput, match="ann does not have role c"):
        login(cluster, roles=("a", "c"))


@given(SCOPES, SCOPES)
def test_the_scope_that_is_asked_for_never_widens_the_one_that_is_held(
    held: tuple[str, ...] | None, asked: tuple[str, ...] | None
) -> None:
    found = _narrower(held, asked)

    if held is not None:
        assert found is not None
        assert set(found) <= set(held)
    if asked is not None:
        assert found is not None
        assert set(found) <= set(asked)


async def test_renewing_keeps_the_end_the_scope_the_restrictions_and_the_address(cluster: Cluster) -> None:
    await cluster.declare(role("a"), role("b"), user("ann", "a, b"))
    held = replace(
        cluster.user(ttl=1800).known, requested_roles=("a",), allowed_resources=("db-1",), pinned_ip="192.0.2.1"
    )
    cluster.clock.advance(600)

    renewed = in_tls(cluster, cluster.auth.issuer.renew(held, KEYS, ttl=86400, roles=None))

    kept = ("expires", "requested_roles", "allowed_resources", "pinned_ip", "mfa_verified", "authenticated")
    assert [getattr(renewed, name) for name in kept] == [getattr(held, name) for name in kept]


async def test_shortening_the_roles_limit_shortens_what_a_renewal_gives_counted_from_the_login(
    cluster: Cluster,
) -> None:
    await cluster.declare(role(), user())
    held = cluster.user(ttl=36000).known
    cluster.clock.advance(1800)
    await cluster.declare(role(options="max_session_ttl: 1h"), user())

    made = cluster.auth.issuer.renew(held, KEYS, ttl=0, roles=None)
    cluster.clock.advance(1801)

    assert made.expires == held.authenticated + 3600
    with pytest.raises(AccessDenied, match="the login is older than the roles permit"):
        cluster.auth.issuer.renew(held, KEYS, ttl=0, roles=None)


async def test_a_certificate_for_one_session_lasts_a_minute_for_one_host_and_obtains_nothing(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    held = cluster.user().known

    made = in_tls(cluster, cluster.auth.issuer.for_session(held, KEYS, host="db-1"))

    assert (made.mfa_verified, made.reissuable, made.allowed_resources) == (True, False, ("db-1",))
    assert made.expires == cluster.clock.time() + 60
    with pytest.raises(AccessDenied, match="restricted to other resources"):
        cluster.auth.issuer.for_session(replace(held, allowed_resources=("db-2",)), KEYS, host="db-1")


async def test_logins_that_a_role_denies_everywhere_are_in_no_certificate(cluster: Cluster) -> None:
    await cluster.declare(role("a", logins="root, deploy"), role("b", deny="logins: [root]"), user("ann", "a, b"))

    assert login(cluster).logins == ("deploy",)
    assert login(cluster, roles=("a",)).logins == ("deploy",)


async def test_an_address_is_pinned_where_a_role_says_so(cluster: Cluster) -> None:
    await cluster.declare(role(options="pin_source_ip: yes"), user())

    assert in_tls(cluster, login(cluster)).pinned_ip == "192.0.2.1"


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (user() + "---\n" + LOCK, "lock/stop is in force: lost laptop"),
        (user("bob"), "user ann does not exist"),
    ],
)
async def test_who_is_locked_or_gone_gets_nothing_by_any_way(cluster: Cluster, document: str, why: str) -> None:
    await cluster.declare(role(), user())
    held = cluster.user().known
    await cluster.declare(role(), document)
    issuer = cluster.auth.issuer

    attempts: list[Callable[[], m.Certificates]] = [
        lambda: login(cluster), lambda: issuer.renew(held, KEYS, ttl=0, roles=None),
        lambda: issuer.for_session(held, KEYS, host="db-1"), lambda: issuer.sign("ann", KEYS, ttl=60),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(AccessDenied, match=why):
            attempt()
