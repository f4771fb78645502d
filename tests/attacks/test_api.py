"""Every route of the API, over real TLS, by everybody whom it is not for; and bodies that are none."""

import io
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from teleport.api import routes as r
from teleport.api.server import ApiServer
from teleport.core.identity import Identity
from teleport.net.addresses import ClientAddresses
from teleport.net.tls import client_context, server_context
from teleport.pki.authority import Authority, new_authority
from teleport.pki.credentials import issue_tls
from teleport.pki.keys import new_tls_key, private_pem, public_pem
from tests.auth.cluster import SSH_KEY, Cluster, role, user
from tests.builders import FakeClock

EVERYTHING = 'resources: ["*"], verbs: ["*"]'
POLICY = (
    role("dev"), role("admin", rules=f"{{{EVERYTHING}}}"), user("ann"), user("root", "admin"), user("eve", "admin"),
)  # fmt: skip
LOCKS = """\
{kind: lock, version: v2, metadata: {name: eve}, spec: {target: {user: eve}}}
---
{kind: lock, version: v2, metadata: {name: db-9}, spec: {target: {server_id: h-locked}}}
"""


class Door:
    """The API as it is served on the port, and clients with any certificate."""

    def __init__(self, cluster: Cluster, port: int, trust: str) -> None:
        self.cluster, self.port, self._trust = cluster, port, trust

    def person(self, name: str, **more: Any) -> Identity:
        return replace(self.cluster.user(name, ttl=3000).known, **more)

    def service(self, *roles: Any, uid: str = "h-1") -> Identity:
        return Identity("host", "db-1", uid, "acme", expires=time.time() + 3000, system_roles=roles)

    async def ask(
        self, route: r.Route[Any, Any], who: Identity | None, body: Any = b"", *, signer: Authority | None = None
    ) -> tuple[int, str]:
        """Status and text of the answer; of a stream only the status."""
        path = route.path.format(kind="role", name="dev", sid="01234567-89ab-cdef-0123-456789abcdef")
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                route.method, f"https://127.0.0.1:{self.port}{path}", data=io.BytesIO(body) if body else None,
                ssl=self.context(who, signer), server_hostname="auth.acme",
            ) as response,
        ):  # fmt: skip
            return response.status, "" if route.streams == "response" else await response.text()

    def context(self, who: Identity | None, signer: Authority | None = None) -> Any:
        if who is None:
            return client_context(trust=self._trust)
        own = self.cluster.auth.authorities
        authority = signer or (own.signing("host") if who.kind == "host" else own.signing("user"))
        key = new_tls_key()
        certificate = issue_tls(authority, who, key.public_key(), now=time.time())
        return client_context(trust=self._trust, certificate=certificate, key=private_pem(key))


@asynccontextmanager
async def opened(tmp_path: Path) -> AsyncIterator[Door]:
    async with Cluster.open(tmp_path / "data", FakeClock(time.time())) as cluster:
        await cluster.declare(*POLICY)
        await cluster.apply(LOCKS)
        server = ApiServer(
            cluster.auth.handlers(), r.ROUTES, cluster.auth.policy, clock=cluster.clock, local=lambda _: None,
            addresses=ClientAddresses(),
        )  # fmt: skip
        key = new_tls_key()
        own = Identity("host", "auth", "auth", "acme", expires=time.time() + 3000, system_roles=("Auth",))
        made = cluster.auth.joining.certify(own, SSH_KEY, public_pem(key.public_key()))
        trust = "".join(one.certificates for one in cluster.auth.authorities.public)
        runner = web.AppRunner(server.application(), shutdown_timeout=0.1, lingering_time=0.1)
        await runner.setup()
        site = web.TCPSite(
            runner, "127.0.0.1", 0, ssl_context=server_context(made.tls_certificate, private_pem(key), trust=trust)
        )
        await site.start()
        try:
            yield Door(cluster, runner.addresses[0][1], trust)
        finally:
            await runner.cleanup()


def refused(status: int) -> bool:
    return status in (401, 403)


_FOR: dict[str, set[type]] = {
    "nobody": {r.Anybody},
    "a user without admin rules": {r.Anybody, r.Users, r.EachObject},
    "an administrator": {r.Anybody, r.Users, r.EachObject, r.Admin},
    "an administrator with a certificate for one session": {r.Anybody},
    "an administrator who is locked": {r.Anybody},
    "an administrator with a certificate of an earlier namesake": {r.Anybody},
    "an administrator with a certificate for another role": {r.Anybody, r.Users, r.EachObject},
    "an administrator at another address than pinned": set(),
    "an administrator of another cluster": set(),
    "an agent": {r.Anybody, r.Hosts},
    "an agent that is locked": {r.Anybody},
    "a host without a role": {r.Anybody},
    "a host with a role of its own making": {r.Anybody},
}
"""Which kinds of route let whom pass."""


def _who(door: Door, name: str) -> Identity | None:
    admin = door.person("root")
    return {
        "nobody": None,
        "a user without admin rules": door.person("ann"),
        "an administrator": admin,
        "an administrator with a certificate for one session": replace(admin, mfa_verified=True, reissuable=False),
        "an administrator who is locked": door.person("eve"),
        "an administrator with a certificate of an earlier namesake": replace(admin, uid="another"),
        "an administrator with a certificate for another role": replace(admin, requested_roles=("dev",)),
        "an administrator at another address than pinned": replace(admin, pinned_ip="192.0.2.1"),
        "an administrator of another cluster": admin,
        "an agent": door.service("Node"),
        "an agent that is locked": door.service("Node", uid="h-locked"),
        "a host without a role": door.service(),
        "a host with a role of its own making": door.service("Auth"),
    }[name]


@pytest.mark.parametrize("name", _FOR)
async def test_a_route_lets_pass_whom_it_is_for_and_nobody_else(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path) as door:
        signer = new_authority("user", "acme", now=time.time()) if "another cluster" in name else None
        who = _who(door, name)

        wrong = []
        for route in r.ROUTES:
            expected = type(route.permission) in _FOR[name]
            if name == "an agent" and isinstance(route.permission, r.Hosts):
                expected = "Node" in route.permission.roles
            try:
                status, _ = await door.ask(route, who, signer=signer)
            except aiohttp.ClientError:
                status = 401  # hung up on in the handshake
            if refused(status) == expected or status >= 500:
                wrong.append((route.name, status))

        assert wrong == []


async def test_a_user_without_rules_writes_nothing_not_even_where_each_object_is_judged(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        body = {"files": [{"file": "x.yaml", "text": role("mine", rules=f"{{{EVERYTHING}}}")}]}

        for more in ({}, {"replace": True}, {"dry_run": True}):
            status, _ = await door.ask(r.APPLY, door.person("ann"), {**body, **more})
            assert status == 403

        assert "mine" not in door.cluster.auth.policy.current.roles


async def test_a_certificate_that_expired_a_second_ago_is_refused_on_an_open_connection_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        before, _ = await door.ask(r.ME, door.person("ann"))
        door.cluster.clock.advance(3001)

        after, _ = await door.ask(r.ME, replace(door.person("ann"), expires=time.time() + 3000))

        assert (before, after) == (200, 401)


_BODIES = {
    "no json": b"{", "no object": b"[]", "text": b'"x"', "nothing": b"null", "bytes": b"\xff\xfe\x00",
    "deep": b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "deep list": b"[" * 100_000,
    "unknown fields": b'{"evil": 1}', "a huge number": b'{"ttl": 1' + b"0" * 5000 + b"}",
    "no number": b'{"ttl": NaN, "after": Infinity}', "half a character": b'{"user": "\\ud800"}',
}  # fmt: skip


@pytest.mark.parametrize("body", _BODIES.values(), ids=_BODIES.keys())
async def test_a_body_that_makes_no_sense_is_refused_in_words_and_nothing_fails(tmp_path: Path, body: bytes) -> None:
    async with opened(tmp_path) as door:
        for route in r.ROUTES:
            if route.method in ("GET", "DELETE") or route.streams:
                continue
            who = {r.Anybody: None, r.Hosts: door.service("Node")}.get(type(route.permission), door.person("root"))

            status, text = await door.ask(route, who, body)

            assert 400 <= status < 500 or (status == 200 and route.request.model_fields == {}), route.name
            assert status == 200 or json.loads(text)["error"]["message"]


@pytest.mark.parametrize("route", [r.LOGIN, r.JOIN, r.ENROL, r.CONFIRM, r.INVITEE], ids=lambda route: route.name)
async def test_a_body_beyond_the_limit_is_not_read(tmp_path: Path, route: r.Route[Any, Any]) -> None:
    async with opened(tmp_path) as door:
        status, text = await door.ask(route, None, {"token": "x" * (2 << 20)})

        assert status == 400
        assert "larger than" in text


async def test_what_is_no_route_is_refused_in_the_same_form(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        missing = replace(r.PING, path="/v1/../admin")
        wrong_method = replace(r.PING, method="DELETE")

        answers = [await door.ask(one, door.person("root")) for one in (missing, wrong_method)]

        assert [status for status, _ in answers] == [404, 405]
        assert all(json.loads(text)["error"]["message"] for _, text in answers)
