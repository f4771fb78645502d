"""Certificates as peers present them: as they are, and signed by a trusted authority whatever they say.

The first byte of an input says which, so that also what stands behind the signature is reached. The keys are always
the same, so that an input is the same attack each time.
"""

import base64
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from teleport.core.errors import Unauthenticated
from teleport.core.identity import Identity
from teleport.pki.authority import Authority, AuthorityKey, new_authority
from teleport.pki.credentials import IDENTITY_EXTENSION, issue_tls, read_ssh_user, read_tls
from teleport.pki.frame import read_frame
from teleport.pki.keys import load_ssh_line, private_pem
from tests.fuzz.target import Target
from tests.pki.forge import ANN, CLUSTER, NOW, forged, key_blob, line, text

__all__ = ["SSH", "X509"]

_SSH_KEY: Final = ed25519.Ed25519PrivateKey.from_private_bytes(b"authority".ljust(32))
_TLS_KEY: Final = ec.derive_private_key(7, ec.SECP256R1())


def _authority(cluster: str = CLUSTER) -> Authority:
    made = new_authority("user", cluster, now=NOW)
    (key,) = made.keys
    return replace(made, keys=(AuthorityKey("active", private_pem(_SSH_KEY), key.tls_private, key.certificate),))


_USERS: Final = _authority()
_HOSTS: Final = new_authority("host", CLUSTER, now=NOW)
_TRUSTED: Final = (_HOSTS.public, _USERS.public)
_HOLDER: Final = ed25519.Ed25519PrivateKey.from_private_bytes(b"holder".ljust(32))
_GOOD: Final = forged(_HOLDER)
_AS_IT_IS, _A_LINE, _SIGNED, _IDENTITY = range(4)


def check_ssh(data: bytes) -> None:
    how, said = data[0] % 4 if data else 0, data[1:]
    _frame_is_read_or_no_certificate(said)
    if how == _IDENTITY:
        _identity_is_read_or_refused(said)
        return
    shown = {_AS_IT_IS: lambda: line(said), _A_LINE: lambda: said, _SIGNED: lambda: line(_signed(said))}[how]()
    try:
        user = read_ssh_user(shown, _TRUSTED, now=NOW)
    except Unauthenticated:
        return
    assert how == _SIGNED or base64.b64decode(shown.split()[1]) in _ACCEPTED
    assert user.identity.kind == "user"
    assert user.identity.cluster == CLUSTER
    assert user.identity.expires > NOW
    assert user.principals
    assert all(user.principals)
    load_ssh_line(user.public_key)
    _identity_is_read_or_refused(user.identity.encode().encode())


def _signed(said: bytes) -> bytes:
    """A certificate that says this, signed by the user authority."""
    body = said + text(key_blob(_SSH_KEY))
    return body + text(text(b"ssh-ed25519") + text(_SSH_KEY.sign(body)))


_SAYING: Final = (
    _GOOD,
    _GOOD.but(critical=((b"source-address", b"192.0.2.0/24,2001:db8::1"),)),
    _GOOD.saying(replace(ANN, requested_roles=("dev",), pinned_ip="192.0.2.1").encode()),
)
_ACCEPTED: Final = frozenset(one.signed(_SSH_KEY) for one in _SAYING)


def _frame_is_read_or_no_certificate(said: bytes) -> None:
    try:
        frame = read_frame(said)
    except ValueError:
        return
    assert text(frame.signature_key) in said


def _identity_is_read_or_refused(said: bytes) -> None:
    try:
        identity = Identity.decode(said, cluster=CLUSTER, expires=NOW)
    except ValueError:
        return
    assert identity.encode().encode() == said
    assert identity.cluster == CLUSTER
    assert identity.name
    assert identity.uid


def ssh_seeds() -> Iterable[bytes]:
    tail = len(text(key_blob(_SSH_KEY)))
    for one in _SAYING:
        yield bytes([_AS_IT_IS]) + one.signed(_SSH_KEY)
        yield bytes([_SIGNED]) + one.body(key_blob(_SSH_KEY))[:-tail]
    yield bytes([_A_LINE]) + line(_GOOD.signed(_SSH_KEY))
    yield bytes([_IDENTITY]) + replace(ANN, requested_roles=("dev",), authenticated=1.5).encode().encode()
    yield bytes([_IDENTITY]) + ANN.encode().encode()


# -- X.509


def check_x509(data: bytes) -> None:
    signed, said = bool(data[:1] and data[0] & 1), data[1:]
    shown = _x509_signed(said) if signed else said
    try:
        identity = read_tls(shown, _TRUSTED, now=NOW)
    except Unauthenticated:
        return
    assert signed or shown == _x509_good()
    assert identity.kind == "user"
    assert identity.cluster == CLUSTER
    assert identity.expires > NOW
    _identity_is_read_or_refused(identity.encode().encode())


def _der(tag: int, body: bytes) -> bytes:
    size = len(body)
    length = bytes([size]) if size < 128 else bytes([0x82]) + size.to_bytes(2, "big")
    return bytes([tag]) + length + body


_ECDSA_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")


def _x509_signed(said: bytes) -> bytes:
    """A certificate that says this, signed by the user authority."""
    signature = _USERS.active.tls.sign(said, ec.ECDSA(hashes.SHA256()))  # type: ignore[call-arg]
    return _der(0x30, said + _ECDSA_SHA256 + _der(0x03, b"\0" + signature))


def _x509_certificate() -> x509.Certificate:
    return x509.load_pem_x509_certificate(
        issue_tls(
            _USERS, replace(ANN, requested_roles=("dev",)), _HOLDER_TLS.public_key(), now=NOW, names=["x"]
        ).encode()
    )


_HOLDER_TLS: Final = ec.derive_private_key(9, ec.SECP256R1())
_X509: Final = _x509_certificate()


def _x509_good() -> bytes:
    return _X509.public_bytes(Encoding.DER)


def x509_seeds() -> Iterable[bytes]:
    yield b"\0" + _x509_good()
    yield b"\1" + _X509.tbs_certificate_bytes


SSH: Final = Target(
    "SSH certificates", "`pki/credentials`, `pki/frame`, `core/identity`: as presented, and signed whatever they say",
    "an identity of the signing authority's cluster, or `Unauthenticated`; nothing changed passes; one spelling each",
    check_ssh, ssh_seeds, 100_000,
    (IDENTITY_EXTENSION, b"source-address", b"ssh-ed25519", b"ssh-ed25519-cert-v01@openssh.com", b"permit-pty",
     b"\xff" * 8, b'"v":1', b"null", b"1e999"),
)  # fmt: skip
X509: Final = Target(
    "X.509 identities", "`pki/credentials`: as presented, and signed whatever they say",
    "an identity of the signing authority's cluster, or `Unauthenticated`; nothing changed passes",
    check_x509, x509_seeds, 100_000,
    (b"\x06\x03\x55\x1d\x11", b"\x06\x03\x55\x1d\x13", b"\x30\x00", b"\x01\x01\xff", b"\x17\x0d", b"\x86"),
)  # fmt: skip
