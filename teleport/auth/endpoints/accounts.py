"""Routes for accounts: inviting users, listing their state, and certificates signed without a login."""

from teleport.access.decide import lock_in_force
from teleport.api import models as m
from teleport.api.server import Caller
from teleport.audit.events import InvitationCreated
from teleport.auth.endpoints.parts import Parts
from teleport.auth.issue import PublicKeys
from teleport.core.errors import AccessDenied, NotFound
from teleport.resources.values import duration_text

__all__ = ["Accounts"]


class Accounts:
    """What users are is declared as resources; what they can prove is kept here."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def on_invite(self, caller: Caller, request: m.InvitationRequest) -> m.Invitation:
        parts = self._parts
        user = parts.policy.current.users.get(request.user)
        if user is None:
            raise NotFound(f"user {request.user} does not exist", hint="declare it first: kind: user")
        if not parts.may(caller, "update", user):
            raise AccessDenied(f"{caller.known.name} may not update {user.ref}")
        token, expires = await parts.credentials.invite(user, ttl=request.ttl, reset=request.reset)
        await parts.audit.append(
            InvitationCreated(**parts.actor(caller).fields(), name=user.name, ttl=duration_text(request.ttl))
        )
        address = parts.proxy_address
        return m.Invitation(
            user=user.name, token=token, expires=expires, ca_pins=parts.authorities.pins, proxy_address=address,
            url=f"https://{address}/web/invite/{token}" if address else "",
        )  # fmt: skip

    async def on_users(self, caller: Caller, _request: m.Empty) -> m.Users:
        parts = self._parts
        enrolled, snapshot, now = await parts.credentials.enrolled(), parts.policy.current, parts.clock.time()
        locked = {
            lock.spec.target.user
            for lock in snapshot.locks
            if set(dict(lock.spec.target.set_fields())) == {"user"} and lock_in_force(lock, now)
        }
        return m.Users(
            users=tuple(
                m.UserRow(
                    name=user.name, roles=user.spec.roles, source=user.origin.file or user.origin.source,
                    enrolled=user.uid in enrolled, locked=user.name in locked,
                )
                for _, user in sorted(snapshot.users.items())
                if parts.may(caller, "list", user)
            )
        )  # fmt: skip

    async def on_sign(self, caller: Caller, request: m.IdentityRequest) -> m.Certificates:
        keys = PublicKeys(request.ssh_public_key, request.tls_public_key)
        certificates = self._parts.issuer.sign(request.user, keys, ttl=request.ttl)
        return await self._parts.hand_out(certificates, caller.address, issued_by=caller.known.name)
