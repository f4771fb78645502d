"""Certificate authorities: for each kind a set of keys with states, and the public half that everybody may know.

An authority signs with its one `active` key and is verified by its `active` and `trusted` keys; rotation moves
keys between states. Private keys exist only in the auth service, sealed in its store.
"""

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from teleport.pki.keys import (
    PrivateKey,
    load_private,
    new_ssh_key,
    new_tls_key,
    private_pem,
    spki_pin,
    ssh_line,
)

__all__ = [
    "BACKDATED", "KINDS", "Authority", "AuthorityKey", "AuthorityKind", "TrustedAuthority", "TrustedKey",
    "new_authority",
]  # fmt: skip

AuthorityKind = Literal["user", "host", "openssh"]
"""`openssh` vouches for logins on hosts that run only OpenSSH's sshd, and to nobody else."""
KINDS: Final[Sequence[AuthorityKind]] = ("user", "host", "openssh")
KeyState = Literal["active", "trusted"]

BACKDATED: Final = timedelta(days=2)
"""How long before they are made authorities and hosts' certificates begin: they must not stop a cluster whose clock was
ahead and is put right. What people get begins when they get it."""
_LIFETIME: Final = timedelta(days=3650)


@dataclass(frozen=True)
class TrustedKey:
    """The public half of one key of an authority."""

    state: KeyState
    ssh_public: str
    certificate: str

    @cached_property
    def x509(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate.encode())

    @property
    def pin(self) -> str:
        """What `--ca-pin` takes."""
        return spki_pin(self.x509.public_key())  # type: ignore[arg-type]


@dataclass(frozen=True)
class TrustedAuthority:
    """An authority as others know it: enough to verify, nothing to sign with."""

    kind: AuthorityKind
    cluster: str
    keys: tuple[TrustedKey, ...]

    def encode(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes | str) -> "TrustedAuthority":
        body = json.loads(data)
        return cls(body["kind"], body["cluster"], tuple(TrustedKey(**key) for key in body["keys"]))

    @property
    def certificates(self) -> str:
        """All certificates, concatenated PEM: a trust store. One a key, whatever else its text may hold."""
        return "".join(key.x509.public_bytes(Encoding.PEM).decode() for key in self.keys)

    @property
    def pins(self) -> tuple[str, ...]:
        return tuple(key.pin for key in self.keys)


@dataclass(frozen=True)
class AuthorityKey:
    """One key of an authority, with its private halves."""

    state: KeyState
    ssh_private: str
    tls_private: str
    certificate: str

    @cached_property
    def ssh(self) -> PrivateKey:
        return load_private(self.ssh_private)

    @cached_property
    def tls(self) -> PrivateKey:
        return load_private(self.tls_private)

    @cached_property
    def x509(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate.encode())

    @property
    def public(self) -> TrustedKey:
        return TrustedKey(self.state, ssh_line(self.ssh.public_key()), self.certificate)


@dataclass(frozen=True)
class Authority:
    """An authority that can sign."""

    kind: AuthorityKind
    cluster: str
    keys: tuple[AuthorityKey, ...]

    @property
    def active(self) -> AuthorityKey:
        """The key that signs."""
        return next(key for key in self.keys if key.state == "active")

    @cached_property
    def public(self) -> TrustedAuthority:
        return TrustedAuthority(self.kind, self.cluster, tuple(key.public for key in self.keys))

    def encode(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Authority":
        body: dict[str, Any] = json.loads(data)
        return cls(body["kind"], body["cluster"], tuple(AuthorityKey(**key) for key in body["keys"]))


def new_authority(kind: AuthorityKind, cluster: str, *, now: float) -> Authority:
    """An authority with one fresh active key."""
    ssh, tls = new_ssh_key(), new_tls_key()
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{kind} authority"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, secrets.token_hex(8)),
        ]
    )
    start = datetime.fromtimestamp(now, UTC) - BACKDATED
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(tls.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(tls.public_key()), critical=False)
        .sign(tls, hashes.SHA256())
    )
    key = AuthorityKey("active", private_pem(ssh), private_pem(tls), certificate.public_bytes(Encoding.PEM).decode())
    return Authority(kind, cluster, (key,))


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def of_kind(authorities: Iterable[TrustedAuthority], kind: AuthorityKind, cluster: str) -> tuple[TrustedAuthority, ...]:
    """The authorities of one kind and cluster."""
    return tuple(one for one in authorities if one.kind == kind and one.cluster == cluster)
