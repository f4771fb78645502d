"""Routes for users, about their own affairs: who they are, what they reach, certificates like those they have."""

from teleport.access.decide import AccessRequest, decide
from teleport.access.reach import reach
from teleport.api import models as m
from teleport.api.server import Caller
from teleport.auth.endpoints.parts import Parts
from teleport.auth.issue import PublicKeys, logins_of
from teleport.core.errors import NotFound, Unauthenticated
from teleport.core.identity import Identity

__all__ = ["ForUsers"]


class ForUsers:
    """Local administrators may ask too, where the question makes sense for somebody who is no user."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def on_me(self, caller: Caller, _request: m.Empty) -> m.Me:
        identity = caller.known
        user = self._parts.policy.current.user(identity.name) if identity.is_user else None
        if user is None:
            return m.Me(
                user=identity.name, cluster=self._parts.authorities.cluster, kind=identity.kind,
                roles=identity.requested_roles or (),
            )  # fmt: skip
        return m.Me(
            user=user.name,
            cluster=identity.cluster,
            kind="user",
            roles=tuple(role.name for role in user.scoped(identity.requested_roles)),
            traits=dict(user.traits),
            logins=tuple(logins_of(user, identity.requested_roles)),
            expires=identity.expires,
        )

    async def on_hosts(self, caller: Caller, _request: m.Empty) -> m.Hosts:
        """A user's own hosts. A local administrator sees those that the admin rules let them list."""
        parts, fleet = self._parts, self._parts.fleet.fleet
        if caller.known.kind == "admin":
            known = [*await parts.presence.hosts(), *parts.fleet.plain.values()]
            shown = {host.name for host in known if parts.may(caller, "list", host)}
            rows = sorted(
                ((target, list[str]()) for target in fleet if target.uid in shown),
                key=lambda row: (row[0].name, row[0].uid),
            )
        else:
            rows = list(reach(parts.policy.current, caller.known, fleet, now=parts.clock.time()).rows())
        return m.Hosts(
            hosts=tuple(
                m.HostRow(hostname=target.name, uuid=target.uid, labels=dict(target.labels), logins=tuple(logins))
                for target, logins in rows
            )
        )

    async def on_check(self, caller: Caller, request: m.AccessCheck) -> m.AccessVerdict:
        parts = self._parts
        targets = [one for one in parts.fleet.fleet if request.host in (one.name, one.uid)]
        if not targets:
            raise NotFound(f"node {request.host} not found")
        question = AccessRequest(caller.known, targets[0], request.login)
        decision = decide(parts.policy.current, question, now=parts.clock.time())
        if decision.hidden:
            raise NotFound(f"node {request.host} not found")
        return m.AccessVerdict(allowed=decision.allowed, reasons=decision.reasons, needs=dict(decision.needs))

    async def on_renew(self, caller: Caller, request: m.RenewRequest) -> m.Certificates:
        keys = PublicKeys(request.ssh_public_key, request.tls_public_key)
        certificates = self._parts.issuer.renew(_person(caller), keys, ttl=request.ttl, roles=request.roles)
        return await self._parts.hand_out(certificates, caller.address)

    async def on_session_certificate(self, caller: Caller, request: m.SessionCertificateRequest) -> m.Certificates:
        identity, parts = _person(caller), self._parts
        declared = parts.policy.current.users[identity.name]
        await parts.credentials.check_code(declared, request.code, caller.address)
        keys = PublicKeys(request.ssh_public_key, request.tls_public_key)
        return await parts.hand_out(parts.issuer.for_session(identity, keys, host=request.host), caller.address)


def _person(caller: Caller) -> Identity:
    if not caller.known.is_user:
        raise Unauthenticated("only users have certificates to renew")
    return caller.known
