"""What is kept of another cluster after joining: its public authorities, apart from this cluster's own.

They verify nothing by themselves: whoever uses them says which cluster is meant, and for what.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from teleport.core.errors import BadInput, Unauthenticated
from teleport.pki.authority import Authority, AuthorityKind, TrustedAuthority
from teleport.pki.keys import PrivateKey, load_ssh_line, spki_pin, ssh_line

__all__ = ["Foreign", "Introduction", "introduce", "recognised"]

_PURPOSE: Final = "teleport trust between clusters, 1"
_MOST_KEYS: Final = 8
_LONGEST_NAME: Final = 64
"""Of a cluster, in the certificate of its authority."""


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
    """What a leaf says of itself to a root, with the proof that it holds the keys of its authority."""

    leaf: str
    root: str
    token: str
    authority: TrustedAuthority
    proofs: tuple[bytes, ...] = ()
    """By each key, in their order: a key of another cluster among them would make that one's hosts this one's."""

    @property
    def statement(self) -> bytes:
        return json.dumps([_PURPOSE, self.root, self.leaf, self.token, self.authority.encode().decode()]).encode()


def introduce(authority: Authority, *, root: str, token: str) -> Introduction:
    """An introduction of the cluster whose host authority this is."""
    bare = Introduction(authority.cluster, root, token, authority.public)
    return replace(bare, proofs=tuple(_signed(key.tls, bare.statement) for key in authority.keys))


def _signed(key: PrivateKey, statement: bytes) -> bytes:
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.sign(statement, ec.ECDSA(hashes.SHA256()))


def recognised(introduction: Introduction) -> TrustedAuthority:
    """The authority, if the introduction is by whoever holds its key. Raises Unauthenticated, BadInput."""
    authority = introduction.authority
    if authority.kind != "host" or authority.cluster != introduction.leaf or not authority.keys:
        raise BadInput("a cluster introduces itself with the host authority of its own name")
    try:
        publics = [key.x509.public_key() for key in authority.keys]
        names = [_organisation(key.x509) for key in authority.keys]
        lines = [ssh_line(load_ssh_line(key.ssh_public)) for key in authority.keys]
        pins = {spki_pin(key) for key in publics}  # type: ignore[arg-type]
    except (ValueError, TypeError, AttributeError, BadInput):
        raise BadInput("the authority cannot be read") from None
    if len(pins) != len(publics) or len(pins) > _MOST_KEYS or lines != [key.ssh_public for key in authority.keys]:
        raise BadInput("an authority of a form that no cluster of ours has")
    if len(introduction.proofs) != len(publics) or not all(map(_proves(introduction), publics, introduction.proofs)):
        raise Unauthenticated("the cluster does not prove that it holds the keys of its authority")
    if any(name != authority.cluster[:_LONGEST_NAME] for name in names):
        raise BadInput("a cluster introduces itself with the host authority of its own name")
    return authority


def _organisation(certificate: x509.Certificate) -> str:
    """The cluster that an authority's certificate names: handshakes look for issuers by it."""
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(name.value)


def _proves(introduction: Introduction) -> Callable[[object, bytes], bool]:
    def proves(public: object, proof: bytes) -> bool:
        if not isinstance(public, ec.EllipticCurvePublicKey):
            return False
        try:
            public.verify(proof, introduction.statement, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    return proves
