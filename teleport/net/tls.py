"""TLS contexts from certificates in memory, for both ends.

TLS 1.3 only between our own services and clients; the web also takes 1.2, which browsers behind old middleboxes need.
"""

import os
import ssl
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["client_context", "pinless_context", "server_context"]


def server_context(
    certificate: str, key: str, *, trust: str = "", alpn: Sequence[str] = (), require_client: bool = False,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:  # fmt: skip
    """For a server. With `trust` (PEM) client certificates are asked for, and demanded if `require_client`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    _load(context, certificate, key)
    if trust:
        context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=trust)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def client_context(
    *, trust: str | None, certificate: str = "", key: str = "", alpn: Sequence[str] = ()
) -> ssl.SSLContext:
    """For a client that trusts these authorities (PEM), or those of the system where `trust` is None."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2 if trust is None else ssl.TLSVersion.TLSv1_3
    if trust is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=trust)
    if certificate:
        _load(context, certificate, key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def pinless_context(alpn: Iterable[str] = ()) -> ssl.SSLContext:
    """For fetching what is then held against a pin: nobody is trusted, so nothing secret may be sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    protocols = list(alpn)
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def _load(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """OpenSSL reads key pairs from files only: a private one that is gone a moment later."""
    with tempfile.TemporaryDirectory(prefix="teleport-") as directory:
        path = Path(directory) / "pair.pem"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(key + "\n" + certificate)
        context.load_cert_chain(path)
