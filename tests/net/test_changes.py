"""What changes under a process is noticed: time that jumps, addresses that come."""

import asyncio
import os
import subprocess
import uuid

import pytest

from teleport.core.aio import cancel_and_wait
from teleport.net.changes import notice_addresses, notice_jumps
from tests.builders import FakeClock
from tests.net.sockets import wait_until


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
async def test_a_machine_that_slept_is_noticed(seconds: float) -> None:
    clock, noticed = FakeClock(), asyncio.Event()
    watching = asyncio.create_task(notice_jumps(clock, noticed.set))
    await asyncio.sleep(0)

    clock.jump(seconds)
    clock.advance(2)

    await asyncio.wait_for(noticed.wait(), 2)
    await cancel_and_wait(watching)


async def test_time_that_just_passes_is_no_jump() -> None:
    clock, noticed = FakeClock(), asyncio.Event()
    watching = asyncio.create_task(notice_jumps(clock, noticed.set))

    for _ in range(100):
        await asyncio.sleep(0)
        clock.jump(0.1)
        clock.advance(2)

    assert not noticed.is_set()
    await cancel_and_wait(watching)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
async def test_another_address_is_noticed() -> None:
    device, noticed = f"d{uuid.uuid4().hex[:8]}", asyncio.Event()
    watching = asyncio.create_task(notice_addresses(noticed.set))
    await asyncio.sleep(0.05)
    made = await asyncio.to_thread(
        subprocess.run, ["ip", "link", "add", device, "type", "veth"], capture_output=True, check=False
    )
    if made.returncode:
        await cancel_and_wait(watching)
        pytest.skip("no network devices can be made here")
    try:
        await asyncio.to_thread(subprocess.run, ["ip", "addr", "add", "192.0.2.77/32", "dev", device], check=True)

        await wait_until(noticed.is_set, within=5)
    finally:
        await asyncio.to_thread(subprocess.run, ["ip", "link", "del", device], check=True)
        await cancel_and_wait(watching)
