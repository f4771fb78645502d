"""The emulation is held against what Kubernetes documents, through the real kubectl where that can show it."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from teleport.core.generated import REPOSITORY
from tests.kubernetes.emulation import Emulation, emulated

CRDS = sorted((REPOSITORY / "crds").glob("resources.*.yaml"))
LOCKS = "/apis/resources.teleport.dev/v1/namespaces/default/teleportlocksv2"
APPLY = {"Content-Type": "application/apply-patch+yaml"}
MERGE = {"Content-Type": "application/merge-patch+json"}

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def lock(name: str = "lost", user: str = "ann", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "resources.teleport.dev/v1", "kind": "TeleportLockV2", "metadata": {"name": name, **metadata},
        "spec": {"target": {"user": user}},
    }  # fmt: skip


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Emulation]:
    async with emulated(*CRDS) as running:
        yield running


@pytest_asyncio.fixture
async def http(server: Emulation) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(server.url) as session:
        yield session


async def watched(http: aiohttp.ClientSession, revision: str, count: int) -> list[dict[str, Any]]:
    """So many events from a revision on; bookmarks do not count."""
    query = {"watch": "true", "resourceVersion": revision, "timeoutSeconds": "5"}
    found: list[dict[str, Any]] = []
    async with http.get(LOCKS, params=query) as response:
        while len(found) < count and (line := await response.content.readline()):
            found.append(json.loads(line))
    return found


async def test_a_change_of_the_spec_is_a_new_generation_and_one_of_the_status_is_not(
    http: aiohttp.ClientSession,
) -> None:
    await http.post(LOCKS, json=lock())

    async with http.patch(f"{LOCKS}/lost", json={"spec": {"message": "x"}}, headers=MERGE) as answer:
        changed = await answer.json()
    async with http.patch(f"{LOCKS}/lost/status", json={"status": {"a": 1}, "spec": {}}, headers=MERGE) as answer:
        told = await answer.json()

    assert (changed["metadata"]["generation"], told["metadata"]["generation"]) == (2, 2)
    assert (told["status"], told["spec"]["message"]) == ({"a": 1}, "x")


async def test_the_status_is_written_through_its_subresource_alone(http: aiohttp.ClientSession) -> None:
    await http.post(LOCKS, json={**lock(), "status": {"a": 1}})

    async with http.patch(f"{LOCKS}/lost", json={"status": {"a": 2}}, headers=MERGE) as answer:
        assert "status" not in await answer.json()


async def test_who_writes_what_has_changed_since_is_refused(http: aiohttp.ClientSession) -> None:
    async with http.post(LOCKS, json=lock()) as answer:
        made = await answer.json()
    await http.patch(f"{LOCKS}/lost", json={"spec": {"message": "x"}}, headers=MERGE)

    async with http.put(f"{LOCKS}/lost", json=made) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (409, "Conflict")


async def test_a_watch_goes_on_from_a_revision(http: aiohttp.ClientSession) -> None:
    async with http.post(LOCKS, json=lock()) as answer:
        revision = (await answer.json())["metadata"]["resourceVersion"]
    await http.patch(f"{LOCKS}/lost", json={"spec": {"message": "x"}}, headers=MERGE)
    await http.delete(f"{LOCKS}/lost")

    assert [one["type"] for one in await watched(http, revision, 2)] == ["MODIFIED", "DELETED"]


async def test_a_watch_from_a_forgotten_revision_is_gone(server: Emulation, http: aiohttp.ClientSession) -> None:
    await http.post(LOCKS, json=lock())
    server.objects.compact()

    (error,) = await watched(http, "1", 1)

    assert (error["type"], error["object"]["code"], error["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_what_has_a_finalizer_goes_when_that_is_taken_off(http: aiohttp.ClientSession) -> None:
    await http.post(LOCKS, json=lock(finalizers=["x/y"]))

    await http.delete(f"{LOCKS}/lost")
    async with http.get(f"{LOCKS}/lost") as answer:
        marked = await answer.json()
    await http.patch(f"{LOCKS}/lost", json={"metadata": {"finalizers": []}}, headers=MERGE)

    assert "deletionTimestamp" in marked["metadata"]
    async with http.get(f"{LOCKS}/lost") as answer:
        assert answer.status == 404


async def test_server_side_apply_takes_away_what_its_manager_says_no_longer(http: aiohttp.ClientSession) -> None:
    await http.post(LOCKS, json=lock())
    condition = {"type": "Ready", "status": "True"}

    for conditions in ([condition, {"type": "Stalled", "status": "False"}], [condition]):
        body = {**lock(), "status": {"conditions": conditions}}
        async with http.patch(f"{LOCKS}/lost/status?fieldManager=a", json=body, headers=APPLY) as answer:
            told = await answer.json()
    other = {**lock(), "status": {"conditions": [{"type": "Other", "status": "True"}]}}
    async with http.patch(f"{LOCKS}/lost/status?fieldManager=b", json=other, headers=APPLY) as answer:
        both = await answer.json()

    assert [one["type"] for one in told["status"]["conditions"]] == ["Ready"]
    assert sorted(one["type"] for one in both["status"]["conditions"]) == ["Other", "Ready"]


async def test_a_deleted_definition_takes_its_objects_along(server: Emulation, http: aiohttp.ClientSession) -> None:
    await http.post(LOCKS, json=lock())

    await http.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/teleportlocksv2.resources.teleport.dev")

    async with http.get(LOCKS) as answer:
        assert answer.status == 404


async def kubectl(server: Emulation, home: Path, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "kubectl", "--server", server.url, *arguments, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT, env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home)},
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out.decode()


@needs_kubectl
async def test_kubectl_applies_waits_and_deletes(server: Emulation, tmp_path: Path) -> None:
    file = tmp_path / "lock.json"
    file.write_text(json.dumps(lock()))

    first = await kubectl(server, tmp_path, "apply", "--validate=false", "-f", str(file))
    again = await kubectl(server, tmp_path, "apply", "--validate=false", "-f", str(file))
    waiting = asyncio.create_task(kubectl(server, tmp_path, "wait", "--for=condition=Ready", "tlock/lost"))
    async with aiohttp.ClientSession(server.url) as http:
        body = {**lock(), "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await http.patch(f"{LOCKS}/lost/status?fieldManager=a", json=body, headers=APPLY)
    waited = await waiting
    listed = await kubectl(server, tmp_path, "get", "teleport")
    gone = await kubectl(server, tmp_path, "delete", "tlock", "lost")

    assert (first.split()[-1], again.split()[-1]) == ("created", "unchanged")
    assert "condition met" in waited
    assert "lost" in listed
    assert "deleted" in gone
