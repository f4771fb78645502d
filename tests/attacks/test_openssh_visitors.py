"""What a compromised proxy of a leaf may not obtain for hosts with only OpenSSH in the name of the root's users."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import SSHCertificate

from teleport.api import models as m
from teleport.core.errors import AccessDenied, TeleportError, Unauthenticated
from teleport.core.identity import Identity, Passage
from teleport.pki.authority import Authority
from teleport.pki.credentials import issue_ssh_user
from teleport.pki.keys import load_ssh_line, new_ssh_key, ssh_line
from tests.attacks.test_openssh_proof import ADDRESS, Ann, plain, proxy, redeem
from tests.auth.cluster import SSH_KEY, Cluster, role, user
from tests.auth.foreign import ANN, HOME, ROUTE, THIRD, TRUST, passage, trusting

THERE = replace(ROUTE, host="old-1")
OTHER_SID = "0a3c9d6e-0000-4000-8000-000000000002"


async def visited(cluster: Cluster, *more: str) -> Ann:
    """acme trusts root and has two plain hosts; ann of root is on her way."""
    await trusting(cluster)
    await cluster.declare(role(), TRUST, user("ann"), plain(), plain("old-2"), *more)
    return visitor(cluster)


def visitor(cluster: Cluster, identity: Identity = ANN, *, by: Authority = HOME["user"]) -> Ann:
    key, now = new_ssh_key(), cluster.clock.time()
    public = load_ssh_line(ssh_line(key.public_key()))
    line = issue_ssh_user(by, replace(identity, expires=now + 3600), public, logins=["root"], permits=[], now=now)
    return Ann(key, line.encode())


async def challenge(
    cluster: Cluster, text: str | None = None, *, host: str = "old-1", root: str = "root", route: Passage = THERE
) -> str:
    shown = passage(cluster, route=route) if text is None else text
    request = m.PlainChallengeRequest(host_id=host, ssh_public_key=SSH_KEY, passage=shown, root=root)
    answer: m.PlainChallenge = await cluster.call("openssh_challenge", request, proxy(cluster))
    return answer.ssh_certificate


async def enter(cluster: Cluster, who: Ann, shown: str, login: str = "root", **more: Any) -> SSHCertificate:
    return await redeem(cluster, who.logs_in(shown, login), **more)


async def test_a_visitors_login_by_a_passage_obtains_one_login_on_one_host(cluster: Cluster) -> None:
    ann = await visited(cluster)

    certificate = await enter(cluster, ann, await challenge(cluster))

    assert certificate.valid_principals == [b"root@old-1.acme"]
    (event,) = cluster.events("cert.create")
    assert (event["user"], event["user_roles"]) == ("remote-ann-root", ["dev"])
    assert (event["identity"]["logins"], event["identity"]["host"]) == (["root"], "old-1")


async def test_a_visitor_without_a_passage_obtains_nothing(cluster: Cluster) -> None:
    ann = await visited(cluster)

    with pytest.raises(Unauthenticated):
        await enter(cluster, ann, await challenge(cluster, "", root=""))
    with pytest.raises(Unauthenticated):
        await enter(cluster, ann, await challenge(cluster, "", root="root"))


async def test_a_passage_makes_one_challenge_whatever_became_of_it(cluster: Cluster) -> None:
    ann, text = await visited(cluster), passage(cluster, route=THERE)
    await enter(cluster, ann, await challenge(cluster, text))

    with pytest.raises(Unauthenticated, match="used"):
        await challenge(cluster, text)
    with pytest.raises(Unauthenticated, match="used"):
        await challenge(cluster, passage(cluster, route=THERE))
    assert await challenge(cluster, route=replace(THERE, session=OTHER_SID))


async def test_a_used_passage_stays_used_as_long_as_it_could_be_shown(cluster: Cluster) -> None:
    await visited(cluster)
    text = passage(cluster, route=THERE, expires=cluster.clock.time() + 120)
    await challenge(cluster, text)

    for _ in range(13):
        cluster.clock.advance(10)
        with pytest.raises(Unauthenticated):
            await challenge(cluster, text)


async def test_a_passage_that_expires_between_the_challenge_and_the_login_opens_nothing(cluster: Cluster) -> None:
    ann = await visited(cluster)
    shown = await challenge(cluster, passage(cluster, route=THERE, expires=cluster.clock.time() + 5))
    cluster.clock.advance(6)

    with pytest.raises(Unauthenticated):
        await enter(cluster, ann, shown)


@pytest.mark.parametrize(
    "forged",
    [
        lambda cluster: passage(cluster, route=THERE, by=THIRD),
        lambda cluster: passage(cluster, route=THERE, by=cluster.auth.authorities.signing("user")),
        lambda cluster: passage(cluster, route=replace(THERE, to="other")),
        lambda cluster: passage(cluster, route=replace(THERE, host="old-2")),
        lambda cluster: passage(cluster, route=replace(THERE, host="")),
        lambda cluster: passage(cluster, route=THERE, expires=cluster.clock.time() - 1),
        lambda cluster: passage(cluster, route=THERE, expires=cluster.clock.time() + 3600),
        lambda cluster: HOME["user"].active.certificate,
        lambda cluster: "nonsense",
    ],
    ids=["third", "our own", "elsewhere", "another host", "a list", "late", "long", "the authority", "nonsense"],
)
async def test_what_is_no_passage_of_the_root_to_this_host_makes_no_challenge(
    cluster: Cluster, forged: Callable[[Cluster], str]
) -> None:
    await visited(cluster)

    with pytest.raises((Unauthenticated, AccessDenied)):
        await challenge(cluster, forged(cluster))


@pytest.mark.parametrize("root", ["third", "acme", ""])
async def test_a_proxy_does_not_choose_whose_passage_it_is(cluster: Cluster, root: str) -> None:
    await visited(cluster)

    with pytest.raises(Unauthenticated):
        await challenge(cluster, root=root)
    with pytest.raises(Unauthenticated):
        await challenge(cluster, passage(cluster, route=THERE, by=THIRD), root=root)


async def test_a_passage_for_one_login_opens_no_other(cluster: Cluster) -> None:
    ann = await visited(cluster, role("app", logins="app"))
    await cluster.declare(role(logins="root, app"), TRUST, plain())

    with pytest.raises(AccessDenied, match="the passage is for root on old-1"):
        await enter(cluster, ann, await challenge(cluster), "app")


@pytest.mark.parametrize(
    "who",
    [
        lambda cluster: visitor(cluster, replace(ANN, name="bob")),
        lambda cluster: visitor(cluster, replace(ANN, uid="uid-of-an-earlier-ann")),
        lambda cluster: visitor(cluster, replace(ANN, requested_roles=("dev",))),
        lambda cluster: visitor(cluster, by=THIRD),
        lambda cluster: Ann.of(cluster),
        lambda cluster: replace(visitor(cluster), key=new_ssh_key()),
    ],
    ids=["another", "another incarnation", "another scope", "third", "a namesake here", "without her key"],
)
async def test_only_whom_the_passage_is_for_logs_in_by_it(cluster: Cluster, who: Callable[[Cluster], Ann]) -> None:
    await visited(cluster)

    with pytest.raises(Unauthenticated):
        await enter(cluster, who(cluster), await challenge(cluster))


@pytest.mark.parametrize(
    "trust",
    [
        TRUST.replace("remote: dev", "remote: other"),
        TRUST.replace("enabled: yes", "enabled: no"),
        TRUST.replace("local: dev", "local: auditor"),
        "",
    ],
    ids=["no entry", "disabled", "other roles", "no trust"],
)
async def test_who_lost_the_right_since_the_challenge_is_refused(cluster: Cluster, trust: str) -> None:
    ann = await visited(cluster)
    shown = await challenge(cluster)
    await cluster.declare(role(), plain(), *filter(None, [trust]))

    with pytest.raises((AccessDenied, Unauthenticated)):
        await enter(cluster, ann, shown)


async def test_a_visitors_pinned_certificate_is_good_from_its_address_alone(cluster: Cluster) -> None:
    await visited(cluster)
    ann = visitor(cluster, replace(ANN, pinned_ip=ADDRESS))

    with pytest.raises(Unauthenticated, match="pinned"):
        await enter(cluster, ann, await challenge(cluster), address="192.0.2.66")


async def test_used_passages_do_not_pile_up(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleport.auth.openssh._MAX_OUTSTANDING", 2)
    ann = await visited(cluster)

    for number in range(2):
        route = replace(THERE, session=f"0a3c9d6e-0000-4000-8000-00000000001{number}")
        await enter(cluster, ann, await challenge(cluster, route=route))
    with pytest.raises(TeleportError, match="at once"):
        await challenge(cluster)
    cluster.clock.advance(600)
    assert await challenge(cluster)
