"""What is kept of another cluster after joining: its public authorities, apart from this cluster's own.

They verify nothing by themselves: whoever uses them says which cluster is meant, and for what.
"""

import json
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from teleport.core.errors import BadInput, Unauthenticated
from teleport.pki.authority import Authority, AuthorityKind, TrustedAuthority
from teleport.pki.keys import spki_pin

__all__ = ["Foreign", "Introduction", "introduce", "recognised"]

_PURPOSE: Final = "teleport trust between clusters, 1"


@dataclass(frozen=True)
class Foreign:
    """Another cluster."""

    cluster: str
    authorities: tuple[TrustedAuthority, ...]
    joined: float = 0.0
    """When, in seconds since the epoch."""

    def of_kind(self, kind: AuthorityKind) -> tuple[TrustedAuthority, ...]:
        return tuple(one for one in self.authorities if one.kind == kind)

    @property
    def pins(self) -> tuple[str, ...]:
        return tuple(pin for one in self.of_kind("host") for pin in one.pins)

    def encode(self) -> bytes:
        authorities = [one.encode().decode() for one in self.authorities]
        return json.dumps({"cluster": self.cluster, "authorities": authorities, "joined": self.joined}).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Foreign":
        body = json.loads(data)
        authorities = tuple(TrustedAuthority.decode(text) for text in body["authorities"])
        return cls(body["cluster"], authorities, float(body["joined"]))


@dataclass(frozen=True)
class Introduction:
    """What a leaf says of itself to a root, with the proof that it holds the key of its authority."""

    leaf: str
    root: str
    token: str
    authority: TrustedAuthority
    proof: bytes = b""

    @property
    def statement(self) -> bytes:
        return json.dumps([_PURPOSE, self.root, self.leaf, self.token, self.authority.encode().decode()]).encode()


def introduce(authority: Authority, *, root: str, token: str) -> Introduction:
    """An introduction of the cluster whose host authority this is."""
    bare = Introduction(authority.cluster, root, token, authority.public)
    key = authority.active.tls
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Introduction(bare.leaf, root, token, bare.authority, key.sign(bare.statement, ec.ECDSA(hashes.SHA256())))


def recognised(introduction: Introduction) -> TrustedAuthority:
    """The authority, if the introduction is by whoever holds its key. Raises Unauthenticated, BadInput."""
    authority = introduction.authority
    if authority.kind != "host" or authority.cluster != introduction.leaf or not authority.keys:
        raise BadInput("a cluster introduces itself with the host authority of its own name")
    try:
        active = next(key for key in authority.keys if key.state == "active")
        pins = {spki_pin(key.x509.public_key()) for key in authority.keys}  # type: ignore[arg-type]
        public = active.x509.public_key()
    except (StopIteration, ValueError, TypeError):
        raise BadInput("the authority cannot be read") from None
    if not isinstance(public, ec.EllipticCurvePublicKey) or len(pins) > 8:
        raise BadInput("an authority of a form that no cluster of ours has")
    try:
        public.verify(introduction.proof, introduction.statement, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Unauthenticated("the cluster does not prove that it holds the key of its authority") from None
    return authority
