"""The cluster's certificate authorities: made at first start, kept sealed, published for verification."""

from collections.abc import Mapping

from teleport.auth import keys
from teleport.core.errors import Refused
from teleport.pki.authority import KINDS, Authority, AuthorityKind, TrustedAuthority, new_authority
from teleport.store.base import ABSENT, Mismatch, Put, Store

__all__ = ["AuthoritySet", "ensure_authorities"]


class AuthoritySet:
    """The signing authorities of this cluster."""

    def __init__(self, cluster: str, authorities: Mapping[AuthorityKind, Authority]) -> None:
        self.cluster = cluster
        self._authorities = dict(authorities)

    def signing(self, kind: AuthorityKind) -> Authority:
        return self._authorities[kind]

    @property
    def public(self) -> tuple[TrustedAuthority, ...]:
        return tuple(authority.public for authority in self._authorities.values())

    @property
    def pins(self) -> tuple[str, ...]:
        """What `--ca-pin` takes: of the keys that vouch for hosts."""
        return self._authorities["host"].public.pins


async def ensure_authorities(store: Store, cluster: str, *, now: float) -> AuthoritySet:
    """Load the authorities, making those that do not exist yet.

    Raises Refused if the data directory belongs to another cluster: the name is fixed at birth.
    """
    born = await store.get(keys.CLUSTER)
    if born is None:
        await store.put(keys.CLUSTER, cluster.encode(), expected=ABSENT)
    elif born.value.decode() != cluster:
        raise Refused(
            f"this data directory belongs to the cluster {born.value.decode()}, not {cluster}",
            hint="a cluster's name is fixed at its first start: use the old name, or another data directory",
        )
    found: dict[AuthorityKind, Authority] = {}
    for kind in KINDS:
        record = await store.get(keys.authority(kind))
        if record is None:
            made = new_authority(kind, cluster, now=now)
            try:
                await store.txn(
                    [
                        Put(keys.authority(kind), made.encode(), ABSENT),
                        Put(keys.public_authority(kind), made.public.encode()),
                    ]
                )
            except Mismatch:
                record = await store.get(keys.authority(kind))
                assert record is not None
                made = Authority.decode(record.value)
            found[kind] = made
        else:
            found[kind] = Authority.decode(record.value)
    return AuthoritySet(cluster, found)
