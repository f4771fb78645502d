"""Over a real socket: permissions before bodies, refusals in one form, bounds, and the client's side of it."""

import asyncio
import io
import json
from typing import Any

import aiohttp
import pytest

from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.core.errors import AccessDenied, BadInput, Conflict, Invalid, NotFound, Unavailable
from teleport.core.identity import Identity
from tests.api.conftest import Served
from tests.auth.cluster import role, user
from tests.net.sockets import wait_until

LOCK = {"kind": "lock", "version": "v2", "metadata": {"name": "l1"}, "spec": {"target": {"user": "zoe"}}}


async def raw(served: Served, method: str, path: str, **options: Any) -> tuple[int, Any]:
    connector = aiohttp.UnixConnector(str(served.socket))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(method, f"http://auth{path}", **options) as response,
    ):
        return response.status, json.loads(await response.read())


async def test_what_a_handler_answers_comes_back_as_its_model(served: Served) -> None:
    async with ApiClient.at_socket(served.socket) as client:
        assert (await client.call(r.PING, m.Empty())).cluster == "acme"


async def test_an_error_comes_back_as_the_class_that_was_raised_with_its_hint(served: Served) -> None:
    async with ApiClient.at_socket(served.socket) as client:
        with pytest.raises(NotFound, match="role/nope does not exist"):
            await client.call(r.RESOURCE, m.ResourceRead(kind="role", name="nope"))
        with pytest.raises(BadInput, match="unknown kind rolls") as unknown:
            await client.call(r.RESOURCES, m.ResourceQuery(kind="rolls"))
        await client.call(r.CREATE, m.ResourceWrite(kind="lock", resource=LOCK))
        with pytest.raises(Conflict, match="lock/l1 exists already"):
            await client.call(r.CREATE, m.ResourceWrite(kind="lock", resource=LOCK))

    assert unknown.value.hint == "did you mean roles?"


async def test_every_problem_of_a_refused_set_comes_back_with_its_place(served: Served) -> None:
    text = user("ann", "nope") + "---\n" + role().replace("allow", "alow")

    async with ApiClient.at_socket(served.socket) as client:
        with pytest.raises(Invalid) as invalid:
            await client.call(r.APPLY, m.ApplyRequest(files=(m.PolicyFile(file="f.yaml", text=text),)))

    assert [(one.file, one.line) for one in invalid.value.problems] == [("f.yaml", 4), ("f.yaml", 11)]


async def test_names_with_slashes_and_spaces_survive_the_way(served: Served) -> None:
    name = "a b/c%2F?x=1&y"

    async with ApiClient.at_socket(served.socket) as client:
        with pytest.raises(NotFound) as missing:
            await client.call(r.RESOURCE, m.ResourceRead(kind="role", name=name))

    assert name in missing.value.message


async def test_a_local_user_without_a_mapping_may_nothing(served: Served) -> None:
    served.local = None

    status, body = await raw(served, "GET", "/v1/status")

    assert status == 403
    assert "may not administer this cluster" in body["error"]["message"]
    assert body["error"]["hint"]


async def test_who_is_mapped_to_a_role_may_what_it_says_and_not_what_only_administrators_may(served: Served) -> None:
    await served.cluster.declare(role("look", rules="{resources: [role], verbs: [list, readnosecrets]}"))
    served.local = Identity("admin", "joe (uid 5)", "local:5", "acme", requested_roles=("look",), local_uid=5)

    async with ApiClient.at_socket(served.socket) as client:
        assert (await client.call(r.RESOURCES, m.ResourceQuery(kind="role"))).resources
        refused: list[tuple[r.Route[Any, Any], m.Message]] = [
            (r.RESOURCES, m.ResourceQuery(kind="user")),
            (r.BACKUP, m.BackupRequest(path="/tmp/x")),
            (r.EVENTS, m.EventQuery()),
            (r.SIGN, m.IdentityRequest(user="ann", ssh_public_key="x", tls_public_key="x")),
        ]
        for route, request in refused:
            with pytest.raises(AccessDenied):
                await client.call(route, request)


async def test_who_may_not_is_refused_before_the_body_is_looked_at(served: Served) -> None:
    served.local = None

    status, body = await raw(served, "POST", "/v1/resources", data=b"{not json")

    assert (status, body["error"]["code"]) == (403, "access_denied")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{not json", "the body is not JSON"),
        (b"[1]", "the body is not a JSON object"),
        (b"[" * 100_000, "the body is not JSON"),
        (b"{}", "files: Field required"),
        (b'{"files": [{"file": "f", "text": ""}], "more": 1}', "more: Extra inputs are not permitted"),
        (b"x" * (5 << 20), "is larger than"),
    ],
)
async def test_a_body_that_is_none_is_refused_in_the_common_form(served: Served, data: bytes, message: str) -> None:
    status, body = await raw(served, "POST", "/v1/resources", data=io.BytesIO(data))

    assert status in (400, 413)
    assert message in body["error"]["message"]


async def test_what_is_no_route_and_what_is_no_method_are_refused_in_the_common_form(served: Served) -> None:
    missing, wrong = await raw(served, "GET", "/v1/nothing"), await raw(served, "PATCH", "/v1/ping")

    assert (missing[0], missing[1]["error"]["code"]) == (404, "not_found")
    assert (wrong[0], wrong[1]["error"]["hint"]) == (405, "try GET")


async def test_a_defect_in_a_handler_is_told_without_its_insides(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(served.cluster.auth.credentials, "enrolled", broken)

    status, body = await raw(served, "GET", "/v1/users")

    assert status == 500
    assert "secret detail" not in json.dumps(body)
    assert "secret detail" in caplog.text


async def test_a_socket_that_nobody_listens_at_is_unavailable(served: Served) -> None:
    async with ApiClient.at_socket(served.socket.with_name("other")) as client:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await client.call(r.PING, m.Empty())


async def test_who_follows_and_leaves_is_no_fault_of_the_server(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.local = served.cluster.host().known
    before = len(asyncio.all_tasks())
    connector = aiohttp.UnixConnector(str(served.socket))
    async with aiohttp.ClientSession(connector=connector) as session:
        response = await session.get("http://auth/v1/watch")
        assert b"listing" in await response.content.readline()
        response.close()

    await served.cluster.declare(role())

    await wait_until(lambda: len(asyncio.all_tasks()) <= before)
    assert caplog.records == []
