"""Builds SSH certificates byte by byte, so that tests can say what no library would write.

The layout is that of OpenSSH's PROTOCOL.certkeys. `Forged` starts as a good certificate; tests replace fields.
"""

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from teleport.core.identity import Identity
from teleport.pki.authority import Authority
from teleport.pki.credentials import IDENTITY_EXTENSION

NOW = 1_700_000_000.0
CLUSTER = "example.com"
ANN = Identity("user", "ann", "u-1", CLUSTER, expires=NOW + 3600)
FOREVER = 2**64 - 1


def text(data: bytes) -> bytes:
    """An SSH string."""
    return struct.pack(">I", len(data)) + data


def option(name: bytes, value: bytes | None) -> bytes:
    """One critical option or extension; a value is a string within the string."""
    return text(name) + text(b"" if value is None else text(value))


def key_blob(key: ed25519.Ed25519PrivateKey) -> bytes:
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return text(b"ssh-ed25519") + text(public)


def ed25519_of(authority: Authority) -> ed25519.Ed25519PrivateKey:
    key = authority.active.ssh
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return key


@dataclass(frozen=True)
class Forged:
    """The statements of a certificate, as they will be written."""

    holder: bytes
    """The fields of the certified key, after the name of its kind."""
    kind: bytes = b"ssh-ed25519-cert-v01@openssh.com"
    type: int = 1
    serial: int = 7
    key_id: bytes = b"ann"
    principals: Sequence[bytes] = (b"root",)
    after: int = int(NOW) - 60
    before: int = int(NOW) + 3600
    critical: Sequence[tuple[bytes, bytes | None]] = ()
    extensions: Sequence[tuple[bytes, bytes | None]] = field(
        default=((b"permit-pty", None), (IDENTITY_EXTENSION, ANN.encode().encode()))
    )
    reserved: bytes = b""

    def but(self, **fields: Any) -> "Forged":
        return replace(self, **fields)

    def saying(self, identity: str) -> "Forged":
        """With that text as the identity."""
        return self.but(extensions=((b"permit-pty", None), (IDENTITY_EXTENSION, identity.encode())))

    def body(self, signature_key: bytes) -> bytes:
        """Everything that is signed."""
        return b"".join(
            [
                text(self.kind),
                text(b"n" * 32),
                self.holder,
                struct.pack(">QI", self.serial, self.type),
                text(self.key_id),
                text(b"".join(text(one) for one in self.principals)),
                struct.pack(">QQ", self.after, self.before),
                text(b"".join(option(*one) for one in self.critical)),
                text(b"".join(option(*one) for one in self.extensions)),
                text(self.reserved),
                text(signature_key),
            ]
        )

    def signed(
        self, by: ed25519.Ed25519PrivateKey, *, signature_key: bytes | None = None, algorithm: bytes = b"ssh-ed25519",
        over: bytes | None = None,
    ) -> bytes:  # fmt: skip
        """The certificate's bytes. `signature_key` is what is claimed to have signed, `over` what was."""
        body = self.body(key_blob(by) if signature_key is None else signature_key)
        signature = by.sign(body if over is None else over)
        return body + text(text(algorithm) + text(signature))

    def signed_by_rsa(self, by: rsa.RSAPrivateKey, algorithm: bytes) -> bytes:
        numbers = by.public_key().public_numbers()
        body = self.body(text(b"ssh-rsa") + text(_number(numbers.e)) + text(_number(numbers.n)))
        digest = {b"ssh-rsa": hashes.SHA1(), b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512()}
        return body + text(text(algorithm) + text(by.sign(body, padding.PKCS1v15(), digest[algorithm])))


def forged(key: ed25519.Ed25519PrivateKey | None = None) -> Forged:
    """A good certificate for ann, to be signed."""
    holder = key or ed25519.Ed25519PrivateKey.generate()
    return Forged(text(holder.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)))


def line(blob: bytes) -> bytes:
    """As OpenSSH writes it in a file."""
    size = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + size] + b" " + base64.b64encode(blob)


def _number(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big")
