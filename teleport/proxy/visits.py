"""Ends what somebody of another cluster does here, because the proxy there that let them go says so.

There the right to be on the way was lost, which nobody here can see. Where nobody listens, the way is cut all the same.
"""

from teleport.api.dialback import Cut
from teleport.proxy.tunnels import Tunnels
from teleport.sessions.gate import Gate
from teleport.sessions.visitors import end_visits

__all__ = ["Visits"]


class Visits:
    """On a leaf's proxy. `gate` is that of ways to hosts, `plain` that of sessions on hosts without agents."""

    def __init__(self, gate: Gate, plain: Gate, tunnels: Tunnels) -> None:
        self._gate, self._plain, self._tunnels = gate, plain, tunnels

    def end(self, root: str, told: Cut) -> None:
        """A root speaks of its own users alone."""
        if told.cluster != root:
            return
        end_visits(self._plain, told.cluster, told.cut)
        for session in end_visits(self._gate, told.cluster, told.cut):
            self._tunnels.tell(session.request.target.uid, told)
