"""A namespace of Kubernetes as a source of policy: what an operator brings of it, and what the operator is told.

What was brought last is kept, sealed, so that drift is repaired while no operator is there, and so that nothing is
emptied after a restart: a source that nobody has fed yet leaves everything as it is.
"""

import asyncio
import json
import zlib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from teleport.access.inventory import known_hosts
from teleport.access.role_reach import reach_lines
from teleport.api import models as m
from teleport.auth import keys
from teleport.auth.endpoints.parts import Fed
from teleport.core.errors import NotFound, Refused, Unavailable
from teleport.gitops.ceiling import Ceiling, Reach
from teleport.gitops.loop import Loop
from teleport.gitops.manifests import Declared, Manifests, place_of
from teleport.resources.node import Node
from teleport.service.auth import AuthService
from teleport.service.policies import EVERYWHERE, NAMESPACE
from teleport.service.settling import Settling
from teleport.service.verdicts import Confidant, Settled, Tenant, answer_of

__all__ = ["FedEverywhere", "FedNamespace", "NamespaceSource"]

_MOST: Final = 2000
"""Namespaces that one entry of teleport.yaml stands for: each is looked at every so often."""


class NamespaceSource:
    """What was brought last, read as a source. See `gitops.loop.Source`."""

    kind = "kubernetes"

    def __init__(self, name: str, namespace: str, auth: AuthService) -> None:
        self.name, self._auth = name, auth
        self._manifests = Manifests(name, namespace)
        self.namespace, self.place = namespace, self._manifests.place
        self._brought: bytes | None = None
        auth.permitted.bring(namespace, name, {})

    async def take(self, request: m.FeedRequest) -> None:
        """All there is now. Raises BadInput for what does not belong here."""
        body = await asyncio.to_thread(_packed, self.namespace, request)
        self._take(request)
        if body != self._brought:
            await self._auth.store.put(keys.fed(self.name), body)
            self._brought = body

    async def load(self) -> Declared:
        """Raises Unavailable as long as nothing was ever brought."""
        if self._brought is None:
            await self._remember()
        return await self._manifests.load()

    async def _remember(self) -> None:
        record = await self._auth.store.get(keys.fed(self.name))
        body = json.loads(zlib.decompress(record.value)) if record is not None else {}
        if record is None or body["namespace"] != self.namespace:
            raise Unavailable(f"no operator has brought anything of the namespace {self.namespace} yet")
        self._take(m.FeedRequest.model_validate(body["request"]))
        self._brought = record.value

    def _take(self, request: m.FeedRequest) -> None:
        self._manifests.take(request.manifests, request.withheld, request.refused)
        self._auth.permitted.bring(self.namespace, self.name, request.secrets)


class FedNamespace:
    """See `auth.endpoints.parts.Fed`. `ceiling` tells what the source may do at most: who has one is a tenant."""

    def __init__(
        self, source: NamespaceSource, settling: Settling, loop: Loop, auth: AuthService,
        ceiling: Callable[[], Ceiling | None],
    ) -> None:  # fmt: skip
        self._source, self._settling, self._loop = source, settling, loop
        self._auth, self._ceiling = auth, ceiling

    @property
    def namespace(self) -> str:
        return self._source.namespace

    async def feed(self, request: m.FeedRequest) -> m.FeedAnswer:
        """Raises BadInput and NotFound for what does not belong here, Unavailable if it could not be judged now."""
        if request.source != self._source.name:
            raise NotFound(f"teleport.yaml names no source {request.source} that an operator feeds")
        await self._source.take(request)
        settled = await self._loop.reconcile()
        if self._loop.suspended:
            return _resting(request, self._loop)
        found = self._settling.last
        if not settled or found is None:
            raise Unavailable(self._loop.state.message or "the source could not be reconciled")
        nodes = await self._auth.reviewer.hosts()
        return await asyncio.to_thread(self._answer, found, nodes)

    def _answer(self, settled: Settled, nodes: Sequence[Node]) -> m.FeedAnswer:
        snapshot = self._auth.auth.policy.current
        hosts = known_hosts(nodes, snapshot.nodes)
        names = [name for kind, name in settled.case.read.refs.values() if kind == "role"]
        reader = _reader(settled, self._source.name, self._ceiling(), (*snapshot.users, *(one.name for one in hosts)))
        return answer_of(settled, reach_lines(snapshot, hosts, names), reader)


class FedEverywhere:
    """Every namespace that no source of its own is named after. `start` makes one of them a source."""

    namespace = EVERYWHERE

    def __init__(self, name: str, others: Collection[str], start: Callable[[str], Fed]) -> None:
        """`others` are the namespaces of other sources."""
        self._name, self._others, self._start = name, frozenset(others), start
        self._started: dict[str, Fed] = {}

    def started(self, namespace: str) -> Fed:
        """The source that a namespace is. Raises NotFound for those that belong to others, or are too many."""
        found = self._started.get(namespace)
        if found is None:
            if namespace in self._others or not NAMESPACE.fullmatch(namespace):
                raise NotFound(f"{namespace} is no namespace of the source {self._name}")
            if len(self._started) >= _MOST:
                raise Refused(f"the source {self._name} has {_MOST} namespaces already")
            found = self._started[namespace] = self._start(namespace)
        return found

    async def feed(self, request: m.FeedRequest) -> m.FeedAnswer:
        return await self.started(request.source.removeprefix(f"{self._name}/")).feed(request)


def _reader(settled: Settled, source: str, ceiling: Ceiling | None, names: Iterable[str]) -> Confidant:
    """Who is told, by what the source may do at most; `names` are those of all people and hosts."""
    if ceiling is None:
        return Confidant()
    case = settled.case
    own = {ref: one for ref, one in {**case.declared, **case.owned}.items() if ref not in case.others}
    known = {ref[1] for ref in own if ref[0] in ("user", "node")}
    known |= {one.hostname for one in own.values() if isinstance(one, Node)}
    return Tenant(Reach(source, ceiling, frozenset(own)), known, names)


def _resting(request: m.FeedRequest, loop: Loop) -> m.FeedAnswer:
    """While the source is suspended."""
    message = f"the source is suspended: {loop.suspended}"
    objects = (
        m.ObjectVerdict(place=place_of(one), state="Reconciling", reason="Suspended", message=message)
        for one in request.manifests
    )
    return m.FeedAnswer(revision=loop.state.revision, objects=tuple(objects))


def _packed(namespace: str, request: m.FeedRequest) -> bytes:
    body = {"namespace": namespace, "request": dict(request)}
    return zlib.compress(json.dumps(body, separators=(",", ":"), sort_keys=True).encode())
