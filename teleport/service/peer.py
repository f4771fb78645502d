"""Who the peer of a TLS connection is, by the authorities that are trusted at the moment."""

from teleport.core.aio import Clock
from teleport.core.identity import Identity
from teleport.net.join import Leg
from teleport.pki.credentials import read_tls
from teleport.service.connections import Verify
from teleport.sessions.policy import LivePolicy

__all__ = ["verifier"]


def verifier(policy: LivePolicy, cluster: str, clock: Clock) -> Verify:
    """A function that reads the certificate a peer has shown: of this cluster alone. It raises Unauthenticated."""

    def verify(connection: Leg) -> Identity:
        der = connection.peer_certificate
        assert der is not None
        own = [one for one in policy.authorities if one.cluster == cluster]
        return read_tls(der, own, now=clock.time())

    return verify
