"""Proof that the holder of a certificate is logging in over SSH now: which host, as which login, signed by which key.

Knows no policy, and not which host keys are good: see `wire.ssh_userauth` for why the host key counts.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from teleport.core.errors import BadInput, Unauthenticated
from teleport.pki.keys import PublicKey, load_ssh_line
from teleport.wire.ssh_userauth import Login, read_login_request, string

__all__ = ["Claim", "read_claim", "verify_signature"]

_RSA: Final[Mapping[bytes, hashes.HashAlgorithm]] = {
    b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512(),
}  # fmt: skip
_CURVES: Final[Mapping[bytes, tuple[str, hashes.HashAlgorithm]]] = {
    b"ecdsa-sha2-nistp256": ("secp256r1", hashes.SHA256()), b"ecdsa-sha2-nistp384": ("secp384r1", hashes.SHA384()),
    b"ecdsa-sha2-nistp521": ("secp521r1", hashes.SHA512()),
}  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """What a login says, true only if the certificate's key signed it."""

    login: str
    certificate: bytes
    """As in a file: `type base64`."""
    host_key: bytes
    signed: bytes
    signature: bytes

    def verify(self, key_line: str) -> None:
        """Raises Unauthenticated."""
        verify_signature(key_line, self.signed, self.signature)


def read_claim(login: Login) -> Claim:
    """Raises Unauthenticated for what is no login by key."""
    try:
        asked = read_login_request(login.request)
        kind, _ = string(asked.key, 0)
        signed = login.signed
    except ValueError:
        raise Unauthenticated("what the client signed is no login by key") from None
    certificate = kind + b" " + base64.b64encode(asked.key)
    return Claim(asked.login, certificate, login.exchange.host_key, signed, login.signature)


def verify_signature(key_line: str, signed: bytes, signature: bytes) -> None:
    """That a plain key signed something, by an algorithm that is not broken. Raises Unauthenticated."""
    try:
        algorithm, at = string(signature, 0)
        value, at = string(signature, at)
        if at != len(signature):
            raise ValueError("bytes after the signature")
        _verify(load_ssh_line(key_line), algorithm, value, signed)
    except (ValueError, InvalidSignature, UnsupportedAlgorithm, BadInput):
        raise Unauthenticated("the signature of the login is wrong") from None


def _verify(key: PublicKey, algorithm: bytes, value: bytes, signed: bytes) -> None:
    if isinstance(key, ed25519.Ed25519PublicKey) and algorithm == b"ssh-ed25519":
        key.verify(value, signed)
    elif isinstance(key, rsa.RSAPublicKey) and algorithm in _RSA:
        key.verify(value, signed, padding.PKCS1v15(), _RSA[algorithm])
    elif isinstance(key, ec.EllipticCurvePublicKey) and _CURVES.get(algorithm, ("",))[0] == key.curve.name:
        key.verify(_der(value), signed, ec.ECDSA(_CURVES[algorithm][1]))
    else:
        raise ValueError("an algorithm that does not belong to the key")


def _der(value: bytes) -> bytes:
    r, at = string(value, 0)
    s, at = string(value, at)
    if at != len(value):
        raise ValueError("bytes after the signature")
    return encode_dss_signature(int.from_bytes(r, "big", signed=True), int.from_bytes(s, "big", signed=True))
