"""The few requests that an operator makes of an API server itself: statuses, events, finalizers.

Each is one request. What the server refuses or does not answer is a KubernetesError, for the caller to try again.
Source: Kubernetes documentation, "API Concepts", server-side apply; Event v1.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from teleport.core.errors import Unavailable
from teleport.resources.custom_kinds import GROUP, CustomKind

__all__ = ["KubernetesApi", "KubernetesError", "Login"]

_MANAGER: Final = "teleport-operator"
_COMPONENT: Final = "teleport-operator"
_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"


class KubernetesError(Unavailable):
    """The API server refused something, or did not answer."""


class Login:
    """Where the API server is and how it knows us: a session with credentials, made by whoever watches."""

    def __init__(self, url: str, http: aiohttp.ClientSession, headers: Mapping[str, str]) -> None:
        self.url, self.http, self.headers = url.rstrip("/"), http, dict(headers)


class KubernetesApi:
    """See the module. Counts its requests in `requests`."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self.requests = 0

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
        """Take a finalizer off, so that the manifest can be deleted."""
        left = [one for one in manifest["metadata"].get("finalizers") or () if one != finalizer]
        metadata = {"finalizers": left, "resourceVersion": manifest["metadata"]["resourceVersion"]}
        await self._send("PATCH", _path(kind, manifest), {"metadata": metadata}, _MERGE, missing=True)

    async def _send(self, method: str, path: str, body: Any, media: str, *, missing: bool = False) -> None:
        """`missing`: whether it is well if there is no such object any more."""
        login = self._login
        self.requests += 1
        headers = {**login.headers, "Content-Type": media}
        try:
            async with login.http.request(
                method, login.url + path, json=body, headers=headers, allow_redirects=False
            ) as answer:
                if answer.status < 300 or (missing and answer.status == 404):
                    return
                text = (await answer.text())[:500]
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            raise KubernetesError(f"{method} {path}: {str(error) or type(error).__name__}") from None
        raise KubernetesError(f"{method} {path}: HTTP {answer.status}: {text}")


def _path(kind: CustomKind, manifest: Mapping[str, Any]) -> str:
    version = str(manifest["apiVersion"]).rpartition("/")[2]
    metadata = manifest["metadata"]
    namespace, name = quote(metadata["namespace"], safe=""), quote(metadata["name"], safe="")
    return f"/apis/{GROUP}/{version}/namespaces/{namespace}/{kind.plural}/{name}"
