"""Which namespace feeds which source: those that are named, and where all are fed, each that shows up."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from teleport.api import models as m
from teleport.service.operator.kubernetes import KubernetesApi
from teleport.service.operator.process import Operator
from teleport.service.operator.settings import Settings
from tests.builders import FakeClock
from tests.kubernetes.emulation import emulated
from tests.service.fed import api_of
from tests.service.operator.test_settings import WHOLE

OPS, TEAMS, KNOWN = (
    m.FedSource(name=name, namespace=namespace)
    for name, namespace in (("ops", "ops"), ("teams", "*"), ("teams/c", "c"))
)


class Client:
    """The auth service, which tells of sources and takes what they are fed."""

    def __init__(self, *sources: m.FedSource) -> None:
        self.sources = sources

    async def call(self, route: Any, request: Any) -> Any:
        if isinstance(request, m.FeedRequest):
            return m.FeedAnswer(revision=1, objects=())
        return m.FedSources(sources=self.sources)


@pytest_asyncio.fixture
async def api() -> AsyncIterator[KubernetesApi]:
    async with emulated() as server, api_of(server) as found:
        yield found


def operator(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch, *sources: m.FedSource) -> Operator:
    made = Operator(Settings.from_environment(WHOLE), api, clock=FakeClock())

    async def joined() -> Client:
        return Client(*sources)

    monkeypatch.setattr(made, "_joined", joined)
    return made


def manifest(namespace: str) -> dict[str, Any]:
    return {"kind": "TeleportLockV2", "metadata": {"name": "x", "namespace": namespace, "uid": "1"}}


async def test_manifests_of_a_namespace_that_is_no_source_are_nobodys(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operator(api, monkeypatch, OPS) as running:
        running.note(manifest("other"), listed=True)
        running.forget(manifest("other"))

        assert {name: one.source.name for name, one in running.feeders.items()} == {"ops": "ops"}


async def test_where_all_namespaces_are_fed_each_that_shows_up_is_a_source(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operator(api, monkeypatch, TEAMS, OPS, KNOWN) as running:
        for namespace in ("b", "ops", "c", "b"):
            running.note(manifest(namespace), listed=True)

        assert {name: one.source.name for name, one in running.feeders.items()} == {
            "ops": "ops", "c": "teams/c", "b": "teams/b",
        }  # fmt: skip
