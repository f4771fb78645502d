"""Identities into certificates and out of them: SSH and X.509, one encoding for both.

Reading is where the attacks are. An SSH certificate counts only if its signing key is a plain key equal to a
trusted one of the right kind of authority; the cluster of an identity is that of the authority that signed,
whatever the certificate says.
"""

import base64
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    SSHCertificate,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_public_identity,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from teleport.core.errors import Unauthenticated
from teleport.core.identity import Identity
from teleport.pki.authority import Authority, AuthorityKind, TrustedAuthority, _key_usage
from teleport.pki.keys import PublicKey, ssh_line

__all__ = [
    "NO_LOGIN", "SSHUser", "issue_ssh_host", "issue_ssh_user", "issue_tls", "read_ssh_user", "read_tls",
]  # fmt: skip

NO_LOGIN: Final = "-teleport-nologin"
"""The principal of a user who may log in nowhere: a certificate without principals would be valid for all."""
IDENTITY_EXTENSION: Final = b"teleport-identity"
_URI_PREFIX: Final = "teleport-identity:"
_SKEW: Final = 60
_MAX_PRINCIPALS: Final = 255
_MAX_CERTIFICATE: Final = 64 * 1024
_KNOWN_CRITICAL: Final = frozenset({b"source-address"})


@dataclass(frozen=True)
class SSHUser:
    """What a verified SSH user certificate says."""

    identity: Identity
    public_key: str
    """As an OpenSSH line: the key that must sign the authentication."""
    principals: tuple[str, ...]
    source_addresses: tuple[str, ...]
    serial: int


def issue_ssh_user(
    authority: Authority,
    identity: Identity,
    public_key: PublicKey,
    *,
    logins: Iterable[str],
    permits: Sequence[str],
    now: float,
    extensions: Iterable[tuple[str, str]] = (),
) -> str:
    """An OpenSSH user certificate line. `permits` are extensions such as `permit-pty`."""
    assert authority.kind == "user"
    principals = sorted({login for login in logins if _is_principal(login)})[:_MAX_PRINCIPALS] or [NO_LOGIN]
    builder = (
        SSHCertificateBuilder()
        .public_key(public_key)
        .serial(x509.random_serial_number() & 0xFFFFFFFFFFFFFFFF)
        .type(SSHCertificateType.USER)
        .key_id(identity.name.encode())
        .valid_principals([principal.encode() for principal in principals])
        .valid_after(int(now) - _SKEW)
        .valid_before(int(identity.expires))
        .add_extension(IDENTITY_EXTENSION, identity.encode().encode())
    )
    if identity.pinned_ip:
        address = ipaddress.ip_address(identity.pinned_ip)
        builder = builder.add_critical_option(b"source-address", f"{address}/{address.max_prefixlen}".encode())
    for name in permits:
        builder = builder.add_extension(name.encode(), b"")
    reserved = {IDENTITY_EXTENSION.decode(), *permits}
    for name, value in dict(extensions).items():
        if name not in reserved and not name.startswith("permit-"):
            builder = builder.add_extension(name.encode(), value.encode())
    return builder.sign(authority.active.ssh).public_bytes().decode()


def issue_ssh_host(
    authority: Authority, identity: Identity, public_key: PublicKey, *, principals: Iterable[str], now: float
) -> str:
    """An OpenSSH host certificate line for the names and addresses a host is reached by."""
    assert authority.kind == "host"
    names = sorted({name for name in principals if _is_principal(name)})
    assert names, "a host certificate needs a name"
    builder = (
        SSHCertificateBuilder()
        .public_key(public_key)
        .serial(x509.random_serial_number() & 0xFFFFFFFFFFFFFFFF)
        .type(SSHCertificateType.HOST)
        .key_id(identity.uid.encode())
        .valid_principals([name.encode() for name in names[:_MAX_PRINCIPALS]])
        .valid_after(int(now) - _SKEW)
        .valid_before(int(identity.expires))
        .add_extension(IDENTITY_EXTENSION, identity.encode().encode())
    )
    return builder.sign(authority.active.ssh).public_bytes().decode()


def issue_tls(
    authority: Authority, identity: Identity, public_key: PublicKey, *, now: float, names: Iterable[str] = ()
) -> str:
    """An X.509 certificate in PEM; the identity is a URI among the alternative names."""
    assert authority.kind == identity.kind
    encoded = base64.urlsafe_b64encode(identity.encode().encode()).decode()
    alternatives: list[x509.GeneralName] = [x509.UniformResourceIdentifier(_URI_PREFIX + encoded)]
    alternatives += (_general_name(name) for name in dict.fromkeys(names))
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if identity.kind == "host":
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    issuer = authority.active
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.name[:64])]))
        .issuer_name(issuer.x509.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(int(now) - _SKEW, UTC))
        .not_valid_after(datetime.fromtimestamp(int(identity.expires), UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.tls.public_key()),
            critical=False,
        )
        .sign(issuer.tls, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM).decode()


def read_ssh_user(line: bytes, authorities: Iterable[TrustedAuthority], *, now: float) -> SSHUser:
    """Verify an OpenSSH user certificate (`type base64`) and read it. Raises Unauthenticated saying why not."""
    certificate = _parse_ssh(line)
    authority = _signer(certificate, authorities, "user")
    if certificate.type is not SSHCertificateType.USER:
        raise Unauthenticated("a host certificate cannot log in")
    if not certificate.valid_after <= now < certificate.valid_before:
        raise Unauthenticated("the certificate has expired or is not valid yet")
    if not certificate.valid_principals or b"" in certificate.valid_principals:
        raise Unauthenticated("the certificate names no principal")
    unknown = set(certificate.critical_options) - _KNOWN_CRITICAL
    if unknown:
        raise Unauthenticated(f"the certificate has an unknown critical option {min(unknown).decode(errors='replace')}")
    encoded = certificate.extensions.get(IDENTITY_EXTENSION)
    if encoded is None:
        raise Unauthenticated("the certificate carries no identity of this cluster")
    identity = _decode(encoded, authority, certificate.valid_before)
    if identity.kind != "user" or certificate.key_id != identity.name.encode():
        raise Unauthenticated("the certificate contradicts itself about whose it is")
    sources = certificate.critical_options.get(b"source-address", b"").decode(errors="replace")
    return SSHUser(
        identity=identity,
        public_key=ssh_line(certificate.public_key()),
        principals=tuple(principal.decode(errors="replace") for principal in certificate.valid_principals),
        source_addresses=tuple(source for source in sources.split(",") if source),
        serial=certificate.serial,
    )


def read_tls(der: bytes, authorities: Iterable[TrustedAuthority], *, now: float) -> Identity:
    """The identity in an X.509 certificate that a TLS peer presented. Raises Unauthenticated.

    The handshake has proved possession of the key; here the signature is bound to the right kind of authority.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        authority = _tls_signer(certificate, authorities)
        if not certificate.not_valid_before_utc.timestamp() <= now < certificate.not_valid_after_utc.timestamp():
            raise Unauthenticated("the certificate has expired or is not valid yet")
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise Unauthenticated("not a certificate with an identity") from error
    encoded = [
        uri.removeprefix(_URI_PREFIX)
        for uri in names.get_values_for_type(x509.UniformResourceIdentifier)
        if uri.startswith(_URI_PREFIX)
    ]
    if len(encoded) != 1:
        raise Unauthenticated("the certificate carries no identity of this cluster")
    try:
        text = base64.urlsafe_b64decode(encoded[0])
    except ValueError:
        raise Unauthenticated("the certificate carries a malformed identity") from None
    identity = _decode(text, authority, certificate.not_valid_after_utc.timestamp())
    if identity.kind != authority.kind:
        raise Unauthenticated(f"the {authority.kind} authority does not vouch for a {identity.kind}")
    return identity


def _parse_ssh(line: bytes) -> SSHCertificate:
    if len(line) > _MAX_CERTIFICATE:
        raise Unauthenticated("the certificate is too large")
    try:
        parsed = load_ssh_public_identity(line)
    except (ValueError, UnsupportedAlgorithm):
        raise Unauthenticated("not a certificate") from None
    if not isinstance(parsed, SSHCertificate):
        raise Unauthenticated("a bare key does not say who its holder is")
    return parsed


def _signer(
    certificate: SSHCertificate, authorities: Iterable[TrustedAuthority], kind: AuthorityKind
) -> TrustedAuthority:
    """The authority whose plain key signed, having checked the signature."""
    try:
        signer = ssh_line(certificate.signature_key())
    except (ValueError, UnsupportedAlgorithm, TypeError):
        raise Unauthenticated("the certificate was not signed by a plain key") from None
    for authority in authorities:
        if authority.kind == kind and any(key.ssh_public == signer for key in authority.keys):
            break
    else:
        raise Unauthenticated(f"the certificate was not signed by a trusted {kind} authority")
    try:
        certificate.verify_cert_signature()
    except (InvalidSignature, ValueError):
        raise Unauthenticated("the signature of the certificate is wrong") from None
    return authority


def _tls_signer(certificate: x509.Certificate, authorities: Iterable[TrustedAuthority]) -> TrustedAuthority:
    for authority in authorities:
        for key in authority.keys:
            if key.x509.subject != certificate.issuer:
                continue
            try:
                certificate.verify_directly_issued_by(key.x509)
            except (InvalidSignature, ValueError, TypeError):
                continue
            return authority
    raise Unauthenticated("the certificate was not signed by a trusted authority")


def _decode(encoded: bytes, authority: TrustedAuthority, expires: float) -> Identity:
    try:
        return Identity.decode(encoded, cluster=authority.cluster, expires=float(expires))
    except (ValueError, TypeError, RecursionError) as error:
        raise Unauthenticated(f"the certificate carries a malformed identity: {error}") from None


def _is_principal(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and not set(text) & set(", *?\t")


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
