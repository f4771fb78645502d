"""Whose a token is, as the Kubernetes cluster around says."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from teleport.core.errors import Unauthenticated, Unavailable
from teleport.service.token_review import InCluster
from tests.kubernetes.emulation import Emulation, emulated
from tests.kubernetes.permissions import ADMINISTRATOR


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Emulation]:
    async with emulated() as running:
        running.tokens["own"] = ADMINISTRATOR
        running.tokens["good"] = "system:serviceaccount:teleport:operator"
        yield running


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("own\n")
    return tmp_path


async def test_the_api_server_says_whose_it_is(server: Emulation, pod: Path) -> None:
    account = await InCluster(server.url, pod).review("good", audience="acme")

    assert str(account) == "teleport:operator"


async def test_a_token_that_it_does_not_know_is_refused(server: Emulation, pod: Path) -> None:
    with pytest.raises(Unauthenticated):
        await InCluster(server.url, pod).review("bad", audience="acme")


async def test_a_token_for_somebody_else_is_refused(server: Emulation, pod: Path) -> None:
    server.audiences = ["https://kubernetes.default.svc"]

    with pytest.raises(Unauthenticated):
        await InCluster(server.url, pod).review("good", audience="acme")


async def test_a_server_that_fails_lets_nobody_in(server: Emulation, pod: Path) -> None:
    server.failing = True

    with pytest.raises(Unavailable, match="HTTP 503"):
        await InCluster(server.url, pod).review("good", audience="acme")


async def test_a_server_that_is_away_lets_nobody_in(pod: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be asked"):
        await InCluster("http://127.0.0.1:1", pod).review("good", audience="acme")


def test_outside_of_kubernetes_there_is_nobody_to_ask(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    assert InCluster.found(pod) is None


def test_a_pod_finds_its_api_server(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")

    assert InCluster.found(pod) is not None
