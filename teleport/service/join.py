"""How the services of this process come to belong to a cluster: recognising it, joining it, following its policy.

The cluster is that of the auth service in this very process, or one elsewhere: recognised by the pins of its host
authority, or by what an earlier join left in the data directory. Nothing secret is sent before.
"""

import asyncio
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.api.feed import RemoteFeed
from teleport.api.server import Caller
from teleport.audit.spool import Spool, Uplink
from teleport.auth.join import service_name
from teleport.core.errors import AccessDenied, BadInput, Unavailable
from teleport.core.identity import HostRole
from teleport.net import alpn
from teleport.net.through import WebProxy
from teleport.net.tls import client_context, pinless_context
from teleport.pki.authority import TrustedAuthority
from teleport.service.address import DEFAULT_PORT, Address
from teleport.service.config import Config
from teleport.service.credentials import HostCredentials, HostKeys, Subject, load_credentials, new_credentials
from teleport.service.destination import ApiDestination
from teleport.service.site import Member, Site
from teleport.sessions.gate import Gate
from teleport.sessions.policy import LiveFleet, LivePolicy, decoders
from teleport.store.replica import Replica

if TYPE_CHECKING:
    from teleport.service.auth import AuthService

__all__ = ["LocalCluster", "RemoteCluster", "enlist", "make_gate", "recognise", "renew"]

log = logging.getLogger(__name__)

_STALENESS_CHECK: Final = 1.0
_IMPATIENCE: Final = 15.0
"""Seconds of waiting for the auth service after which the log says so, again and again."""


class LocalCluster:
    """The cluster whose auth service runs in this process."""

    def __init__(self, site: Site, auth: "AuthService") -> None:
        self._site, self._auth = site, auth
        self.name, self.pins = auth.authorities.cluster, auth.authorities.pins
        self.api = self.proxy = site.port.bound.from_here()
        if "proxy" not in site.config.roles and site.config.teleport.proxy_server:
            self.proxy = Address.parse(site.config.teleport.proxy_server, DEFAULT_PORT)

    async def credentials(self, service: str, role: HostRole) -> HostCredentials:
        """See `Cluster`. Services beside the auth service join with a token that never leaves the process."""
        path = _identity_file(self._site.config, service)
        kept = load_credentials(path, now=self._site.clock.time())
        current = {one.encode() for one in self._auth.authorities.public}
        if kept is not None and kept.cluster == self.name and {one.encode() for one in kept.authorities} == current:
            return kept
        return await new_credentials(path, partial(self._join, role), _subject(self._site, role))

    async def _join(self, role: HostRole, keys: HostKeys, subject: Subject) -> m.HostCertificates:
        token = self._auth.auth.joining.memory_token([role])
        return await self._auth.auth.on_join(Caller(None, "local"), _request(role, keys, subject, token))

    async def follow(self, client: ApiClient, *, hosts: bool) -> tuple[LivePolicy, LiveFleet | None]:
        """See `Cluster`. In one process there is one snapshot."""
        return self._auth.auth.policy, self._auth.auth.fleet


class RemoteCluster:
    """A cluster whose auth service is elsewhere."""

    def __init__(self, site: Site, authority: TrustedAuthority) -> None:
        self._site, self._authority = site, authority
        self.name, self.pins = authority.cluster, authority.pins
        self.api = self.proxy = site.config.remote
        if site.connections is not None:
            self.proxy = site.connections.bound.from_here()

    @classmethod
    async def find(cls, site: Site) -> "RemoteCluster":
        """The cluster joined earlier, unless the pins name another; else the one that answers, if the pins fit it."""
        pins = set(site.config.pins)
        for role in site.config.roles:
            kept = load_credentials(_identity_file(site.config, role), now=site.clock.time())
            authority = _host_authority(kept.authorities) if kept is not None else None
            if authority is not None and (not pins or pins & set(authority.pins)):
                return cls(site, authority)
        remote = site.config.remote
        return cls(site, await recognise(remote, pins, through=site.through(remote.host)))

    async def credentials(self, service: str, role: HostRole) -> HostCredentials:
        """See `Cluster`. What joined once stays the same host until its certificates run out."""
        path = _identity_file(self._site.config, service)
        kept = load_credentials(path, now=self._site.clock.time())
        if kept is not None and _host_authority(kept.authorities) == self._authority:
            return kept
        return await new_credentials(path, partial(self._join, role), _subject(self._site, role))

    async def _join(self, role: HostRole, keys: HostKeys, subject: Subject) -> m.HostCertificates:
        token = self._site.config.token
        if not token:
            raise BadInput(
                "this host has not joined the cluster yet and has no join token",
                hint=f"`tctl tokens add --type {role.lower()}` on the auth host makes one:"
                " give it with --token, or in teleport.join_params",
            )
        context = client_context(trust=self._authority.certificates, alpn=[alpn.HTTP])
        name = service_name("Proxy" if self._site.config.teleport.proxy_server else "Auth", self.name)
        through = self._site.through(self.api.host)
        async with ApiClient(f"https://{self.api}", tls=context, server_name=name, through=through) as client:
            try:
                return await client.call(r.JOIN, _request(role, keys, subject, token))
            except AccessDenied as error:
                hint = error.hint or f"it must be for the type {role.lower()}: tctl tokens add --type {role.lower()}"
                raise AccessDenied(f"{self.name} does not take this host in: {error.message}", hint=hint) from None

    async def follow(self, client: ApiClient, *, hosts: bool) -> tuple[LivePolicy, LiveFleet | None]:
        """See `Cluster`."""
        replica = Replica(RemoteFeed(client), decoders(hosts=hosts), clock=self._site.clock)
        policy = LivePolicy(replica, clock=self._site.clock)
        fleet = LiveFleet(replica, policy) if hosts else None
        self._site.life.background(replica.run(), "replica")
        while True:
            try:
                async with asyncio.timeout(_IMPATIENCE):
                    await replica.wait_ready()
                return policy, fleet
            except TimeoutError:
                log.warning(
                    "still waiting for the auth service of %s at %s: %s; if the cluster was made anew, remove %s, set"
                    " the new ca_pin and join again", self.name, self.api, replica.failure or "no answer",
                    self._site.data_dir / "hosts",
                )  # fmt: skip


async def enlist(site: Site, name: str, role: HostRole, *, hosts: bool = False) -> Member:
    """Make a service a member of the cluster: identity, API, policy, gate, and a way for its events to auth."""
    credentials = await site.home.credentials(name, role)
    site.credentials[name] = credentials
    client = _api_client(site, credentials)
    policy, fleet = await site.home.follow(client, hosts=hosts)
    spool = Spool(site.data_dir / "spool" / name, clock=site.clock)
    gate = make_gate(site, policy, name)
    member = Member(name, credentials, client, policy, fleet, gate, spool, ApiDestination(client))
    site.members.append(member)
    life, renewal = site.life, partial(renew, client)
    life.background(Uplink(spool, member.destination, clock=site.clock).run(), f"{name} uplink")
    life.background(credentials.keep_fresh(renewal, _subject(site, role), clock=site.clock), f"{name} certificates")
    _watch_over(site, member)
    return member


def make_gate(site: Site, policy: LivePolicy, name: str) -> Gate:
    """A gate that is watched over, and follows the configuration."""
    gate = Gate(policy, clock=site.clock, staleness=site.config.teleport.staleness_limit)

    def prepare(config: Config) -> "partial[None]":
        return partial(setattr, gate, "staleness", config.teleport.staleness_limit)

    site.life.background(_watch_staleness(site, gate), f"{name} staleness")
    site.prepares.append(prepare)
    return gate


def _api_client(site: Site, credentials: HostCredentials) -> ApiClient:
    """The auth service's API, with a service's own certificate, also after that was renewed."""
    protocol = alpn.api(credentials.cluster)
    client = ApiClient(
        f"https://{site.home.api}", tls=credentials.client(protocol), server_name=service_name("Auth", site.home.name),
        through=site.through(site.home.api.host),
    )  # fmt: skip
    credentials.subscribe(lambda: client.replace_tls(credentials.client(protocol)))
    site.life.stack.push_async_callback(client.close)
    return client


def _watch_over(site: Site, member: Member) -> None:
    """Say when a member cannot do its work."""

    def stale() -> str:
        age = member.policy.age()
        return f"{member.name}: the policy is {age:.0f} seconds old" if age > member.gate.staleness else ""

    site.health.require(stale)
    site.health.require(lambda: f"{member.name}: {member.spool.failure}" if member.spool.failure else "")


async def _watch_staleness(site: Site, gate: Gate) -> None:
    while True:
        await site.clock.sleep(_STALENESS_CHECK)
        gate.check_staleness()


async def renew(client: ApiClient, keys: HostKeys, subject: Subject) -> m.HostCertificates:
    """Fresh certificates for a service that still has valid ones."""
    request = m.RenewHost(
        ssh_public_key=keys.ssh_public, tls_public_key=keys.tls_public, hostname=subject.hostname,
        addresses=subject.addresses,
    )  # fmt: skip
    return await client.call(r.RENEW_HOST, request)


async def recognise(
    address: Address, pins: set[str], *, through: WebProxy | None = None, trust: str | None = None
) -> TrustedAuthority:
    """The host authority of the cluster that answers, held against the pins.

    Without pins the name must have a certificate that the system trusts, or by `trust` (PEM), in their place.
    """
    known_by_name = client_context(trust=trust, alpn=[alpn.HTTP])
    context = pinless_context([alpn.HTTP]) if pins else known_by_name
    async with ApiClient(f"https://{address}", tls=context, through=through) as client:
        try:
            answer = await client.call(r.AUTHORITIES, m.Empty())
        except Unavailable as error:
            if pins or not isinstance(error.__cause__, aiohttp.ClientSSLError):
                raise
            raise BadInput(
                f"without a pin the cluster at {address} cannot be recognised: its certificate is not publicly trusted",
                hint="`tctl status` on the auth host prints it: give it with --ca-pin, or in teleport.ca_pin",
            ) from None
    authority = _host_authority(tuple(TrustedAuthority.decode(text) for text in answer.authorities))
    if authority is not None and not pins:
        log.warning("the cluster at %s is recognised by its publicly trusted certificate; a ca_pin is safer", address)
        return authority
    if authority is None or not set(authority.pins) <= pins:
        raise BadInput(
            f"what answers at {address} does not have the pinned key, so nothing was told it",
            hint="is this the right cluster? `tctl status` on its auth host prints the pin",
        )
    return authority


def _host_authority(authorities: tuple[TrustedAuthority, ...]) -> TrustedAuthority | None:
    return next((one for one in authorities if one.kind == "host" and one.keys), None)


def _identity_file(config: Config, service: str) -> Path:
    return config.data_dir / "hosts" / f"{service}.json"


def _subject(site: Site, role: HostRole) -> Subject:
    config = site.config
    if role != "Proxy":
        return Subject(config.nodename)
    public = [Address.parse(text, DEFAULT_PORT).host for text in config.proxy_service.public_addr]
    own = [site.port.bound.host, "localhost", "127.0.0.1", "::1", config.nodename]
    return Subject(config.nodename, tuple(dict.fromkeys([*public, *own])))


def _request(role: HostRole, keys: HostKeys, subject: Subject, token: str) -> m.JoinRequest:
    assert role != "Auth"
    return m.JoinRequest(
        token=token, ssh_public_key=keys.ssh_public, tls_public_key=keys.tls_public, hostname=subject.hostname,
        roles=(role,), addresses=subject.addresses,
    )  # fmt: skip
