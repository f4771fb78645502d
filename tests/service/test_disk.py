"""The disk of the data directory: when people are warned, and how its recovery is noticed."""

import asyncio
from pathlib import Path

import pytest

from teleport.service import disk
from teleport.service.disk import Room, room, watch_disk
from teleport.service.health import Health
from tests.builders import FakeClock

GIB = 1 << 30


@pytest.mark.parametrize(
    ("free", "size", "low"),
    [
        (20 * GIB, 100 * GIB, False),
        (10 * GIB, 100 * GIB, False),
        (10 * GIB - 1, 100 * GIB, True),
        (GIB, 8 * GIB, False),
        (GIB - 1, 2 * GIB, True),
        (0, 100 * GIB, True),
    ],
)
def test_room_is_low_below_a_tenth_or_a_gigabyte(free: int, size: int, low: bool) -> None:
    assert Room(free, size).low is low


def test_room_is_that_of_the_file_system(tmp_path: Path) -> None:
    found = room(tmp_path)

    assert 0 < found.free <= found.size


async def test_a_disk_that_cannot_be_looked_at_is_warned_of_and_ends_nothing(tmp_path: Path) -> None:
    clock, health = FakeClock(), Health()
    watching = asyncio.create_task(watch_disk(tmp_path / "gone", health, lambda: [], clock=clock))

    await asyncio.sleep(0)

    assert health.warnings == (f"the disk of {tmp_path}/gone cannot be looked at: No such file or directory",)
    assert not watching.done()
    watching.cancel()


class Record:
    """Something to be written that may fail, and how often it was tried."""

    def __init__(self) -> None:
        self.failure, self.tried, self.broken = "", 0, False

    async def check(self) -> str:
        self.tried += 1
        self.failure = "full" if self.broken else ""
        return self.failure


async def test_what_fails_is_tried_at_every_look_and_what_works_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "room", lambda _: Room(50 * GIB, 100 * GIB))
    clock, good, bad = FakeClock(), Record(), Record()
    bad.broken = True
    watching = asyncio.create_task(watch_disk(tmp_path, Health(), lambda: [good, bad], clock=clock))

    for _ in range(8):
        await asyncio.sleep(0)
        clock.advance(5.0)
    await asyncio.sleep(0)

    assert (good.tried, bad.tried) == (2, 9)
    watching.cancel()


async def test_on_a_disk_that_is_nearly_full_everything_is_tried_at_every_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "room", lambda _: Room(1, 100 * GIB))
    clock, good = FakeClock(), Record()
    watching = asyncio.create_task(watch_disk(tmp_path, Health(), lambda: [good], clock=clock))

    for _ in range(3):
        await asyncio.sleep(0)
        clock.advance(5.0)
    await asyncio.sleep(0)

    assert good.tried == 4
    watching.cancel()


async def test_a_disk_that_fills_up_is_warned_of_until_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, health, left = FakeClock(), Health(), [Room(GIB // 2, 100 * GIB), Room(50 * GIB, 100 * GIB)]
    monkeypatch.setattr(disk, "room", lambda _: left.pop(0))
    watching = asyncio.create_task(watch_disk(tmp_path, health, lambda: [], clock=clock))
    await asyncio.sleep(0)
    full = health.warnings

    clock.advance(5.0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert full == (f"the disk of {tmp_path} is nearly full: 512 MiB (0%) left",)
    assert health.warnings == ()
    watching.cancel()
