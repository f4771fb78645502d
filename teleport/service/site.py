"""What the services of one process share. Each finds here what it stands on, and leaves what others need of it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from teleport.api.client import ApiClient
from teleport.core.aio import Clock
from teleport.core.identity import HostRole
from teleport.net.through import WebProxy, web_proxy
from teleport.service.address import DEFAULT_PORT, Address
from teleport.service.config import Config
from teleport.service.connections import Connections
from teleport.service.credentials import HostCredentials
from teleport.service.destination import ApiDestination
from teleport.service.health import Health
from teleport.service.lifetime import Lifetime
from teleport.sessions.gate import Gate
from teleport.sessions.policy import LiveFleet, LivePolicy

if TYPE_CHECKING:
    from argon2 import PasswordHasher

    from teleport.audit.spool import Spool
    from teleport.gitops.loop import Loop
    from teleport.proxy.tunnels import Tunnels
    from teleport.service.auth import AuthService
    from teleport.service.notify import Notifier

__all__ = ["Cluster", "Member", "Prepare", "Site"]

Prepare = Callable[[Config], Callable[[], None]]
"""Gets ready for a changed configuration, which may raise a TeleportError; what it returns makes it take effect."""

Drain = Callable[[float], Awaitable[None]]
"""Winds up what is left of a service's sessions, within some seconds."""


class Cluster(Protocol):
    """The cluster that the services of this process belong to: that of the auth service beside them, or another."""

    name: str
    pins: tuple[str, ...]
    api: Address
    """Where the API answers."""
    proxy: Address
    """Where a proxy answers."""

    async def credentials(self, service: str, role: HostRole) -> HostCredentials:
        """The identity of a service of this process, kept or new. Raises what keeps it from joining."""
        ...

    async def follow(self, client: ApiClient, *, hosts: bool) -> tuple[LivePolicy, LiveFleet | None]:
        """The policy in force, and on demand the hosts of the cluster; returns when they are known."""
        ...


@dataclass(frozen=True)
class Member:
    """A service of this process as a member of the cluster."""

    name: str
    credentials: HostCredentials
    client: ApiClient
    policy: LivePolicy
    fleet: LiveFleet | None
    gate: Gate
    spool: "Spool"
    destination: ApiDestination


@dataclass
class Site:
    """One process. What is None or empty is not run here, or not up yet."""

    config: Config
    """In force now: replaced when the configuration is read again."""
    clock: Clock
    environment: Mapping[str, str] = field(default_factory=dict)
    life: Lifetime = field(default_factory=Lifetime)
    health: Health = field(default_factory=Health)
    connections: Connections | None = None
    cluster: Cluster | None = None
    auth: "AuthService | None" = None
    tunnels: "Tunnels | None" = None
    members: list[Member] = field(default_factory=list)
    sources: "list[Loop]" = field(default_factory=list)
    notifier: "Notifier | None" = None
    credentials: dict[str, HostCredentials] = field(default_factory=dict)
    """By service; those of auth too."""
    hasher: "PasswordHasher | None" = None
    """Of passwords; None for the usual cost."""
    prepares: list[Prepare] = field(default_factory=list)
    drains: list[Drain] = field(default_factory=list)
    ready_when: list[Callable[[], Awaitable[object]]] = field(default_factory=list)

    @property
    def data_dir(self) -> Path:
        return self.config.data_dir

    @property
    def port(self) -> Connections:
        """The port of a process that has one."""
        assert self.connections is not None
        return self.connections

    @property
    def public_address(self) -> str:
        """Where others reach the port of this process."""
        public, bound = self.config.proxy_service.public_addr, self.port.bound
        if public and "proxy" in self.config.roles:
            return str(Address.parse(public[0], DEFAULT_PORT))
        return str(Address(self.config.nodename if bound.everywhere else bound.host, bound.port))

    def through(self, host: str) -> WebProxy | None:
        """The web proxy by which a host is reached, if the environment names one. Raises BadInput."""
        return web_proxy(self.environment, host)

    @property
    def home(self) -> Cluster:
        """The cluster, once it is known."""
        assert self.cluster is not None
        return self.cluster
