"""Issues certificates to users: what goes in follows from the live roles, and re-issue never widens.

Expiry, scope, restrictions, pinned address and second-factor state of the asking certificate survive; what the
roles then allow is computed anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from teleport.access.decide import conditions_of, lock_on, standing
from teleport.access.options import MIN_TTL, Conditions
from teleport.access.roles import BoundRole
from teleport.access.snapshot import BoundUser
from teleport.access.templates import template
from teleport.api.models import Certificates
from teleport.auth.authorities import AuthoritySet
from teleport.core.aio import Clock
from teleport.core.errors import AccessDenied, BadInput
from teleport.core.identity import Identity
from teleport.pki.credentials import issue_ssh_user, issue_tls
from teleport.pki.keys import load_public, load_ssh_line
from teleport.sessions.policy import LivePolicy

__all__ = ["Issuer", "logins_of"]

SESSION_TTL = 60.0
"""Seconds a certificate for one session can be used."""


@dataclass(frozen=True)
class PublicKeys:
    """The keys that certificates are wanted for, as the client spells them."""

    ssh: str
    tls: str


class Issuer:
    """Makes certificates from the policy in force."""

    def __init__(self, authorities: AuthoritySet, policy: LivePolicy, *, clock: Clock) -> None:
        self._authorities, self._policy, self._clock = authorities, policy, clock

    def login(
        self, name: str, keys: PublicKeys, *, ttl: float, roles: tuple[str, ...] | None, address: str
    ) -> Certificates:
        """For somebody who has just proved both factors."""
        now = self._clock.time()
        user = self._user(name)
        _check_scope(user, roles)
        conditions = conditions_of(self._policy.current, user, roles)
        wanted = ttl or self._policy.current.auth.default_session_ttl
        identity = Identity(
            kind="user", name=user.name, uid=user.uid, cluster=self._authorities.cluster, authenticated=now,
            expires=now + max(MIN_TTL, min(wanted, conditions.max_session_ttl)), requested_roles=roles,
            pinned_ip=address if conditions.pin_source_ip else "",
        )  # fmt: skip
        return self._issue(identity, user, conditions, keys)

    def renew(self, caller: Identity, keys: PublicKeys, *, ttl: float, roles: tuple[str, ...] | None) -> Certificates:
        """For somebody with a certificate: never longer, never wider than that one."""
        user = self._user(caller.name, uid=caller.uid)
        scope = _narrower(caller.requested_roles, roles)
        _check_scope(user, scope)
        conditions = conditions_of(self._policy.current, user, scope)
        limits = [caller.expires, caller.authenticated + conditions.max_session_ttl]
        now = self._clock.time()
        if ttl:
            limits.append(now + max(MIN_TTL, ttl))
        if min(limits) <= now:
            raise AccessDenied("the login is older than the roles permit", hint="log in again: tsh login")
        identity = replace(caller, requested_roles=scope, expires=min(limits))
        return self._issue(identity, user, conditions, keys)

    def for_session(self, caller: Identity, keys: PublicKeys, *, host: str) -> Certificates:
        """For one session, moments after a second factor; it obtains nothing further."""
        user = self._user(caller.name, uid=caller.uid)
        now = self._clock.time()
        identity = replace(
            caller, mfa_verified=True, reissuable=False, session_until=caller.login_expires,
            expires=min(now + SESSION_TTL, caller.expires),
            allowed_resources=(host,) if host else caller.allowed_resources,
        )  # fmt: skip
        if caller.allowed_resources is not None and host and host not in caller.allowed_resources:
            raise AccessDenied("the certificate is restricted to other resources")
        return self._issue(identity, user, conditions_of(self._policy.current, user, caller.requested_roles), keys)

    def sign(self, name: str, keys: PublicKeys, *, ttl: float) -> Certificates:
        """For a local administrator, in somebody's name and within that user's own limits."""
        now = self._clock.time()
        user = self._user(name)
        conditions = conditions_of(self._policy.current, user)
        identity = Identity(
            kind="user", name=user.name, uid=user.uid, cluster=self._authorities.cluster, authenticated=now,
            expires=now + max(MIN_TTL, min(ttl, conditions.max_session_ttl)),
        )  # fmt: skip
        return self._issue(identity, user, conditions, keys)

    def _user(self, name: str, *, uid: str = "") -> BoundUser:
        """The user, in the incarnation `uid` if one is given, unless locked out. Raises AccessDenied."""
        snapshot, now = self._policy.current, self._clock.time()
        user = snapshot.user(name)
        if user is None:
            raise AccessDenied(f"user {name} does not exist")
        identity = Identity("user", name, uid or user.uid, self._authorities.cluster)
        obstacle = standing(snapshot, identity, now)
        if obstacle:
            raise AccessDenied(obstacle)
        lock = lock_on(snapshot, user, now=now)
        if lock is not None:
            raise AccessDenied(f"lock/{lock.name} is in force: {lock.spec.message}".rstrip(": "))
        return user

    def _issue(self, identity: Identity, user: BoundUser, conditions: Conditions, keys: PublicKeys) -> Certificates:
        now = self._clock.time()
        authority = self._authorities.signing("user")
        logins = logins_of(user, identity.requested_roles)
        ssh = issue_ssh_user(
            authority, identity, load_ssh_line(keys.ssh), logins=logins, permits=_permits(conditions), now=now,
            extensions=_extensions(conditions, user),
        )  # fmt: skip
        return Certificates(
            user=user.name,
            cluster=identity.cluster,
            ssh_certificate=ssh,
            tls_certificate=issue_tls(authority, identity, load_public(keys.tls), now=now),
            authorities=tuple(one.encode().decode() for one in self._authorities.public),
            expires=identity.expires,
            logins=tuple(logins),
            roles=tuple(role.name for role in user.scoped(identity.requested_roles)),
            traits=dict(user.traits),
            message_of_the_day=self._policy.current.auth.message_of_the_day,
        )


def logins_of(user: BoundUser, requested: tuple[str, ...] | None) -> list[str]:
    """Every login that some role within the scope grants and no live role denies everywhere."""
    granted = {login for role in user.scoped(requested) for login in role.allow.logins}
    return sorted(granted - _denied(user.roles, granted))


def _denied(roles: Iterable[BoundRole], logins: Iterable[str]) -> set[str]:
    roles = tuple(roles)
    return {login for login in logins if any(role.deny.names_login(login) for role in roles)}


def _permits(conditions: Conditions) -> list[str]:
    permits = ["permit-pty"]
    if conditions.local_forwarding or conditions.remote_forwarding:
        permits.append("permit-port-forwarding")
    if conditions.agent_forwarding:
        permits.append("permit-agent-forwarding")
    if conditions.x11_forwarding:
        permits.append("permit-X11-forwarding")
    return permits


def _extensions(conditions: Conditions, user: BoundUser) -> list[tuple[str, str]]:
    """Extra certificate extensions of the roles; of a template's several values the first counts."""
    found = []
    for extension in conditions.cert_extensions:
        values = template(extension.value).expand(user.traits) if extension.value else ("",)
        if values and values[0].isprintable():
            found.append((extension.name, values[0]))
    return found


def _narrower(held: tuple[str, ...] | None, asked: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if held is None or asked is None:
        return held if asked is None else asked
    return tuple(role for role in asked if role in held)


def _check_scope(user: BoundUser, roles: tuple[str, ...] | None) -> None:
    if roles is None:
        return
    unknown = [role for role in roles if role not in user.role_names]
    if unknown or not roles:
        raise BadInput(
            f"{user.name} does not have role {', '.join(unknown)}" if unknown else "no roles are left to ask for",
            hint=f"roles of {user.name}: {', '.join(user.role_names) or 'none'}",
        )
