"""What becomes of commits is told: to whoever asks, to a receiver, to the forge, and to Prometheus."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from teleport.service.metrics import Metrics
from teleport.service.process import Process
from tests.cli.programs import Ended, tctl
from tests.gitops.repositories import Upstream, role
from tests.service.receivers import Receiver, receiver
from tests.service.support import config, running

ANN = "kind: user\nversion: v2\nmetadata: {name: ann}\nspec: {roles: [dev]}\n"


@dataclass
class Told:
    """A cluster that a repository governs, and who is told."""

    process: Process
    upstream: Upstream
    hook: Receiver
    forge: Receiver
    data: Path

    async def tctl(self, *arguments: str) -> Ended:
        return await asyncio.to_thread(tctl, "--data-dir", str(self.data), "policy", "status", *arguments)

    async def source(self) -> dict[str, Any]:
        (found,) = json.loads((await self.tctl("-o", "json")).output)["sources"]
        source: dict[str, Any] = found
        return source

    async def until(self, state: str, commit: str = "") -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:
                found = await self.source()
                if found["state"] == state and commit in ("", found["attempted_commit"]):
                    return found
                await asyncio.sleep(0.05)

    def metrics(self) -> dict[str, float]:
        text = Metrics(self.process._site).text().decode()
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    @property
    def words(self) -> list[str]:
        return [json.loads(body)["notice"] for _, _, body in self.hook.requests]

    @property
    def shown(self) -> list[tuple[str, str]]:
        """The forge's statuses: commit and state."""
        return [(path.rpartition("/")[2], json.loads(body)["state"]) for path, _, body in self.forge.requests]


@contextlib.asynccontextmanager
async def told(root: Path) -> AsyncIterator[Told]:
    upstream = Upstream(root / "upstream")
    upstream.commit({"roles/dev.yaml": role("dev"), "users/ann.yaml": ANN})
    (root / "token").write_text("T0KEN")
    async with receiver() as hook, receiver() as forge:
        status = {"api_url": forge.url.removesuffix("/hook"), "repository": "acme/policy",
                  "token_file": str(root / "token")}  # fmt: skip
        policies = {
            "git": {"url": upstream.url, "interval": "200ms", "commit_status": status},
            "notify": [{"url": hook.url, "on": ["applied", "stalled", "recovered"]}],
        }
        auth = {"listen_addr": "127.0.0.1:0"}
        configuration = config(root / "data", roles="auth", auth_service=auth, policies=policies)
        async with running(configuration) as process:
            yield Told(process, upstream, hook, forge, root / "data")


async def _shown(one: Told, commit: str) -> None:
    """Until the forge shows a commit as being in force; that it is pending may be skipped over."""
    while (commit, "success") not in one.shown:
        await one.forge.wait(len(one.forge.requests) + 1)


async def test_a_commit_a_refusal_and_a_recovery_are_told_to_everybody_who_wants_to_know(tmp_path: Path) -> None:
    async with told(tmp_path) as one:
        first = one.upstream.head
        ready = await one.tctl("--wait", first, "--timeout", "20s")
        checked = await one.tctl("--check")
        at_first = one.metrics()

        second = one.upstream.commit({"users/ann.yaml": ANN.replace("dev", "nobody"), "x.yaml": "kind: rle\n"})
        await one.until("Stalled", second)
        refused = await one.tctl("--wait", second[:10], "-o", "json")
        shown = await one.tctl("--check")
        stalled = await one.tctl("--check", "-o", "json")
        at_second, user = one.metrics(), await one.tctl("user/ann", "-o", "json")

        await one.until("Ready", one.upstream.commit({"x.yaml": "", "users/ann.yaml": ANN}))
        contained = await one.tctl("--wait", second, "--timeout", "20s")
        unknown = await one.tctl("--wait", "0" * 40, "--timeout", "0s")
        await asyncio.wait_for(_shown(one, one.upstream.head), 10)
        await one.hook.wait(3)
        at_third = one.metrics()

    assert (ready.status, ready.errors, checked.status) == (0, "", 0)
    assert re.search(r"Ready( for \d+ seconds)?\n  2 objects at revision \d+, applied ", ready.output)
    assert f"commit {first} in force, {first} read last" in ready.output
    assert (refused.status, stalled.status) == (4, 4)
    assert f"tctl: error: source git is stalled at commit {second}: Invalid\n" in refused.errors
    assert "tctl: error: x.yaml:1:7: unknown kind rle" in refused.errors
    assert "tctl: error: users/ann.yaml:4:16: unknown role nobody" in refused.errors
    assert shown.errors == f"tctl: error: source git is stalled at commit {second}: Invalid\n"
    assert shown.output.count("unknown kind rle") == 1
    assert json.loads(stalled.output)["sources"][0]["reason"] == "Invalid"
    (row,) = json.loads(user.output)
    assert (row["file"], row["line"], row["commit"], row["state"]) == ("users/ann.yaml", 1, first, "Stalled")
    assert [problem["message"] for problem in row["problems"]] == ["unknown role nobody"]
    assert contained.status == 0
    assert unknown.status == 5
    assert f"no source has commit {'0' * 40}: git has read" in unknown.errors
    third = one.upstream.head
    assert [shown for shown in one.shown if shown[1] != "pending"] == [
        (first, "success"), (second, "failure"), (third, "success"),
    ]  # fmt: skip
    assert one.words == ["applied", "stalled", "recovered"]
    assert "ann" not in str([body for _, _, body in one.hook.requests])
    label = '{source="git"}'
    assert [found[f"teleport_source_unapplied_seconds{label}"] > 0 for found in (at_first, at_second, at_third)] == [
        False, True, False,
    ]  # fmt: skip
    assert at_third['teleport_source_refusals_total{reason="Invalid",source="git"}'] == 1
    assert at_third['teleport_source_applies_total{outcome="applied",source="git"}'] == 2
    assert at_third[f"teleport_source_read_seconds_total{label}"] > 0
    assert at_third['teleport_notifications_total{outcome="delivered",receiver="127.0.0.1"}'] == 3


async def test_a_repository_that_cannot_be_reached_is_told_apart_from_one_that_is_refused(tmp_path: Path) -> None:
    async with told(tmp_path) as one:
        await one.until("Ready")
        one.upstream.folder.rename(tmp_path / "elsewhere")
        source = await one.until("Reconciling")
        text, checked = await one.tctl(), await one.tctl("--check")
        metrics = one.metrics()

    assert (source["reason"], source["unapplied_since"]) == ("Unreachable", 0)
    assert "\n  Reconciling" in text.output
    assert "it cannot be read; what is in force stays, and it is tried again" in text.output
    assert "  because: git+file://" in text.output
    assert (text.status, checked.status) == (0, 5)
    assert "tctl: error: source git is reconciling (Unreachable): " in checked.errors
    assert metrics['teleport_source_reads_total{outcome="failed",source="git"}'] > 0
