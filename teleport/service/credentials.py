"""The certificates of this host's services: obtained by joining, kept in the data directory, renewed in time."""

import json
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from teleport.api.models import HostCertificates
from teleport.audit.files import write_durably
from teleport.core.aio import Clock
from teleport.core.errors import TeleportError
from teleport.net.tls import client_context, server_context
from teleport.pki.authority import TrustedAuthority
from teleport.pki.keys import load_private, new_ssh_key, new_tls_key, private_pem, public_pem, ssh_line, ssh_private

__all__ = ["HostCredentials", "HostKeys", "Subject", "load_credentials", "new_credentials", "new_keys"]

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 6 * 3600.0
_RETRY_SECONDS: Final = 60.0
_LEAST_SECONDS: Final = 60.0
"""A kept identity that is valid for less is not taken up again."""


@dataclass(frozen=True)
class Subject:
    """What a service's certificates say of its host."""

    hostname: str
    addresses: tuple[str, ...] = ()
    """Names and addresses under which a proxy is reached."""


Obtain = Callable[["HostKeys", Subject], Awaitable[HostCertificates]]
"""Certificates for keys and a subject, from the auth service."""


@dataclass(frozen=True)
class HostKeys:
    """The key pairs of one service, made on this host and never leaving it."""

    ssh_private: str
    tls_private: str

    @property
    def ssh_public(self) -> str:
        return ssh_line(load_private(self.ssh_private).public_key())

    @property
    def tls_public(self) -> str:
        return public_pem(load_private(self.tls_private).public_key())

    @property
    def ssh_file(self) -> str:
        """The private key as OpenSSH writes it."""
        return ssh_private(load_private(self.ssh_private))

    def sign(self, data: bytes) -> str:
        """A signature by the host's SSH key (Ed25519), in base64."""
        import base64

        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = load_private(self.ssh_private)
        assert isinstance(key, Ed25519PrivateKey)
        return base64.b64encode(key.sign(data)).decode()


def new_keys() -> HostKeys:
    return HostKeys(private_pem(new_ssh_key()), private_pem(new_tls_key()))


class HostCredentials:
    """A service's identity, as TLS contexts and SSH host key. Replaced as a whole when it is renewed."""

    def __init__(
        self, keys: HostKeys, certificates: HostCertificates, subject: Subject, *, path: Path | None = None
    ) -> None:
        self.keys, self.certificates, self.subject, self._path = keys, certificates, subject, path
        self._contexts: dict[object, ssl.SSLContext] = {}
        self._listeners: list[Callable[[], None]] = []

    @property
    def host_id(self) -> str:
        return self.certificates.host_id

    @property
    def cluster(self) -> str:
        return self.certificates.cluster

    @property
    def authorities(self) -> tuple[TrustedAuthority, ...]:
        return tuple(TrustedAuthority.decode(text) for text in self.certificates.authorities)

    def trust(self, *kinds: str) -> str:
        return "".join(one.certificates for one in self.authorities if one.kind in kinds)

    def client(self, *alpn: str) -> ssl.SSLContext:
        """For connections of ours to other services of the cluster."""
        key = ("client", alpn)
        if key not in self._contexts:
            self._contexts[key] = client_context(
                trust=self.trust("host"), certificate=self.certificates.tls_certificate, key=self.keys.tls_private,
                alpn=alpn,
            )  # fmt: skip
        return self._contexts[key]

    def server(self, alpn: Sequence[str], *, clients: str) -> ssl.SSLContext:
        """For connections from others; `clients` is none, optional or required."""
        key = ("server", tuple(alpn), clients)
        if key not in self._contexts:
            self._contexts[key] = server_context(
                self.certificates.tls_certificate, self.keys.tls_private, alpn=alpn,
                trust="" if clients == "none" else self.trust("user", "host"), require_client=clients == "required",
                minimum=ssl.TLSVersion.TLSv1_2 if clients == "none" else ssl.TLSVersion.TLSv1_3,
            )  # fmt: skip
        return self._contexts[key]

    def subscribe(self, renewed: Callable[[], None]) -> None:
        """Call back whenever there are new certificates."""
        self._listeners.append(renewed)

    def replace(self, certificates: HostCertificates, subject: Subject) -> None:
        """Use other certificates from now on. Labels that the join token suggested stay.

        What cannot be kept is not used: whoever starts again with an older generation than was seen counts as a copy.
        Raises OSError.
        """
        before, labels = (self.certificates, self.subject), self.certificates.suggested_labels
        self.certificates, self.subject = certificates.model_copy(update={"suggested_labels": labels}), subject
        try:
            self.save()
        except OSError:
            self.certificates, self.subject = before
            raise
        self._contexts = {}
        for listener in self._listeners:
            listener()

    def save(self) -> None:
        if self._path is None:
            return
        body = {
            "keys": asdict(self.keys), "certificates": self.certificates.model_dump(mode="json"),
            "subject": asdict(self.subject),
        }  # fmt: skip
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(self._path, json.dumps(body).encode())

    async def keep_fresh(self, renew: Obtain, wanted: Subject, *, clock: Clock) -> None:
        """Renew when a third of the time is left, and at once if the host goes by another name now; until it works."""
        lifetime = self.certificates.expires - clock.time()
        while True:
            due = self.certificates.expires - lifetime / 3
            if self.subject == wanted and clock.time() < due:
                await clock.sleep(max(1.0, min(due - clock.time(), _LOOK_SECONDS)))
                continue
            try:
                self.replace(await renew(self.keys, wanted), wanted)
                lifetime = self.certificates.expires - clock.time()
                log.info("the certificates of host %s were renewed", self.host_id)
            except (TeleportError, OSError) as error:
                log.warning("the certificates of host %s could not be renewed: %s", self.host_id, error)
                await clock.sleep(_RETRY_SECONDS)


def load_credentials(path: Path, *, now: float) -> HostCredentials | None:
    """The identity kept in a file, if it is whole and still valid."""
    try:
        if path.stat().st_mode & 0o077:
            os.chmod(path, 0o600)
        body = json.loads(path.read_bytes())
        certificates = HostCertificates.model_validate(body["certificates"])
        subject = Subject(body["subject"]["hostname"], tuple(body["subject"]["addresses"]))
        kept = HostCredentials(HostKeys(**body["keys"]), certificates, subject, path=path)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kept if certificates.expires > now + _LEAST_SECONDS else None


async def new_credentials(path: Path | None, obtain: Obtain, subject: Subject) -> HostCredentials:
    """A new identity, kept in a file if one is named."""
    keys = new_keys()
    fresh = HostCredentials(keys, await obtain(keys, subject), subject, path=path)
    fresh.save()
    return fresh
