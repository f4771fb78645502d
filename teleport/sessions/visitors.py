"""Whoever comes from another cluster: read by the authorities that were exchanged, and known here by a name of ours.

What such a user may do here is the policy's to say (`Snapshot.visitor`).
"""

from dataclasses import dataclass, replace

from teleport.access.trust import printed_name
from teleport.core.errors import Unauthenticated
from teleport.core.identity import Identity
from teleport.pki.credentials import SSHUser
from teleport.pki.passages import read_passage
from teleport.pki.ssh_login import read_ssh_login
from teleport.sessions.gate import Gate, Session
from teleport.sessions.policy import LivePolicy

__all__ = ["Arriving", "end_visits", "read_visiting_login", "read_visitor"]


@dataclass(frozen=True)
class Arriving:
    """A passage that was shown here: from which cluster, and where here is."""

    passage: str
    root: str
    here: str


def read_visitor(policy: LivePolicy, arriving: Arriving, *, now: float) -> Identity:
    """Whom a passage lets in, as this cluster calls that user. Raises Unauthenticated."""
    root, trusted = policy.roots.get(arriving.root), policy.current.trusted.get(arriving.root)
    if root is None or trusted is None or not trusted.spec.enabled:
        raise Unauthenticated(f"the cluster {arriving.root} is not trusted")
    home = read_passage(arriving.passage, root.of_kind("user"), to=arriving.here, now=now)
    if home.cluster != arriving.root:
        raise Unauthenticated("the passage is another cluster's")
    return _here(home, home, arriving)


def read_visiting_login(
    line: bytes, policy: LivePolicy, arriving: Arriving, *, address: str, now: float
) -> SSHUser:  # fmt: skip
    """The SSH certificate of a visitor, who must be the one whom the passage lets in. Raises Unauthenticated.

    What the certificate itself says (second factor, pinned address, times) counts; the passage adds roles and traits.
    """
    invited = read_visitor(policy, arriving, now=now)
    authorities = policy.roots[arriving.root].of_kind("user")
    user = read_ssh_login(line, authorities, cluster=arriving.root, address=address, now=now)
    shown, passage = user.identity, invited.passage
    assert passage is not None
    if (shown.name, shown.uid, shown.requested_roles) != (passage.user, invited.uid, invited.requested_roles):
        raise Unauthenticated("the SSH certificate is another's than the one that the passage is for")
    return replace(user, identity=_here(shown, invited, arriving))


def end_visits(gate: Gate, cluster: str, sid: str) -> list[Session]:
    """End what somebody came for from that cluster by that connection, and tell which sessions that were."""
    found = [session for session in gate.live if _came_by(session.request.identity, cluster, sid)]
    for session in found:
        session.end(f"access withdrawn by {cluster}")
    return found


def _came_by(identity: Identity, cluster: str, sid: str) -> bool:
    return identity.passage is not None and (identity.cluster, identity.passage.session) == (cluster, sid)


def _here(shown: Identity, invited: Identity, arriving: Arriving) -> Identity:
    """An identity of the other cluster as one of a visitor here. Restrictions to hosts are to hosts of this cluster."""
    passage = invited.passage
    assert passage is not None
    allowed = shown.allowed_resources
    if allowed is not None:
        ending = f".{arriving.here}"
        allowed = tuple(name.removesuffix(ending) for name in allowed if name.endswith(ending))
    return replace(
        shown, name=printed_name(passage.user, shown.cluster), allowed_resources=allowed,
        passage=replace(passage, certificate=arriving.passage),
    )  # fmt: skip
