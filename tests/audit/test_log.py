"""The audit log: a chain on disk that survives crashes, full disks and the passing of days."""

import asyncio
import hashlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from teleport.audit.log import day_files
from teleport.audit.verify import verify_directory
from teleport.core.errors import Unavailable
from tests.audit.logs import DAY, SIGNER, checkpoints, fill, lines, numbered, open_log
from tests.builders import FakeClock


async def test_each_event_carries_its_number_and_the_hash_of_the_line_before(tmp_path: Path) -> None:
    log = await open_log(tmp_path)

    await fill(log, 3)

    (path,) = day_files(tmp_path)
    raw = path.read_bytes().splitlines(keepends=True)
    events = lines(tmp_path)
    assert [event["seq"] for event in events] == [1, 2, 3]
    assert events[0]["prev"] == "0" * 64
    assert [event["prev"] for event in events[1:]] == [hashlib.sha256(line).hexdigest() for line in raw[:-1]]
    assert log.position == (3, hashlib.sha256(raw[-1]).hexdigest())


async def test_an_event_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    log = await open_log(tmp_path)

    await log.append(numbered(1))

    assert lines(tmp_path)[0]["user"] == "user-1"


async def test_events_that_come_together_are_all_written_once_in_one_chain(tmp_path: Path) -> None:
    log = await open_log(tmp_path)

    await asyncio.gather(*(log.append(numbered(number)) for number in range(200)))

    assert sorted(event["user"] for event in lines(tmp_path)) == sorted(f"user-{number}" for number in range(200))
    assert (await verify_directory(tmp_path, [], key=SIGNER.public)).faults == ()


async def test_the_cluster_is_ours_whatever_an_event_says(tmp_path: Path) -> None:
    log = await open_log(tmp_path)

    await log.append_dicts([{"event": "exec", "uid": "a", "time": "t", "cluster_name": "other"}])

    assert lines(tmp_path)[0]["cluster_name"] == "acme"


async def test_an_event_sent_twice_is_written_once_also_after_a_restart(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    event = {"event": "exec", "uid": "a", "time": "t"}
    await log.append_dicts([event, event])
    await log.append_dicts([event])
    await log.close()

    again = await open_log(tmp_path)
    await again.append_dicts([event])

    assert [one["uid"] for one in lines(tmp_path)] == ["a"]


async def test_a_new_day_begins_a_new_file_and_continues_the_chain(tmp_path: Path) -> None:
    clock = FakeClock()
    log = await open_log(tmp_path, clock)
    await fill(log, 2)

    clock.advance(DAY)
    await fill(log, 2, first=3)

    assert [path.name for path in day_files(tmp_path)] == ["2023-11-14.jsonl", "2023-11-15.jsonl"]
    assert (await verify_directory(tmp_path, [], key=SIGNER.public)).faults == ()


async def test_a_clock_put_back_by_a_day_opens_no_older_file_and_the_chain_stays_in_order(tmp_path: Path) -> None:
    clock = FakeClock()
    log = await open_log(tmp_path, clock)
    await fill(log, 1)
    clock.advance(DAY)
    await fill(log, 1, first=2)

    clock.advance(-DAY)
    await fill(log, 1, first=3)
    assert await log.check() == ""
    reopened = await open_log(tmp_path, clock)
    await fill(reopened, 1, first=4)
    clock.advance(DAY)
    await fill(reopened, 1, first=5)

    assert [path.name for path in day_files(tmp_path)] == ["2023-11-14.jsonl", "2023-11-15.jsonl"]
    assert [event["seq"] for event in lines(tmp_path)] == [1, 2, 3, 4, 5]
    assert (await verify_directory(tmp_path, [], key=SIGNER.public)).faults == ()
    assert [event["time"][:10] for event in lines(tmp_path)][1:4] == ["2023-11-15", "2023-11-14", "2023-11-14"]


async def test_a_restart_continues_the_chain(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    await fill(log, 2)
    await log.close()

    log = await open_log(tmp_path)
    await fill(log, 2, first=3)

    verdict = await verify_directory(tmp_path, [], key=SIGNER.public)
    assert (verdict.events, verdict.faults) == (4, ())


@pytest.mark.parametrize("kept", [1, 40])
async def test_a_line_that_a_crash_cut_off_is_dropped_and_the_chain_goes_on(tmp_path: Path, kept: int) -> None:
    log = await open_log(tmp_path)
    await fill(log, 3)
    (path,) = day_files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines(keepends=True)[-1][:kept])

    log = await open_log(tmp_path)
    await fill(log, 1, first=4)

    assert [event["seq"] for event in lines(tmp_path)] == [1, 2, 3, 4]
    assert (await verify_directory(tmp_path, [], key=SIGNER.public)).faults == ()


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_line_that_is_not_an_event_stops_neither_start_nor_search_and_is_one_fault(
    tmp_path: Path, place: int
) -> None:
    log = await open_log(tmp_path)
    await fill(log, 2)
    (path,) = day_files(tmp_path)
    raw = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*raw[:place], b"scribble\n", *raw[place:]]))

    again = await open_log(tmp_path)
    await fill(again, 1, first=3)

    found = [event["user"] async for event in again.search(lambda _: True)]
    assert found == ["user-1", "user-2", "user-3"]
    faults = (await verify_directory(tmp_path, [], key=SIGNER.public)).faults
    assert faults[0] == f"{path.name}:{place + 1}: not an event"
    assert all(f":{place + 1}:" in fault or f":{place + 2}:" in fault for fault in faults)


async def test_a_checkpoint_that_a_crash_cut_off_is_dropped(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    await fill(log, 1)
    await log.close()
    path = tmp_path / "checkpoints.jsonl"
    path.write_bytes(path.read_bytes() + path.read_bytes()[:30])

    await open_log(tmp_path)

    assert (await verify_directory(tmp_path, [], key=SIGNER.public)).faults == ()


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 2000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full_disk")
async def test_a_full_disk_refuses_events_and_leaves_whole_lines(tmp_path: Path) -> None:
    log = await open_log(tmp_path)

    with pytest.raises(Unavailable, match="the audit log cannot be written"):
        await fill(log, 50)

    assert log.failure
    written = lines(tmp_path)
    assert 0 < len(written) < 50
    assert log.position[0] == len(written)
    assert (await verify_directory(tmp_path, [], key=SIGNER.public)).faults == ()


async def test_a_log_that_could_not_be_written_recovers_when_there_is_room(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(Unavailable):
            await fill(log, 50)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    await log.append(numbered(99))

    assert log.failure == ""
    assert lines(tmp_path)[-1]["user"] == "user-99"
    assert (await verify_directory(tmp_path, [], key=SIGNER.public)).faults == ()


async def test_an_event_that_cannot_be_written_as_json_fails_alone_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    log = await open_log(tmp_path)

    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="TypeError"):
            await log.append_dicts([{"uid": "a", "event": "exec", "thing": object()}])
        await log.append(numbered(1))

    assert [event["seq"] for event in lines(tmp_path)] == [1]


async def test_a_checkpoint_signs_the_head_and_is_repeated_only_after_news(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    await fill(log, 2)

    made = await log.checkpoint()
    await log.checkpoint()
    await fill(log, 1, first=3)
    await log.checkpoint()

    assert (made.seq, made.hash) == (2, lines(tmp_path)[2]["prev"])
    assert made.holds()
    assert [one["seq"] for one in checkpoints(tmp_path)] == [2, 3]


async def test_a_checkpoint_is_written_when_the_log_is_closed(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    await fill(log, 2)

    await log.close()

    assert [one["seq"] for one in checkpoints(tmp_path)] == [2]


async def test_a_search_gives_matching_events_in_order(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    await fill(log, 5)

    found = [event["user"] async for event in log.search(lambda event: event["user"] in ("user-4", "user-2"))]

    assert found == ["user-2", "user-4"]


async def test_a_search_since_a_day_opens_no_files_that_are_older(tmp_path: Path) -> None:
    clock = FakeClock()
    log = await open_log(tmp_path, clock)
    for number in range(5):
        await log.append(numbered(number))
        clock.advance(DAY)

    found = [event["user"] async for event in log.search(lambda _: True, since="2023-11-17T00:00:00.000Z")]

    assert found == ["user-2", "user-3", "user-4"]


async def test_retention_deletes_whole_days_and_the_rest_still_verifies(tmp_path: Path) -> None:
    clock = FakeClock()
    log = await open_log(tmp_path, clock)
    for number in range(4):
        await log.append(numbered(number))
        clock.advance(DAY)

    gone = log.forget_before("2023-11-16")

    assert [path.name for path in gone] == ["2023-11-14.jsonl", "2023-11-15.jsonl"]
    verdict = await verify_directory(tmp_path, [], key=SIGNER.public)
    assert (verdict.first, verdict.events, verdict.faults) == (3, 2, ())


async def test_retention_never_deletes_the_newest_file_which_carries_the_chain(tmp_path: Path) -> None:
    clock = FakeClock()
    log = await open_log(tmp_path, clock)
    await fill(log, 2)
    clock.advance(400 * DAY)

    log.forget_before("2024-12-01")
    await log.close()
    log = await open_log(tmp_path, clock)
    await fill(log, 1, first=3)

    assert [event["seq"] for event in lines(tmp_path)] == [1, 2, 3]
