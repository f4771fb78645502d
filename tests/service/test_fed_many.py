"""Thousands of objects in one namespace: one feed, one transaction, one request an object; and one edit is one request.

`TELEPORT_OBJECTS=5000 pytest -s tests/service/test_fed_many.py` tells how long it takes.
"""

import os
import time
from pathlib import Path

from teleport.api import models as m
from teleport.core.aio import SystemClock
from teleport.resources.custom_kinds import CUSTOM_KINDS
from teleport.service.operator.feeder import Feeder
from tests.kubernetes.emulation import emulated
from tests.service.fed import CRDS, Fed, api_of, fed_config, ready, role, user

COUNT = int(os.environ.get("TELEPORT_OBJECTS", "200"))
NOTES = 20
"""Requests that do not grow with the number of objects: what goes and what does not is asked by kind."""


async def test_all_of_them_are_ready_after_one_request_each(tmp_path: Path) -> None:
    async with Fed.running(fed_config(tmp_path)) as fed, emulated(*CRDS) as server, api_of(server) as api:
        await server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-b"}})
        for index in range(COUNT):
            await server.create(role(f"r{index}"))
        feeder = Feeder(m.FedSource(name="team-b", namespace="team-b"), fed.feeding(), api, clock=SystemClock())

        began = time.monotonic()
        await feeder.pass_once()
        first, requests = time.monotonic() - began, api.requests

        assert ready(server, "teleportrolesv7", f"r{COUNT - 1}")["status"] == "True"
        assert requests <= COUNT + 2 * len(CUSTOM_KINDS) + NOTES

        feeder.note(await server.create(user("ann", "r0")))
        began = time.monotonic()
        await feeder.pass_once()
        second = time.monotonic() - began

        assert ready(server, "teleportusers", "ann")["status"] == "True"
        assert api.requests - requests <= NOTES
        print(f"\n{COUNT} to Ready in {first:.1f} s, {requests / COUNT:.2f} requests each; one more in {second:.2f} s")
