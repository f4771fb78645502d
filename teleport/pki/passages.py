"""Passages: certificates that let one user of a cluster into another, for one connection (see docs/adr/0014).

An X.509 certificate by the user authority at home, over the key that the user has shown there, for minutes. It is no
client certificate: no handshake takes it, and no reader but this one.
"""

import base64
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

from teleport.core.errors import Unauthenticated
from teleport.core.identity import Identity
from teleport.pki.authority import Authority, TrustedAuthority
from teleport.pki.credentials import _SKEW, _URI_PREFIX, _X509_FAULTS, _check_time, _decode, _parse, _tls_signer
from teleport.pki.keys import PublicKey

__all__ = ["PASSAGE_SECONDS", "issue_passage", "read_passage"]

PASSAGE_SECONDS: Final = 120.0
"""How long a passage may be used to open its connection; that goes on afterwards."""
_USAGE: Final = ObjectIdentifier("1.3.9999.3.14")
"""The one purpose of a passage: an identifier that no other program gives a meaning to."""
_LONGEST: Final = 32 * 1024


def issue_passage(authority: Authority, identity: Identity, public_key: PublicKey, *, now: float) -> str:
    """A passage in PEM for an identity that names one."""
    assert authority.kind == "user"
    assert identity.passage is not None
    encoded = base64.urlsafe_b64encode(identity.encode().encode()).decode()
    issuer = authority.active
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "passage")]))
        .issuer_name(issuer.x509.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(int(now) - _SKEW, UTC))
        .not_valid_after(datetime.fromtimestamp(int(identity.expires), UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_USAGE]), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(_URI_PREFIX + encoded)]), False)
        .sign(issuer.tls, hashes.SHA256())
        .public_bytes(Encoding.PEM)
        .decode()
    )


def read_passage(text: str, authorities: Iterable[TrustedAuthority], *, to: str, now: float) -> Identity:
    """Whom a passage lets into the cluster `to`. Raises Unauthenticated.

    The identity is as the cluster of the authority sees it: its cluster is that one, its name the one at home.
    """
    if len(text) > _LONGEST:
        raise Unauthenticated("the passage is too large")
    try:
        certificate = _parse(x509.load_pem_x509_certificate(text.encode()).public_bytes(Encoding.DER))
        authority = _tls_signer(certificate, [one for one in authorities if one.kind == "user"])
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        encoded = [base64.b64decode(uri.removeprefix(_URI_PREFIX), altchars=b"-_", validate=True) for uri in uris]
    except _X509_FAULTS as error:
        raise Unauthenticated("not a passage") from error
    if list(usages) != [_USAGE] or len(encoded) != 1:
        raise Unauthenticated("a certificate that is no passage lets nobody into another cluster")
    start, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    _check_time(start, end, now)
    identity = _decode(encoded[0], authority, end)
    if identity.passage is None or identity.kind != "user" or identity.passage.user != identity.name:
        raise Unauthenticated("a passage that contradicts itself about whose it is")
    if identity.passage.to != to or authority.cluster == to:
        raise Unauthenticated("the passage is for another cluster")
    if end - start > PASSAGE_SECONDS + _SKEW + 1:
        raise Unauthenticated("the passage is valid for longer than one")
    return identity
