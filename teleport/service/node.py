"""Starts the SSH agent of this process: the host's labels, its server, and its tunnel to the proxy."""

import asyncio
import os
from functools import partial
from typing import Final

from teleport.agents.mesh import Mesh
from teleport.agents.ssh.recorded import RecordingHost
from teleport.agents.ssh.server import Host, SshServer
from teleport.agents.tunnel import ProxyAddress, Tunnel
from teleport.api import models as m
from teleport.api.dialback import Cut
from teleport.auth.join import service_name
from teleport.core.aio import Clock
from teleport.net.changes import notice_addresses, notice_jumps
from teleport.net.through import connected_through
from teleport.service.address import DEFAULT_PORT, Address
from teleport.service.heartbeat import Heart
from teleport.service.join import enlist
from teleport.service.labels import HostLabels
from teleport.service.live import report_sessions
from teleport.service.peer import verifier
from teleport.service.site import Member, Site
from teleport.sessions.visitors import end_visits

__all__ = ["settle", "start_node"]

_SERVICE: Final = "node"
_SETTLE_SECONDS: Final = 2.0


async def start_node(site: Site) -> None:
    """Join as an agent and guard this host."""
    member = await enlist(site, _SERVICE, "Node")
    credentials = member.credentials
    forbidden = os.geteuid() if site.auth is not None and not site.config.demo else None
    host = Host(
        credentials.host_id,
        site.config.nodename,
        credentials.cluster,
        {},
        forbidden,
        site.config.ssh_service.ssh_file_copy,
    )
    heart = Heart(site, member, labels=lambda: host.labels, acknowledged=lambda ack: mesh.told(_proxies(site, ack)))

    def labelled(labels: dict[str, str]) -> None:
        host.labels = labels
        member.gate.rejudge()
        heart.tell()

    labels = HostLabels(
        credentials.certificates.suggested_labels, site.config.ssh_service, clock=site.clock, changed=labelled
    )
    await labels.refresh()
    site.prepares.append(lambda config: partial(labels.use, config.ssh_service))
    server = await _server(site, member, host)
    mesh = _mesh(site, member, server)
    site.life.background(labels.run(), "labels")
    mesh.subscribe(heart.tell)
    if site.auth is None:
        _keep_api_reached(site, member, mesh)
    site.life.background(mesh.run(), "tunnels")
    site.life.background(notice_addresses(mesh.doubt), "addresses")
    site.life.background(notice_jumps(site.clock, mesh.doubt), "jumps of time")
    site.life.background(heart.run(), "node heartbeat")
    site.life.background(report_sessions(member.client, server.live), "live sessions")
    site.ready_when.append(heart.known.wait)


async def _server(site: Site, member: Member, host: Host) -> SshServer:
    credentials = member.credentials
    records = RecordingHost(
        credentials.host_id, site.config.nodename, member.spool, member.destination, credentials.keys.sign, site.clock,
        lambda: member.policy.current.recording.exec_recording_limit,
    )  # fmt: skip
    await member.spool.recover(credentials.keys.sign)
    site.life.background(settle(records, site.clock), "ends of sessions")
    server = SshServer(
        host, member.policy, member.gate, records, clock=site.clock, host_key=credentials.keys.ssh_file,
        host_certificate=credentials.certificates.ssh_certificate,
    )  # fmt: skip

    site.life.stack.push_async_callback(server.close)

    def renewed() -> None:
        server.use_certificate(credentials.keys.ssh_file, credentials.certificates.ssh_certificate)

    credentials.subscribe(renewed)
    return server


async def settle(records: RecordingHost, clock: Clock) -> None:
    """Ends of sessions that found the disk full are written once there is room."""
    while True:
        await clock.sleep(_SETTLE_SECONDS)
        if records.owed and not records.spool.failure:
            await records.settle()


def _mesh(site: Site, member: Member, server: SshServer) -> Mesh:
    proxy, credentials = site.home.proxy, member.credentials
    verify = verifier(member.policy, credentials.cluster, site.clock)

    def cut(told: Cut) -> None:
        end_visits(member.gate, told.cluster, told.cut)

    def tunnel(address: ProxyAddress) -> Tunnel:
        through = site.through(address.host)
        made = Tunnel(
            address, credentials.host_id, lambda protocol: credentials.client(protocol), verify, server.serve,
            clock=site.clock, leaves=lambda: through is None and not member.policy.current.network.tls_throughout,
            dial=partial(connected_through, through),
        )  # fmt: skip
        made.cut = cut
        return made

    mesh = Mesh(_address(site, proxy), tunnel)
    site.health.require(lambda: "" if mesh.connected.is_set() else f"node: not connected to the proxy at {proxy}")
    site.drains.append(lambda seconds: mesh.drain(timeout=seconds))
    site.ready_when.append(mesh.connected.wait)
    return mesh


def _keep_api_reached(site: Site, member: Member, mesh: Mesh) -> None:
    """The API is asked through a proxy that is reached, on connections that were made since it is."""
    asked, was_reached = mesh.first.proxy, True
    reconnecting: set[asyncio.Task[None]] = set()

    def changed() -> None:
        nonlocal asked, was_reached
        reached = mesh.reached
        if reached and asked not in reached and site.config.teleport.proxy_server:
            asked = reached[0]
            member.client.move(f"https://{Address(asked.host, asked.port)}", through=site.through(asked.host))
        if reached and not was_reached:
            task = asyncio.create_task(member.client.reconnect())
            reconnecting.add(task)
            task.add_done_callback(reconnecting.discard)
        was_reached = bool(reached)

    mesh.subscribe(changed)


def _proxies(site: Site, ack: m.Ack) -> dict[str, ProxyAddress]:
    """Where the proxies are that auth told of."""
    return {one.host_id: _address(site, Address.parse(one.address, DEFAULT_PORT)) for one in ack.proxies}


def _address(site: Site, address: Address) -> ProxyAddress:
    return ProxyAddress(address.host, address.port, service_name("Proxy", site.home.name))
