"""The application protocols inside our TLS connections: the listener's switchboard."""

from typing import Final

__all__ = [
    "API_PREFIX", "CONTROL", "DIALBACK", "DIALBACK_LEAVING", "HTTP", "LEAF_CONTROL", "LEAF_DIALBACK", "LEAF_HOSTS",
    "PLAIN_SSH", "PROXY_SSH", "PROXY_SSH_LEAVING", "api",
]  # fmt: skip

PROXY_SSH: Final = "teleport-proxy-ssh"
"""A client on its way to a host: one line asks, one line answers, then SSH."""
PROXY_SSH_LEAVING: Final = "teleport-proxy-ssh-leaving"
"""The same, but TLS ends with the answer."""
CONTROL: Final = "teleport-reversetunnel"
"""An agent's control connection."""
DIALBACK: Final = "teleport-dialback"
"""An agent's connection for one session, with its ticket."""
DIALBACK_LEAVING: Final = "teleport-dialback-leaving"
"""The same, but TLS ends with the answer."""
LEAF_CONTROL: Final = "teleport-leaf-reversetunnel"
"""The control connection of a proxy of another cluster that trusts this one."""
LEAF_DIALBACK: Final = "teleport-leaf-dialback"
"""Such a proxy's connection for one session, with its ticket. TLS throughout: it leads to another organisation."""
LEAF_HOSTS: Final = "teleport-leaf-hosts"
"""A client that wants to see the hosts of another cluster: one line asks, one answers."""
HTTP: Final = "http/1.1"
PLAIN_SSH: Final = "SSH-"
"""Not in TLS: an SSH client's own greeting. No client may ask for it by this name."""
API_PREFIX: Final = "teleport-auth@"


def api(cluster: str) -> str:
    """The auth service's API of a cluster."""
    return API_PREFIX + cluster
