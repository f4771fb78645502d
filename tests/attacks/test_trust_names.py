"""Attacks on who a cluster is: keys of others among one's own, names of others, two who come at once."""

import asyncio
import base64
from dataclasses import replace

import pytest

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.auth import keys
from teleport.core.errors import BadInput, Conflict, TeleportError, Unauthenticated
from teleport.pki.authority import Authority, AuthorityKey, new_authority
from teleport.pki.foreign import Foreign, introduce
from tests.auth.cluster import Cluster

STRANGER = Caller(None, "192.0.2.66")
NOW = 1_700_000_000.0


def leaf(name: str, *more: AuthorityKey) -> Authority:
    own = new_authority("host", name, now=NOW)
    return replace(own, keys=(*own.keys, *more))


def borrowed(victim: Authority, *, by: AuthorityKey) -> AuthorityKey:
    """Another's public half, for which the thief signs with a key of its own."""
    return replace(by, state="trusted", certificate=victim.active.certificate)


async def asked(cluster: Cluster, signer: Authority) -> m.ClusterIntroduction:
    made: m.TokenSecret = await cluster.call("token", m.TokenRequest(roles=("trusted_cluster",)))
    own = introduce(signer, root="acme", token=made.token)
    return m.ClusterIntroduction(
        token=made.token, cluster=own.leaf, authority=own.authority.encode().decode(),
        proofs=tuple(base64.b64encode(proof).decode() for proof in own.proofs),
    )  # fmt: skip


async def join(cluster: Cluster, signer: Authority) -> None:
    await cluster.call("join_cluster", await asked(cluster, signer), STRANGER)
    await cluster.auth.policy.wait_for((await cluster.service.store.list("trust/")).revision)


async def test_a_leaf_in_the_middle_of_a_rotation_joins_with_both_of_its_keys(cluster: Cluster) -> None:
    next_key = replace(new_authority("host", "leaf", now=NOW).active, state="trusted")

    await join(cluster, leaf("leaf", next_key))

    assert len(cluster.auth.policy.leaves["leaf"].pins) == 2


async def test_the_key_of_another_cluster_is_no_leafs_second_one(cluster: Cluster) -> None:
    victim, thief = leaf("victim"), leaf("thief")

    with pytest.raises(Unauthenticated, match="does not prove"):
        await join(cluster, replace(thief, keys=(*thief.keys, borrowed(victim, by=thief.active))))

    await join(cluster, victim)
    assert set(cluster.auth.policy.leaves) == {"victim"}


async def test_nobody_proves_one_key_alone(cluster: Cluster) -> None:
    two = leaf("leaf", replace(new_authority("host", "leaf", now=NOW).active, state="trusted"))
    request = await asked(cluster, two)

    with pytest.raises(TeleportError):
        await cluster.call("join_cluster", request.model_copy(update={"proofs": request.proofs[:1]}), STRANGER)


async def test_an_authority_that_is_called_like_another_clusters_would_hide_it(cluster: Cluster) -> None:
    """OpenSSL picks an issuer by its name: with two of one name, one of the two is never found."""
    namesake = new_authority("host", "victim", now=NOW)

    with pytest.raises(BadInput, match="own name"):
        await join(cluster, replace(namesake, cluster="thief"))


async def test_the_key_for_ssh_is_one_key_and_nothing_else(cluster: Cluster) -> None:
    signer = leaf("leaf")
    request = await asked(cluster, signer)
    line = signer.public.keys[0].ssh_public
    lying = replace(
        signer.public, keys=(replace(signer.public.keys[0], ssh_public=f"{line}\n@cert-authority * {line}"),)
    )

    with pytest.raises(TeleportError):
        await cluster.call(
            "join_cluster", request.model_copy(update={"authority": lying.encode().decode()}), STRANGER
        )  # fmt: skip
    own = introduce(signer, root="acme", token=request.token)
    assert own.authority == signer.public


async def test_of_two_who_come_at_once_under_one_name_one_is_taken_in(cluster: Cluster) -> None:
    first, second = await asked(cluster, leaf("leaf")), await asked(cluster, leaf("leaf"))

    came = await asyncio.gather(
        *(cluster.call("join_cluster", one, STRANGER) for one in (first, second)), return_exceptions=True
    )

    assert [type(one) for one in came if isinstance(one, BaseException)] == [Conflict]


@pytest.mark.parametrize("names", [("shop", "berlin.shop"), ("berlin.shop", "shop")])
async def test_of_two_who_come_at_once_neither_vouches_for_the_other(cluster: Cluster, names: tuple[str, str]) -> None:
    first, second = [await asked(cluster, leaf(name)) for name in names]

    came = await asyncio.gather(
        *(cluster.call("join_cluster", one, STRANGER) for one in (first, second)), return_exceptions=True
    )

    assert [type(one) for one in came if isinstance(one, BaseException)] == [Conflict]


async def test_no_leaf_has_a_name_below_the_roots_whose_hosts_may_be_called_so(cluster: Cluster) -> None:
    """The root's host `db.berlin` is db.berlin.acme, for which berlin.acme would vouch."""
    with pytest.raises(Conflict, match="have the same names"):
        await join(cluster, leaf("berlin.acme"))


async def test_a_root_that_is_trusted_here_is_no_other_cluster_as_a_leaf(cluster: Cluster) -> None:
    honest = new_authority("host", "root", now=NOW)
    record = Foreign("root", (honest.public,)).encode()
    await cluster.auth.policy.wait_for(await cluster.service.store.put(keys.root("root"), record))

    with pytest.raises(Conflict, match="trusted here"):
        await join(cluster, leaf("root"))

    await join(cluster, honest)
    assert set(cluster.auth.policy.leaves) == {"root"}
