"""The few requests that an operator makes of an API server itself: lists, statuses, events, finalizers.

Each is one request. What the server refuses or does not answer is a KubernetesError, for the caller to try again.
Source: Kubernetes documentation, "API Concepts", server-side apply; Event v1.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from teleport.core.errors import Unavailable
from teleport.resources.custom_kinds import GROUP, CustomKind
from teleport.service.operator.login import Login

__all__ = ["KubernetesApi", "KubernetesError"]

_MANAGER: Final = "teleport-operator"
_COMPONENT: Final = "teleport-operator"
_APPLY: Final = "application/apply-patch+yaml"
_JSON_PATCH: Final = "application/json-patch+json"
_PATIENT: Final = aiohttp.ClientTimeout(total=None, sock_connect=30)
"""For watches, which end when something happens."""


class KubernetesError(Unavailable):
    """The API server refused something, or did not answer: then the status is 0."""

    def __init__(self, message: str, answered: int = 0) -> None:
        super().__init__(message)
        self.answered = answered


class KubernetesApi:
    """See the module. Counts its requests in `requests`."""

    def __init__(self, login: Login) -> None:
        self.login = login
        self.requests = 0

    async def manifests(self, kind: CustomKind, namespace: str) -> list[dict[str, Any]] | None:
        """All of a kind in a namespace; None where the kind is not served."""
        path = f"/apis/{GROUP}/{kind.stored}/namespaces/{quote(namespace, safe='')}/{kind.plural}"
        found = await self._get(path)
        if found is None:
            return None
        named = {"apiVersion": f"{GROUP}/{kind.stored}", "kind": kind.kind}
        return [{**one, **named} for one in found["items"]]

    async def going(self, kinds: Iterable[CustomKind]) -> list[CustomKind]:
        """Those of some kinds whose definition is gone, or about to go and taking all its objects along."""
        group = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        found = [(kind, await self._get(f"{group}/{kind.plural}.{GROUP}")) for kind in kinds]
        return [kind for kind, one in found if _is_going(one)]

    async def is_going(self, namespace: str) -> bool:
        """Whether a namespace is gone, or about to go and taking all that is in it along."""
        found = await self._get(f"/api/v1/namespaces/{quote(namespace, safe='')}")
        return _is_going(found) or (found or {}).get("status", {}).get("phase") == "Terminating"

    async def write_status(self, kind: CustomKind, manifest: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """Say what became of a manifest. One that is gone meanwhile needs no status."""
        metadata = manifest["metadata"]
        body = {
            "apiVersion": manifest["apiVersion"], "kind": kind.kind, "metadata": {"name": metadata["name"]},
            "status": status,
        }  # fmt: skip
        path = f"{_path(kind, manifest)}/status?fieldManager={_MANAGER}&force=true"
        await self._send("PATCH", path, body, _APPLY, missing=True)

    async def write_event(
        self, manifest: Mapping[str, Any], *, reason: str, message: str, warning: bool, now: str
    ) -> None:
        """What `kubectl describe` and `kubectl events` show of a manifest."""
        metadata = manifest["metadata"]
        namespace = metadata.get("namespace", "default")
        body = {
            "apiVersion": "v1", "kind": "Event", "metadata": {"generateName": f"{metadata['name']}."},
            "type": "Warning" if warning else "Normal", "reason": reason, "message": message[:1024],
            "involvedObject": {
                "apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "namespace": namespace,
                **{key: metadata[key] for key in ("name", "uid", "resourceVersion") if key in metadata},
            },
            "source": {"component": _COMPONENT}, "reportingComponent": _COMPONENT, "reportingInstance": _COMPONENT,
            "firstTimestamp": now, "lastTimestamp": now, "count": 1, "action": "Reconcile",
        }  # fmt: skip
        await self._send("POST", f"/api/v1/namespaces/{quote(namespace)}/events", body, "application/json")

    async def release(self, kind: CustomKind, manifest: Mapping[str, Any], finalizer: str) -> None:
        """Take a finalizer off, so that the manifest can be deleted; refused if its finalizers changed meanwhile."""
        path = f"/metadata/finalizers/{manifest['metadata']['finalizers'].index(finalizer)}"
        patch = [{"op": "test", "path": path, "value": finalizer}, {"op": "remove", "path": path}]
        await self._send("PATCH", _path(kind, manifest), patch, _JSON_PATCH, missing=True)

    async def ensure_peering(self, namespace: str, name: str) -> None:
        """Make the object by which operators agree who of them works, where its kind is served."""
        path = f"/apis/kopf.dev/v1/namespaces/{quote(namespace, safe='')}/kopfpeerings"
        if await self._get(f"{path}/{name}") is None:
            body = {"apiVersion": "kopf.dev/v1", "kind": "KopfPeering", "metadata": {"name": name}}
            await self._send("POST", path, body, "application/json", missing=True)

    async def peers(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """The operators that agree by an object of that name, by their identity; None where there is no such object."""
        found = await self._get(f"/apis/kopf.dev/v1/namespaces/{quote(namespace, safe='')}/kopfpeerings/{quote(name)}")
        return None if found is None else dict(found.get("status") or {})

    async def secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        """One Secret; None where there is none of the name."""
        return await self._get(f"{_secrets(namespace)}/{quote(name, safe='')}")

    async def wait_secret_changes(self, namespace: str, name: str, version: str) -> None:
        """Returns once a Secret is not as it was in some version, or when the API server ends the watch."""
        query = f"watch=true&fieldSelector=metadata.name%3D{quote(name, safe='')}&resourceVersion={quote(version)}"
        login, path = self.login, f"{_secrets(namespace)}?{query}"
        self.requests += 1
        try:
            async with login.http.get(login.url + path, headers=login.headers, timeout=_PATIENT) as answer:
                if answer.status >= 300:
                    raise KubernetesError(f"GET {path}: HTTP {answer.status}", answer.status)
                await answer.content.readline()
        except (OSError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise KubernetesError(f"GET {path}: {str(error) or type(error).__name__}") from None

    async def _get(self, path: str) -> dict[str, Any] | None:
        """What stands at a path; None if nothing does."""
        answer = await self._ask("GET", path, None, "application/json", missing=True)
        return json.loads(answer) if answer is not None else None

    async def _send(self, method: str, path: str, body: Any, media: str, *, missing: bool = False) -> None:
        """`missing`: whether it is well if there is no such object any more."""
        await self._ask(method, path, body, media, missing=missing)

    async def _ask(self, method: str, path: str, body: Any, media: str, *, missing: bool) -> bytes | None:
        login = self.login
        self.requests += 1
        headers = {**login.headers, "Content-Type": media}
        try:
            async with login.http.request(
                method, login.url + path, json=body, headers=headers, allow_redirects=False
            ) as answer:
                if missing and answer.status == 404:
                    return None
                raw = await answer.read()
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            raise KubernetesError(f"{method} {path}: {str(error) or type(error).__name__}") from None
        if answer.status == 401:
            login.renew()
        if answer.status >= 300:
            said = raw[:500].decode(errors="replace")
            raise KubernetesError(f"{method} {path}: HTTP {answer.status}: {said}", answer.status)
        return raw


def _secrets(namespace: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/secrets"


def _is_going(found: Mapping[str, Any] | None) -> bool:
    return found is None or bool(found["metadata"].get("deletionTimestamp"))


def _path(kind: CustomKind, manifest: Mapping[str, Any]) -> str:
    version = str(manifest["apiVersion"]).rpartition("/")[2]
    metadata = manifest["metadata"]
    namespace, name = quote(metadata["namespace"], safe=""), quote(metadata["name"], safe="")
    return f"/apis/{GROUP}/{version}/namespaces/{namespace}/{kind.plural}/{name}"
