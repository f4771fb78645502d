"""Which certificate the proxy's HTTPS side shows: the cluster's own, or for public names a publicly trusted one."""

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from teleport.core.errors import BadInput
from teleport.net.alpn import HTTP
from teleport.net.tls import server_context
from teleport.service.config import KeyPair
from teleport.service.credentials import HostCredentials

__all__ = ["web_context"]


def web_context(credentials: HostCredentials, pairs: Sequence[KeyPair]) -> Callable[[], ssl.SSLContext]:
    """A function that gives the context for a new connection.

    With public certificates, a client that names our own service (as clients with a pin do) still gets the
    cluster's certificate. Files are read again when they change.
    """
    if not pairs:
        return lambda: credentials.server([HTTP], clients="none")
    loaded: dict[tuple[float, ...], ssl.SSLContext] = {}

    def context() -> ssl.SSLContext:
        stamps = tuple(_stamp(pair) for pair in pairs)
        if stamps not in loaded:
            loaded.clear()
            loaded[stamps] = _public(credentials, pairs)
        return loaded[stamps]

    context()
    return context


def _stamp(pair: KeyPair) -> float:
    try:
        return max(Path(pair.cert_file).stat().st_mtime, Path(pair.key_file).stat().st_mtime)
    except OSError as error:
        raise BadInput(f"proxy_service.https_keypairs: {error}") from None


def _public(credentials: HostCredentials, pairs: Sequence[KeyPair]) -> ssl.SSLContext:
    own = credentials.server([HTTP], clients="none")
    try:
        contexts = [
            server_context(
                Path(pair.cert_file).read_text(), Path(pair.key_file).read_text(), alpn=[HTTP],
                minimum=ssl.TLSVersion.TLSv1_2,
            )
            for pair in pairs
        ]  # fmt: skip
    except (OSError, ssl.SSLError) as error:
        raise BadInput(f"proxy_service.https_keypairs: {error}") from None
    suffix = f".{credentials.cluster}"

    def choose(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        if name is not None and name == f"proxy{suffix}":
            connection.context = own

    contexts[0].sni_callback = choose
    return contexts[0]
