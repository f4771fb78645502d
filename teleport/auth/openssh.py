"""Certificates for hosts that run only OpenSSH: what the proxy shows for one, and what opens one login there, once.

The host certificate that a proxy shows in an openssh host's place is made for one connection and doubles as a
challenge: the client's login signs over it. Only who brings that login back, moments later and for the first time,
obtains a certificate for the host, after a decision that is made here. For a user of another cluster the challenge is
made against a passage, and is good for whom that lets in alone. See docs/adr/0015.
"""

import base64
from dataclasses import dataclass, replace
from typing import Final

from teleport.access.decide import AccessRequest, Decision, decide
from teleport.access.options import Conditions
from teleport.auth.authorities import AuthoritySet
from teleport.auth.used import UsedPassages
from teleport.core.aio import Clock
from teleport.core.errors import AccessDenied, BadInput, NotFound, Unauthenticated, Unavailable
from teleport.core.identity import Identity
from teleport.pki.credentials import SSHUser, issue_ssh_host, issue_ssh_login
from teleport.pki.keys import load_ssh_line
from teleport.pki.ssh_login import read_ssh_login
from teleport.pki.ssh_proof import Claim, read_claim
from teleport.resources.node import Node
from teleport.sessions.policy import LiveFleet, LivePolicy
from teleport.sessions.visitors import Arriving, read_visiting_login, read_visitor
from teleport.wire.ssh_userauth import Login

__all__ = ["LoginCertificate", "PlainHosts", "principal_of"]

CHALLENGE_SECONDS: Final = 90.0
"""From the certificate that a proxy shows to the login that brings it back: more than a login may take."""
LOGIN_SECONDS: Final = 120.0
"""How long the certificate for a host opens it; what it has opened lasts."""
_SHOWN_SECONDS: Final = 86400.0
"""How long clients accept what a proxy shows: their clocks may be wrong, and auth's own decides."""
_MAX_OUTSTANDING: Final = 20_000


@dataclass(frozen=True)
class LoginCertificate:
    """What auth has issued, and why."""

    certificate: str
    identity: Identity
    node: Node
    login: str
    expires: float
    decision: Decision


@dataclass(frozen=True)
class _Challenge:
    proxy: str
    node: str
    until: float
    arriving: Arriving | None
    """By which passage, for somebody from another cluster."""


class PlainHosts:
    """The challenges that are out, in memory alone: after a restart whoever is about to log in tries again."""

    def __init__(self, authorities: AuthoritySet, policy: LivePolicy, fleet: LiveFleet, *, clock: Clock) -> None:
        self._authorities, self._policy, self._fleet, self._clock = authorities, policy, fleet, clock
        self._outstanding: dict[bytes, _Challenge] = {}
        """By the host key that clients see."""
        self._used = UsedPassages(clock=clock, limit=lambda: _MAX_OUTSTANDING)

    def challenge(self, proxy: Identity, uid: str, public_key: str, *, arriving: Arriving | None = None) -> str:
        """A host certificate in the name of a plain host, for one connection. Raises NotFound, Unavailable.

        Of a client from another cluster the passage is used up by it. Raises AccessDenied, Unauthenticated.
        """
        node, now = self._node(uid), self._clock.time()
        self._forget()
        if len(self._outstanding) >= _MAX_OUTSTANDING:
            raise Unavailable("too many people are logging in at once; try again")
        if arriving is not None:
            self._take(arriving, node)
        names = (node.name, node.hostname)
        shown = issue_ssh_host(
            self._authorities.signing("host"),
            replace(proxy, expires=now + _SHOWN_SECONDS),
            load_ssh_line(public_key),
            principals=[*names, *(f"{name}.{self._authorities.cluster}" for name in names)],
            now=now,
        )
        until = self._clock.monotonic() + CHALLENGE_SECONDS
        self._outstanding[_blob(shown)] = _Challenge(proxy.uid, node.name, until, arriving)
        return shown

    def redeem(self, proxy: Identity, proof: Login, public_key: str, *, address: str) -> LoginCertificate:
        """A certificate for the login that somebody proves to be at right now. Raises AccessDenied, Unauthenticated."""
        claimed = read_claim(proof)
        challenge = self._answered(proxy, claimed.host_key)
        node = self._node(challenge.node)
        now, cluster = self._clock.time(), self._authorities.cluster
        user = self._read(claimed, challenge, address)
        claimed.verify(user.public_key)
        _check_route(user.identity, node, claimed.login)
        decision = self._decide(user.identity, node, claimed.login)
        assert decision.conditions is not None
        until = min(now + LOGIN_SECONDS, user.identity.login_expires)
        certificate = issue_ssh_login(
            self._authorities.signing("openssh"), user.identity.name, load_ssh_line(public_key),
            principal=_principal(claimed.login, node, cluster), permits=_permits(decision.conditions),
            start=now, until=until,
        )  # fmt: skip
        return LoginCertificate(certificate, user.identity, node, claimed.login, until, decision)

    def _take(self, arriving: Arriving, node: Node) -> None:
        """Use a passage up, if it lets somebody in to this very host."""
        visitor = read_visitor(self._policy, arriving, now=self._clock.time())
        assert visitor.passage is not None
        _check_route(visitor, node, visitor.passage.login)
        self._used.take(arriving.root, visitor.passage)

    def _read(self, claimed: Claim, challenge: _Challenge, address: str) -> SSHUser:
        """Whose login is claimed: of this cluster, or the one whom the passage of the challenge lets in."""
        now, arriving = self._clock.time(), challenge.arriving
        if arriving is not None:
            return read_visiting_login(claimed.certificate, self._policy, arriving, address=address, now=now)
        own, cluster = self._policy.authorities, self._authorities.cluster
        return read_ssh_login(claimed.certificate, own, cluster=cluster, address=address, now=now)

    def _node(self, uid: str) -> Node:
        node = self._fleet.plain.get(uid)
        if node is None:
            raise NotFound(f"{uid} is no host with only OpenSSH")
        return node

    def _answered(self, proxy: Identity, host_key: bytes) -> _Challenge:
        """What a challenge was for. Once it was brought back, by whomever, it is used up."""
        challenge = self._outstanding.pop(host_key, None)
        if challenge is None or challenge.proxy != proxy.uid or challenge.until <= self._clock.monotonic():
            raise Unauthenticated("nobody is known to log in there now: the login is too old, used, or another proxy's")
        return challenge

    def _decide(self, identity: Identity, node: Node, login: str) -> Decision:
        target = self._fleet.fleet.get(node.name)
        if target is None:
            raise NotFound(f"{node.name} is no host with only OpenSSH")
        decision = decide(self._policy.current, AccessRequest(identity, target, login), now=self._clock.time())
        if not decision.allowed:
            raise AccessDenied(f"{identity.name} may not log in as {login} on {target.name} ({decision.because})")
        return decision

    def _forget(self) -> None:
        """Those that are too old; the oldest come first."""
        now = self._clock.monotonic()
        while self._outstanding and next(iter(self._outstanding.values())).until <= now:
            del self._outstanding[next(iter(self._outstanding))]


def _check_route(identity: Identity, node: Node, login: str) -> None:
    """Whoever comes by a passage goes where it says. Raises AccessDenied."""
    passage = identity.passage
    if passage is not None and (passage.host not in (node.hostname, node.name) or passage.login != login):
        raise AccessDenied(f"the passage is for {passage.login} on {passage.host}")


def principal_of(login: str, hostname: str, cluster: str) -> str:
    """What a certificate for one login on one host names, and that host's sshd takes for this login alone."""
    return f"{login}@{hostname}.{cluster}"


def _principal(login: str, node: Node, cluster: str) -> str:
    if not (login.isascii() and login.isprintable()) or set(login) & set(" ,*?@"):
        raise BadInput(f"login {login!r} cannot be named in a certificate")
    return principal_of(login, node.hostname, cluster)


def _permits(conditions: Conditions) -> list[str]:
    """What sshd is to let the session do; the proxy goes on judging by the live policy."""
    wanted = {
        "permit-pty": True,
        "permit-port-forwarding": conditions.local_forwarding or conditions.remote_forwarding,
        "permit-agent-forwarding": conditions.agent_forwarding,
        "permit-X11-forwarding": conditions.x11_forwarding,
    }
    return [name for name, permitted in wanted.items() if permitted]


def _blob(line: str) -> bytes:
    return base64.b64decode(line.split()[1])
