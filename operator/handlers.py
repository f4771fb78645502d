"""The Kubernetes operator: `kopf run operator/handlers.py`. Watches manifests and hands them on; judges nothing.

Reconciling is done by the auth service, which every source of policy goes through. Here are only the watch, the login
at the API server, and the process's beginning and end.
"""

import os
import secrets
from contextlib import AsyncExitStack
from typing import Any

import kopf

from teleport.core.aio import SystemClock
from teleport.resources.custom_kinds import GROUP, custom_kind
from teleport.service.operator.kubernetes import KubernetesApi
from teleport.service.operator.login import Login
from teleport.service.operator.process import Operator
from teleport.service.operator.settings import Settings


@kopf.on.login()
def login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
    """The pod's service account; outside of a cluster, the kubeconfig."""
    return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    """Join the cluster and begin to feed. Of several operators the one with the highest number works, the others rest.

    Neither events nor annotations are written by kopf: what there is to say stands in the status.
    """
    settings.posting.enabled = False
    settings.peering.name = "teleport-operator"
    settings.peering.priority = secrets.randbelow(1 << 30)
    connection = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)
    if connection is None:
        raise kopf.PermanentError("no API server: neither a service account nor a kubeconfig is there")
    memo.stack = AsyncExitStack()
    session = Login(connection)
    memo.stack.push_async_callback(session.close)
    api = KubernetesApi(session)
    await api.ensure_peering(connection.default_namespace or "default", settings.peering.name)
    operator = Operator(Settings.from_environment(os.environ), api, clock=SystemClock())
    memo.operator = await memo.stack.enter_async_context(operator)


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    """Feed no more."""
    if "stack" in memo:
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
