"""Has the proxy of this process serve the hosts that run only OpenSSH: what stands between their sshd and clients."""

from teleport.agents.openssh.server import PlainServers
from teleport.agents.openssh.way_in import WayIn
from teleport.agents.ssh.recorded import RecordingHost
from teleport.service.join import make_gate
from teleport.service.live import report_sessions
from teleport.service.node import settle
from teleport.service.site import Member, Site

__all__ = ["serve_plain_hosts"]


def serve_plain_hosts(site: Site, member: Member) -> PlainServers:
    """Their sessions are judged at a gate of their own: by login, as agents judge, not by host as the proxy does."""
    fleet, credentials = member.fleet, member.credentials
    assert fleet is not None
    records = RecordingHost(
        credentials.host_id, site.config.nodename, member.spool, member.destination, credentials.keys.sign, site.clock,
        lambda: member.policy.current.recording.exec_recording_limit,
    )  # fmt: skip
    gate = make_gate(site, member.policy, "openssh")
    fleet.subscribe(gate.rejudge)
    way_in = WayIn(member.client, lambda: member.policy.current.network.ssh_dial_timeout)
    servers = PlainServers(
        way_in, member.policy, gate, records, clock=site.clock, cluster=credentials.cluster,
        node=lambda uid: fleet.plain.get(uid),
    )  # fmt: skip
    site.life.background(settle(records, site.clock), "ends of openssh sessions")
    site.life.background(report_sessions(member.client, servers.live), "live openssh sessions")
    site.drains.append(lambda seconds: servers.drain(timeout=seconds))
    return servers
