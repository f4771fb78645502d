"""Identities into certificates and out of them: SSH and X.509, one encoding for both.

Reading is where the attacks are. An SSH certificate counts only if its signing key is a plain key equal to a
trusted one of the right kind of authority; the cluster of an identity is that of the authority that signed,
whatever the certificate says.
"""

import base64
import ipaddress
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
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
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from teleport.core.errors import Unauthenticated
from teleport.core.identity import Identity
from teleport.pki.authority import BACKDATED, Authority, TrustedAuthority, _key_usage
from teleport.pki.frame import read_frame
from teleport.pki.keys import PublicKey, ssh_line

__all__ = [
    "NO_LOGIN", "SSHUser", "issue_ssh_host", "issue_ssh_login", "issue_ssh_user", "issue_tls", "read_ssh_user",
    "read_tls",
]  # fmt: skip

NO_LOGIN: Final = "-teleport-nologin"
"""The principal of a user who may log in nowhere: a certificate without principals would be valid for all."""
IDENTITY_EXTENSION: Final = b"teleport-identity"
_URI_PREFIX: Final = "teleport-identity:"
_SKEW: Final = 60
_MAX_PRINCIPALS: Final = 255
_MAX_CERTIFICATE: Final = 64 * 1024
_MAX_VALIDITY: Final = 10 * 366 * 86400
"""Seconds: nothing of ours is certified for longer, and a certificate without an end is nobody's intention."""
_KNOWN_CRITICAL: Final = frozenset({b"source-address"})
_SIGNATURES: Final = frozenset(
    {b"ssh-ed25519", b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp521", b"rsa-sha2-256",
     b"rsa-sha2-512"}
)  # fmt: skip
"""How an authority may sign: plain keys, and nothing with SHA-1."""
_X509_FAULTS: Final = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.ExtensionNotFound, x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""What parsing hostile X.509 raises."""
_KNOWN_EXTENSIONS: Final = frozenset(
    {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE,
     ExtensionOID.SUBJECT_ALTERNATIVE_NAME}
)  # fmt: skip
"""The X.509 extensions that may be critical, because they are understood here or by the handshake."""


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


def issue_ssh_login(
    authority: Authority, key_id: str, public_key: PublicKey, *, principal: str, permits: Sequence[str],
    start: float, until: float,
) -> str:  # fmt: skip
    """An OpenSSH user certificate line that opens one login of one plain sshd. It carries no identity of ours."""
    assert authority.kind == "openssh"
    assert _is_principal(principal), "a login that no certificate can name"
    builder = (
        SSHCertificateBuilder()
        .public_key(public_key)
        .serial(x509.random_serial_number() & 0xFFFFFFFFFFFFFFFF)
        .type(SSHCertificateType.USER)
        .key_id(key_id.encode())
        .valid_principals([principal.encode()])
        .valid_after(int(start) - _SKEW)
        .valid_before(int(until))
    )
    for name in permits:
        builder = builder.add_extension(name.encode(), b"")
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
        .valid_after(int(now - BACKDATED.total_seconds()))
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
    start = now - (BACKDATED.total_seconds() if identity.kind == "host" else _SKEW)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.name[:64])]))
        .issuer_name(issuer.x509.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(int(start), UTC))
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
    blob = _blob(line)
    certificate = _parse_ssh(blob)
    authority = _signer(blob, certificate, authorities)
    if certificate.type is not SSHCertificateType.USER:
        raise Unauthenticated("a host certificate cannot log in")
    _check_time(certificate.valid_after, certificate.valid_before, now)
    if not certificate.valid_principals or b"" in certificate.valid_principals:
        raise Unauthenticated("the certificate names no principal")
    encoded = certificate.extensions.get(IDENTITY_EXTENSION)
    if encoded is None:
        raise Unauthenticated("the certificate carries no identity of this cluster")
    identity = _decode(encoded, authority, certificate.valid_before)
    if identity.kind != "user" or identity.passage is not None or certificate.key_id != identity.name.encode():
        raise Unauthenticated("the certificate contradicts itself about whose it is")
    return SSHUser(
        identity=identity,
        public_key=ssh_line(certificate.public_key()),
        principals=tuple(principal.decode(errors="replace") for principal in certificate.valid_principals),
        source_addresses=_sources(certificate.critical_options),
        serial=certificate.serial,
    )


def _parse(der: bytes) -> x509.Certificate:
    """What the library would accept with a remark, such as a serial number of zero, no authority of ours has made."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", CryptographyDeprecationWarning)
        try:
            return x509.load_der_x509_certificate(der)
        except CryptographyDeprecationWarning as remark:
            raise ValueError(str(remark)) from None


def read_tls(der: bytes, authorities: Iterable[TrustedAuthority], *, now: float) -> Identity:
    """The identity in an X.509 certificate that a TLS peer presented. Raises Unauthenticated.

    The handshake has proved possession of the key; here the signature is bound to the right kind of authority.
    """
    start, end, identity = _read_tls(der, tuple(authorities))
    _check_time(start, end, now)
    return identity


@lru_cache(maxsize=4096)
def _read_tls(der: bytes, authorities: tuple[TrustedAuthority, ...]) -> tuple[float, float, Identity]:
    """From when until when a certificate holds, and whose it is. Peers show the same one with every request."""
    try:
        certificate = _parse(der)
        authority = _tls_signer(certificate, authorities)
        _check_profile(certificate.extensions)
        start, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        encoded = [uri.removeprefix(_URI_PREFIX) for uri in uris if uri.startswith(_URI_PREFIX)]
        texts = [base64.b64decode(text, altchars=b"-_", validate=True) for text in encoded]
    except _X509_FAULTS as error:
        raise Unauthenticated("not a certificate with an identity") from error
    if len(texts) != 1:
        raise Unauthenticated("the certificate carries no identity of this cluster")
    identity = _decode(texts[0], authority, end)
    if identity.kind != authority.kind:
        raise Unauthenticated(f"the {authority.kind} authority does not vouch for a {identity.kind}")
    if identity.passage is not None:
        raise Unauthenticated("a passage to another cluster opens nothing else")
    return start, end, identity


def _blob(line: bytes) -> bytes:
    """The binary form of a certificate line."""
    if len(line) > _MAX_CERTIFICATE:
        raise Unauthenticated("the certificate is too large")
    words = line.split(None, 2)
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (IndexError, ValueError):
        raise Unauthenticated("not a certificate") from None
    size = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + size] != words[0]:
        raise Unauthenticated("not a certificate")
    return blob


def _parse_ssh(blob: bytes) -> SSHCertificate:
    size = int.from_bytes(blob[:4], "big")
    try:
        parsed = load_ssh_public_identity(blob[4 : 4 + size] + b" " + base64.b64encode(blob))
    except (ValueError, UnsupportedAlgorithm):
        raise Unauthenticated("not a certificate") from None
    if not isinstance(parsed, SSHCertificate):
        raise Unauthenticated("a bare key does not say who its holder is")
    return parsed


def _signer(blob: bytes, certificate: SSHCertificate, authorities: Iterable[TrustedAuthority]) -> TrustedAuthority:
    """The user authority whose plain key signed, having checked the signature."""
    try:
        frame = read_frame(blob)
    except ValueError:
        raise Unauthenticated("not a certificate") from None
    if frame.signature_algorithm not in _SIGNATURES:
        raise Unauthenticated("the certificate was not signed by a plain key, or by an algorithm that is broken")
    signer = base64.b64encode(frame.signature_key).decode()
    for authority in authorities:
        if authority.kind == "user" and any(key.ssh_public.split()[1] == signer for key in authority.keys):
            break
    else:
        raise Unauthenticated("the certificate was not signed by a trusted user authority")
    try:
        certificate.verify_cert_signature()
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        raise Unauthenticated("the signature of the certificate is wrong") from None
    return authority


def _sources(options: Mapping[bytes, bytes]) -> tuple[str, ...]:
    """The networks that a certificate is pinned to; what else restricts it is not understood, so it is refused."""
    unknown = set(options) - _KNOWN_CRITICAL
    if unknown:
        raise Unauthenticated(f"the certificate has an unknown critical option {min(unknown).decode(errors='replace')}")
    if not options:
        return ()
    networks = tuple(options[b"source-address"].decode(errors="replace").split(","))
    try:
        for network in networks:
            ipaddress.ip_network(network, strict=False)
    except ValueError:
        raise Unauthenticated("the certificate is pinned to what is no address") from None
    return networks


def _check_time(start: float, end: float, now: float) -> None:
    if end - start > _MAX_VALIDITY:
        raise Unauthenticated("the certificate is valid for longer than any that this cluster issues")
    if not start <= now < end:
        raise Unauthenticated("the certificate has expired or is not valid yet")


def _check_profile(extensions: x509.Extensions) -> None:
    """That a certificate is a client's, and demands nothing that is not understood. Raises ValueError and the like."""
    if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        raise ValueError("an authority is nobody's identity")
    usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise ValueError("not for authentication")
    if any(one.critical and one.oid not in _KNOWN_EXTENSIONS for one in extensions):
        raise ValueError("an unknown critical extension")


def _tls_signer(certificate: x509.Certificate, authorities: Iterable[TrustedAuthority]) -> TrustedAuthority:
    for authority in authorities:
        for key in authority.keys:
            if key.x509.subject != certificate.issuer:
                continue
            try:
                certificate.verify_directly_issued_by(key.x509)
            except (InvalidSignature, *_X509_FAULTS):
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
