"""Serves the routes: peer certificate → identity → permission → handler.

Over TLS the identity is that of the client certificate, checked again on every request; over the administration
socket it is the operating system's user at the other end. A handler sees a caller who holds the permission.
"""

import json
import logging
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from pydantic import ValidationError

from teleport.access.decide import lock_on, standing
from teleport.access.locks import lock_on_host
from teleport.access.rules import may
from teleport.access.snapshot import Snapshot
from teleport.api.routes import Admin, Anybody, EachObject, Hosts, LocalAdmin, Permission, Route, Users
from teleport.core.aio import Clock
from teleport.core.errors import AccessDenied, BadInput, NotFound, TeleportError, Unauthenticated
from teleport.core.identity import Identity
from teleport.net.addresses import ClientAddresses
from teleport.pki.credentials import read_tls
from teleport.resources.kinds import kind_named
from teleport.sessions.policy import LivePolicy

__all__ = ["ApiServer", "Caller", "Handler", "Handlers", "LocalUsers", "answer_error", "read_body", "read_request"]

log = logging.getLogger(__name__)

AnyRoute = Route[Any, Any]


@dataclass(frozen=True)
class Caller:
    """Who asks. `identity` is None only on routes for anybody."""

    identity: Identity | None
    address: str = ""

    @property
    def known(self) -> Identity:
        assert self.identity is not None
        return self.identity


Handler = Callable[..., Awaitable[Any]]
"""`async (caller, request) -> response`; streaming routes give an async iterator of bytes, or take the body too."""

Handlers = Mapping[str, Handler]
"""By the name of the route."""

LocalUsers = Callable[[int], Identity | None]
"""From an operating system uid at the administration socket to an identity, None where it has none."""


AdmitHost = Callable[[Identity], Awaitable[None]]


async def _every_host(_host: Identity) -> None:
    return


class ApiServer:
    """Builds the aiohttp application that serves a set of handlers."""

    def __init__(
        self, handlers: Handlers, routes: tuple[AnyRoute, ...], policy: LivePolicy, *, clock: Clock, local: LocalUsers,
        addresses: ClientAddresses, hosts: AdmitHost = _every_host,
    ) -> None:  # fmt: skip
        """`hosts` looks at each host that asks: it raises for one that is not to be served."""
        missing = {route.name for route in routes} - set(handlers)
        assert not missing, f"routes without a handler: {missing}"
        self._handlers, self._routes, self._policy = handlers, routes, policy
        self._clock, self._local, self._addresses, self._hosts = clock, local, addresses, hosts

    def application(self) -> web.Application:
        app = web.Application(client_max_size=max(route.limit for route in self._routes), middlewares=[_in_json])
        for route in self._routes:
            app.router.add_route(route.method, route.path, self._endpoint(route))
        return app

    def _endpoint(self, route: AnyRoute) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        handler = self._handlers[route.name]

        async def endpoint(request: web.Request) -> web.StreamResponse:
            try:
                caller = self._caller(request)
                self._permit(caller, route.permission, request.match_info.get("kind", ""))
                if caller.identity is not None and isinstance(route.permission, Hosts):
                    await self._hosts(caller.identity)
                question, body = await read_request(route, request)
                arguments = (body,) if route.streams == "request" else ()
                if route.streams == "response":
                    return await _stream(request, await handler(caller, question))
                answer = await handler(caller, question, *arguments)
                return web.json_response(text=answer.model_dump_json())
            except TeleportError as error:
                return answer_error(error)
            except (ConnectionError, TimeoutError):
                raise
            except Exception:
                log.exception("%s %s failed", route.method, route.path)
                return answer_error(TeleportError("an internal error; the log of the auth service says more"))

        return endpoint

    def _caller(self, request: web.Request) -> Caller:
        transport = request.transport
        assert transport is not None
        tls = transport.get_extra_info("ssl_object")
        if tls is None:
            return Caller(self._local_identity(transport.get_extra_info("socket")), "local")
        address = self._addresses.of(transport)[0]
        der = tls.getpeercert(binary_form=True)
        if der is None:
            return Caller(None, address)
        identity = read_tls(der, self._policy.authorities, now=self._clock.time())
        if identity.pinned_ip and identity.pinned_ip != address:
            raise Unauthenticated("the certificate is pinned to another address", hint="log in again: tsh login")
        return Caller(identity, address)

    def _local_identity(self, connection: Any) -> Identity:
        uid = peer_uid(connection)
        identity = self._local(uid)
        if identity is None:
            raise AccessDenied(
                f"uid {uid} may not administer this cluster",
                hint="be root or the service's user, or have teleport.yaml map the uid to a role",
            )
        return identity

    def _permit(self, caller: Caller, permission: Permission, kind: str) -> None:
        """Before anything of the body is read. Raises Unauthenticated, AccessDenied."""
        if isinstance(permission, Anybody):
            return
        identity = caller.identity
        if identity is None:
            raise Unauthenticated("a certificate is needed", hint="log in first: tsh login")
        snapshot, now = self._policy.current, self._clock.time()
        if isinstance(permission, Hosts):
            _permit_host(snapshot, identity, permission, now)
        elif isinstance(permission, LocalAdmin):
            if identity.kind != "admin" or identity.requested_roles is not None:
                raise AccessDenied("only for administrators at the administration socket of the auth host")
        elif isinstance(permission, Users | EachObject):
            _permit_user(snapshot, identity, now)
        else:
            _permit_admin(snapshot, identity, permission, permission.noun or kind_named(kind).kind, now)


def _permit_host(snapshot: Snapshot, identity: Identity, permission: Hosts, now: float) -> None:
    if not any(identity.has_role(role) for role in permission.roles):
        raise AccessDenied(f"only for services in the role {' or '.join(permission.roles)}")
    lock = lock_on_host(snapshot, identity.uid, identity.name, now=now)
    if lock is not None:
        raise AccessDenied(f"lock/{lock.name} is in force on this host")


def _permit_user(snapshot: Snapshot, identity: Identity, now: float) -> None:
    if identity.kind == "admin":
        return
    obstacle = standing(snapshot, identity, now)
    user = snapshot.user(identity.name)
    if obstacle or user is None:
        raise AccessDenied(obstacle)
    lock = lock_on(snapshot, user, now=now)
    if lock is not None:
        raise AccessDenied(f"lock/{lock.name} is in force: {lock.spec.message}".rstrip(": "))
    if not identity.reissuable:
        raise AccessDenied("this certificate is for one session only")


def _permit_admin(snapshot: Snapshot, identity: Identity, permission: Admin, noun: str, now: float) -> None:
    decision = may(snapshot, identity, permission.verb, noun, now=now)
    if not decision.allowed:
        raise AccessDenied(f"{identity.name} may not {permission.verb} {noun} ({decision.because})")


_CREDENTIALS: Final = struct.Struct("3i")


def peer_uid(connection: Any) -> int:
    """The uid of the process at the other end of a Unix socket (SO_PEERCRED)."""
    raw: bytes = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])


async def read_request(route: AnyRoute, request: web.Request) -> tuple[Any, bytes]:
    """The question as its model, from path, query and body; and the raw body of a streamed request."""
    raw = await read_body(request, min(route.limit, request.client_max_size))
    fields: dict[str, Any] = {}
    if route.streams != "request" and raw:
        try:
            fields = json.loads(raw)
        except (ValueError, RecursionError):
            raise BadInput("the body is not JSON") from None
        if not isinstance(fields, dict):
            raise BadInput("the body is not a JSON object")
    elif route.method in ("GET", "DELETE") or route.streams == "request":
        fields = dict(request.query)
    fields |= {name: request.match_info[name] for name in route.parameters}
    try:
        return route.request.model_validate(fields), raw
    except (ValidationError, RecursionError) as error:
        if isinstance(error, RecursionError):
            raise BadInput("the body is nested too deeply") from None
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"{where}: {first['msg']}") from None


async def read_body(request: web.Request, limit: int) -> bytes:
    """The body, read no further than the limit."""
    if request.content_length is not None and request.content_length > limit:
        raise BadInput(f"a body of {request.content_length} bytes is larger than {limit}")
    raw = bytearray()
    async for chunk in request.content.iter_any():
        raw += chunk
        if len(raw) > limit:
            raise BadInput(f"a body larger than {limit} bytes")
    return bytes(raw)


async def _stream(request: web.Request, chunks: AsyncGenerator[bytes]) -> web.StreamResponse:
    """Send as it comes. What fails before the first bytes is an error like any other; later it cuts the connection."""
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    async with aclosing(chunks):
        try:
            async for chunk in chunks:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(chunk)
        except Exception as error:
            if response.prepared and _has_left(request):
                return response
            if not response.prepared or isinstance(error, ConnectionError):
                raise
            log.exception("the stream of %s broke off", request.path)
            raise ConnectionAbortedError from error
    if not response.prepared:
        await response.prepare(request)
    await response.write_eof()
    return response


def _has_left(request: web.Request) -> bool:
    """Whether nobody listens to the answer any more, which is for them to decide."""
    return request.transport is None or request.transport.is_closing()


@web.middleware
async def _in_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """What matches no route is refused in the same form as everything else."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        refusal = BadInput(f"{request.method} is not understood here", hint=f"try {', '.join(error.allowed_methods)}")
        response = web.json_response(refusal.to_wire(), status=error.status)
        response.headers["Allow"] = error.headers["Allow"]
        return response
    except web.HTTPNotFound:
        return answer_error(NotFound("there is no such route", hint="GET /v1/openapi.json lists them"))


def answer_error(error: TeleportError) -> web.Response:
    return web.json_response(error.to_wire(), status=error.status)
