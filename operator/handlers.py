"""The Kubernetes operator: `kopf run operator/handlers.py`. Watches manifests and hands them on; judges nothing.

Reconciling is done by the auth service, which every source of policy goes through. Here are only the watch, the login
at the API server, and the process's beginning and end.
"""

import logging
import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from itertools import chain, repeat
from typing import Any

import kopf

from teleport.core.aio import SystemClock
from teleport.core.errors import TeleportError
from teleport.resources.custom_kinds import CUSTOM_KINDS, GROUP
from teleport.service.operator.kubernetes import KubernetesApi
from teleport.service.operator.login import Login
from teleport.service.operator.peers import Peering
from teleport.service.operator.process import Operator
from teleport.service.operator.settings import Settings


@kopf.on.login()
def login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
    """See `connection_of`."""
    return connection_of(settings)


def connection_of(settings: kopf.OperatorSettings) -> kopf.ConnectionInfo | None:
    """The pod's service account; outside of a cluster, the kubeconfig."""
    return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)


class _Patience:
    """Pauses between attempts at the API server, in seconds: an operator does not give up while that is away."""

    def __iter__(self) -> Iterator[float]:
        return chain((0.5, 1.0, 2.0, 5.0), repeat(10.0))


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    """Begin to join and to feed. Of several operators the one with the highest number works, the others rest.

    Neither events nor annotations are written by kopf: what there is to say stands in the status.
    """
    settings.posting.enabled = False
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    settings.networking.error_backoffs = _Patience()
    settings.watching.reconnect_backoff = 0.5  # a watch begun anew before kopf knows that its kind is gone ends kopf
    settings.peering.name = "teleport-operator"
    settings.peering.priority = secrets.randbelow(1 << 30)
    connection = connection_of(settings)
    if connection is None:
        raise kopf.PermanentError("no API server: neither a service account nor a kubeconfig is there")
    try:
        told = Settings.from_environment(os.environ)
    except TeleportError as error:
        raise kopf.PermanentError(f"{error} ({error.hint})") from None
    settings.peering.lifetime = told.peer_seconds
    memo.stack = AsyncExitStack()
    session = Login(connection, partial(connection_of, settings))
    memo.stack.push_async_callback(session.close)
    api = KubernetesApi(session)
    peering = Peering(api, settings.peering.name, settings.peering.priority)
    memo.failed = False
    operator = Operator(told, api, peering, clock=SystemClock(), failed=partial(end, memo))
    memo.operator = await memo.stack.enter_async_context(operator)


def end(memo: kopf.Memo) -> None:
    """End this process, to be started anew: something in it failed that it cannot do without."""
    memo.failed = True
    signal.raise_signal(signal.SIGTERM)


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    """Feed no more. What ended because something failed does not end well."""
    if "stack" in memo:
        await memo.stack.aclose()
    if memo.get("failed"):
        raise kopf.PermanentError("it ended because of a fault of its own")


async def changed(event: kopf.RawEvent, memo: kopf.Memo, **_: Any) -> None:
    """A manifest of a kind that is known is there, differs, or is gone. In the loop, where feeders live."""
    manifest = dict(event["object"])
    if event["type"] == "DELETED":
        memo.operator.forget(manifest)
    else:
        memo.operator.note(manifest, listed=event["type"] is None)


# Each kind in the version that it is stored in: of a whole group kopf would watch those kinds alone that are served in
# the group's preferred version, which is that of the newest role here.
for _kind in CUSTOM_KINDS:
    kopf.on.event(GROUP, _kind.stored, _kind.plural)(changed)
