"""Routes for anybody: who the cluster is, enrolling, logging in, joining. Nobody here has proved anything yet."""

from functools import cached_property
from typing import Any

import teleport
from teleport.api import models as m
from teleport.api.openapi import document
from teleport.api.routes import ROUTES
from teleport.api.server import Caller
from teleport.audit.events import Actor, InstanceJoined, MfaAdded, PasswordChanged, UserLogin
from teleport.auth.endpoints.parts import Parts, address_of
from teleport.auth.issue import PublicKeys
from teleport.core.errors import AccessDenied, TeleportError, Throttled

__all__ = ["ForAnybody"]


class ForAnybody:
    """Failures are written down, but not those of the throttle: they would let anybody fill the disk."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def on_ping(self, _caller: Caller, _request: m.Empty) -> m.Ping:
        parts = self._parts
        return m.Ping(
            cluster=parts.authorities.cluster,
            version=teleport.__version__,
            message_of_the_day=parts.policy.current.auth.message_of_the_day,
            proxy_address=parts.proxy_address,
        )

    async def on_authorities(self, _caller: Caller, _request: m.Empty) -> m.Authorities:
        authorities = self._parts.authorities
        public = tuple(one.encode().decode() for one in authorities.public)
        return m.Authorities(cluster=authorities.cluster, authorities=public)

    async def on_openapi(self, _caller: Caller, _request: m.Empty) -> m.ApiDocument:
        return self._document

    @cached_property
    def _document(self) -> m.ApiDocument:
        return m.ApiDocument.model_validate(document(ROUTES, version=teleport.__version__))

    async def on_invitee(self, caller: Caller, request: m.Invitee) -> m.EnrolmentOffer:
        address = address_of(caller, request.client_address)
        pending = await self._parts.credentials.invitee(request.token, address)
        return m.EnrolmentOffer(user=pending.user, otpauth="")

    async def on_enrol(self, caller: Caller, request: m.EnrolmentRequest) -> m.EnrolmentOffer:
        address = address_of(caller, request.client_address)
        user, uri = await self._parts.credentials.set_password(request.token, request.password, address)
        return m.EnrolmentOffer(user=user, otpauth=uri)

    async def on_confirm(self, caller: Caller, request: m.Confirmation) -> m.Done:
        address = address_of(caller, request.client_address)
        pending = await self._parts.credentials.confirm(request.token, request.code, address)
        actor = Actor(pending.user, 1).fields()
        await self._parts.audit.append(PasswordChanged(**actor, addr__remote=address))
        await self._parts.audit.append(MfaAdded(**actor, addr__remote=address))
        return m.Done()

    async def on_login(self, caller: Caller, request: m.LoginRequest) -> m.Certificates:
        address = address_of(caller, request.client_address)
        about: dict[str, Any] = {
            **Actor(request.user, 1).fields(), "addr__remote": address, "user_agent": request.user_agent,
        }  # fmt: skip
        try:
            certificates = await self._log_in(request, address)
        except Throttled:
            raise
        except TeleportError as error:
            await self._parts.audit.append(UserLogin(**about, outcome="W", success=False, error=error.message))
            raise
        await self._parts.audit.append(UserLogin(**{**about, "user_roles": certificates.roles}, success=True))
        return await self._parts.hand_out(certificates, address)

    async def _log_in(self, request: m.LoginRequest, address: str) -> m.Certificates:
        parts, snapshot = self._parts, self._parts.policy.current
        if not snapshot.auth.allow_local_auth:
            raise AccessDenied("this cluster does not let users log in with a password")
        declared = snapshot.users.get(request.user)
        await parts.credentials.check(declared, request.user, request.password, request.code, address)
        keys = PublicKeys(request.ssh_public_key, request.tls_public_key)
        return parts.issuer.login(request.user, keys, ttl=request.ttl, roles=request.roles, address=address)

    async def on_join(self, caller: Caller, request: m.JoinRequest) -> m.HostCertificates:
        address = address_of(caller, request.client_address)
        about: dict[str, Any] = {
            "addr__remote": address, "role": ",".join(request.roles), "node_name": request.hostname,
            "token_name": f"{request.token[:2]}…", "user": request.hostname, "user_kind": 2,
            "method": "kubernetes" if request.proof else "token",
        }  # fmt: skip
        try:
            joined = await self._parts.joining.join(request.model_copy(update={"client_address": address}))
        except Throttled:
            raise
        except TeleportError as error:
            await self._parts.audit.append(InstanceJoined(**about, outcome="E", success=False, error=error.message))
            raise
        await self._parts.audit.append(InstanceJoined(**about, success=True, host_id=joined.host_id))
        return joined
