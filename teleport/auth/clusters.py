"""What a root does for clusters that trust it: lets them join, certifies users for one connection to one of them.

A leaf is who holds the key of its host authority, by the name under which it joined first. Its authorities vouch for
its proxies and its hosts, and for nobody's identity here.
"""

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from cryptography import x509

from teleport.access.clusters import reaches_cluster
from teleport.access.snapshot import Snapshot
from teleport.api.models import ClusterIntroduction, PassageRequest
from teleport.auth import keys
from teleport.auth.authorities import AuthoritySet
from teleport.auth.join import JoinService
from teleport.core.aio import Clock
from teleport.core.errors import AccessDenied, BadInput, Conflict, NotFound, Unauthenticated
from teleport.core.identity import Identity, Passage
from teleport.pki.authority import TrustedAuthority
from teleport.pki.credentials import read_ssh_user, read_tls
from teleport.pki.foreign import Foreign, Introduction, recognised
from teleport.pki.keys import PublicKey, load_ssh_line
from teleport.pki.passages import PASSAGE_SECONDS, issue_passage
from teleport.resources.trusted_cluster import cluster_name_faults
from teleport.sessions.policy import LivePolicy
from teleport.store.base import ABSENT, Delete, Mismatch, Put, Store

__all__ = ["Leaves"]

_ROLE: Final = "Trusted_cluster"


class Leaves:
    """The clusters that trust this one."""

    def __init__(
        self, store: Store, authorities: AuthoritySet, policy: LivePolicy, joining: JoinService, *, clock: Clock
    ) -> None:
        self._store, self._authorities, self._policy = store, authorities, policy
        self._joining, self._clock = joining, clock
        self._one = asyncio.Lock()
        """Who joins is compared with everybody who did."""

    async def join(self, request: ClusterIntroduction) -> Foreign:
        """Take a leaf in that shows a token and proves who it is. Raises AccessDenied, Conflict and the like.

        Asked again with the same token by the same leaf, the answer is the same; by another, the token is spent.
        """
        token = await self._joining.token_for(request.token, _ROLE, request.client_address)
        introduction = Introduction(
            request.cluster, self._authorities.cluster, request.token, _authority_in(request.authority),
            tuple(map(_unpacked, request.proofs)),
        )  # fmt: skip
        authority = recognised(introduction)
        leaf = Foreign(authority.cluster, (authority,), self._clock.time())
        async with self._one:
            others = await self._joined()
            known = others.pop(leaf.cluster, None)
            self._check_name(authority, others)
            if known is not None and known.pins != leaf.pins:
                raise Conflict(f"another cluster has joined as {leaf.cluster}", hint="remove it here first: tctl rm")
            await self._spend(token.name if token.spec.secret is None else request.token, leaf, known)
        return leaf

    async def _joined(self) -> dict[str, Foreign]:
        """The leaves as the store has them at this moment: who joined just now is no part of a policy yet."""
        records = (await self._store.list(keys.LEAVES)).records
        found = (Foreign.decode(record.value) for record in records)
        return {one.cluster: one for one in found}

    async def _spend(self, token: str, leaf: Foreign, known: Foreign | None) -> None:
        """Keep the leaf, and that the token is its own. Raises AccessDenied if it is another's, or a removed leaf's."""
        key, mine = keys.spent(token), json.dumps([leaf.cluster, *leaf.pins]).encode()
        marker = await self._store.get(key)
        if marker is not None:
            if marker.value != mine or known is None:
                raise AccessDenied("the token was used already", hint="tctl tokens add --type trusted_cluster")
            return
        try:
            await self._store.txn(
                [Put(key, mine, ABSENT), Put(keys.leaf(leaf.cluster), leaf.encode())],
            )
        except Mismatch:
            raise AccessDenied("the token was used already", hint="tctl tokens add --type trusted_cluster") from None

    def _check_name(self, authority: TrustedAuthority, others: Mapping[str, Foreign]) -> None:
        """That no name of the leaf could be taken for one of this cluster or of another leaf."""
        leaf, own = authority.cluster, self._authorities.cluster
        faults = list(cluster_name_faults(leaf))
        if faults:
            raise BadInput(faults[0].message, hint=faults[0].hint)
        if _folded(leaf) == _folded(own):
            raise Conflict(f"this cluster is called {own} itself")
        ours = set(self._authorities.pins)
        if ours & set(authority.pins):
            raise Conflict("a cluster with the authority of this one")
        for other in (own, *others):
            if _folded(leaf) == _folded(other) or _vouches(leaf, other) or _vouches(other, leaf):
                raise Conflict(f"hosts of {other} and of {leaf} could have the same names")
        root = self._policy.roots.get(leaf)
        if root is not None and not set(authority.pins) <= set(root.pins):
            raise Conflict(f"another cluster is trusted here as {leaf}")

    async def forget(self, cluster: str) -> bool:
        """Remove a leaf's authorities; whether there were any."""
        if await self._store.get(keys.leaf(cluster)) is None:
            return False
        await self._store.txn([Delete(keys.leaf(cluster))])
        return True

    def reachable(self, identity: Identity) -> list[Foreign]:
        """The leaves that a user may go to."""
        snapshot, now = self._policy.current, self._clock.time()
        return [
            leaf
            for name, leaf in sorted(self._policy.leaves.items())
            if reaches_cluster(snapshot, identity, name, now=now).allowed
        ]

    def passage(self, request: PassageRequest, *, proxy: str) -> tuple[Identity, str]:
        """Certify a user for one connection, by a certificate that was shown to that proxy. Raises AccessDenied."""
        now, snapshot = self._clock.time(), self._policy.current
        identity, key = self._shown(request, now)
        if request.cluster not in self._policy.leaves:
            raise NotFound(f"cluster {request.cluster} not found")
        decision = reaches_cluster(snapshot, identity, request.cluster, now=now)
        if not decision.allowed:
            if decision.hidden:
                raise NotFound(f"cluster {request.cluster} not found")
            raise AccessDenied(decision.because)
        travelling = replace(
            identity, expires=min(identity.expires, now + PASSAGE_SECONDS), session_until=identity.login_expires,
            reissuable=False, passage=_passage(snapshot, identity, request, proxy),
        )  # fmt: skip
        return travelling, issue_passage(self._authorities.signing("user"), travelling, key, now=now)

    def _shown(self, request: PassageRequest, now: float) -> tuple[Identity, PublicKey]:
        """The user whose certificate it is, and the key in it. Raises Unauthenticated."""
        own = self._authorities.public
        if request.ssh_certificate:
            shown = read_ssh_user(request.ssh_certificate.encode(), own, now=now)
            return shown.identity, load_ssh_line(shown.public_key)
        der = _unpacked(request.tls_certificate)
        identity = read_tls(der, own, now=now)
        if not identity.is_user:
            raise Unauthenticated("only users go to other clusters")
        key = x509.load_der_x509_certificate(der).public_key()
        return identity, key  # type: ignore[return-value]


def _passage(snapshot: Snapshot, identity: Identity, request: PassageRequest, proxy: str) -> Passage:
    """The route, with the roles and traits that the user has at this moment."""
    user = snapshot.user(identity.name)
    assert user is not None
    _check_restriction(identity, request)
    return Passage(
        user=identity.name, to=request.cluster, host=request.host, login=request.login, session=request.session,
        proxy=proxy, roles=tuple(sorted(user.role_names)), traits=tuple(sorted(user.traits.items())),
    )  # fmt: skip


def _check_restriction(identity: Identity, request: PassageRequest) -> None:
    allowed = identity.allowed_resources
    if allowed is not None and f"{request.host}.{request.cluster}" not in allowed:
        raise AccessDenied("the certificate is restricted to other resources")


def _vouches(cluster: str, other: str) -> bool:
    """Whether what clients trust a cluster for covers names of another one's hosts."""
    return _folded(other).endswith(f".{_folded(cluster)}")


def _folded(name: str) -> str:
    return name.lower().rstrip(".")


def _authority_in(text: str) -> TrustedAuthority:
    """Raises BadInput."""
    try:
        return TrustedAuthority.decode(text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadInput("the authority cannot be read") from None


def _unpacked(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise BadInput("not in base64") from None
