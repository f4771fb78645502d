"""Attacks with a host's stolen identity: a copied data directory is noticed by its generation, and shut out."""

from dataclasses import dataclass, replace

import pytest

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.auth.enlisted import GRACE_SECONDS, Enlisted
from teleport.core.errors import AccessDenied, TeleportError, Unauthenticated, Unavailable
from teleport.core.identity import Identity
from teleport.pki.credentials import read_tls
from tests.auth.cluster import SSH_KEY, TLS_KEY, Cluster, role, user


def identity_in(cluster: Cluster, certificates: m.HostCertificates) -> Identity:
    from ssl import PEM_cert_to_DER_cert

    der = PEM_cert_to_DER_cert(certificates.tls_certificate)
    return read_tls(der, cluster.auth.authorities.public, now=cluster.clock.time())


@dataclass
class Holder:
    """Whoever has a host's data directory: the host itself, or a thief."""

    cluster: Cluster
    identity: Identity

    @classmethod
    async def joined(cls, cluster: Cluster, name: str = "edge-1") -> "Holder":
        token: m.TokenSecret = await cluster.call("token", m.TokenRequest(roles=("node",)))
        request = m.JoinRequest(
            token=token.token, ssh_public_key=SSH_KEY, tls_public_key=TLS_KEY, hostname=name, roles=("Node",)
        )
        return cls(cluster, identity_in(cluster, await cluster.call("join", request, Caller(None, "192.0.2.7"))))

    def copy(self) -> "Holder":
        return replace(self)

    async def use(self) -> None:
        """Ask the API for anything: what the server does before each request of a host."""
        await self.cluster.auth.enlisted.admit(self.identity)

    async def renew(self) -> "Holder":
        """Renew, and go on as the next generation."""
        lost = await self.asked_to_renew()
        self.identity = lost
        return self

    async def asked_to_renew(self) -> Identity:
        """Renew, without taking the answer."""
        await self.use()
        request = m.RenewHost(ssh_public_key=SSH_KEY, tls_public_key=TLS_KEY, hostname=self.identity.name)
        answer = await self.cluster.call("renew_host", request, Caller(self.identity, "192.0.2.7"))
        return identity_in(self.cluster, answer)

    @property
    def locked(self) -> bool:
        locks = self.cluster.auth.policy.current.locks
        return any(lock.spec.target.server_id == self.identity.uid for lock in locks)


async def test_a_thief_who_renews_is_noticed_when_the_host_goes_on_and_both_are_shut_out(cluster: Cluster) -> None:
    host = await Holder.joined(cluster)
    thief = host.copy()
    await (await thief.renew()).use()
    cluster.clock.advance(GRACE_SECONDS + 1)

    with pytest.raises(AccessDenied, match="exists twice"):
        await host.use()

    assert host.locked
    with pytest.raises(AccessDenied):
        await thief.use()
    noticed = cluster.events("cert.generation_mismatch")
    assert [one["host_id"] for one in noticed] == [host.identity.uid]


async def test_a_thief_who_comes_after_the_host_has_renewed_is_noticed_at_the_first_word(cluster: Cluster) -> None:
    host = await Holder.joined(cluster)
    thief = host.copy()
    await (await host.renew()).use()
    cluster.clock.advance(GRACE_SECONDS + 1)

    with pytest.raises(AccessDenied, match="exists twice"):
        await thief.use()

    assert host.locked


async def test_two_who_renew_the_same_generation_are_told_apart(cluster: Cluster) -> None:
    host = await Holder.joined(cluster)
    thief = host.copy()
    await thief.renew()
    await (await host.renew()).use()
    cluster.clock.advance(GRACE_SECONDS + 1)

    assert thief.identity.generation != host.identity.generation
    with pytest.raises(AccessDenied, match="exists twice"):
        await thief.use()


async def test_the_generation_before_is_good_until_the_new_one_is_used(cluster: Cluster) -> None:
    host = await Holder.joined(cluster)

    for _ in range(3):
        await host.asked_to_renew()  # the answers are lost on their way
        cluster.clock.advance(3600)
    await host.use()
    await (await host.renew()).use()

    assert not host.locked
    assert cluster.events("cert.generation_mismatch") == []


async def test_what_was_under_way_when_the_new_one_was_used_first_is_refused_and_nobody_is_locked(
    cluster: Cluster,
) -> None:
    host = await Holder.joined(cluster)
    late = host.copy()
    await (await host.renew()).use()

    with pytest.raises(Unauthenticated, match="renewed"):
        await late.use()

    assert not host.locked
    await host.use()


async def test_nothing_that_a_thief_has_is_renewed_once_it_was_noticed(cluster: Cluster) -> None:
    host = await Holder.joined(cluster)
    thief = host.copy()
    await (await thief.renew()).use()
    cluster.clock.advance(GRACE_SECONDS + 1)
    with pytest.raises(AccessDenied):
        await host.use()

    for holder in (host, thief):
        with pytest.raises(TeleportError):
            await holder.renew()


async def test_lifting_the_lock_does_not_bring_an_identity_back_that_exists_twice(cluster: Cluster) -> None:
    host = await Holder.joined(cluster)
    thief = host.copy()
    await (await thief.renew()).use()
    cluster.clock.advance(GRACE_SECONDS + 1)
    with pytest.raises(AccessDenied):
        await host.use()
    lock = next(one for one in cluster.auth.policy.current.locks)
    await cluster.call("delete", m.ResourceName(kind="lock", name=lock.name))

    for holder in (host, thief):
        with pytest.raises(AccessDenied, match="join again"):
            await holder.use()
    assert not (await Holder.joined(cluster)).locked


async def test_it_is_noticed_after_a_restart_too(cluster: Cluster) -> None:
    host = await Holder.joined(cluster)
    thief = host.copy()
    await (await thief.renew()).use()
    cluster.clock.advance(GRACE_SECONDS + 1)
    cluster.auth.enlisted.forget()  # what is only in memory

    with pytest.raises(AccessDenied, match="exists twice"):
        await host.use()


async def test_a_lock_that_could_not_be_written_at_first_is_written_at_the_next_word(cluster: Cluster) -> None:
    host = await Holder.joined(cluster)
    thief = host.copy()
    await (await thief.renew()).use()
    cluster.clock.advance(GRACE_SECONDS + 1)
    locked: list[str] = []

    async def shut_out(identity: Identity) -> None:
        locked.append(identity.uid)
        if len(locked) == 1:
            raise Unavailable("the store cannot be written")

    enlisted = Enlisted(cluster.auth.store, shut_out, clock=cluster.clock)
    with pytest.raises(Unavailable):
        await enlisted.admit(host.identity)
    with pytest.raises(AccessDenied, match="exists twice"):
        await enlisted.admit(host.identity)

    assert locked == [host.identity.uid] * 2


async def test_the_lock_comes_where_nobody_may_write_locks_and_where_it_breaks_a_promise(cluster: Cluster) -> None:
    cluster.auth.writer.closed = frozenset({"lock"})
    await cluster.declare(role(), user())
    host = await Holder.joined(cluster)
    thief = host.copy()
    await (await thief.renew()).use()
    cluster.clock.advance(GRACE_SECONDS + 1)

    with pytest.raises(AccessDenied):
        await host.use()

    assert host.locked


async def test_one_host_that_is_copied_harms_no_other(cluster: Cluster) -> None:
    host, other = await Holder.joined(cluster), await Holder.joined(cluster, "edge-2")
    thief = host.copy()
    await (await thief.renew()).use()
    cluster.clock.advance(GRACE_SECONDS + 1)
    with pytest.raises(AccessDenied):
        await host.use()

    await (await other.renew()).use()

    assert not other.locked


async def test_a_store_that_was_restored_from_before_a_renewal_locks_nobody(cluster: Cluster) -> None:
    host = await Holder.joined(cluster)
    before = await cluster.auth.store.get(f"secret/host/{host.identity.uid}")
    assert before is not None
    await (await host.renew()).use()
    await cluster.auth.store.put(before.key, before.value)
    cluster.auth.enlisted.forget()

    await host.use()

    assert not host.locked


@pytest.mark.parametrize("generation", [-1, True, "1", 1.5, 2**60, None])
def test_a_generation_that_is_none_is_no_identity(generation: object) -> None:
    import json

    body = {**json.loads(Identity("host", "h", "u", "").encode()), "generation": generation}

    with pytest.raises(ValueError):
        Identity.decode(json.dumps(body, separators=(",", ":"), sort_keys=True), cluster="acme", expires=1)
