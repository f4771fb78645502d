"""Routes for proxies that serve hosts with only OpenSSH: what they show clients, and certificates for the hosts."""

import base64
import binascii

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.audit.events import CertificateCreated
from teleport.auth.endpoints.parts import Parts
from teleport.auth.openssh import LoginCertificate
from teleport.core.aio import utc
from teleport.core.errors import BadInput
from teleport.sessions.visitors import Arriving
from teleport.wire.ssh_userauth import Exchange, Login

__all__ = ["ForPlainHosts"]


class ForPlainHosts:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def on_openssh_challenge(self, caller: Caller, request: m.PlainChallengeRequest) -> m.PlainChallenge:
        here = self._parts.authorities.cluster
        arriving = Arriving(request.passage, request.root, here) if request.passage or request.root else None
        shown = self._parts.plain.challenge(
            caller.known, request.host_id, request.ssh_public_key, arriving=arriving
        )  # fmt: skip
        return m.PlainChallenge(ssh_certificate=shown)

    async def on_openssh_login(self, caller: Caller, request: m.PlainLoginRequest) -> m.PlainLogin:
        """A certificate leaves only once its event is on disk."""
        issued = self._parts.plain.redeem(
            caller.known, _proof(request.proof), request.ssh_public_key, address=request.client_address
        )
        await self._parts.audit.append(self._event(caller, issued, request.client_address))
        return m.PlainLogin(ssh_certificate=issued.certificate, expires=issued.expires)

    def _event(self, caller: Caller, issued: LoginCertificate, address: str) -> CertificateCreated:
        name, decision = issued.identity.name, issued.decision
        rule = {key: value for key, value in decision.rule.items() if key != "role"}
        return CertificateCreated(
            user=name, user_kind=1, user_roles=self._parts.policy.roles_held(issued.identity), cert_type="openssh",
            identity={
                "user": name, "logins": [issued.login], "host": issued.node.hostname, "host_id": issued.node.name,
                "expires": utc(issued.expires), "proxy": caller.known.uid,
            },
            addr__remote=address, **rule,
        )  # fmt: skip


def _proof(told: m.LoginProved) -> Login:
    exchange = Exchange(
        told.hash_name, *(_bytes(part) for part in (
            told.client_version, told.server_version, told.client_init, told.server_init, told.host_key,
            told.public_values, told.secret,
        ))
    )  # fmt: skip
    return Login(exchange, _bytes(told.request), _bytes(told.signature))


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise BadInput("a part of the proof is not base64") from None
