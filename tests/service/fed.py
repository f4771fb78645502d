"""Manifests, a process that namespaces govern, and operators that feed it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kopf

from teleport.api import models as m
from teleport.core.generated import REPOSITORY
from teleport.service.auth import AuthService
from teleport.service.config import Config
from teleport.service.operator.kubernetes import KubernetesApi
from teleport.service.operator.login import Login
from teleport.service.process import Process
from tests.kubernetes.emulation import Emulation
from tests.kubernetes.objects import Key
from tests.service.support import config, running

__all__ = ["CRDS", "Fed", "Manifest", "api_of", "fed_config", "lock", "manifest", "ready", "role", "user"]

CRDS = sorted((REPOSITORY / "crds").glob("resources.*.yaml"))
Manifest = dict[str, Any]


def manifest(
    kind: str, name: str, spec: Any, version: str = "v1", *, namespace: str = "team-b", **metadata: Any
) -> Manifest:
    named = {"name": name, "namespace": namespace, "generation": 1, **metadata}
    return {"apiVersion": f"resources.teleport.dev/{version}", "kind": kind, "metadata": named, "spec": spec}


def role(name: str, *logins: str, deny: Mapping[str, Any] | None = None, **metadata: Any) -> Manifest:
    allow = {"logins": list(logins or ["app"]), "node_labels": {"team": "b"}}
    spec: dict[str, Any] = {"options": {"port_forwarding": False}, "allow": allow}
    return manifest("TeleportRoleV7", name, spec | ({"deny": dict(deny)} if deny else {}), **metadata)


def user(name: str, *roles: str, **metadata: Any) -> Manifest:
    return manifest("TeleportUser", name, {"roles": list(roles)}, "v2", **metadata)


def lock(name: str, user: str, **metadata: Any) -> Manifest:
    return manifest("TeleportLockV2", name, {"target": {"user": user}}, **metadata)


def fed_config(root: Path, *sources: Mapping[str, Any], **policies: Any) -> Config:
    """An auth service with some sources; the namespace `team-b` as the source `team-b` if none is given."""
    given = sources or ({"name": "team-b", "kubernetes": {"namespace": "team-b"}},)
    listen = {"listen_addr": "127.0.0.1:0"}
    return config(root / "data", roles="auth", auth_service=listen, policies={"sources": list(given), **policies})


@dataclass
class Fed:
    """A running auth service, and what operators do to it."""

    process: Process

    @classmethod
    @asynccontextmanager
    async def running(cls, configuration: Config, **options: Any) -> AsyncIterator["Fed"]:
        async with running(configuration, **options) as process:
            yield cls(process)

    @property
    def auth(self) -> AuthService:
        auth = self.process._site.auth
        assert auth is not None
        return auth

    def feeding(self, source: str = "team-b") -> Callable[[m.FeedRequest], Any]:
        return self.auth.auth.surroundings.fed[source].feed

    async def feed(self, *manifests: Manifest, source: str = "team-b", by: str = "", **more: Any) -> m.FeedAnswer:
        """`by` is the entry of teleport.yaml that the source is one namespace of."""
        request = m.FeedRequest(source=source, manifests=manifests, **more)
        answer: m.FeedAnswer = await self.feeding(by or source)(request)
        return answer

    async def reconcile(self, source: str = "team-b") -> None:
        """What happens every so often anyway."""
        (loop,) = (one for one in self.process._site.sources if one.state.name == source)
        await loop.reconcile()

    async def told(self, *manifests: Manifest, source: str = "team-b", **more: Any) -> dict[str, tuple[str, str]]:
        """State and message of each."""
        answer = await self.feed(*manifests, source=source, **more)
        return {one.place: (one.state, one.message) for one in answer.objects}

    async def owned(self, source: str = "team-b") -> list[str]:
        return sorted(f"{kind}/{name}" for kind, name in await self.auth.auth.writer.owned_by(source))

    def status(self, source: str = "team-b") -> m.SourceStatus:
        return self.auth.auth.surroundings.sources[source]


@asynccontextmanager
async def api_of(server: Emulation) -> AsyncIterator[KubernetesApi]:
    login = Login(kopf.ConnectionInfo(server=server.url))
    try:
        yield KubernetesApi(login)
    finally:
        await login.close()


def ready(server: Emulation, plural: str, name: str, namespace: str = "team-b") -> dict[str, Any]:
    """The condition `Ready` of an object."""
    kind = next(one for one in server.kinds if one.plural == plural)
    conditions = server.objects.get(Key(kind, namespace, name))["status"]["conditions"]
    return next(dict(one) for one in conditions if one["type"] == "Ready")
