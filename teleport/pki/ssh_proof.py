"""Proof that somebody is logging in over SSH now: what a key exchange and a login by key look like to a third party.

The signature of a login (RFC 4252, section 7) covers the session id, which is the hash of the key exchange (RFC 4253,
section 8), which covers the server's host key. Whoever is shown what was hashed can tell for which host, at which
server and as which login the holder of a certificate signed. Knows no policy, and not which host keys are good.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from teleport.core.errors import BadInput, Unauthenticated
from teleport.pki.keys import PublicKey, load_ssh_line

__all__ = ["Exchange", "LoginProof", "Signed", "read_proof", "verify_signature"]

_HASHES: Final[Mapping[str, Callable[[bytes], "hashlib._Hash"]]] = {
    "sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512,
}  # fmt: skip
_USERAUTH_REQUEST: Final = 50
_METHOD: Final = b"publickey"
_SERVICE: Final = b"ssh-connection"
_RSA: Final[Mapping[bytes, hashes.HashAlgorithm]] = {
    b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512(),
}  # fmt: skip
_CURVES: Final[Mapping[bytes, tuple[str, hashes.HashAlgorithm]]] = {
    b"ecdsa-sha2-nistp256": ("secp256r1", hashes.SHA256()), b"ecdsa-sha2-nistp384": ("secp384r1", hashes.SHA384()),
    b"ecdsa-sha2-nistp521": ("secp521r1", hashes.SHA512()),
}  # fmt: skip


@dataclass(frozen=True)
class Exchange:
    """What the hash of a connection's first key exchange is made from, in its order."""

    hash_name: str
    client_version: bytes
    server_version: bytes
    client_init: bytes
    server_init: bytes
    host_key: bytes
    public_values: bytes
    """The client's and the server's, as they are hashed."""
    secret: bytes
    """What both came to share, as it is hashed."""

    @property
    def session_id(self) -> bytes:
        """Raises Unauthenticated for a hash that is not to be relied on.

        Each of the first parts says how long it is, so no two exchanges are hashed from the same bytes.
        """
        hashed = _HASHES.get(self.hash_name)
        if hashed is None:
            raise Unauthenticated(f"a key exchange hashed with {self.hash_name} proves nothing")
        first = (self.client_version, self.server_version, self.client_init, self.server_init, self.host_key)
        return hashed(b"".join(map(_text, first)) + self.public_values + self.secret).digest()


@dataclass(frozen=True)
class LoginProof:
    """A login by key, as a server received it."""

    exchange: Exchange
    request: bytes
    """The message (RFC 4252, section 7), up to the signature."""
    signature: bytes


@dataclass(frozen=True)
class Signed:
    """What was signed by whoever holds the certificate: as whom to log in, at which server."""

    login: str
    certificate: bytes
    """As in a file: `type base64`."""
    host_key: bytes
    signed: bytes
    signature: bytes


def read_proof(proof: LoginProof) -> Signed:
    """What a proof claims; that the certificate's key signed it says `verify_signature`. Raises Unauthenticated."""
    import base64

    try:
        login, key = _read_request(proof.request)
        kind, _ = _string(key, 0)
        line = kind + b" " + base64.b64encode(key)
    except ValueError:
        raise Unauthenticated("not a login by key") from None
    signed = _text(proof.exchange.session_id) + proof.request
    return Signed(login, line, proof.exchange.host_key, signed, proof.signature)


def verify_signature(key_line: str, signed: bytes, signature: bytes) -> None:
    """That a plain key signed something, by an algorithm that is not broken. Raises Unauthenticated."""
    try:
        algorithm, at = _string(signature, 0)
        value, at = _string(signature, at)
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
        r, at = _string(value, 0)
        s, at = _string(value, at)
        if at != len(value):
            raise ValueError("bytes after the signature")
        der = encode_dss_signature(int.from_bytes(r, "big", signed=True), int.from_bytes(s, "big", signed=True))
        key.verify(der, signed, ec.ECDSA(_CURVES[algorithm][1]))
    else:
        raise ValueError("an algorithm that does not belong to the key")


def _read_request(request: bytes) -> tuple[str, bytes]:
    """The login and the key of a message that is a login by key and nothing else. Raises ValueError."""
    if request[:1] != bytes([_USERAUTH_REQUEST]):
        raise ValueError("another message")
    login, at = _string(request, 1)
    service, at = _string(request, at)
    method, at = _string(request, at)
    signs, at = request[at : at + 1], at + 1
    _algorithm, at = _string(request, at)
    key, at = _string(request, at)
    if (service, method, signs) != (_SERVICE, _METHOD, b"\x01") or at != len(request):
        raise ValueError("another request")
    return login.decode(), key


def _text(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """The string at a place, and the place after it. Raises ValueError."""
    start = at + 4
    end = start + int.from_bytes(data[at:start], "big")
    if start > len(data) or end > len(data):
        raise ValueError("cut off")
    return data[start:end], end
