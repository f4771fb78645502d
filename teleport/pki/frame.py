"""The frame of an OpenSSH certificate: which key is said to have signed it, and by which algorithm.

What verifies certificates reads the signing key leniently (a security key's, or a certificate's in some libraries, is
unwrapped to the key inside); here are its own bytes, so that they can be compared with an authority's.
See PROTOCOL.certkeys of OpenSSH.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["Frame", "read_frame"]

_SUFFIX: Final = b"-cert-v01@openssh.com"
_KEY_FIELDS: Final = {
    b"ssh-ed25519": 1,
    b"ecdsa-sha2-nistp256": 2,
    b"ecdsa-sha2-nistp384": 2,
    b"ecdsa-sha2-nistp521": 2,
    b"ssh-rsa": 2,
}
"""Kinds of key that are certified, and of how many strings they consist."""


@dataclass(frozen=True)
class Frame:
    """What surrounds the statements of a certificate."""

    signature_key: bytes
    """The whole public key that is said to have signed, as on the wire."""
    signature_algorithm: bytes


def read_frame(blob: bytes) -> Frame:
    """Read the certificate's binary form. Raises ValueError."""
    kind, at = _string(blob, 0)
    fields = _KEY_FIELDS.get(kind.removesuffix(_SUFFIX)) if kind.endswith(_SUFFIX) else None
    if fields is None:
        raise ValueError("not a certificate for a kind of key that is certified")
    at = _skip(blob, at, strings=1 + fields)
    at = _skip(blob, at + 8 + 4, strings=2)
    at = _skip(blob, at + 8 + 8, strings=3)
    signature_key, at = _string(blob, at)
    signature, at = _string(blob, at)
    if at != len(blob):
        raise ValueError("bytes after the end of the certificate")
    algorithm, _ = _string(signature, 0)
    return Frame(signature_key, algorithm)


def _skip(blob: bytes, at: int, *, strings: int) -> int:
    for _ in range(strings):
        _, at = _string(blob, at)
    return at


def _string(blob: bytes, at: int) -> tuple[bytes, int]:
    """The string at a place, and the place after it."""
    start = at + 4
    end = start + int.from_bytes(blob[at:start], "big")
    if start > len(blob) or end > len(blob):
        raise ValueError("the certificate is cut off")
    return blob[start:end], end
