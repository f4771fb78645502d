"""The certificates of this host's services: obtained by joining, kept in the data directory, renewed in time."""

import asyncio
import json
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from teleport.api.models import HostCertificates
from teleport.audit.files import write_durably
from teleport.core.aio import Clock
from teleport.core.errors import TeleportError
from teleport.net.tls import client_context, server_context
from teleport.pki.authority import TrustedAuthority
from teleport.pki.keys import load_private, new_ssh_key, new_tls_key, private_pem, public_pem, ssh_line, ssh_private

__all__ = ["HostCredentials", "HostKeys", "load_or_join", "new_keys"]

log = logging.getLogger(__name__)

Obtain = Callable[["HostKeys"], Awaitable[HostCertificates]]


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

    def __init__(self, keys: HostKeys, certificates: HostCertificates, *, path: Path | None = None) -> None:
        self.keys, self.certificates, self._path = keys, certificates, path
        self._contexts: dict[object, ssl.SSLContext] = {}

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

    def replace(self, certificates: HostCertificates) -> None:
        self.certificates = certificates
        self._contexts = {}
        self.save()

    def save(self) -> None:
        if self._path is not None:
            body = {"keys": asdict(self.keys), "certificates": self.certificates.model_dump(mode="json")}
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(self._path, json.dumps(body).encode())

    async def keep_fresh(self, renew: Obtain, *, clock: Clock, renewed: Callable[[], None]) -> None:
        """Renew when a third of the time is left; keep trying until it works."""
        lifetime = self.certificates.expires - clock.time()
        while True:
            due = self.certificates.expires - lifetime / 3
            await clock.sleep(max(1.0, min(due - clock.time(), 6 * 3600)))
            if clock.time() < due:
                continue
            try:
                self.replace(await renew(self.keys))
                lifetime = self.certificates.expires - clock.time()
                renewed()
                log.info("the certificates of host %s were renewed", self.host_id)
            except TeleportError as error:
                log.warning("the host's certificates could not be renewed: %s", error)
                await clock.sleep(60)


async def load_or_join(
    path: Path, join: Obtain, *, trusted: Callable[[HostCredentials], bool], clock: Clock
) -> HostCredentials:
    """The identity kept in a file, if it is still good, otherwise a new one by joining."""
    kept = await asyncio.to_thread(_load, path)
    if kept is not None and kept.certificates.expires > clock.time() + 60 and trusted(kept):
        return kept
    keys = new_keys()
    fresh = HostCredentials(keys, await join(keys), path=path)
    fresh.save()
    return fresh


def _load(path: Path) -> HostCredentials | None:
    try:
        if path.stat().st_mode & 0o077:
            os.chmod(path, 0o600)
        body = json.loads(path.read_bytes())
        certificates = HostCertificates.model_validate(body["certificates"])
        return HostCredentials(HostKeys(**body["keys"]), certificates, path=path)
    except (OSError, ValueError, KeyError, TypeError):
        return None
