"""Starts the proxy of this process: clients to hosts, agents' tunnels, the web, and the way to the API behind it."""

from functools import partial
from typing import Final

from teleport.access.locks import lock_on_host
from teleport.access.snapshot import Snapshot
from teleport.api import models as m
from teleport.api import routes as r
from teleport.core.identity import Identity
from teleport.net import alpn
from teleport.net.join import Leg
from teleport.net.leaving import LeavingConnection
from teleport.net.quiet import QuietConnection
from teleport.proxy.listener import Arrival
from teleport.proxy.relay import Relay
from teleport.proxy.ssh.server import JumpServer
from teleport.proxy.tunnels import Tunnels
from teleport.proxy.visits import Visits
from teleport.proxy.web import web_application
from teleport.service.address import DEFAULT_PORT, Address
from teleport.service.config import Config
from teleport.service.connections import Begin, ServeLines, run_application
from teleport.service.heartbeat import Heart
from teleport.service.join import enlist, make_gate
from teleport.service.leaves import Doors, Outposts
from teleport.service.openssh import serve_plain_hosts
from teleport.service.peer import verifier
from teleport.service.site import Member, Site
from teleport.service.web_tls import WebContexts

__all__ = ["start_proxy"]

_SERVICE: Final = "proxy"


async def start_proxy(site: Site) -> None:
    """Join as a proxy and serve what people and agents connect for."""
    member = await enlist(site, _SERVICE, "Proxy", hosts=True)
    await member.spool.recover(member.credentials.keys.sign)
    doors, outposts = _serve_ssh(site, member)
    await _serve_web(site, member)
    if site.auth is None:
        site.port.forward(alpn.API_PREFIX, site.home.api)
    site.prepares.append(lambda config: partial(site.port.believe, config.proxy_service.balancers))
    site.port.believe(site.config.proxy_service.balancers)
    heart = Heart(
        site, member, address=site.public_address, tunnel_address=_tunnel_address(site), leaves=doors.tunnels,
        roots=lambda: outposts.connected,
    )  # fmt: skip
    site.life.background(heart.run(), "proxy heartbeat")


def _serve_ssh(site: Site, member: Member) -> tuple[Doors, Outposts]:
    """What is spoken in lines first (a client's way, an agent's control and dial-back), and jumps, which are not."""
    assert member.fleet is not None
    tunnels = site.tunnels = Tunnels(
        member.credentials.host_id, clock=site.clock, barred=partial(_why_barred, site, member)
    )
    member.policy.subscribe(lambda _: tunnels.look())

    async def live(sid: str) -> m.LiveFacts:
        return await member.client.call(r.LIVE_FACTS, m.LiveSid(sid=sid))

    doors = Doors(site, member)
    plain = serve_plain_hosts(site, member)
    relay = Relay(
        member.policy, member.fleet, member.gate, tunnels, member.spool, clock=site.clock, live=live,
        elsewhere=doors.elsewhere, plain=plain.serve,
    )  # fmt: skip

    async def relayed(connection: Leg, identity: Identity, arrival: Arrival) -> None:
        await relay.serve(connection, identity, address=arrival.address, port=arrival.port)

    async def controlled(connection: QuietConnection, identity: Identity, _arrival: Arrival) -> None:
        await tunnels.serve_control(connection, identity)

    async def dialled_back(connection: Leg, identity: Identity, _arrival: Arrival) -> None:
        await tunnels.serve_dialback(connection, identity)

    verify = verifier(member.policy, member.credentials.cluster, site.clock)

    def offer(protocol: str, serve: ServeLines, begin: Begin | None = None) -> None:
        context = partial(member.credentials.server, [protocol], clients="required")
        site.port.serve_lines(protocol, context, verify, serve, begin=begin)

    def offer_to_leave(snapshot: Snapshot) -> None:
        """Whether SSH may leave TLS is a setting of the cluster, for new connections from now on."""
        for protocol, serve in ((alpn.PROXY_SSH_LEAVING, relayed), (alpn.DIALBACK_LEAVING, dialled_back)):
            if snapshot.network.tls_throughout:
                site.port.withdraw(protocol)
            else:
                offer(protocol, serve, LeavingConnection.accept)

    offer(alpn.CONTROL, controlled, QuietConnection.accept)
    for protocol, serve in ((alpn.PROXY_SSH, relayed), (alpn.DIALBACK, dialled_back)):
        offer(protocol, serve)
    offer_to_leave(member.policy.current)
    member.policy.subscribe(offer_to_leave)
    _serve_jumps(site, member, relay)
    return doors, _serve_trust(site, member, relay, doors, Visits(member.gate, plain.gate, tunnels))


def _serve_trust(site: Site, member: Member, relay: Relay, doors: Doors, visits: Visits) -> Outposts:
    """Clusters that trust this one, and those that it trusts."""
    doors.open()
    outposts = Outposts(site, member, relay, visits)
    site.life.background(outposts.run(), "tunnels to other clusters")
    site.drains.append(lambda seconds: outposts.drain(timeout=seconds))
    return outposts


def _tunnel_address(site: Site) -> str:
    """Where agents reach this very proxy."""
    own = site.config.proxy_service.tunnel_public_addr
    return str(Address.parse(own, DEFAULT_PORT)) if own else site.public_address


def _why_barred(site: Site, member: Member, host: Identity) -> str:
    lock = lock_on_host(member.policy.current, host.uid, host.name, now=site.clock.time())
    return f"lock/{lock.name} is in force on this host" if lock is not None else ""


def _serve_jumps(site: Site, member: Member, relay: Relay) -> None:
    """Plain `ssh -J` on the same port. Its gate is its own: a user's way here is no connection to a host."""
    credentials = member.credentials
    gate = make_gate(site, member.policy, "proxy ssh")
    server = JumpServer(
        relay, member.policy, gate, member.spool, clock=site.clock, cluster=credentials.cluster,
        address=lambda: site.public_address, host_key=credentials.keys.ssh_file,
        host_certificate=credentials.certificates.ssh_certificate,
    )  # fmt: skip

    def renewed() -> None:
        server.use_certificate(credentials.keys.ssh_file, credentials.certificates.ssh_certificate)

    credentials.subscribe(renewed)
    site.port.serve_sockets(alpn.PLAIN_SSH, server.serve)
    site.drains.append(lambda seconds: server.drain("the service is stopping", timeout=seconds))


async def _serve_web(site: Site, member: Member) -> None:
    application = web_application(member.client, cluster=member.credentials.cluster, addresses=site.port.addresses)
    contexts = WebContexts(member.credentials, site.config.proxy_service.https_keypairs)

    def prepare(config: Config) -> "partial[None]":
        return contexts.prepare(config.proxy_service.https_keypairs)

    site.prepares.append(prepare)
    site.port.serve_http(alpn.HTTP, await run_application(application, site.life), contexts.current)
