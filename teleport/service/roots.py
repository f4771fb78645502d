"""Keeps what a leaf's auth service knows of the clusters it trusts as they are declared: joins, and forgets.

A root is recognised by its pins before anything secret is sent, and introduces itself by the authorities that belong
to them. What is declared no more is forgotten at once, with its authorities.
"""

import asyncio
import base64
import logging
from typing import Final

from teleport.access.snapshot import Snapshot
from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.audit.events import SERVICE, ClusterForgotten, ClusterJoined
from teleport.auth import keys
from teleport.auth.join import service_name
from teleport.auth.references import References, Unresolved
from teleport.core.aio import Clock
from teleport.core.errors import BadInput, Refused, TeleportError, Unavailable
from teleport.net import alpn
from teleport.net.tls import client_context
from teleport.pki.authority import TrustedAuthority
from teleport.pki.foreign import Foreign, introduce
from teleport.resources.trusted_cluster import TrustedCluster
from teleport.service.address import DEFAULT_PORT, Address
from teleport.service.auth import AuthService
from teleport.service.join import recognise
from teleport.store.base import Delete, Put

__all__ = ["Roots"]

log = logging.getLogger(__name__)

_AGAIN_SECONDS: Final = 5.0
"""Between attempts to join; the first comes when something is declared."""
_AT_MOST_SECONDS: Final = 60.0
_ACTOR: Final = {"user": "trust", "user_kind": SERVICE}


class Roots:
    """Run `run()` as a task."""

    def __init__(self, service: AuthService, references: References, *, clock: Clock) -> None:
        self._service, self._references, self._clock = service, references, clock
        self._changed = asyncio.Event()
        self._failed: dict[str, tuple[TrustedCluster, int, float]] = {}
        service.auth.policy.subscribe(lambda _: self._changed.set())

    async def run(self) -> None:
        """Until cancelled: at once after each change of policy, and now and then for what could not be done."""
        while True:
            self._changed.clear()
            try:
                await self._settle()
            except TeleportError as error:
                log.warning("clusters that are trusted could not be looked after: %s", error)
            try:
                async with asyncio.timeout(_AGAIN_SECONDS if self._failed else _AT_MOST_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _settle(self) -> None:
        policy = self._service.auth.policy
        declared = dict(policy.current.trusted)
        gone = {name for name, root in policy.roots.items() if not _is_declared(root, policy.current)}
        for name in gone:
            await self._forget(name)
        self._failed = {name: one for name, one in self._failed.items() if name in declared}
        self._show({name: one for name, one in self._service.auth.surroundings.trust.items() if name in declared})
        for name, trusted in sorted(declared.items()):
            if name in policy.roots and name not in gone:
                state = "trusted" if trusted.spec.enabled else "disabled"
                self._tell(name, m.TrustStatus(state=state, message=self._gaps(trusted)))
            elif trusted.spec.enabled:
                await self._try(trusted)
            else:
                self._tell(name, m.TrustStatus(state="disabled"))

    def _gaps(self, trusted: TrustedCluster) -> str:
        """Roles that the map names and that do not exist."""
        roles = self._service.auth.policy.current.roles
        named = {local for entry in trusted.spec.role_map for local in entry.local if "$" not in local}
        missing = sorted(named - set(roles))
        return f"roles that do not exist give nothing: {', '.join(missing)}" if missing else ""

    async def _try(self, trusted: TrustedCluster) -> None:
        before, count, until = self._failed.get(trusted.name, (trusted, 0, 0.0))
        if before is trusted and self._clock.monotonic() < until:
            return
        try:
            await self._join(trusted)
            self._failed.pop(trusted.name, None)
            self._tell(trusted.name, m.TrustStatus(state="trusted", message=self._gaps(trusted)))
        except (TeleportError, OSError) as error:
            pause = min(_AT_MOST_SECONDS, _AGAIN_SECONDS * 2**count) if before is trusted else _AGAIN_SECONDS
            self._failed[trusted.name] = trusted, min(count + 1, 8), self._clock.monotonic() + pause
            state = "joining" if isinstance(error, Unavailable) else "stalled"
            if before is not trusted or count == 0:
                log.warning("the cluster %s was not joined: %s", trusted.name, error)
                await self._note(trusted.name, error=str(error))
            self._tell(trusted.name, m.TrustStatus(state=state, message=str(error)))

    async def _join(self, trusted: TrustedCluster) -> None:
        """Exchange authorities with a root that has the pinned key. Raises TeleportError."""
        spec, name, own = trusted.spec, trusted.name, self._service.authorities
        if name == own.cluster:
            raise BadInput(f"this cluster is called {name} itself")
        if not spec.ca_pin:
            raise BadInput("without ca_pin the cluster cannot be recognised", hint="`tctl status` prints it there")
        if spec.token is None:
            raise BadInput(
                "without a token the cluster cannot be joined", hint="tctl tokens add --type trusted_cluster"
            )
        address = Address.parse(spec.web_proxy_addr, DEFAULT_PORT)
        authority = await recognise(address, set(spec.ca_pin))
        if authority.cluster != name:
            raise Refused(f"the cluster at {address} is called {authority.cluster}, not {name}")
        try:
            token = await asyncio.to_thread(self._references.read, spec.token)
        except Unresolved as error:
            raise BadInput(str(error)) from None
        answer = await self._introduce(address, authority, token)
        await self._keep(Foreign(name, _checked(answer, authority), self._clock.time()))

    async def _introduce(self, address: Address, authority: TrustedAuthority, token: str) -> m.Authorities:
        own = introduce(self._service.authorities.signing("host"), root=authority.cluster, token=token)
        request = m.ClusterIntroduction(
            token=token, cluster=own.leaf, authority=own.authority.encode().decode(),
            proofs=tuple(base64.b64encode(proof).decode() for proof in own.proofs),
        )  # fmt: skip
        context = client_context(trust=authority.certificates, alpn=[alpn.HTTP])
        server = service_name("Proxy", authority.cluster)
        async with ApiClient(f"https://{address}", tls=context, server_name=server) as client:
            return await client.call(r.JOIN_CLUSTER, request)

    async def _keep(self, root: Foreign) -> None:
        await self._service.store.txn([Put(keys.root(root.cluster), root.encode())])
        log.info("joined the cluster %s, which is trusted from now on", root.cluster)
        await self._note(root.cluster, pins=root.pins)

    async def _forget(self, name: str) -> None:
        await self._service.store.txn([Delete(keys.root(name))])
        log.info("the cluster %s is trusted no more; its authorities were removed", name)
        await self._service.auth.audit.append(ClusterForgotten(**_ACTOR, name=name, role="root"))  # type: ignore[arg-type]

    async def _note(self, name: str, *, error: str = "", pins: tuple[str, ...] = ()) -> None:
        event = ClusterJoined(
            user="trust", user_kind=SERVICE, name=name, role="leaf", success=not error, error=error, pins=pins,
            outcome="E" if error else "I",
        )  # fmt: skip
        await self._service.auth.audit.append(event)

    def _tell(self, name: str, status: m.TrustStatus) -> None:
        self._show({**self._service.auth.surroundings.trust, name: status})

    def _show(self, statuses: dict[str, m.TrustStatus]) -> None:
        self._service.auth.surroundings.trust = statuses


def _is_declared(root: Foreign, snapshot: Snapshot) -> bool:
    """Whether a cluster is trusted still, by the authority that was pinned. What cannot be read is not taken back."""
    trusted = snapshot.trusted.get(root.cluster)
    if trusted is None:
        return f"trusted_cluster/{root.cluster}" in snapshot.unreadable
    return set(root.pins) <= set(trusted.spec.ca_pin)


def _checked(answer: m.Authorities, pinned: TrustedAuthority) -> tuple[TrustedAuthority, ...]:
    """The authorities of the root: the one that was pinned, and others only of its own name. Raises Refused."""
    found = tuple(TrustedAuthority.decode(text) for text in answer.authorities)
    if any(one.cluster != pinned.cluster for one in found) or pinned not in found:
        raise Refused(f"the cluster {pinned.cluster} answered with authorities that are not its own")
    return found
