"""The application protocols inside our TLS connections: the listener's switchboard."""

from typing import Final

__all__ = ["API_PREFIX", "CONTROL", "DIALBACK", "HTTP", "PROXY_SSH", "api"]

PROXY_SSH: Final = "teleport-proxy-ssh"
"""A client on its way to a host: one line asks, one line answers, then SSH."""
CONTROL: Final = "teleport-reversetunnel"
"""An agent's control connection."""
DIALBACK: Final = "teleport-dialback"
"""An agent's connection for one session, with its ticket."""
HTTP: Final = "http/1.1"
API_PREFIX: Final = "teleport-auth@"


def api(cluster: str) -> str:
    """The auth service's API of a cluster."""
    return API_PREFIX + cluster
