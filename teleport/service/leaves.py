"""Trust in a proxy: the doors for clusters that trust this one, and tunnels to those that are trusted here."""

import asyncio
import logging
import ssl
from functools import partial
from typing import Any

from teleport.access.snapshot import Snapshot
from teleport.agents.tunnel import ProxyAddress, Tunnel
from teleport.api import models as m
from teleport.api import routes as r
from teleport.auth.join import service_name
from teleport.core.aio import cancel_and_wait
from teleport.core.errors import AccessDenied, Unavailable
from teleport.core.identity import Identity, Passage
from teleport.net import alpn
from teleport.net.join import Leg
from teleport.net.tls import client_context, server_context
from teleport.pki.authority import TrustedAuthority
from teleport.pki.credentials import read_tls
from teleport.pki.passages import read_passage
from teleport.proxy.entrance import Entrance
from teleport.proxy.leaves import Departures, LeafTunnels
from teleport.proxy.listener import Arrival
from teleport.proxy.relay import Elsewhere, Relay
from teleport.proxy.visits import Visits
from teleport.service.address import DEFAULT_PORT, Address
from teleport.service.connections import Verify
from teleport.service.peer import verifier
from teleport.service.site import Member, Site

__all__ = ["Doors", "Outposts"]

log = logging.getLogger(__name__)

_LEAVES = {alpn.CONTROL: alpn.LEAF_CONTROL, alpn.DIALBACK: alpn.LEAF_DIALBACK}
"""What an agent's tunnel asks for, and what a leaf's proxy asks a root's for instead."""


def _peer(authorities: tuple[TrustedAuthority, ...], site: Site) -> Verify:
    """Who the TLS peer is, by the host authorities of other clusters and by nothing else."""

    def verify(connection: Leg) -> Identity:
        der = connection.peer_certificate
        assert der is not None
        return read_tls(der, [one for one in authorities if one.kind == "host"], now=site.clock.time())

    return verify


def _same(context: ssl.SSLContext) -> ssl.SSLContext:
    return context


class Doors:
    """On a root's proxy: where leaves keep their tunnels, and where users leave for them."""

    def __init__(self, site: Site, member: Member) -> None:
        self._site, self._member = site, member
        self.tunnels = LeafTunnels(member.credentials.host_id, member.spool, clock=site.clock)
        self.departures = Departures(
            member.policy, member.gate, self.tunnels, member.spool, self._passage, clock=site.clock
        )
        self._known: frozenset[TrustedAuthority] = frozenset()

    @property
    def elsewhere(self) -> Elsewhere:
        return self.departures.connect

    def open(self) -> None:
        """Follow the leaves that there are, and let users out."""
        credentials = self._member.credentials
        verify = verifier(self._member.policy, credentials.cluster, self._site.clock)
        context = partial(credentials.server, [alpn.LEAF_HOSTS], clients="required")
        self._site.port.serve_lines(alpn.LEAF_HOSTS, context, verify, self._listed)
        self._follow(self._member.policy.current)
        self._member.policy.subscribe(self._follow)
        credentials.subscribe(self._offer)

    async def _listed(self, connection: Leg, identity: Identity, arrival: Arrival) -> None:
        await self.departures.answer(connection, identity, (arrival.address, arrival.port))

    async def _passage(self, request: m.PassageRequest) -> tuple[str, Passage]:
        answer = await self._member.client.call(r.PASSAGE, request)
        own = [one for one in self._member.policy.authorities if one.cluster == self._member.credentials.cluster]
        identity = read_passage(answer.passage, own, to=request.cluster, now=self._site.clock.time())
        if identity.passage is None:
            raise Unavailable("the auth service answered with no passage")
        return answer.passage, identity.passage

    def _follow(self, _snapshot: Snapshot) -> None:
        leaves = self._member.policy.leaves
        known = frozenset(one for leaf in leaves.values() for one in leaf.of_kind("host"))
        if known == self._known:
            return
        self._known = known
        self.tunnels.keep({name: leaf.pins for name, leaf in leaves.items()})
        self._offer()

    def _offer(self) -> None:
        port = self._site.port
        for protocol, serve in ((alpn.LEAF_CONTROL, self._controlled), (alpn.LEAF_DIALBACK, self._dialled_back)):
            port.withdraw(protocol)
            if self._known:
                context = self._context(protocol)
                port.serve_lines(protocol, partial(_same, context), _peer(tuple(self._known), self._site), serve)

    def _context(self, protocol: str) -> ssl.SSLContext:
        credentials = self._member.credentials
        return server_context(
            credentials.certificates.tls_certificate, credentials.keys.tls_private, alpn=[protocol],
            trust="".join(one.certificates for one in self._known), require_client=True,
        )  # fmt: skip

    async def _controlled(self, connection: Any, identity: Identity, arrival: Arrival) -> None:
        if identity.cluster not in self._member.policy.leaves:
            raise AccessDenied(f"the cluster {identity.cluster} was removed")
        await self.tunnels.serve_control(connection, identity, arrival.address)

    async def _dialled_back(self, connection: Any, identity: Identity, _arrival: Arrival) -> None:
        await self.tunnels.serve_dialback(connection, identity)


class Outposts:
    """On a leaf's proxy: a tunnel to each cluster that is trusted, as long as it is. Run `run()` as a task."""

    def __init__(self, site: Site, member: Member, relay: Relay, visits: Visits) -> None:
        self._site, self._member, self._relay, self._visits = site, member, relay, visits
        self._changed = asyncio.Event()
        self._tunnels: dict[str, tuple[object, Tunnel, asyncio.Task[None]]] = {}
        member.policy.subscribe(lambda _: self._changed.set())

    @property
    def connected(self) -> tuple[str, ...]:
        """The clusters whose tunnels are up."""
        return tuple(sorted(name for name, (_, tunnel, _) in self._tunnels.items() if tunnel.connected.is_set()))

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._changed.clear()
                await self._settle()
                await self._changed.wait()
        finally:
            await cancel_and_wait(*(task for _, _, task in self._tunnels.values()))

    async def drain(self, *, timeout: float) -> None:
        """Wait for what came by the tunnels to end, then end it."""
        await asyncio.gather(*(tunnel.drain(timeout=timeout) for _, tunnel, _ in self._tunnels.values()))

    async def _settle(self) -> None:
        policy = self._member.policy
        wanted: dict[str, object] = {}
        for name, root in policy.roots.items():
            trusted = policy.current.trusted.get(name)
            if trusted is not None and trusted.spec.enabled:
                wanted[name] = (trusted.spec.web_proxy_addr, root.authorities)
        for name in [name for name, (what, _, _) in self._tunnels.items() if wanted.get(name) != what]:
            _, tunnel, task = self._tunnels.pop(name)
            await cancel_and_wait(task)
            await tunnel.drain(timeout=0)
        for name in wanted.keys() - self._tunnels.keys():
            tunnel = self._tunnel(name)
            self._tunnels[name] = wanted[name], tunnel, asyncio.create_task(tunnel.run(), name=f"tunnel to {name}")

    def _tunnel(self, name: str) -> Tunnel:
        member, policy = self._member, self._member.policy
        assert member.fleet is not None
        root, trusted = policy.roots[name], policy.current.trusted[name]
        address = Address.parse(trusted.spec.web_proxy_addr, DEFAULT_PORT)
        entrance = Entrance(
            name, member.credentials.cluster, policy, member.fleet, self._relay, member.spool, clock=self._site.clock
        )
        trust = "".join(one.certificates for one in root.of_kind("host"))

        def context(protocol: str) -> ssl.SSLContext:
            credentials = member.credentials
            return client_context(
                trust=trust, certificate=credentials.certificates.tls_certificate, key=credentials.keys.tls_private,
                alpn=[_LEAVES[protocol]],
            )  # fmt: skip

        tunnel = Tunnel(
            ProxyAddress(address.host, address.port, service_name("Proxy", name)), member.credentials.host_id, context,
            _peer(root.authorities, self._site), entrance.serve, clock=self._site.clock,
        )  # fmt: skip
        tunnel.cut = partial(self._visits.end, name)
        return tunnel
