"""An auth service in a temporary directory: real store, real log, no sockets, and a clock that tests move."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyotp

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.audit.events import Actor
from teleport.auth.endpoints import Auth
from teleport.auth.policy import Applied
from teleport.core.identity import HostRole, Identity
from teleport.pki.keys import new_ssh_key, new_tls_key, public_pem, ssh_line
from teleport.resources.load import load
from teleport.service.auth import AuthService, open_auth
from tests.audit.logs import lines
from tests.builders import CHEAP, FakeClock

__all__ = ["CHEAP", "PASSWORD", "SSH_KEY", "TLS_KEY", "Cluster", "role", "user"]

PASSWORD = "correct horse battery staple"
SSH_KEY, TLS_KEY = ssh_line(new_ssh_key().public_key()), public_pem(new_tls_key().public_key())
FOLDER = "folder"
HOST = "5a3c9d6e-0000-4000-8000-00000000000a"


def role(name: str = "dev", *, logins: str = "root", options: str = "", rules: str = "", deny: str = "") -> str:
    """A role as YAML; `rules` and `deny` in flow style."""
    return (
        f"kind: role\nversion: v7\nmetadata: {{name: {name}}}\nspec:\n  options: {{{options}}}\n"
        f'  allow: {{logins: [{logins}], node_labels: {{"*": "*"}}, rules: [{rules}]}}\n  deny: {{{deny}}}\n'
    )


def user(name: str = "ann", roles: str = "dev", *, labels: str = "", traits: str = "", expires: str = "") -> str:
    more = f", expires: '{expires}'" if expires else ""
    return (
        f"kind: user\nversion: v2\nmetadata: {{name: {name}, labels: {{{labels}}}{more}}}\n"
        f"spec: {{roles: [{roles}], traits: {{{traits}}}}}\n"
    )


@dataclass
class Cluster:
    """The auth service of the cluster acme, and who talks to it."""

    auth: Auth
    clock: FakeClock
    directory: Path
    service: AuthService

    @classmethod
    @asynccontextmanager
    async def open(cls, directory: Path, clock: FakeClock | None = None, **settings: Any) -> AsyncIterator["Cluster"]:
        """`settings` are those of `open_auth`."""
        clock = clock or FakeClock()
        async with AsyncExitStack() as stack:
            service = await open_auth(directory, "acme", stack, clock=clock, retention=0, hasher=CHEAP, **settings)
            yield cls(service.auth, clock, directory, service)

    async def declare(self, *documents: str, source: str = FOLDER) -> Applied:
        """What a source declares now, instead of whatever it declared before."""
        loaded = load("---\n".join(documents).encode(), file="policy.yaml", source=source)
        assert not loaded.problems, loaded.problems
        return await self.auth.writer.replace(source, loaded.resources, Actor(f"source:{source}", 2))

    async def apply(self, text: str, caller: Caller | None = None, **options: Any) -> m.ApplyAnswer:
        """What `tctl create` does with a file."""
        request = m.ApplyRequest(files=(m.PolicyFile(file="file.yaml", text=text),), **options)
        answer: m.ApplyAnswer = await self.call("apply", request, caller)
        return answer

    async def call(self, route: str, request: m.Message | None = None, caller: Caller | None = None) -> Any:
        """What a route answers; by a local administrator if nobody else asks."""
        return await self.auth.handlers()[route](caller or self.admin, request or m.Empty())

    @property
    def admin(self) -> Caller:
        return Caller(Identity("admin", "root (uid 0)", "local:0", "acme", local_uid=0), "local")

    def user(self, name: str = "ann", *, ttl: float = 3600.0, address: str = "192.0.2.1", **more: Any) -> Caller:
        """A declared user with a certificate."""
        now = self.clock.time()
        identity = Identity(
            "user", name, self.auth.policy.current.users[name].uid, "acme", expires=now + ttl, authenticated=now
        )
        return Caller(replace(identity, **more), address)

    def host(self, role: HostRole = "Node", *, uid: str = HOST, name: str = "db-1") -> Caller:
        return Caller(Identity("host", name, uid, "acme", system_roles=(role,)), "192.0.2.9")

    def events(self, event: str = "") -> list[dict[str, Any]]:
        """The audit log as it lies on disk."""
        return [one for one in lines(self.directory / "audit") if not event or one["event"] == event]

    async def enrol(self, name: str = "ann") -> pyotp.TOTP:
        """Redeem an invitation; what makes the user's codes."""
        invitation = await self.call("invite", m.InvitationRequest(user=name))
        offer = await self.call("enrol", m.EnrolmentRequest(token=invitation.token, password=PASSWORD))
        totp = pyotp.parse_uri(offer.otpauth)
        assert isinstance(totp, pyotp.TOTP)
        await self.call("confirm", m.Confirmation(token=invitation.token, code=self.code(totp)))
        return totp

    def code(self, totp: pyotp.TOTP) -> str:
        return totp.at(int(self.clock.time()))

    async def login(self, totp: pyotp.TOTP, name: str = "ann", *, address: str = "192.0.2.1", **more: Any) -> Any:
        """Log in with the present code; the certificates."""
        given = {"user": name, "password": PASSWORD, "code": self.code(totp), **more}
        request = m.LoginRequest(ssh_public_key=SSH_KEY, tls_public_key=TLS_KEY, **given)
        return await self.call("login", request, Caller(None, address))
