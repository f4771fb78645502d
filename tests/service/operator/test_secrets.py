"""Secrets that manifests refer to: read when one does, watched from then on, and not kept when none does any more."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from teleport.core.aio import SystemClock
from teleport.service.operator.kubernetes import KubernetesApi
from teleport.service.operator.secrets import ALLOW, Secrets
from tests.kubernetes.emulation import Emulation, emulated
from tests.kubernetes.objects import Key
from tests.service.fed import api_of

OLD, NEW = "b2xkLW9sZC1vbGQtb2xkLW9sZA==", "bmV3LW5ldy1uZXctbmV3LW5ldw=="


def token(name: str = "fleet", secret: str = "secret://fleet/token") -> dict[str, Any]:
    return {
        "apiVersion": "resources.teleport.dev/v2", "kind": "TeleportProvisionToken",
        "metadata": {"name": name, "namespace": "default"}, "spec": {"roles": ["Node"], "secret": secret},
    }  # fmt: skip


def kept(data: str = OLD, allowed: str = "*") -> dict[str, Any]:
    metadata = {"name": "fleet", "namespace": "default", "annotations": {ALLOW: allowed}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"token": data, "binary": "/w=="}}


@dataclass
class World:
    server: Emulation
    secrets: Secrets
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def changes(self) -> None:
        async with asyncio.timeout(10):
            await self.changed.wait()
        self.changed.clear()

    def key(self) -> Key:
        return Key(next(one for one in self.server.kinds if one.plural == "secrets"), "default", "fleet")


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    changed = asyncio.Event()
    async with emulated() as server, api_of(server) as api:
        secrets = Secrets(api, "default", clock=SystemClock(), changed=changed.set)
        yield World(server, secrets, changed)
        await secrets.close()


async def test_what_is_rotated_is_told_and_what_is_deleted_is_told_no_more(world: World) -> None:
    await world.server.create(kept())
    first = await world.secrets.of([token()])

    await world.server.objects.replace(
        world.key(), {**kept(NEW), "metadata": world.server.objects.get(world.key())["metadata"]}, ""
    )
    await world.changes()
    second = await world.secrets.of([token()])
    await world.server.objects.delete(world.key())
    await world.changes()
    third = await world.secrets.of([token()])

    assert [one.values for one in (first, second)] == [
        {"fleet/token": "old-old-old-old-old"}, {"fleet/token": "new-new-new-new-new"},
    ]  # fmt: skip
    assert (third.values, list(third.refused)) == ({}, ["TeleportProvisionToken/fleet"])


async def test_a_secret_is_read_once_however_often_it_is_asked_for(world: World) -> None:
    await world.server.create(kept())
    await world.secrets.of([token(), token("other")])
    before = world.server.requests["GET", "secrets"]

    await world.secrets.of([token()])

    assert before <= 2
    assert world.server.requests["GET", "secrets"] <= 2


async def test_without_references_no_secret_is_read(world: World) -> None:
    await world.server.create(kept())

    found = await world.secrets.of([token(secret=""), {"kind": "TeleportRoleV7", "metadata": {"name": "secret://a/b"}}])

    assert (found.values, found.refused) == ({}, {})
    assert world.server.requests["GET", "secrets"] == 0


async def test_what_is_no_text_and_what_is_not_there_is_refused_by_name(world: World) -> None:
    await world.server.create(kept())

    found = await world.secrets.of([token("a", "secret://fleet/binary"), token("b", "secret://fleet/none")])

    assert dict(found.refused) == {
        "TeleportProvisionToken/a": "binary of the Secret fleet is no text of at most 1024 characters",
        "TeleportProvisionToken/b": "the Secret fleet has no key none",
    }


async def test_a_bug_is_loud_and_does_not_end_the_watch(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await world.server.create(kept())
    bugs, sound = iter([ValueError("a bug")]), KubernetesApi.wait_secret_changes

    async def wait(api: KubernetesApi, *where: str) -> None:
        for bug in bugs:
            raise bug
        await sound(api, *where)

    monkeypatch.setattr(KubernetesApi, "wait_secret_changes", wait)
    monkeypatch.setattr("teleport.service.operator.secrets._AGAIN", 0.01)
    await world.secrets.of([token()])
    await world.server.objects.replace(
        world.key(), {**kept(NEW), "metadata": world.server.objects.get(world.key())["metadata"]}, ""
    )
    await world.changes()

    assert "this is a bug" in caplog.text
