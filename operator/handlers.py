"""The Kubernetes operator: `kopf run operator/handlers.py`. Watches manifests and hands them on; judges nothing.

Reconciling is done by the auth service, which every source of policy goes through. Here are only the watch, the login
at the API server, and the process's beginning and end.
"""

import os
import secrets
import ssl
import tempfile
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import kopf

from teleport.core.aio import SystemClock
from teleport.resources.custom_kinds import GROUP, custom_kind
from teleport.service.operator.kubernetes import KubernetesApi, Login
from teleport.service.operator.process import Operator
from teleport.service.operator.settings import Settings

_TIMEOUT = aiohttp.ClientTimeout(total=30)


@kopf.on.login()
def login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
    """The pod's service account; outside of a cluster, the kubeconfig."""
    return _connection(settings)


def _connection(settings: kopf.OperatorSettings) -> kopf.ConnectionInfo | None:
    return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    """Join the cluster and begin to feed; events are kept for what they change."""
    settings.posting.enabled = False
    settings.peering.name = "teleport-operator"
    settings.peering.priority = secrets.randbelow(1 << 30)
    memo.stack = AsyncExitStack()
    connection = _connection(settings)
    if connection is None:
        raise kopf.PermanentError("no API server: neither a service account nor a kubeconfig is there")
    http = await memo.stack.enter_async_context(
        aiohttp.ClientSession(timeout=_TIMEOUT, connector=_connector(connection))
    )
    api = KubernetesApi(Login(connection.server, http, _headers(connection)))
    await api.ensure_peering(connection.default_namespace or "default", settings.peering.name)
    operator = Operator(Settings.from_environment(os.environ), api, clock=SystemClock())
    memo.operator = await memo.stack.enter_async_context(operator)


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    await memo.stack.aclose()


@kopf.on.event(GROUP, kopf.EVERYTHING)
def changed(event: kopf.RawEvent, memo: kopf.Memo, **_: Any) -> None:
    """A manifest of any kind in the group is there, differs, or is gone."""
    manifest = dict(event["object"])
    if custom_kind(str(manifest.get("kind"))) is None:
        return
    if event["type"] == "DELETED":
        memo.operator.forget(manifest)
    else:
        memo.operator.note(manifest, listed=event["type"] is None)


def _headers(connection: kopf.ConnectionInfo) -> dict[str, str]:
    if connection.token:
        return {"Authorization": f"{connection.scheme or 'Bearer'} {connection.token}"}
    return {}


def _connector(connection: kopf.ConnectionInfo) -> aiohttp.TCPConnector:
    """TLS as the login says: its authority, and a client certificate if it has one."""
    if connection.server.startswith("http://"):
        return aiohttp.TCPConnector()
    context = ssl.create_default_context(cafile=connection.ca_path, cadata=_text(connection.ca_data))
    if connection.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if connection.certificate_path and connection.private_key_path:
        context.load_cert_chain(connection.certificate_path, connection.private_key_path)
    elif connection.certificate_data and connection.private_key_data:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
            pair.write(f"{_text(connection.private_key_data)}\n{_text(connection.certificate_data)}")
            pair.flush()
            context.load_cert_chain(pair.name)
    return aiohttp.TCPConnector(ssl=context)


def _text(data: bytes | str | None) -> str | None:
    return data.decode() if isinstance(data, bytes) else data
