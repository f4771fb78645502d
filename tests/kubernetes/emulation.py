"""An API server for what an operator depends on: discovery, lists, watches, patches, status, events, tokens, roles.

Speaks plain HTTP on a loopback port. `failing` makes it answer 503, `silence` drops every connection at once, and
`requests` counts what was asked. Who bears the token of a service account may do what its roles allow, and is noted in
`asked` and `refused`; who bears none is an administrator.
"""

import asyncio
import copy
import json
import random
import re
import secrets
import string
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from ruamel.yaml import YAML

from tests.kubernetes.objects import Change, Failure, Key, Kind, Object, Objects
from tests.kubernetes.permissions import ADMINISTRATOR, Asked, allows, grants_of, verb_of
from tests.kubernetes.selectors import matching

__all__ = ["Emulation", "emulated"]

_CRDS: Final = Kind(
    "apiextensions.k8s.io",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    ("v1",),
    "v1",
    namespaced=False,
    short=("crd",),
)
_NAMESPACES: Final = Kind("", "namespaces", "Namespace", ("v1",), "v1", namespaced=False, short=("ns",))
_RBAC: Final = "rbac.authorization.k8s.io"
_ROLES: Final = (
    Kind(_RBAC, "roles", "Role", ("v1",), "v1", has_status=False),
    Kind(_RBAC, "rolebindings", "RoleBinding", ("v1",), "v1", has_status=False),
    Kind(_RBAC, "clusterroles", "ClusterRole", ("v1",), "v1", namespaced=False, has_status=False),
    Kind(_RBAC, "clusterrolebindings", "ClusterRoleBinding", ("v1",), "v1", namespaced=False, has_status=False),
)
_BUILT_IN: Final = (
    *_ROLES,
    Kind("", "serviceaccounts", "ServiceAccount", ("v1",), "v1", has_status=False, short=("sa",)),
    Kind("", "services", "Service", ("v1",), "v1"),
    Kind("", "persistentvolumeclaims", "PersistentVolumeClaim", ("v1",), "v1"),
    Kind("apps", "deployments", "Deployment", ("v1",), "v1"),
    _CRDS,
    _NAMESPACES,
    Kind("", "secrets", "Secret", ("v1",), "v1", has_status=False),
    Kind("", "configmaps", "ConfigMap", ("v1",), "v1", has_status=False),
    Kind("", "events", "Event", ("v1",), "v1", has_status=False),
    Kind("coordination.k8s.io", "leases", "Lease", ("v1",), "v1", has_status=False),
    Kind("admissionregistration.k8s.io", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", ("v1",), "v1",
         namespaced=False),
    Kind("admissionregistration.k8s.io", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding",
         ("v1",), "v1", namespaced=False, has_status=False),
)  # fmt: skip
_VERBS: Final = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_BOOKMARK_SECONDS: Final = 1.0


class Emulation:
    """A running server; made by `emulated`."""

    def __init__(self) -> None:
        self.objects = Objects()
        self.kinds: list[Kind] = list(_BUILT_IN)
        self.requests: Counter[tuple[str, str]] = Counter()
        """By method and plural of the kind."""
        self.tokens: dict[str, str] = {}
        """Service account tokens that reviews know, and whose they are (`system:serviceaccount:NS:NAME`)."""
        self.audiences: list[str] | None = None
        """What tokens are made for; whatever is asked for if None."""
        self.asked: set[Asked] = set()
        """What those asked who bear a token, where it was allowed."""
        self.refused: set[Asked] = set()
        """And where it was not."""
        self.failing = False
        self.url = ""
        self._connections: set[asyncio.Transport] = set()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._outer], client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    async def install(self, *files: Path) -> None:
        """Create what files hold, as an administrator would."""
        for path in files:
            for body in _documents(path):
                await self.create(copy.deepcopy(body))

    async def create(self, body: Mapping[str, Any]) -> Object:
        group, _, _ = body["apiVersion"].rpartition("/")
        kind = next(one for one in self.kinds if (one.group, one.kind) == (group, body["kind"]))
        namespace = body["metadata"].get("namespace", "default") if kind.namespaced else ""
        return await self._create(Key(kind, namespace, body["metadata"]["name"]), dict(body))

    def silence(self) -> None:
        """Drop every connection, watches among them."""
        for transport in tuple(self._connections):
            transport.abort()

    # -- HTTP

    @web.middleware
    async def _outer(self, request: web.Request, handler: Any) -> web.StreamResponse:
        transport = request.transport
        assert isinstance(transport, asyncio.Transport)
        self._connections.add(transport)
        try:
            if self.failing:
                raise Failure(503, "ServiceUnavailable", "the server is currently unable to handle the request")
            answer: web.StreamResponse = await handler(request)
            return answer
        except Failure as failure:
            return web.json_response(failure.status(), status=failure.code)
        finally:
            if transport.is_closing():
                self._connections.discard(transport)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        steps = [step for step in request.path.split("/") if step]
        self._who(request)
        if steps[:1] == ["version"]:
            return web.json_response({"major": "1", "minor": "32", "gitVersion": "v1.32.0", "platform": "linux/amd64"})
        if steps[:1] not in (["api"], ["apis"]):
            raise Failure(404, "NotFound", "the server could not find the requested resource")
        group, rest = ("", steps[1:]) if steps[0] == "api" else (steps[1] if len(steps) > 1 else "", steps[2:])
        if steps == ["api"]:
            return web.json_response({"kind": "APIVersions", "versions": ["v1"]})
        if steps == ["apis"]:
            return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": self._groups()})
        if not rest:
            found = next((one for one in self._groups() if one["name"] == group), None)
            if found is None:
                raise Failure(404, "NotFound", f"the group {group} is not served")
            return web.json_response({"kind": "APIGroup", "apiVersion": "v1", **found})
        if len(rest) == 1:
            return web.json_response(self._resources(group, rest[0]))
        return await self._objects(request, group, rest[0], rest[1:])

    def _groups(self) -> list[Object]:
        by_group: dict[str, list[str]] = {"authentication.k8s.io": ["v1"]}
        for kind in self.kinds:
            known = by_group.setdefault(kind.group, [])
            known += [version for version in kind.versions if version not in known]
        for versions in by_group.values():
            versions.sort(key=_priority, reverse=True)
        return [
            {
                "name": group,
                "versions": [{"groupVersion": f"{group}/{version}", "version": version} for version in versions],
                "preferredVersion": {"groupVersion": f"{group}/{versions[0]}", "version": versions[0]},
            }
            for group, versions in by_group.items()
            if group
        ]

    def _resources(self, group: str, version: str) -> Object:
        found: list[Object] = []
        for kind in self.kinds:
            if kind.group == group and version in kind.versions:
                entry = {
                    "name": kind.plural, "singularName": kind.kind.lower(), "namespaced": kind.namespaced,
                    "kind": kind.kind, "verbs": _VERBS, "shortNames": list(kind.short),
                    "categories": list(kind.categories),
                }  # fmt: skip
                found.append(entry)
                if kind.has_status:
                    status = {**entry, "name": f"{kind.plural}/status", "verbs": ["get", "patch", "update"]}
                    found.append({key: status[key] for key in ("name", "singularName", "namespaced", "kind", "verbs")})
        name = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": found}

    async def _objects(self, request: web.Request, group: str, version: str, steps: list[str]) -> web.StreamResponse:
        namespace = ""
        if steps[0] == "namespaces" and len(steps) > 2 and steps[2] not in ("status", "finalize"):
            namespace, steps = steps[1], steps[2:]
        self.requests[request.method, steps[0]] += 1
        self._admit(request, group, namespace, steps)
        if (group, steps[0]) == ("authentication.k8s.io", "tokenreviews"):
            return web.json_response(self._review(await request.json()), status=201)
        if steps[0] == "serviceaccounts" and steps[2:] == ["token"]:
            return web.json_response(self._token(namespace, steps[1]), status=201)
        kind = next(
            (one for one in self.kinds if (one.group, one.plural) == (group, steps[0]) and version in one.versions),
            None,
        )
        if kind is None:
            raise Failure(404, "NotFound", "the server could not find the requested resource")
        if len(steps) == 1:
            return await self._collection(request, kind, version, namespace)
        key = Key(kind, namespace if kind.namespaced else "", steps[1])
        return await self._one(request, key, version, steps[2] if len(steps) > 2 else "")

    def _who(self, request: web.Request) -> str:
        """Whose token a request bears."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return ADMINISTRATOR
        user = self.tokens.get(token)
        if scheme != "Bearer" or user is None:
            raise Failure(401, "Unauthorized", "Unauthorized")
        return user

    def _admit(self, request: web.Request, group: str, namespace: str, steps: list[str]) -> None:
        user = self._who(request)
        if user == ADMINISTRATOR:
            return
        watching = request.query.get("watch") in ("true", "1")
        verb = verb_of(request.method, single=len(steps) > 1, watching=watching)
        asked = Asked(verb, group, "/".join([steps[0], *steps[2:3]]), namespace)
        kept = [one for kind in _ROLES for one in self.objects.all_of(kind)]
        allowed = allows(grants_of(user, kept), asked)
        (self.asked if allowed else self.refused).add(asked)
        if not allowed:
            message = f'{asked.resource} is forbidden: User "{user}" cannot {verb} resource "{asked.resource}"'
            raise Failure(403, "Forbidden", f'{message} in API group "{group}" in the namespace "{namespace}"')

    def _token(self, namespace: str, account: str) -> Object:
        """A token for a service account, as `kubectl create token` asks for it."""
        token = secrets.token_urlsafe(24)
        self.tokens[token] = f"system:serviceaccount:{namespace}:{account}"
        status = {"token": token, "expirationTimestamp": "2099-01-01T00:00:00Z"}
        return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}, "status": status}

    async def _collection(self, request: web.Request, kind: Kind, version: str, namespace: str) -> web.StreamResponse:
        query = request.query
        if request.method == "POST":
            body = await _body(request)
            name = body.get("metadata", {}).get("name") or _generated(body)
            made = await self._create(Key(kind, namespace if kind.namespaced else "", name), body)
            return web.json_response(_in_version(made, kind, version), status=201)
        if request.method == "DELETE":
            for one in matching(self.objects.all_of(kind, namespace), query):
                await self.objects.delete(Key(kind, one["metadata"].get("namespace", ""), one["metadata"]["name"]))
            return web.json_response({"kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {}})
        if query.get("watch") in ("true", "1"):
            return await self._watch(request, kind, version, namespace)
        found = matching(self.objects.all_of(kind, namespace), query)
        return web.json_response(
            {
                "apiVersion": _api_version(kind, version), "kind": f"{kind.kind}List",
                "metadata": {"resourceVersion": str(self.objects.revision)},
                "items": [_in_version(one, kind, version) for one in found],
            }
        )  # fmt: skip

    async def _one(self, request: web.Request, key: Key, version: str, subresource: str) -> web.Response:
        if subresource and not (subresource == "status" and key.kind.has_status):
            raise Failure(404, "NotFound", "the server could not find the requested resource")
        if request.method == "GET":
            found = self.objects.get(key)
        elif request.method == "DELETE":
            found = await self._delete(key)
        elif request.method == "PUT":
            found = await self.objects.replace(key, await _body(request), subresource)
        elif request.method == "PATCH":
            found = await self.objects.patch(
                key, await _body(request), how=request.content_type.removeprefix("application/"),
                subresource=subresource, manager=request.query.get("fieldManager", ""),
            )  # fmt: skip
        else:
            raise Failure(405, "MethodNotAllowed", f"{request.method} is not supported")
        return web.json_response(_in_version(found, key.kind, version))

    async def _watch(self, request: web.Request, kind: Kind, version: str, namespace: str) -> web.StreamResponse:
        query = request.query
        if query.get("sendInitialEvents"):
            raise Failure(422, "Invalid", "sendInitialEvents is forbidden for watch unless the WatchList feature is on")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        told = query.get("resourceVersion", "")
        revision = int(told) if told not in ("", "0") else self.objects.revision
        if told in ("", "0"):
            for one in matching(self.objects.all_of(kind, namespace), query):
                await _send(response, "ADDED", _in_version(one, kind, version))
        try:
            async with asyncio.timeout(float(query.get("timeoutSeconds", "3600"))):
                async for change in self._changes(kind, namespace, revision):
                    if change is None:
                        if query.get("allowWatchBookmarks") in ("true", "1"):
                            await _send(response, "BOOKMARK", self._bookmark(kind, version))
                    elif matching([change.object], query):
                        await _send(response, change.type, _in_version(change.object, kind, version))
        except TimeoutError:
            pass
        except Failure as failure:
            await _send(response, "ERROR", failure.status())
        return response

    async def _changes(self, kind: Kind, namespace: str, revision: int) -> AsyncIterator[Change | None]:
        """What changes from now on; None when it is time for a bookmark. Ends when the kind is served no more."""
        while kind in self.kinds:
            seen = self.objects.revision
            for change in self.objects.since(kind, namespace, revision):
                yield change
                revision = change.revision
            try:
                async with asyncio.timeout(_BOOKMARK_SECONDS):
                    await self.objects.wait_after(max(revision, seen))
            except TimeoutError:
                yield None

    def _bookmark(self, kind: Kind, version: str) -> Object:
        metadata = {"resourceVersion": str(self.objects.revision), "creationTimestamp": None}
        return {"apiVersion": _api_version(kind, version), "kind": kind.kind, "metadata": metadata}

    # -- kinds that mean something to the server itself

    async def _create(self, key: Key, body: Object) -> Object:
        if key.namespace and not any(one["metadata"]["name"] == key.namespace for one in self._namespaces()):
            raise Failure(404, "NotFound", f'namespaces "{key.namespace}" not found')
        made = await self.objects.create(key, body)
        if key.kind is _CRDS:
            self.kinds.append(Kind.of_definition(made))
            conditions = [
                {"type": type_, "status": "True", "reason": "Ok", "message": ""}
                for type_ in ("NamesAccepted", "Established")
            ]
            made = await self.objects.replace(key, {**made, "status": {"conditions": conditions}}, "status")
        return made

    async def _delete(self, key: Key) -> Object:
        gone = await self.objects.delete(key)
        if key.kind is _CRDS:
            kind = next(one for one in self.kinds if f"{one.plural}.{one.group}" == key.name)
            self.kinds.remove(kind)
            await self.objects.forget_kind(kind)
        elif key.kind is _NAMESPACES:
            await self.objects.forget_namespace(key.name)
        return gone

    def _namespaces(self) -> Iterable[Object]:
        return self.objects.all_of(_NAMESPACES)

    def _review(self, body: Object) -> Object:
        whose = self.tokens.get(body.get("spec", {}).get("token", ""))
        status: Object = {"authenticated": False}
        if whose is not None:
            groups = ["system:serviceaccounts", "system:authenticated"]
            audiences = body["spec"].get("audiences") or []
            fitting = [one for one in audiences if self.audiences is None or one in self.audiences]
            status = {
                "authenticated": True,
                "audiences": fitting,
                "user": {"username": whose, "uid": "1", "groups": groups},
            }
        return {**body, "status": status}


@asynccontextmanager
async def emulated(*definitions: Path) -> AsyncIterator[Emulation]:
    """A server on a port of its own, with the namespace `default` and the kinds of some files."""
    emulation = Emulation()
    runner = web.AppRunner(emulation.app(), shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    emulation.url = f"http://{host}:{port}"
    await emulation.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    await emulation.install(*definitions)
    try:
        yield emulation
    finally:
        await runner.cleanup()


@cache
def _documents(path: Path) -> tuple[Object, ...]:
    return tuple(YAML(typ="safe").load_all(path.read_text()))


def _priority(version: str) -> tuple[int, ...]:
    """The order in which versions are preferred: v10 before v2, both before v1beta1."""
    stage = ["alpha", "beta", ""].index("".join(filter(str.isalpha, version))[1:])
    return stage, *map(int, re.findall(r"\d+", version))


def _api_version(kind: Kind, version: str) -> str:
    return f"{kind.group}/{version}" if kind.group else version


def _in_version(body: Object, kind: Kind, version: str) -> Object:
    """The conversion `None`: an object is the same in all versions but for its name of it."""
    return {**body, "apiVersion": _api_version(kind, version), "kind": kind.kind}


def _generated(body: Object) -> str:
    prefix = str(body.get("metadata", {}).get("generateName", ""))
    if not prefix:
        raise Failure(422, "Invalid", "metadata.name: Required value: name or generateName is required")
    return prefix + "".join(random.choices(string.ascii_lowercase + string.digits, k=5))


async def _body(request: web.Request) -> Any:
    text = await request.text()
    try:
        if request.content_type.endswith("yaml"):
            return YAML(typ="safe", pure=True).load(text)
        return json.loads(text)
    except ValueError as error:
        raise Failure(400, "BadRequest", str(error)) from None


async def _send(response: web.StreamResponse, type_: str, body: Object) -> None:
    await response.write(json.dumps({"type": type_, "object": body}).encode() + b"\n")
