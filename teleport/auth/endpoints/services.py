"""Routes for joined services, each about its own affairs: what it follows, reports, and brings."""

import re
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import Any, Final

from teleport.access.locks import lock_on_host
from teleport.api import models as m
from teleport.api.server import Caller
from teleport.audit.events import AGENT_EVENTS, CATALOGUE, PLAIN, PROXY_EVENTS, SessionUploaded
from teleport.auth.endpoints.parts import Parts
from teleport.auth.feed import feed
from teleport.core.errors import AccessDenied, BadInput
from teleport.core.identity import Identity

__all__ = ["ForServices"]

_MAX_EVENT: Final = 1 << 20
"""Characters of one event: more than the longest command that a kernel takes, so that none escapes the log."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
_ONLY_THE_LOG_SETS: Final = ("seq", "prev", "cluster_name")


class ForServices:
    """A service may do its own work and nothing else: its certificate says which host and which role it is."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def on_watch(self, caller: Caller, request: m.WatchQuery) -> AsyncGenerator[bytes]:
        return feed(self._parts.store, caller.known, request.after, partial(self._is_locked, caller.known))

    async def _is_locked(self, host: Identity, revision: int) -> bool:
        snapshot = await self._parts.policy.wait_for(revision)
        return lock_on_host(snapshot, host.uid, host.name, now=self._parts.clock.time()) is not None

    async def on_heartbeat(self, caller: Caller, request: m.Heartbeat) -> m.Ack:
        """Once it is answered, people who ask see the host."""
        await self._parts.policy.wait_for(await self._parts.presence.beat(caller.known, request))
        proxies = self._parts.presence.proxies() if caller.known.has_role("Node") else ()
        return m.Ack(policy_revision=self._parts.policy.current.revision, proxies=proxies)

    async def on_leave(self, caller: Caller, _request: m.Empty) -> m.Done:
        await self._parts.presence.leave(caller.known)
        self._parts.live.leave(caller.known)
        return m.Done()

    async def on_renew_host(self, caller: Caller, request: m.RenewHost) -> m.HostCertificates:
        """The same host again. It may take another name, but none by which people mean another host."""
        parts, host = self._parts, caller.known
        if request.hostname != host.name:
            others = {one.hostname for one in await parts.presence.hosts() if one.name != host.uid}
            if request.hostname in others or request.hostname in parts.policy.current.nodes:
                raise AccessDenied(
                    f"{host.name} cannot become {request.hostname}, which is another host's name",
                    hint="join again with a token, if it is meant to take that host's place",
                )
        return await parts.joining.renew(host, request)

    async def on_emit(self, caller: Caller, request: m.EventBatch) -> m.Done:
        for event in request.events:
            if _is_of_plain_host(caller.known, event):
                self._check_plain(str(event.get("server_id", "")))
            _check_report(caller.known, event)
        await self._parts.audit.append_dicts(request.events)
        return m.Done()

    async def on_upload(self, caller: Caller, request: m.RecordingPart, body: bytes) -> m.Done:
        size = await self._parts.recordings.append(request.sid, caller.known.uid, request.name, request.offset, body)
        return m.Done(revision=size)

    async def on_seal(self, caller: Caller, request: m.SealRequest) -> m.Done:
        meta, user = request.meta, str(request.meta.get("user", ""))
        server, hostname = caller.known.uid, caller.known.name
        if caller.known.has_role("Proxy"):
            server, hostname = str(meta.get("server_id", "")), str(meta.get("server_hostname", ""))
            self._check_plain(server)
        await self._parts.recordings.seal(request.sid, caller.known.uid, meta, of=server)
        await self._parts.audit.append(
            SessionUploaded(
                user=user, user_kind=1, user_roles=self._parts.policy.roles_of(user), sid=request.sid,
                server_id=server, server_hostname=hostname, login=str(meta.get("login", "")),
                url=f"recording:{request.sid}",
            )
        )  # fmt: skip
        return m.Done()

    def _check_plain(self, uid: str) -> None:
        """A proxy tells of sessions on hosts without agents, and never in an agent's place. Raises AccessDenied.

        A host may be declared no longer when its sessions' ends are told.
        """
        fleet = self._parts.fleet
        if not uid or (uid not in fleet.plain and fleet.fleet.get(uid) is not None):
            raise AccessDenied("that host's own agent tells of its sessions", details={"final": True})


def _is_of_plain_host(caller: Identity, event: Mapping[str, Any]) -> bool:
    return caller.has_role("Proxy") and event.get("server_sub_kind") == PLAIN


def _check_report(caller: Identity, event: Mapping[str, Any]) -> None:
    """A service reports only what it is there for, and only of itself. Raises AccessDenied, BadInput."""
    own = PROXY_EVENTS if caller.has_role("Proxy") else AGENT_EVENTS
    permitted = own | AGENT_EVENTS if _is_of_plain_host(caller, event) else own
    name = str(event.get("event"))
    if name not in permitted:
        raise AccessDenied(f"this service may not report events of the type {name}", details={"final": True})
    if event.get("server_id", "") != caller.uid and not caller.has_role("Proxy"):
        raise AccessDenied("a service may report only of itself", details={"final": True})
    for key in ("uid", "time", "code"):
        if not isinstance(event.get(key), str) or not event[key]:
            raise BadInput(f"an event without {key}")
    if event["code"] not in CATALOGUE[name].codes or not _TIME.match(event["time"]):
        raise BadInput(f"an event of the type {name} with a code or a time that it cannot have")
    if len(str(event)) > _MAX_EVENT:
        raise BadInput("an event is too large")
    if any(key in event for key in _ONLY_THE_LOG_SETS):
        raise BadInput("an event with a field that only the log sets")
