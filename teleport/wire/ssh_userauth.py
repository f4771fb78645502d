"""A login by key over SSH as others can be shown it: what the key exchange hashed, and what the client signed.

The signature of a login (RFC 4252, section 7) covers the session id, which is the hash of the first key exchange
(RFC 4253, section 8), which covers the host key that the server showed. Bytes in, values out; no key is looked at.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Exchange", "Login", "LoginRequest", "read_login_request", "string", "text"]

_HASHES: Final[Mapping[str, Callable[[bytes], "hashlib._Hash"]]] = {
    "sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512,
}  # fmt: skip
_USERAUTH_REQUEST: Final = 50


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
        """Raises ValueError for a hash that is not to be relied on.

        Each of the first parts says how long it is, so no two exchanges with different host keys hash the same bytes.
        """
        hashed = _HASHES.get(self.hash_name)
        if hashed is None:
            raise ValueError(f"a key exchange that is hashed with {self.hash_name}")
        first = (self.client_version, self.server_version, self.client_init, self.server_init, self.host_key)
        return hashed(b"".join(map(text, first)) + self.public_values + self.secret).digest()


@dataclass(frozen=True)
class Login:
    """A login by key, as a server received it."""

    exchange: Exchange
    request: bytes
    """The message, up to the signature."""
    signature: bytes

    @property
    def signed(self) -> bytes:
        """What the signature is over. Raises ValueError."""
        return text(self.exchange.session_id) + self.request


@dataclass(frozen=True)
class LoginRequest:
    """What the client asked for."""

    login: str
    key: bytes
    """The public key or certificate, in its binary form."""


def read_login_request(request: bytes) -> LoginRequest:
    """Read a message that is a signed login by key for a connection, and nothing else. Raises ValueError."""
    if request[:1] != bytes([_USERAUTH_REQUEST]):
        raise ValueError("another message")
    login, at = string(request, 1)
    service, at = string(request, at)
    method, at = string(request, at)
    signs, at = request[at : at + 1], at + 1
    _algorithm, at = string(request, at)
    key, at = string(request, at)
    if (service, method, signs) != (b"ssh-connection", b"publickey", b"\x01") or at != len(request):
        raise ValueError("another request")
    return LoginRequest(login.decode(), key)


def text(data: bytes) -> bytes:
    """A string as SSH writes it."""
    return len(data).to_bytes(4, "big") + data


def string(data: bytes, at: int) -> tuple[bytes, int]:
    """The string at a place, and the place after it. Raises ValueError."""
    start = at + 4
    end = start + int.from_bytes(data[at:start], "big")
    if start > len(data) or end > len(data):
        raise ValueError("cut off")
    return data[start:end], end
