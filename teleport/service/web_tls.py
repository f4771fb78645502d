"""Which certificate the proxy's HTTPS side shows: the cluster's own, or for public names a publicly trusted one."""

import logging
import ssl
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cryptography import x509

from teleport.auth.join import service_name
from teleport.core.errors import BadInput
from teleport.net.alpn import HTTP
from teleport.net.tls import server_context
from teleport.service.credentials import HostCredentials
from teleport.service.sections import KeyPair

__all__ = ["WebContexts"]

log = logging.getLogger(__name__)

Named = tuple[frozenset[str], ssl.SSLContext]
"""The names that a certificate covers, and the context that shows it."""


class WebContexts:
    """`current` gives the context for a new connection. Raises BadInput for key pairs that cannot be used at first.

    With public certificates the one that covers the name asked for is shown, by default the first. A client that
    names our own service (as clients with a pin do) still gets the cluster's certificate. Files are read again when
    they change; what cannot be read then changes nothing.
    """

    def __init__(self, credentials: HostCredentials, pairs: Sequence[KeyPair]) -> None:
        self._credentials = credentials
        self._read: tuple[float, ...] = ()
        self._use(tuple(pairs), _load(pairs))

    def current(self) -> ssl.SSLContext:
        if not self._pairs:
            return self._own()
        stamps = _stamps(self._pairs)
        if stamps != self._read:
            self._read = stamps
            try:
                self._use(self._pairs, _load(self._pairs))
            except BadInput as error:
                log.error("%s; the certificate that was read before stays", error)
        return self._public[0][1]

    def prepare(self, pairs: Sequence[KeyPair]) -> "partial[None]":
        """Get ready for other key pairs; what is returned makes them take effect."""
        return partial(self._use, tuple(pairs), _load(pairs))

    def _use(self, pairs: tuple[KeyPair, ...], public: Sequence[Named]) -> None:
        self._pairs, self._public, self._read = pairs, public, _stamps(pairs)
        if public:
            public[0][1].sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        if name == service_name("Proxy", self._credentials.cluster):
            connection.context = self._own()
        elif name is not None:
            wanted = {name.lower(), f"*.{name.lower().partition('.')[2]}"}
            connection.context = next(
                (context for names, context in self._public if wanted & names), self._public[0][1]
            )

    def _own(self) -> ssl.SSLContext:
        return self._credentials.server([HTTP], clients="none")


def _load(pairs: Sequence[KeyPair]) -> list[Named]:
    """Raises BadInput."""
    found = []
    for pair in pairs:
        try:
            certificate, key = Path(pair.cert_file).read_text(), Path(pair.key_file).read_text()
            context = server_context(certificate, key, alpn=[HTTP], minimum=ssl.TLSVersion.TLSv1_2)
            found.append((_names(certificate), context))
        except (OSError, ValueError) as error:
            raise BadInput(f"proxy_service.https_keypairs: {pair.cert_file}: {error}") from None
    return found


def _names(certificate: str) -> frozenset[str]:
    """The DNS names of the first certificate of a chain."""
    leaf = x509.load_pem_x509_certificate(certificate.encode())
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(name.lower() for name in names.get_values_for_type(x509.DNSName))


def _stamps(pairs: Sequence[KeyPair]) -> tuple[float, ...]:
    """When the files changed last."""
    files = [Path(name) for pair in pairs for name in (pair.cert_file, pair.key_file)]
    return tuple(file.stat().st_mtime if file.exists() else 0.0 for file in files)
