"""Key pairs and their spellings: OpenSSH lines, PEM, fingerprints and pins."""

import base64
import hashlib
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_public_key,
)

from teleport.core.errors import BadInput

__all__ = [
    "PrivateKey", "PublicKey", "fingerprint", "load_private", "load_public", "load_ssh_line", "new_ssh_key",
    "new_tls_key", "private_pem", "public_pem", "spki_pin", "ssh_line", "ssh_private",
]  # fmt: skip

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

_MIN_RSA: Final = 2048


def new_ssh_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def new_tls_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: PrivateKey) -> str:
    """PKCS #8 PEM without encryption."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def ssh_private(key: PrivateKey) -> str:
    """The file format of ssh-keygen."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def load_private(pem: str) -> PrivateKey:
    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise BadInput(f"a key of an unsupported kind: {type(key).__name__}")
    return key


def public_pem(key: PublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def load_public(pem: str) -> PublicKey:
    """A public key offered for a certificate. Raises BadInput for kinds and sizes that are not certified."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise BadInput("not a public key in PEM") from None
    return _acceptable(key)


def ssh_line(key: PublicKey) -> str:
    """`ssh-ed25519 AAAA…`, without a comment."""
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def load_ssh_line(line: str) -> PublicKey:
    """Raises BadInput for what is not an OpenSSH public key, and for kinds that are not certified."""
    try:
        key = load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise BadInput("not a public key as OpenSSH writes it") from None
    return _acceptable(key)


def _acceptable(key: object) -> PublicKey:
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA:
        raise BadInput(f"an RSA key of {key.key_size} bits is too short; at least {_MIN_RSA}")
    if isinstance(key, ec.EllipticCurvePublicKey) and not isinstance(
        key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1
    ):
        raise BadInput(f"a key on the curve {key.curve.name} is not certified")
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
        raise BadInput(f"a key of an unsupported kind: {type(key).__name__}")
    return key


def fingerprint(line: str) -> str:
    """`SHA256:…` as ssh-keygen prints it."""
    blob = base64.b64decode(line.split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def spki_pin(key: PublicKey) -> str:
    """`sha256:HEX` over the SubjectPublicKeyInfo: what `--ca-pin` takes."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "sha256:" + hashlib.sha256(der).hexdigest()
