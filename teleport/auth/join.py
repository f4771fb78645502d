"""How services join: a token gives a host its identity, once, and the identity renews itself from then on."""

import asyncio
import re
import secrets
import uuid
from collections.abc import Awaitable, Iterable
from dataclasses import replace
from typing import Protocol

from teleport.api.models import HostCertificates, JoinRequest, RenewHost
from teleport.auth import keys
from teleport.auth.authorities import AuthoritySet
from teleport.auth.credentials import Throttle
from teleport.auth.enlisted import Enlisted
from teleport.auth.references import References
from teleport.core.aio import Clock
from teleport.core.errors import AccessDenied, BadInput, Unauthenticated
from teleport.core.identity import Identity, ssh_name_of_proxies
from teleport.net.addresses import holder
from teleport.pki.credentials import issue_ssh_host, issue_tls
from teleport.pki.keys import load_public, load_ssh_line
from teleport.pki.service_accounts import ServiceAccount, verified
from teleport.resources.codec import decode
from teleport.resources.node import host_name_faults
from teleport.resources.token import SYSTEM_TOKEN_ROLES, Token
from teleport.resources.values import parse_timestamp
from teleport.store.base import Store

__all__ = ["HOST_TTL", "JoinService", "ReviewToken", "service_name"]

HOST_TTL = 30 * 86400.0
"""Seconds a host's certificates last; services renew them at a third of that."""
_REFUSED = "the join token is not valid"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)


class ReviewToken(Protocol):
    """Asks the Kubernetes cluster around whose a service account's token is. Raises Unauthenticated, Unavailable."""

    def __call__(self, token: str, *, audience: str) -> Awaitable[ServiceAccount]: ...


class JoinService:
    """Judges join tokens and issues host certificates."""

    def __init__(
        self, store: Store, authorities: AuthoritySet, enlisted: Enlisted, *, clock: Clock, references: References,
        review: ReviewToken | None = None,
    ) -> None:  # fmt: skip
        """`review` is None where this cluster does not run in Kubernetes."""
        self._references, self._enlisted = references, enlisted
        self._store, self._authorities, self._clock, self._review = store, authorities, clock, review
        self._memory: dict[str, Token] = {}
        self._throttle = Throttle(clock, free=10, limit=60.0)

    def memory_token(self, roles: Iterable[str]) -> str:
        """A token for services in this very process: never stored, and good for one use."""
        secret = secrets.token_urlsafe(24)
        body = {"version": "v2", "metadata": {"name": secret}, "spec": {"roles": list(roles)}}
        self._memory[keys.hashed(secret)] = Token.model_validate(body)
        return secret

    async def join(self, request: JoinRequest) -> HostCertificates:
        """A new identity for a host that shows a token. Raises AccessDenied, or Throttled for who keeps guessing."""
        address = holder(request.client_address)
        self._throttle.check(address)
        token = await self._token(request.token)
        if token is None:
            self._throttle.failed(address)
            raise AccessDenied(_REFUSED, hint="make one with `tctl tokens add --type node`")
        await self._check_proof(token, request, address)
        permitted = {role.lower() for role in token.spec.roles}
        excess = [role for role in request.roles if role.lower() not in permitted]
        if excess or not request.roles:
            raise AccessDenied(f"the join token does not permit the role {', '.join(excess) or 'none'}")
        identity = Identity(
            kind="host", name=request.hostname, uid=str(uuid.uuid4()), cluster=self._authorities.cluster,
            system_roles=tuple(request.roles), expires=self._clock.time() + HOST_TTL,
            allowed_resources=_sources(token, request),
        )  # fmt: skip
        labels = {key: values[0] for key, values in token.spec.suggested_labels.items() if values}
        _check_name(identity.name)
        identity = await self._enlisted.enrol(identity)
        return self.certify(
            identity, request.ssh_public_key, request.tls_public_key, addresses=request.addresses, labels=labels
        )

    async def token_for(self, secret: str, role: str, client_address: str) -> Token:
        """A token that is good for this role. Raises AccessDenied, or Throttled for who keeps guessing."""
        address = holder(client_address)
        self._throttle.check(address)
        token = await self._token(secret)
        if token is None:
            self._throttle.failed(address)
            raise AccessDenied(_REFUSED, hint=f"make one with `tctl tokens add --type {role.lower()}`")
        if role.lower() not in {one.lower() for one in token.spec.roles} or token.spec.join_method != "token":
            raise AccessDenied(f"the join token does not permit the role {role}")
        return token

    async def _check_proof(self, token: Token, request: JoinRequest, address: str) -> None:
        """What the join method wants beside the token's name. Raises AccessDenied."""
        if token.spec.join_method == "token":
            return
        if token.spec.join_method != "kubernetes":
            raise AccessDenied(
                f"the join method {token.spec.join_method} is not supported yet",
                hint="use a token with join_method token or kubernetes",
            )
        try:
            account = await self._account(token, request.proof)
        except Unauthenticated as error:
            self._throttle.failed(address)
            raise AccessDenied(error.message, hint=error.hint) from None
        rules = token.spec.kubernetes.allow if token.spec.kubernetes is not None else ()
        if str(account) not in {rule.service_account for rule in rules}:
            raise AccessDenied(f"the join token does not let the service account {account} in")

    async def _account(self, token: Token, proof: str) -> ServiceAccount:
        spec, cluster = token.spec.kubernetes, self._authorities.cluster
        if not proof:
            raise Unauthenticated("a service account's token is needed to join with this token")
        if spec is not None and spec.type == "static_jwks" and spec.static_jwks is not None:
            return verified(proof, spec.static_jwks.jwks, audience=cluster, now=self._clock.time())
        if spec is not None and spec.type == "oidc":
            raise AccessDenied("the type oidc of the join method kubernetes is not supported yet", hint="static_jwks")
        if self._review is None:
            raise AccessDenied(
                "the auth service runs in no Kubernetes cluster that could be asked",
                hint="use the type static_jwks, with the keys from `kubectl get --raw /openid/v1/jwks`",
            )
        return await self._review(proof, audience=cluster)

    async def renew(self, caller: Identity, request: RenewHost) -> HostCertificates:
        """Fresh certificates for a host that still has valid ones: same identity, same roles, the next generation."""
        _check_name(request.hostname)
        fresh = await self._enlisted.renew(caller, self._clock.time() + HOST_TTL)
        identity = replace(fresh, name=request.hostname)
        return self.certify(identity, request.ssh_public_key, request.tls_public_key, addresses=request.addresses)

    def certify(
        self, identity: Identity, ssh_public: str, tls_public: str, *, addresses: Iterable[str] = (),
        labels: dict[str, str] | None = None,
    ) -> HostCertificates:  # fmt: skip
        """Certificates for a host identity. Names that belong to a service's role are given by role alone."""
        _check_name(identity.name)
        cluster, now = identity.cluster, self._clock.time()
        authority = self._authorities.signing("host")
        own = [identity.uid, identity.name, f"{identity.uid}.{cluster}", f"{identity.name}.{cluster}"]
        names = [f"{identity.uid}.{cluster}", *(service_name(role, cluster) for role in identity.system_roles)]
        if identity.has_role("Proxy"):
            public = [_address(text, cluster, own=names) for text in addresses]
            names += public
            own += [ssh_name_of_proxies(cluster), *public]
        return HostCertificates(
            host_id=identity.uid,
            cluster=cluster,
            ssh_certificate=issue_ssh_host(authority, identity, load_ssh_line(ssh_public), principals=own, now=now),
            tls_certificate=issue_tls(authority, identity, load_public(tls_public), now=now, names=names),
            authorities=tuple(one.encode().decode() for one in self._authorities.public),
            expires=identity.expires,
            suggested_labels=labels or {},
        )

    async def _token(self, secret: str) -> Token | None:
        in_memory = self._memory.pop(keys.hashed(secret), None)
        if in_memory is not None:
            return in_memory
        record = await self._store.get(keys.token(secret))
        token = self._good(record.value) if record is not None else None
        if token is None or token.spec.secret is not None:
            return await self._by_reference(secret)
        return token

    async def _by_reference(self, secret: str) -> Token | None:
        """A token that says where its secret is kept; its own name is no secret, and opens nothing."""
        tokens = [self._good(record.value) for record in (await self._store.list(keys.TOKENS)).records]
        good = [one for one in tokens if one is not None and one.spec.secret is not None]
        return await asyncio.to_thread(self._references.of, good, secret) if good else None

    def _good(self, value: bytes) -> Token | None:
        """A stored token, unless its time is over."""
        token = decode(value)
        assert isinstance(token, Token)
        expires = token.metadata.expires
        return None if expires is not None and parse_timestamp(expires) <= self._clock.time() else token


def _sources(token: Token, request: JoinRequest) -> tuple[str, ...] | None:
    """Of an operator, the sources that it may feed; of others, no restriction. Raises AccessDenied."""
    if "Operator" not in request.roles:
        return None
    if request.roles != ("Operator",):
        raise AccessDenied("an operator joins as nothing else beside")
    if not token.spec.policy_sources:
        raise AccessDenied(
            "the join token does not say which sources of policy an operator may feed", hint="see spec.policy_sources"
        )
    return token.spec.policy_sources


def _check_name(name: str) -> None:
    """Raises BadInput for what is no host name, and for one that could be taken for another host's id."""
    if not name:
        raise BadInput("a host needs a name")
    faults = host_name_faults(name, ())
    if faults:
        raise BadInput(faults[0].message, hint=faults[0].hint)
    if _UUID.match(name):
        raise BadInput(f"host name {name} looks like the id of a host")


def _address(text: str, cluster: str, *, own: Iterable[str]) -> str:
    """A name or an address at which browsers find the proxy. Raises AccessDenied for a name of another service."""
    name = text.lower().rstrip(".")
    first, _, rest = name.partition(".")
    of_services = first in {role.lower() for role in SYSTEM_TOKEN_ROLES} or _UUID.match(first)
    if "*" in text or (rest == cluster.lower() and of_services and name not in own):
        raise AccessDenied(f"no certificate is issued for the address {text}")
    return text


def service_name(role: str, cluster: str) -> str:
    """The name that certificates of a service's role carry and its clients demand, such as `proxy.CLUSTER`."""
    return f"{role.lower()}.{cluster}"
