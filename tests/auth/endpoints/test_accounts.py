"""Invitations, the state of accounts, and certificates signed without a login."""

import pytest

from teleport.api import models as m
from teleport.core.errors import AccessDenied, NotFound
from tests.auth.cluster import SSH_KEY, TLS_KEY, Cluster, role, user

LOCK = "kind: lock\nversion: v2\nmetadata: {name: stop}\nspec: {target: {user: ann}}\n"


def identity(name: str = "ann", *, ttl: float = 3600.0) -> m.IdentityRequest:
    return m.IdentityRequest(user=name, ssh_public_key=SSH_KEY, tls_public_key=TLS_KEY, ttl=ttl)


async def test_an_invitation_names_the_link_and_the_pins_and_is_written_down_without_its_token(
    cluster: Cluster,
) -> None:
    await cluster.declare(role(), user())
    cluster.auth.surroundings.proxy_address = "proxy.example.com:3080"

    invitation = await cluster.call("invite", m.InvitationRequest(user="ann", ttl=600))

    assert invitation.url == f"https://proxy.example.com:3080/web/invite/{invitation.token}"
    assert invitation.ca_pins == cluster.auth.authorities.pins
    (event,) = cluster.events("reset_password_token.create")
    assert (event["name"], event["user"]) == ("ann", "root (uid 0)")
    assert invitation.token not in str(cluster.events())


async def test_who_is_not_declared_cannot_be_invited(cluster: Cluster) -> None:
    with pytest.raises(NotFound, match="user zoe does not exist"):
        await cluster.call("invite", m.InvitationRequest(user="zoe"))


async def test_a_rule_with_a_condition_lets_invite_only_whom_it_means(cluster: Cluster) -> None:
    rules = '{resources: [user], verbs: [list, update], where: \'equals(resource.metadata.labels["team"], "web")\'}'
    await cluster.declare(
        role(), role("lead", rules=rules), user("ann", labels="team: web"), user("bob"), user("liz", "lead")
    )

    invited = await cluster.call("invite", m.InvitationRequest(user="ann"), cluster.user("liz"))
    listed = await cluster.call("users", caller=cluster.user("liz"))

    assert invited.user == "ann"
    assert [one.name for one in listed.users] == ["ann"]
    with pytest.raises(AccessDenied, match="liz may not update user/bob"):
        await cluster.call("invite", m.InvitationRequest(user="bob"), cluster.user("liz"))


async def test_a_reset_takes_the_password_and_the_second_factor_away(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    await cluster.enrol()
    before = (await cluster.call("users")).users[0].enrolled

    await cluster.call("invite", m.InvitationRequest(user="ann", reset=True))

    assert (before, (await cluster.call("users")).users[0].enrolled) == (True, False)


async def test_the_state_of_an_account_says_where_it_is_declared_and_whether_it_is_locked(cluster: Cluster) -> None:
    await cluster.declare(role(), user(), LOCK)

    (row,) = (await cluster.call("users")).users

    assert (row.name, row.roles, row.source, row.locked) == ("ann", ("dev",), "policy.yaml", True)


async def test_signed_certificates_last_no_longer_than_the_roles_allow_and_name_who_signed(cluster: Cluster) -> None:
    await cluster.declare(role(options="max_session_ttl: 1h"), user())

    made = await cluster.call("sign", identity(ttl=86400))

    assert made.user == "ann"
    assert made.expires == pytest.approx(cluster.clock.time() + 3600, abs=120)
    (event,) = cluster.events("cert.create")
    assert (event["impersonator"], event["identity"]["user"]) == ("root (uid 0)", "ann")


async def test_a_certificate_is_written_down_with_the_places_that_it_rests_on(cluster: Cluster) -> None:
    await cluster.declare(role(), user("ann", "dev, access"))

    await cluster.call("sign", identity())

    (event,) = cluster.events("cert.create")
    assert (event["source"], event["file"], event["line"], event["column"]) == ("folder", "policy.yaml", 12, 8)
    declared, preset = event["grants"]
    assert declared == {"role": "dev", "source": "folder", "file": "policy.yaml", "line": 6, "column": 11}
    assert preset == {"role": "access", "source": "preset", "file": "preset/access"}


async def test_for_whom_is_not_declared_nothing_is_signed(cluster: Cluster) -> None:
    with pytest.raises((NotFound, AccessDenied)):
        await cluster.call("sign", identity("zoe"))


async def test_where_nobody_may_log_in_with_a_password_certificates_can_still_be_signed(cluster: Cluster) -> None:
    shut = "kind: cluster_auth_preference\nversion: v2\nspec: {allow_local_auth: no}\n"
    await cluster.declare(role(), user("ann", "dev, editor"), shut)

    made = await cluster.call("sign", identity())

    assert made.roles == ("dev", "editor")
