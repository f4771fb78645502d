"""A namespace governs: what an operator brings comes into force as far as it goes, and each object is told what became
of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from teleport.api import models as m
from teleport.core.aio import SystemClock
from teleport.service.operator.feeder import Feeder
from tests.kubernetes.emulation import emulated
from tests.service.fed import CRDS, Fed, api_of, fed_config, ready, role, user


@pytest_asyncio.fixture
async def fed(tmp_path: Path) -> AsyncIterator[Fed]:
    async with Fed.running(fed_config(tmp_path)) as running:
        yield running


async def test_what_is_brought_is_in_force_and_told_to_be_ready(fed: Fed) -> None:
    answer = await fed.feed(role("dev"), user("ann", "dev"))

    assert await fed.owned() == ["role/dev", "user/ann"]
    assert {one.place: (one.state, one.reach) for one in answer.objects} == {
        "TeleportRoleV7/dev": ("Ready", "1 person, 0 nodes"), "TeleportUser/ann": ("Ready", ""),
    }  # fmt: skip
    assert fed.status().state == "Ready"


async def test_what_cannot_be_read_stalls_alone_and_keeps_its_last_good_version(fed: Fed) -> None:
    await fed.feed(role("dev"), user("ann", "dev"))
    broken = role("dev", generation=2) | {"spec": {"allow": {"logns": ["root"]}}}

    told = await fed.told(broken, user("ann", "dev"), user("bob"))

    assert told["TeleportRoleV7/dev"] == ("Stalled", "spec.allow.logns: unknown field logns (did you mean logins?)")
    assert (told["TeleportUser/ann"][0], told["TeleportUser/bob"][0]) == ("Ready", "Ready")
    assert await fed.owned() == ["role/dev", "user/ann", "user/bob"]
    assert (fed.status().state, fed.status().reason) == ("Stalled", "Partial")


async def test_an_operator_feeds_it_and_tells_kubernetes(fed: Fed) -> None:
    async with emulated(*CRDS) as server, api_of(server) as api:
        await server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-b"}})
        for one in (role("dev"), user("ann", "dev"), user("eve", "nobody")):
            await server.create(one)
        feeder = Feeder(m.FedSource(name="team-b", namespace="team-b"), fed.feeding(), api, clock=SystemClock())

        await feeder.pass_once()

        assert ready(server, "teleportrolesv7", "dev")["status"] == "True"
        eve = ready(server, "teleportusers", "eve")
        assert (eve["status"], eve["reason"]) == ("False", "Invalid")
        assert "unknown role nobody" in eve["message"]
