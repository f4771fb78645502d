"""Attacks on what the proxy serves to browsers: headers, forms from elsewhere, lies about where a client is."""

import re
from collections.abc import AsyncIterator
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.net.addresses import ClientAddresses
from teleport.proxy.web import web_application
from tests.auth.cluster import PASSWORD, Cluster, role, user

Browser = TestClient[web.Request, web.Application]
COOKIE = "__Host-teleport-form"


class FromProxy:
    """The auth service as the proxy sees it, and what the proxy told it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.told: list[tuple[str, Any]] = []

    async def call(self, route: r.Route[Any, Any], request: m.Message) -> Any:
        self.told.append((route.name, request))
        return await self._cluster.call(route.name, request, self._cluster.host("Proxy"))


@pytest.fixture
def auth(cluster: Cluster) -> FromProxy:
    return FromProxy(cluster)


@pytest.fixture
async def browser(auth: FromProxy) -> AsyncIterator[Browser]:
    app = web_application(cast(ApiClient, auth), cluster="acme", addresses=ClientAddresses())
    async with TestClient(TestServer(app), cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield client


async def invited(cluster: Cluster) -> str:
    await cluster.declare(role(), user())
    invitation = await cluster.call("invite", m.InvitationRequest(user="ann"))
    return str(invitation.token)


async def form_token(browser: Browser, token: str) -> str:
    text = await (await browser.get(f"/web/invite/{token}")).text()
    found = re.search(r'name="form_token" value="([^"]+)"', text)
    assert found
    return found[1]


@pytest.mark.parametrize(
    "path", ["/", "/web/invite/x", "/web/assets/style.css", "/web/assets/../pages.py", "/nowhere", "/v1/ping", "/v1/me"]
)
async def test_every_answer_forbids_scripts_frames_guessing_caching_and_referrers(browser: Browser, path: str) -> None:
    answer = await browser.get(path)

    headers = answer.headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy
    assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("DENY", "nosniff")
    assert (headers["Referrer-Policy"], headers["Cache-Control"]) == ("no-referrer", "no-store")
    assert int(headers["Strict-Transport-Security"].split("=")[1]) >= 31536000


async def test_the_cookie_is_bound_to_this_origin_and_out_of_reach_for_scripts(browser: Browser) -> None:
    cookie = (await browser.get("/")).cookies[COOKIE]

    assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Strict")
    assert (cookie["path"], cookie["domain"]) == ("/", "")


async def test_a_form_counts_only_with_the_cookie_and_the_token_that_belong_together(
    browser: Browser, cluster: Cluster, auth: FromProxy
) -> None:
    token = await invited(cluster)
    mine, others = await form_token(browser, token), await form_token(browser, token)
    fields = {"password": PASSWORD, "again": PASSWORD}

    for cookie, form in (("", ""), ("", mine), (mine, ""), (mine, others), (mine, mine + "x"), ("é", "é2")):
        headers = {"Cookie": f"{COOKIE}={cookie}"} if cookie else {}
        answer = await browser.post(f"/web/invite/{token}", data={**fields, "form_token": form}, headers=headers)
        assert answer.status == 400
    assert not [name for name, _ in auth.told if name == "enrol"]

    good = await browser.post(
        f"/web/invite/{token}", data={**fields, "form_token": mine}, headers={"Cookie": f"{COOKIE}={mine}"}
    )
    assert "otpauth://" in await good.text()


@pytest.mark.parametrize("more", ["", "\U0001f600" * 5000])
async def test_what_a_form_says_is_shown_as_text(browser: Browser, cluster: Cluster, more: str) -> None:
    token = await invited(cluster)
    mine = await form_token(browser, token)
    evil = "<script>alert(1)</script>"
    fields = {"form_token": mine, "user": evil, "otpauth": f'otpauth://x"{evil}{more}', "code": "1"}
    headers = {"Cookie": f"{COOKIE}={mine}"}
    await browser.post(
        f"/web/invite/{token}", data={"form_token": mine, "password": PASSWORD, "again": PASSWORD}, headers=headers
    )

    answer = await browser.post(f"/web/invite/{token}/confirm", data=fields, headers=headers)

    text = await answer.text()
    assert answer.status == 200
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("token", ["%3Cscript%3E", "a%00b", "%2e%2e%2fadmin", "x" * 2000, "%0d%0aX-Evil:1"])
async def test_an_invitation_that_is_none_is_an_error_page_like_others(browser: Browser, token: str) -> None:
    answer = await browser.get(f"/web/invite/{token}")

    assert 400 <= answer.status < 500
    assert "X-Evil" not in answer.headers
    assert "<script>" not in await answer.text()


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "x_forwarded_for", "Forwarded", "X-Real-IP", "X-Client-IP", "CF-Connecting-IP"]
)
async def test_no_header_says_where_a_client_is(
    browser: Browser, cluster: Cluster, auth: FromProxy, header: str
) -> None:
    body = {"user": "ann", "password": "x", "ssh_public_key": "", "tls_public_key": "", "client_address": "203.0.113.1"}

    await browser.post("/v1/login", json=body, headers={header: "203.0.113.1"})

    assert [request.client_address for _, request in auth.told] == ["127.0.0.1"]


async def test_the_proxy_passes_on_only_what_needs_no_certificate(browser: Browser, auth: FromProxy) -> None:
    headers = {"X-Teleport-User": "root", "Authorization": "Bearer x"}
    for route in r.ROUTES:
        if not isinstance(route.permission, r.Anybody):
            path = route.path.format(kind="role", name="dev", sid="01234567-89ab-cdef-0123-456789abcdef")
            answer = await browser.request(route.method, path, headers=headers)
            assert answer.status in (404, 405), route.name

    assert auth.told == []


async def test_no_page_redirects(browser: Browser) -> None:
    for path in ("/?next=//evil.example", "/%2F/evil.example", "/web/invite/x?redirect=https://evil.example", "/web"):
        answer = await browser.get(path, allow_redirects=False)

        assert not 300 <= answer.status < 400
        assert "Location" not in answer.headers


async def test_a_form_beyond_the_limit_is_refused(browser: Browser, cluster: Cluster) -> None:
    token = await invited(cluster)

    mine = await form_token(browser, token)
    for size in (2000, 200_000):
        fields = {"password": "x" * size, "again": "x" * size, "form_token": mine}
        answer = await browser.post(f"/web/invite/{token}", data=fields, headers={"Cookie": f"{COOKIE}={mine}"})

        assert answer.status == 413 if size > 64 * 1024 else "too long" in await answer.text()
