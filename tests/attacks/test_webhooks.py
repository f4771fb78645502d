"""Attacks on the way by which servers of repositories tell of a push: strangers, floods, drips, forgeries."""

import asyncio
import hashlib
import hmac
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.auth.endpoints.parts import Governed
from teleport.core.aio import cancel_and_wait
from teleport.gitops.loop import Loop
from teleport.net.addresses import ClientAddresses
from teleport.proxy import webhooks
from teleport.proxy.web import web_application
from teleport.resources.load import Loaded
from teleport.service.governed import GovernedSource
from teleport.service.policies import Git
from tests.auth.cluster import Cluster
from tests.gitops.test_loop import Cluster as Applied
from tests.gitops.test_loop import Source, loop_of

Server = TestClient[web.Request, web.Application]
SECRET = b"a secret of the test"


class FromProxy:
    """The auth service as the proxy sees it: its handlers are made once, as in a process."""

    def __init__(self, cluster: Cluster) -> None:
        self._handlers, self._proxy = cluster.auth.handlers(), cluster.host("Proxy")

    async def call(self, route: r.Route[Any, Any], request: m.Message) -> Any:
        return await self._handlers[route.name](self._proxy, request)


@pytest.fixture
def loop() -> Loop:
    return loop_of(Source(), Applied())[0]


@pytest.fixture
async def server(cluster: Cluster, loop: Loop, tmp_path: Path) -> AsyncIterator[Server]:
    (tmp_path / "secret").write_bytes(SECRET)
    told = Git.model_validate({"url": "file:///x", "webhook": {"secret_file": str(tmp_path / "secret")}})
    sources: dict[str, Governed] = {
        "told": GovernedSource(loop, told, clock=cluster.clock),
        "untold": GovernedSource(loop, Git.model_validate({"url": "file:///x"}), clock=cluster.clock),
        "missing": GovernedSource(
            loop, told.model_copy(update={"webhook": told.webhook.model_copy(update={"secret_file": "/nonexistent/x"})}
                                  if told.webhook else {}), clock=cluster.clock,
        ),
        "folder": GovernedSource(loop, None, clock=cluster.clock),
    }  # fmt: skip
    cluster.auth.surroundings.governed = sources
    app = web_application(cast(ApiClient, FromProxy(cluster)), cluster="acme", addresses=ClientAddresses())
    async with TestClient(TestServer(app)) as client:
        yield client


def signed(secret: bytes = SECRET, ref: str = "refs/heads/main") -> tuple[bytes, dict[str, str]]:
    body = json.dumps({"ref": ref}).encode()
    return body, {"X-Hub-Signature-256": f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"}


async def post(server: Server, source: str, body: bytes | io.BytesIO, headers: dict[str, str]) -> tuple[int, str]:
    async with server.post(f"/webhooks/policy/{source}", data=body, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_only_a_source_that_waits_for_it_is_moved_and_all_others_answer_alike(server: Server, loop: Loop) -> None:
    body, headers = signed()
    others = {await post(server, one, body, headers) for one in ("untold", "missing", "folder", "nobody", "api")}
    still = loop._poked.is_set()

    status, _ = await post(server, "told", body, headers)

    assert len(others) == 1
    assert others.pop()[0] == 403
    assert not still
    assert (status, loop._poked.is_set()) == (202, True)


@pytest.mark.parametrize("secret", [b"", b"another secret of it"])
async def test_a_forgery_moves_nothing(server: Server, loop: Loop, secret: bytes) -> None:
    body, headers = signed(secret)

    status, text = await post(server, "told", body, {**headers, "X-Gitlab-Token": secret.decode()})

    assert (status, loop._poked.is_set()) == (403, False)
    assert SECRET.decode() not in text


async def test_a_body_that_was_changed_on_the_way_moves_nothing(server: Server, loop: Loop) -> None:
    body, headers = signed()

    assert (await post(server, "told", body + b" ", headers))[0] == 403
    assert not loop._poked.is_set()


async def test_headers_and_names_that_are_no_text_or_too_long_are_refused_like_a_forgery(server: Server) -> None:
    body, headers = signed()
    for more in ({"X-Gitlab-Token": "x" * 2000}, {"X-Gitlab-Token": "\u00e9\u00ff"}):
        assert (await post(server, "told", body, {**headers, **more}))[0] == 403

    assert (await post(server, "x" * 500, body, headers))[0] == 403
    assert (await post(server, "a%2F..%2Ftold", body, headers))[0] in (403, 404)


async def test_a_body_too_large_is_refused_without_being_read(server: Server) -> None:
    status, _ = await post(server, "told", io.BytesIO(b"x" * ((1 << 20) + 1)), {})

    assert status == 400


async def test_so_many_are_listened_to_at_once_and_who_drips_is_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "_SECONDS", 0.3)

    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)

    slow = [
        asyncio.create_task(server.post("/webhooks/policy/told", data=drip())) for _ in range(webhooks._AT_ONCE + 4)
    ]
    async with asyncio.timeout(4):
        statuses = sorted([(await one).status for one in slow])
    after = await post(server, "told", *signed())

    assert statuses == [400] * webhooks._AT_ONCE + [429] * 4
    assert after[0] == 202


async def test_what_is_sent_again_and_again_while_one_look_lasts_is_one_more_look(
    cluster: Cluster, server: Server, tmp_path: Path
) -> None:
    source, looks, go = Source(), 0, asyncio.Event()

    class Slow(Source):
        async def load(self) -> Loaded:
            nonlocal looks
            looks += 1
            await go.wait()
            return await source.load()

    loop = loop_of(Slow(), Applied())[0]
    git = Git.model_validate({"url": "file:///x", "webhook": {"secret_file": str(tmp_path / "secret")}})
    cluster.auth.surroundings.governed = {"told": GovernedSource(loop, git, clock=cluster.clock)}
    running = asyncio.create_task(loop.run())
    statuses = {(await post(server, "told", *signed()))[0] for _ in range(50)}
    during = looks

    go.set()
    async with asyncio.timeout(5):
        while looks < 2 or loop._passing.locked():
            await asyncio.sleep(0.01)
    await cancel_and_wait(running)

    assert statuses == {202}
    assert (during, looks) == (1, 2)


def test_only_a_proxy_may_pass_it_on() -> None:
    assert r.WEBHOOK.permission == r.Hosts(("Proxy",))
