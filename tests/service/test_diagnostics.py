"""The diagnostic port: health, readiness with its reasons, and metrics that say what is documented."""

import asyncio
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from teleport.api import routes as r
from teleport.api.models import LoginRequest
from teleport.core.errors import Unauthenticated, Unavailable
from teleport.service.metrics import METRICS
from teleport.service.process import Process
from tests.service.support import ROLE, administration, config, failure_of, running, unstarted

PAGES = [Path(__file__).parents[2] / "docs" / name for name in ("operations.md", "watching.md")]


async def get(process: Process, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{process.diagnostics}{path}") as answer:
        return answer.status, await answer.text()


async def samples(process: Process) -> dict[str, dict[tuple[str, ...], float]]:
    """What /metrics says: by name, by the values of the labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families((await get(process, "/metrics"))[1]):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def watched(data_dir: Path, **sections: Any) -> Any:
    return config(data_dir, **{"teleport": {"diag_addr": "127.0.0.1:0"}, **sections})


def test_every_metric_is_documented_and_nothing_else_is() -> None:
    rows = [name for page in PAGES for name in re.findall(r"^\| `(teleport_\w+)`", page.read_text(), re.MULTILINE)]

    assert sorted(rows) == sorted(METRICS)


async def test_a_whole_cluster_shows_every_metric(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "dev.yaml").write_text(ROLE)

    told = {"dir": str(policies), "notify": [{"url": "http://127.0.0.1:1/"}]}
    async with running(watched(tmp_path / "data", policies=told)) as process:
        found = await samples(process)

    assert set(METRICS) <= set(found)
    assert found["teleport_ready"] == {(): 1.0}
    assert found["teleport_agents_connected"] == {(): 1.0}
    assert found["teleport_source_state"][("folder", "Ready")] == 1.0
    assert set(found["teleport_certificate_expiry_seconds"]) == {("auth",), ("proxy",), ("node",)}
    assert found["teleport_sessions_live"] == {("proxy",): 0.0, ("node",): 0.0}
    assert found["teleport_disk_free_bytes"][()] > 0
    assert found["process_open_fds"][()] > 0


async def test_logins_are_counted_by_outcome(tmp_path: Path) -> None:
    configuration = watched(tmp_path)
    async with running(configuration) as process, administration(configuration) as client:
        with pytest.raises(Unauthenticated):
            await client.call(
                r.LOGIN,
                LoginRequest(user="nobody", password="wrong", code="0", ssh_public_key="", tls_public_key=""),
            )

        assert (await samples(process))["teleport_logins_total"] == {("success",): 0.0, ("failure",): 1.0}


async def test_each_process_counts_for_itself(tmp_path: Path) -> None:
    async with running(watched(tmp_path / "a")) as one, running(watched(tmp_path / "b", roles="auth")) as other:
        assert "teleport_agents_connected" in await samples(one)
        assert "teleport_agents_connected" not in await samples(other)


async def test_it_is_alive_and_not_ready_while_it_starts(tmp_path: Path) -> None:
    process = unstarted(watched(tmp_path, roles="auth,proxy"))
    process._site.ready_when.append(asyncio.Event().wait)
    run = asyncio.create_task(process.run())
    async with asyncio.timeout(10):
        while process.diagnostics is None or process._site.tunnels is None:
            await asyncio.sleep(0.01)

    health, ready = await get(process, "/healthz"), await get(process, "/readyz")

    assert health == (200, '{"status": "ok"}')
    assert ready == (
        503,
        '{"status": "unavailable", "reasons": ["the process is starting"], "remarks": []}',
    )
    process.stop()
    await run


async def test_a_stale_policy_and_a_stalled_source_are_told_apart(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "dev.yaml").write_text(ROLE)
    async with running(watched(tmp_path / "data", policies={"dir": str(policies)})) as process:
        (policies / "dev.yaml").write_text("kind: rolle\n")
        async with asyncio.timeout(10):
            while "source folder is stalled" not in (await get(process, "/readyz"))[1]:
                await asyncio.sleep(0.02)
        stalled = await get(process, "/readyz")

        for member in process._site.members:
            member.gate.staleness = -1.0
        stale = await get(process, "/readyz")

    assert stalled[0] == 200
    assert stale[0] == 503
    assert re.search(r'"proxy: the policy is \d+ seconds old", "node: the policy is', stale[1])


async def test_a_diagnostic_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async with running(watched(tmp_path / "a")) as process:
        error = await failure_of(watched(tmp_path / "b", teleport={"diag_addr": str(process.diagnostics)}))

    assert isinstance(error, Unavailable)
    assert f"{process.diagnostics} cannot be listened on" in error.message
