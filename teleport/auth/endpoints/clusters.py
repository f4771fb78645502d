"""Routes between clusters: a leaf joins, a proxy lets a user go to one, people see where they can go."""

from typing import Any

from teleport.access.clusters import labels_of
from teleport.api import models as m
from teleport.api.server import Caller
from teleport.audit.events import HUMAN, SERVICE, ClusterJoined, PassageIssued
from teleport.auth.endpoints.parts import Parts, address_of
from teleport.core.aio import utc
from teleport.core.errors import TeleportError, Throttled
from teleport.pki.foreign import Foreign

__all__ = ["OtherClusters"]


class OtherClusters:
    """What a root answers. Refusals are written down, but not those of the throttle."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def on_join_cluster(self, caller: Caller, request: m.ClusterIntroduction) -> m.Authorities:
        address = address_of(caller, request.client_address)
        about: dict[str, Any] = {
            "name": request.cluster, "role": "root", "token_name": f"{request.token[:2]}…", "addr__remote": address,
            "user": f"cluster:{request.cluster}", "user_kind": SERVICE,
        }  # fmt: skip
        try:
            leaf = await self._parts.leaves.join(request.model_copy(update={"client_address": address}))
        except Throttled:
            raise
        except TeleportError as error:
            await self._parts.audit.append(ClusterJoined(**about, outcome="E", success=False, error=error.message))
            raise
        await self._parts.audit.append(ClusterJoined(**about, success=True, pins=leaf.pins))
        authorities = self._parts.authorities
        public = tuple(one.encode().decode() for one in authorities.public)
        return m.Authorities(cluster=authorities.cluster, authorities=public)

    async def on_passage(self, caller: Caller, request: m.PassageRequest) -> m.PassageAnswer:
        parts = self._parts
        about: dict[str, Any] = {
            "name": request.cluster, "server_hostname": request.host, "login": request.login, "sid": request.session,
            "addr__remote": request.client_address,
        }  # fmt: skip
        try:
            identity, passage = parts.leaves.passage(request, proxy=caller.known.uid)
        except TeleportError as error:
            about |= {"user": caller.known.name, "user_kind": SERVICE}
            await parts.audit.append(PassageIssued(**about, outcome="W", success=False, error=error.message))
            raise
        roles = identity.passage.roles if identity.passage is not None else ()
        about |= {"user": identity.name, "user_kind": HUMAN, "user_roles": roles}
        await parts.audit.append(PassageIssued(**about, success=True, expires=utc(identity.expires)))
        return m.PassageAnswer(passage=passage, expires=identity.expires)

    async def on_clusters(self, caller: Caller, _request: m.Empty) -> m.Clusters:
        parts = self._parts
        own = m.ClusterRow(name=parts.authorities.cluster, kind="root", status="online")
        leaves = parts.leaves.reachable(caller.known) if caller.known.is_user else parts.policy.leaves.values()
        return m.Clusters(clusters=(own, *map(self._row, leaves)))

    def _row(self, leaf: Foreign) -> m.ClusterRow:
        online = self._parts.presence.reaches("leaf", leaf.cluster)
        keys = tuple(key.ssh_public for one in leaf.of_kind("host") for key in one.keys)
        return m.ClusterRow(
            name=leaf.cluster, kind="leaf", status="online" if online else "offline",
            labels=dict(labels_of(self._parts.policy.current, leaf.cluster)), ssh_authorities=keys,
        )  # fmt: skip
