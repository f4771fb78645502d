"""Asks the Kubernetes cluster that auth runs in whose a service account's token is.

Source: Kubernetes API, authentication.k8s.io/v1, TokenReview.
"""

import os
import ssl
from pathlib import Path
from typing import Final

import aiohttp

from teleport.core.errors import Unauthenticated, Unavailable
from teleport.pki.service_accounts import ServiceAccount, account_named

__all__ = ["SERVICE_ACCOUNT", "InCluster"]

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its own token and the authority of its API server."""
_TIMEOUT: Final = 10.0


class InCluster:
    """The API server of the cluster that this process runs in, as its pod's service account."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url, folder

    @classmethod
    def found(cls, folder: Path = SERVICE_ACCOUNT) -> "InCluster | None":
        """None where this process runs in no pod."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host or not (folder / "token").is_file():
            return None
        return cls(f"https://{f'[{host}]' if ':' in host else host}:{port}", folder)

    async def review(self, token: str, *, audience: str) -> ServiceAccount:
        """Whose token it is. Raises Unauthenticated, or Unavailable if the API server does not answer."""
        body = {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }  # fmt: skip
        try:
            own = (self._folder / "token").read_text().strip()
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT)) as http,
                http.post(
                    f"{self._url}/apis/authentication.k8s.io/v1/tokenreviews", json=body, ssl=self._tls(),
                    headers={"Authorization": f"Bearer {own}"}, allow_redirects=False,
                ) as answer,
            ):  # fmt: skip
                if answer.status not in (200, 201):
                    raise Unavailable(f"the Kubernetes API server refuses to review tokens: HTTP {answer.status}")
                status = (await answer.json()).get("status", {})
        except (OSError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unavailable(
                f"the Kubernetes API server cannot be asked: {str(error) or type(error).__name__}"
            ) from None
        if status.get("authenticated") is not True or audience not in (status.get("audiences") or ()):
            raise Unauthenticated("Kubernetes does not know this token, or it is not made for this cluster")
        return account_named(str(status.get("user", {}).get("username", "")))

    def _tls(self) -> ssl.SSLContext | bool:
        """The authority of the API server; plain HTTP has none."""
        if self._url.startswith("http://"):
            return True
        return ssl.create_default_context(cafile=str(self._folder / "ca.crt"))
