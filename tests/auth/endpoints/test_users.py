"""Users about their own affairs: who they are, what they reach, and certificates that never grow."""

import pytest

from teleport.api import models as m
from teleport.core.errors import NotFound, Unauthenticated
from tests.auth.cluster import SSH_KEY, TLS_KEY, Cluster, role, user

RENEW = m.RenewRequest(ssh_public_key=SSH_KEY, tls_public_key=TLS_KEY)


async def host(cluster: Cluster, name: str = "db-1", **labels: str) -> None:
    heartbeat = m.Heartbeat(revision=0, version="1", hostname=name, labels=labels, ttl=30)
    await cluster.call("heartbeat", heartbeat, cluster.host(name=name))
    await cluster.auth.policy.wait_for((await cluster.auth.store.list()).revision)


async def test_who_somebody_is_comes_from_the_policy_in_force(cluster: Cluster) -> None:
    await cluster.declare(role(), role("more", logins="admin"), user("ann", "dev"))
    caller = cluster.user()
    await cluster.declare(role(), role("more", logins="admin"), user("ann", "dev, more"))

    found = await cluster.call("me", caller=caller)

    assert (found.roles, found.logins) == (("dev", "more"), ("admin", "root"))


async def test_a_user_sees_the_hosts_they_reach_with_the_logins(cluster: Cluster) -> None:
    await cluster.declare(role(), user(), user("bob", "auditor"))
    await host(cluster, env="dev")

    ann = await cluster.call("hosts", caller=cluster.user())
    bob = await cluster.call("hosts", caller=cluster.user("bob"))

    assert [(one.hostname, dict(one.labels), one.logins) for one in ann.hosts] == [("db-1", {"env": "dev"}, ("root",))]
    assert bob.hosts == ()


async def test_a_host_that_somebody_could_never_reach_does_not_exist_for_them(cluster: Cluster) -> None:
    await cluster.declare(role(), user(), user("bob", "auditor"))
    await host(cluster)

    known = await cluster.call("check", m.AccessCheck(host="db-1", login="admin"), cluster.user())

    assert (known.allowed, known.reasons) == (False, ("role/dev allows root, not admin",))
    for name in ("db-1", "nowhere"):
        with pytest.raises(NotFound, match=f"node {name} not found"):
            await cluster.call("check", m.AccessCheck(host=name, login="root"), cluster.user("bob"))


async def test_a_renewed_certificate_ends_no_later_than_the_one_that_asked(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    caller = cluster.user(ttl=600)

    made = await cluster.call("renew", RENEW.model_copy(update={"ttl": 86400.0}), caller)

    assert made.expires <= caller.known.expires


async def test_a_renewed_certificate_covers_no_more_roles_than_the_one_that_asked(cluster: Cluster) -> None:
    await cluster.declare(role(), role("more"), user("ann", "dev, more"))
    caller = cluster.user(requested_roles=("dev",))

    for asked in (None, ("dev", "more")):
        made = await cluster.call("renew", RENEW.model_copy(update={"roles": asked}), caller)
        assert made.roles == ("dev",)


async def test_only_users_have_certificates_to_renew(cluster: Cluster) -> None:
    with pytest.raises(Unauthenticated, match="only users have certificates to renew"):
        await cluster.call("renew", RENEW)
