"""Attacks between clusters: on joining, on names, with passages that are not for this connection or not by the root."""

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.core.errors import AccessDenied, BadInput, Conflict, NotFound, TeleportError, Unauthenticated
from teleport.core.identity import Identity, Passage
from teleport.pki.authority import Authority, TrustedAuthority, new_authority
from teleport.pki.credentials import issue_ssh_user, issue_tls, read_ssh_user, read_tls
from teleport.pki.foreign import Introduction, introduce
from teleport.pki.keys import load_public, load_ssh_line
from teleport.pki.passages import read_passage
from teleport.sessions.visitors import Arriving, read_visiting_login, read_visitor
from tests.auth.cluster import SSH_KEY, TLS_KEY, Cluster, role, user
from tests.auth.foreign import ANN, HOME, ROUTE, SID, THIRD, TRUST, passage, trusting

STRANGER = Caller(None, "192.0.2.66")
GOING = "kind: role\nversion: v7\nmetadata: {name: going}\nspec: {allow: {cluster_labels: {'*': '*'}}}\n"


# -- joining


async def token(cluster: Cluster) -> str:
    made: m.TokenSecret = await cluster.call("token", m.TokenRequest(roles=("trusted_cluster",)))
    return made.token


def leaf(name: str = "leaf") -> Authority:
    return new_authority("host", name, now=1_700_000_000.0)


async def join(cluster: Cluster, secret: str, signer: Authority, /, **lies: Any) -> Any:
    own = introduce(signer, root=lies.pop("root", "acme"), token=lies.pop("signed_token", secret))
    fields = {
        "token": secret, "cluster": own.leaf, "authority": own.authority.encode().decode(),
        "proofs": tuple(base64.b64encode(proof).decode() for proof in own.proofs), **lies,
    }  # fmt: skip
    answer = await cluster.call("join_cluster", m.ClusterIntroduction(**fields), STRANGER)
    revision = (await cluster.service.store.list("trust/")).revision
    await cluster.auth.policy.wait_for(revision)
    return answer


def refusals(cluster: Cluster) -> list[str]:
    return [one["error"] for one in cluster.events("trusted_cluster.join") if not one["success"]]


async def test_a_leaf_joins_and_learns_the_authorities(cluster: Cluster) -> None:
    answer = await join(cluster, await token(cluster), leaf())

    assert answer.cluster == "acme"
    assert set(cluster.auth.policy.leaves) == {"leaf"}
    assert not any(one.cluster == "leaf" for one in cluster.auth.policy.authorities)


async def test_a_token_is_spent_by_the_first_leaf_though_it_is_declared_still(cluster: Cluster) -> None:
    secret = await token(cluster)
    await join(cluster, secret, leaf())

    with pytest.raises(AccessDenied, match="used already"):
        await join(cluster, secret, leaf("other"))

    assert "used already" in refusals(cluster)[0]


async def test_a_token_stays_spent_when_its_leaf_is_removed(cluster: Cluster) -> None:
    secret, authority = await token(cluster), leaf()
    await join(cluster, secret, authority)
    await cluster.call("delete", m.ResourceName(kind="remote_cluster", name="leaf"))
    await cluster.auth.policy.wait_for((await cluster.service.store.list("trust/")).revision)

    with pytest.raises(AccessDenied, match="used already"):
        await join(cluster, secret, authority)

    assert not cluster.auth.policy.leaves


async def test_the_same_leaf_may_ask_again_for_an_answer_that_was_lost(cluster: Cluster) -> None:
    secret, authority = await token(cluster), leaf()
    first = await join(cluster, secret, authority)

    assert await join(cluster, secret, authority) == first


async def test_a_name_is_its_first_holders(cluster: Cluster) -> None:
    await join(cluster, await token(cluster), leaf())

    with pytest.raises(Conflict, match="another cluster has joined as leaf"):
        await join(cluster, await token(cluster), leaf())

    assert refusals(cluster)


@pytest.mark.parametrize("name", ["acme", "ACME"])
async def test_no_leaf_has_the_name_of_the_root(cluster: Cluster, name: str) -> None:
    with pytest.raises(Conflict, match="is called acme itself"):
        await join(cluster, await token(cluster), leaf(name))


async def test_no_leaf_vouches_for_names_of_the_roots_hosts_or_of_another_leafs(cluster: Cluster) -> None:
    await join(cluster, await token(cluster), leaf("berlin.shop"))

    for name in ("shop", "mitte.berlin.shop"):
        with pytest.raises(Conflict, match="could have the same names"):
            await join(cluster, await token(cluster), leaf(name))


@pytest.mark.parametrize(
    "lies",
    [
        {"root": "other"},
        {"signed_token": "another-token-altogether"},
        {"proofs": (base64.b64encode(b"x" * 70).decode(),)},
    ],
)
async def test_whoever_does_not_hold_the_key_of_the_authority_is_no_leaf(
    cluster: Cluster, lies: dict[str, Any]
) -> None:
    with pytest.raises(Unauthenticated, match="does not prove"):
        await join(cluster, await token(cluster), leaf(), **lies)

    assert not cluster.auth.policy.leaves


async def test_a_leaf_cannot_come_with_another_kind_of_authority_or_another_name(cluster: Cluster) -> None:
    people = new_authority("user", "leaf", now=1_700_000_000.0)

    with pytest.raises(BadInput):
        await join(cluster, await token(cluster), people)
    with pytest.raises(TeleportError):
        await join(cluster, await token(cluster), leaf(), cluster="other")


async def test_the_authority_of_the_root_joins_as_no_leaf(cluster: Cluster) -> None:
    own = cluster.auth.authorities.signing("host")

    with pytest.raises(Conflict):
        await join(cluster, await token(cluster), own)
    with pytest.raises(BadInput, match="own name"):
        await join(cluster, await token(cluster), replace(own, cluster="leaf"))


async def test_a_token_for_hosts_takes_no_cluster_in_and_one_for_clusters_no_host(cluster: Cluster) -> None:
    made: m.TokenSecret = await cluster.call("token", m.TokenRequest(roles=("node",)))

    with pytest.raises(AccessDenied, match="does not permit"):
        await join(cluster, made.token, leaf())
    host = m.JoinRequest(
        token=await token(cluster), ssh_public_key=SSH_KEY, tls_public_key=TLS_KEY, hostname="x", roles=("Node",)
    )
    with pytest.raises(AccessDenied, match="does not permit"):
        await cluster.call("join", host, STRANGER)


async def test_an_introduction_of_garbage_is_refused(cluster: Cluster) -> None:
    own = introduce(leaf(), root="acme", token="t")
    broken = TrustedAuthority("host", "leaf", (replace(own.authority.keys[0], certificate="nonsense"),))

    for text in ("", "{}", "[]", "nonsense", broken.encode().decode()):
        with pytest.raises(TeleportError):
            await join(cluster, await token(cluster), leaf(), authority=text)


# -- leaving for another cluster


async def shown_by(cluster: Cluster, **more: Any) -> str:
    """A certificate that ann has shown to the proxy."""
    identity = cluster.user("ann", **more).known
    pem = issue_tls(cluster.auth.authorities.signing("user"), identity, load_public(TLS_KEY), now=cluster.clock.time())
    return base64.b64encode(x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)).decode()


async def ask(cluster: Cluster, certificate: str, *, to: str = "leaf", host: str = "db-1") -> m.PassageAnswer:
    request = m.PassageRequest(cluster=to, host=host, login="root", session=SID, tls_certificate=certificate)
    answer: m.PassageAnswer = await cluster.call("passage", request, cluster.host("Proxy", uid="proxy-1"))
    return answer


async def test_a_passage_names_the_route_and_lasts_for_minutes(cluster: Cluster) -> None:
    await cluster.declare(GOING, user(roles="going", traits="team: [web]"))
    await join(cluster, await token(cluster), leaf())

    answer = await ask(cluster, await shown_by(cluster))

    now = cluster.clock.time()
    identity = read_passage(answer.passage, cluster.auth.authorities.public, to="leaf", now=now)
    assert identity.passage == Passage("ann", "leaf", "db-1", "root", SID, "proxy-1", ("going",), (("team", ("web",)),))
    assert identity.expires <= now + 120


async def test_a_passage_opens_nothing_at_home(cluster: Cluster) -> None:
    await cluster.declare(GOING, user(roles="going"))
    await join(cluster, await token(cluster), leaf())
    answer = await ask(cluster, await shown_by(cluster))
    der = x509.load_pem_x509_certificate(answer.passage.encode()).public_bytes(Encoding.DER)

    with pytest.raises(Unauthenticated):
        read_tls(der, cluster.auth.authorities.public, now=cluster.clock.time())


async def test_nobody_goes_where_no_role_leads_or_nobody_has_joined(cluster: Cluster) -> None:
    await cluster.declare(role(deny="cluster_labels: {'*': '*'}"), user())
    await join(cluster, await token(cluster), leaf())

    for place in ("leaf", "elsewhere", "acme"):
        with pytest.raises(NotFound):
            await ask(cluster, await shown_by(cluster), to=place)

    refused = [one for one in cluster.events("trusted_cluster.passage") if not one["success"]]
    assert [one["name"] for one in refused] == ["leaf", "elsewhere", "acme"]


async def test_a_proxy_obtains_no_passage_for_whom_it_makes_up(cluster: Cluster) -> None:
    await cluster.declare(GOING, user(roles="going"))
    await join(cluster, await token(cluster), leaf())
    forged = new_authority("user", "acme", now=cluster.clock.time())
    pem = issue_tls(forged, cluster.user("ann").known, load_public(TLS_KEY), now=cluster.clock.time())
    der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)

    with pytest.raises(Unauthenticated):
        await ask(cluster, base64.b64encode(der).decode())


async def test_a_deleted_user_obtains_no_passage(cluster: Cluster) -> None:
    await cluster.declare(GOING, user(roles="going"))
    await join(cluster, await token(cluster), leaf())
    certificate = await shown_by(cluster)
    await cluster.declare(GOING)

    with pytest.raises(AccessDenied, match="does not exist"):
        await ask(cluster, certificate)


async def test_a_certificate_that_is_restricted_to_hosts_leads_to_no_namesake(cluster: Cluster) -> None:
    await cluster.declare(GOING, user(roles="going"))
    await join(cluster, await token(cluster), leaf())

    with pytest.raises(AccessDenied, match="restricted"):
        await ask(cluster, await shown_by(cluster, allowed_resources=("db-1",)))

    assert (await ask(cluster, await shown_by(cluster, allowed_resources=("db-1.leaf",)))).passage


# -- coming in, where acme is the leaf


def arrive(cluster: Cluster, text: str, *, root: str = "root") -> Identity:
    return read_visitor(cluster.auth.policy, Arriving(text, root, "acme"), now=cluster.clock.time())


async def test_a_visitor_is_called_by_a_name_that_no_local_user_can_have(cluster: Cluster) -> None:
    await trusting(cluster)

    visitor = arrive(cluster, passage(cluster))

    assert (visitor.name, visitor.cluster) == ("remote-ann-root", "root")
    assert cluster.auth.policy.current.user(visitor.name) is None


@pytest.mark.parametrize(
    "forged",
    [
        lambda cluster: passage(cluster, by=THIRD),
        lambda cluster: passage(cluster, by=cluster.auth.authorities.signing("user")),
        lambda cluster: passage(cluster, route=replace(ROUTE, to="other")),
        lambda cluster: passage(cluster, route=replace(ROUTE, user="bob")),
        lambda cluster: passage(cluster, expires=cluster.clock.time() - 1),
        lambda cluster: passage(cluster, expires=cluster.clock.time() + 3600),
        lambda cluster: issue_tls(HOME["user"], ANN, load_public(TLS_KEY), now=cluster.clock.time()),
        lambda cluster: HOME["user"].active.certificate,
        lambda cluster: "nonsense",
    ],
    ids=["third", "our own", "elsewhere", "two names", "late", "long", "a login", "the authority", "nonsense"],
)
async def test_what_is_no_passage_of_the_root_to_here_lets_nobody_in(
    cluster: Cluster, forged: Callable[[Cluster], str]
) -> None:
    await trusting(cluster)

    with pytest.raises(Unauthenticated):
        arrive(cluster, forged(cluster))


async def test_nobody_comes_in_from_a_root_that_is_disabled_or_not_joined(cluster: Cluster) -> None:
    await trusting(cluster)
    with pytest.raises(Unauthenticated, match="not trusted"):
        arrive(cluster, passage(cluster, by=THIRD), root="third")
    await cluster.declare(role(), TRUST.replace("enabled: yes", "enabled: no"))

    with pytest.raises(Unauthenticated, match="not trusted"):
        arrive(cluster, passage(cluster))


def ssh(cluster: Cluster, identity: Identity, by: Authority = HOME["user"]) -> bytes:
    line = issue_ssh_user(by, identity, load_ssh_line(SSH_KEY), logins=["root"], permits=[], now=cluster.clock.time())
    return line.encode()


@pytest.mark.parametrize(
    "shown",
    [
        lambda cluster: ssh(cluster, replace(ANN, name="bob")),
        lambda cluster: ssh(cluster, replace(ANN, uid="uid-of-an-earlier-ann")),
        lambda cluster: ssh(cluster, replace(ANN, requested_roles=("dev",))),
        lambda cluster: ssh(cluster, ANN, THIRD),
        lambda cluster: ssh(cluster, ANN, cluster.auth.authorities.signing("user")),
        lambda cluster: ssh(cluster, replace(ANN, passage=ROUTE)),
    ],
    ids=["another", "another incarnation", "another scope", "third", "our own", "passage"],
)
async def test_the_ssh_certificate_must_be_of_the_root_and_of_whom_the_passage_is_for(
    cluster: Cluster, shown: Callable[[Cluster], bytes]
) -> None:
    await trusting(cluster)
    arriving = Arriving(passage(cluster), "root", "acme")

    with pytest.raises(Unauthenticated):
        read_visiting_login(
            shown(cluster), cluster.auth.policy, arriving, address="192.0.2.1", now=cluster.clock.time()
        )


async def test_what_the_certificate_says_of_the_second_factor_counts_and_not_the_passage(cluster: Cluster) -> None:
    await trusting(cluster)
    arriving = Arriving(passage(cluster, mfa_verified=True), "root", "acme")

    user = read_visiting_login(
        ssh(cluster, ANN), cluster.auth.policy, arriving, address="192.0.2.1", now=cluster.clock.time()
    )

    assert user.identity.name == "remote-ann-root"
    assert not user.identity.mfa_verified


async def test_the_roots_authorities_vouch_for_nobody_without_a_passage(cluster: Cluster) -> None:
    await trusting(cluster)
    now = cluster.clock.time()
    pem = issue_tls(HOME["user"], ANN, load_public(TLS_KEY), now=now)
    der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)

    with pytest.raises(Unauthenticated):
        read_tls(der, cluster.auth.policy.authorities, now=now)
    with pytest.raises(Unauthenticated):
        read_ssh_user(ssh(cluster, ANN), cluster.auth.policy.authorities, now=now)


async def test_an_introduction_is_for_one_root_and_one_token(cluster: Cluster) -> None:
    own = introduce(leaf(), root="acme", token="one")

    assert own.statement != Introduction("leaf", "acme", "two", own.authority).statement
    assert own.statement != Introduction("leaf", "other", "one", own.authority).statement
