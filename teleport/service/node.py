"""Starts the SSH agent of this process: the host's labels, its server, and its tunnel to the proxy."""

import os
from functools import partial
from typing import Final

from teleport.agents.ssh.recorded import RecordingHost
from teleport.agents.ssh.server import Host, SshServer
from teleport.agents.tunnel import ProxyAddress, Tunnel
from teleport.auth.join import service_name
from teleport.core.aio import Clock
from teleport.service.heartbeat import Heart
from teleport.service.join import enlist
from teleport.service.labels import HostLabels
from teleport.service.live import report_sessions
from teleport.service.peer import verifier
from teleport.service.site import Member, Site

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
    heart = Heart(site, member, labels=lambda: host.labels)

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
    tunnel = _tunnel(site, member, server)
    site.life.background(labels.run(), "labels")
    site.life.background(tunnel.run(), "tunnel")
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


def _tunnel(site: Site, member: Member, server: SshServer) -> Tunnel:
    proxy = site.home.proxy
    address = ProxyAddress(proxy.host, proxy.port, service_name("Proxy", site.home.name))
    tunnel = Tunnel(
        address, member.credentials.host_id, lambda protocol: member.credentials.client(protocol),
        verifier(member.policy, member.credentials.cluster, site.clock), server.serve, clock=site.clock,
        leaves=lambda: not member.policy.current.network.tls_throughout,
    )  # fmt: skip
    site.health.require(lambda: "" if tunnel.connected.is_set() else f"node: not connected to the proxy at {proxy}")
    site.drains.append(lambda seconds: tunnel.drain(timeout=seconds))
    site.ready_when.append(tunnel.connected.wait)
    return tunnel
