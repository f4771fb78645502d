"""A cluster's authorities and the certificates of those who meet in tests, good for real handshakes."""

import ssl
import time
from dataclasses import dataclass, replace
from typing import Any

import asyncssh

from teleport.core.identity import Identity
from teleport.net.join import Leg
from teleport.net.tls import client_context, server_context
from teleport.pki.authority import Authority, TrustedAuthority, new_authority
from teleport.pki.credentials import issue_ssh_host, issue_ssh_user, issue_tls, read_tls
from teleport.pki.keys import PrivateKey, new_ssh_key, new_tls_key, private_pem, ssh_private

CLUSTER = "example.com"


@dataclass(frozen=True)
class Badge:
    """Somebody with certificates and keys."""

    identity: Identity
    certificate: str
    key: str
    trust: str
    ssh_key: str = ""
    ssh_certificate: str = ""

    def client(self, *alpn: str) -> ssl.SSLContext:
        return client_context(trust=self.trust, certificate=self.certificate, key=self.key, alpn=alpn)

    def showing(self, certificate: bytes) -> Any:
        """The SSH key, with another certificate than its own, for asyncssh's client."""
        own = asyncssh.import_private_key(self.ssh_key), asyncssh.import_certificate(self.ssh_certificate)
        pair, _ = asyncssh.load_keypairs([own])
        pair.public_data = certificate
        return pair


class Authorities:
    """The user and the host authority of one cluster."""

    def __init__(self, cluster: str = CLUSTER) -> None:
        self.cluster, self.now = cluster, time.time()
        self.users: Authority = new_authority("user", cluster, now=self.now)
        self.hosts: Authority = new_authority("host", cluster, now=self.now)

    @property
    def public(self) -> tuple[TrustedAuthority, ...]:
        return self.users.public, self.hosts.public

    def user(self, name: str = "ann", *, expires_in: float = 3600, **fields: Any) -> Badge:
        identity = Identity("user", name, f"u-{name}", self.cluster, expires=int(self.now + expires_in))
        identity, key, ssh_key = replace(identity, **fields), new_tls_key(), new_ssh_key()
        ssh = issue_ssh_user(
            self.users, identity, ssh_key.public_key(), logins=["root"], permits=["permit-pty"], now=self.now
        )
        return self._badge(self.users, identity, key, ssh_key=ssh_private(ssh_key), ssh_certificate=ssh)

    def host(self, name: str, *roles: str, uid: str = "", expires_in: float = 3600) -> Badge:
        identity = Identity(
            "host", name, uid or f"h-{name}", self.cluster, expires=int(self.now + expires_in), system_roles=roles
        )
        names = [f"{role.lower()}.{self.cluster}" for role in roles]
        return self._badge(self.hosts, identity, new_tls_key(), names=names)

    def ssh_host(self, badge: Badge, *names: str) -> tuple[str, str]:
        """A host's SSH key, and its certificate for these names."""
        key = new_ssh_key()
        certificate = issue_ssh_host(self.hosts, badge.identity, key.public_key(), principals=names, now=self.now)
        return ssh_private(key), certificate

    def stranger(self) -> Badge:
        """Somebody who trusts this cluster and has no certificate."""
        return Badge(Identity("user", "stranger", "u-?", self.cluster), "", "", self.hosts.public.certificates)

    def server(self, badge: Badge, *alpn: str, clients: bool = True) -> ssl.SSLContext:
        """A server of that badge; with `clients` it demands certificates of users and hosts."""
        trust = "".join(one.certificates for one in self.public) if clients else ""
        return server_context(badge.certificate, badge.key, trust=trust, alpn=alpn, require_client=clients)

    def verify(self, connection: Leg) -> Identity:
        """Who the peer is."""
        der = connection.peer_certificate
        assert der is not None
        return read_tls(der, self.public, now=time.time())

    def _badge(
        self, authority: Authority, identity: Identity, key: PrivateKey, *, names: list[str] | None = None, **ssh: str
    ) -> Badge:
        certificate = issue_tls(authority, identity, key.public_key(), now=self.now, names=names or ())
        return Badge(identity, certificate, private_pem(key), self.hosts.public.certificates, **ssh)
