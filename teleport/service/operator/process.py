"""The operator as a process: it joins the cluster, learns which sources it feeds, and feeds them until it stops.

Watching belongs to whoever calls `note` and `forget`; without a watch everything would still be listed now and then.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, TypeVar

from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.auth.join import service_name
from teleport.core.aio import Clock, cancel_and_wait
from teleport.core.errors import AccessDenied, TeleportError
from teleport.net import alpn
from teleport.net.tls import client_context
from teleport.service.credentials import HostCredentials, HostKeys, Subject, new_credentials
from teleport.service.join import recognise, renew
from teleport.service.operator.feeder import Feed, Feeder
from teleport.service.operator.kubernetes import KubernetesApi
from teleport.service.operator.peers import Peering
from teleport.service.operator.settings import Settings

__all__ = ["Operator"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_FEED_SECONDS: Final = 120.0
"""How long the auth service may take to judge a feed."""
_PATIENCE: Final = 5.0
_EVERYWHERE: Final = "*"


class Operator:
    """Feeds every source that its identity names. An async context manager.

    `failed` is called when something that goes on in the background ended by a fault of this program: what is left
    feeds nobody, or not for long, and has to be started anew.
    """

    def __init__(
        self, settings: Settings, api: KubernetesApi, peering: Peering, *, clock: Clock, failed: Callable[[], None]
    ) -> None:
        self._settings, self._api, self._peering, self._clock = settings, api, peering, clock
        self._failed = failed
        self._stack = AsyncExitStack()
        self.feeders: dict[str, Feeder] = {}
        """By namespace."""
        self._feed: Feed | None = None
        self._everywhere = ""
        """The source of every namespace that no other one is named after."""
        self._noted: set[str] = set()
        """Namespaces in which there are manifests."""

    async def __aenter__(self) -> "Operator":
        """Begin to join, and then to feed. An auth service that is away, or refuses as yet, is asked again."""
        self._background(self._join(), "joining")
        return self

    async def _join(self) -> None:
        client = await self._joined()
        sources = await self._sources(client)
        self._feed = partial(client.call, r.FEED)
        for source in sources:
            if source.namespace == _EVERYWHERE:
                self._everywhere = source.name
            else:
                self._begin(source)
        for namespace in sorted(self._noted):
            self._feeder(namespace)

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _begin(self, source: m.FedSource) -> Feeder:
        assert self._feed is not None
        feeder = self.feeders[source.namespace] = Feeder(
            source, self._feed, self._api, clock=self._clock, leads=partial(self._leads, source.namespace)
        )
        self._background(feeder.run(), f"feeding {source.name}")
        log.info("the namespace %s feeds the source %s", source.namespace, source.name)
        return feeder

    def _feeder(self, namespace: str) -> Feeder | None:
        """Who feeds a namespace; where all are fed, one that is new gets somebody."""
        found = self.feeders.get(namespace)
        if found is None and self._everywhere and namespace:
            return self._begin(m.FedSource(name=f"{self._everywhere}/{namespace}", namespace=namespace))
        return found

    def note(self, manifest: dict[str, Any], *, listed: bool = False) -> None:
        """How a manifest is now; `listed` if that is known because the watch began anew."""
        namespace = manifest["metadata"].get("namespace", "")
        self._noted.add(namespace)
        feeder = self._feeder(namespace)
        if feeder is not None:
            feeder.note(manifest)
            if listed:
                feeder.relist()

    def forget(self, manifest: Mapping[str, Any]) -> None:
        """That a manifest is gone."""
        feeder = self.feeders.get(manifest["metadata"].get("namespace", ""))
        if feeder is not None:
            feeder.forget(dict(manifest))

    async def _leads(self, namespace: str) -> bool:
        return await self._peering.leads(namespace, self._clock.time())

    async def _sources(self, client: ApiClient) -> tuple[m.FedSource, ...]:
        """What there is to feed, as soon as there is something."""

        async def ask() -> tuple[m.FedSource, ...]:
            answer = await client.call(r.FED_SOURCES, m.Empty())
            if not answer.sources:
                raise AccessDenied(
                    "this operator feeds no source", hint="name its sources in teleport.yaml and in its join token"
                )
            return answer.sources

        return await self._until_done(ask, "the sources")

    async def _joined(self) -> ApiClient:
        """A member of the cluster."""
        return await self._client(await self._until_done(self._enlisted, f"the cluster at {self._settings.address}"))

    async def _enlisted(self) -> HostCredentials:
        settings = self._settings
        authority = await recognise(settings.address, set(settings.pins))
        trust, cluster = authority.certificates, authority.cluster
        name = service_name("Proxy" if settings.through_proxy else "Auth", cluster)
        async with ApiClient(
            f"https://{settings.address}", tls=client_context(trust=trust, alpn=[alpn.HTTP]), server_name=name
        ) as client:
            return await new_credentials(None, partial(self._obtain, client), Subject(settings.hostname))

    async def _until_done(self, work: Callable[[], Awaitable[T]], what: str) -> T:
        """The result of something, tried until it comes: what refuses now (a token not made yet) may agree later."""
        while True:
            try:
                return await work()
            except (TeleportError, OSError) as error:
                hint = f" ({error.hint})" if isinstance(error, TeleportError) and error.hint else ""
                log.warning("%s: %s%s; trying again", what, error, hint)
                await self._clock.sleep(_PATIENCE)

    async def _obtain(self, client: ApiClient, keys: HostKeys, subject: Subject) -> m.HostCertificates:
        token, proof = self._settings.secrets
        request = m.JoinRequest(
            token=token, proof=proof, ssh_public_key=keys.ssh_public, tls_public_key=keys.tls_public,
            hostname=subject.hostname, roles=("Operator",),
        )  # fmt: skip
        return await client.call(r.JOIN, request)

    async def _client(self, credentials: HostCredentials) -> ApiClient:
        protocol = alpn.api(credentials.cluster)
        client = ApiClient(
            f"https://{self._settings.address}", tls=credentials.client(protocol), timeout=_FEED_SECONDS,
            server_name=service_name("Auth", credentials.cluster),
        )  # fmt: skip
        self._stack.push_async_callback(client.close)
        credentials.subscribe(lambda: client.replace_tls(credentials.client(protocol)))
        subject = Subject(self._settings.hostname)
        work = credentials.keep_fresh(partial(renew, client), subject, clock=self._clock)
        self._background(work, "renewing the certificate")
        return client

    def _background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._stack.push_async_callback(cancel_and_wait, task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("%s ended, and the operator with it: this is a bug", task.get_name(), exc_info=error)
            self._failed()
