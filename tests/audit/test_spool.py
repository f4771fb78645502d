"""The spool: what a service tells auth arrives in order and is never lost, whatever fails in between."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from teleport.audit.recording import META, OUTPUT, START, TIMING, Recorder, RecordingInfo
from teleport.audit.spool import Spool, Uplink
from teleport.core.errors import AccessDenied, BadInput, Conflict, TeleportError, Unavailable
from tests.audit.logs import numbered
from tests.builders import FakeClock

SID = "5a3c9d6e-0000-4000-8000-00000000000"


class Auth:
    """An auth service that takes everything; `failing` is raised instead, `refuse` by the uid of an event."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.files: dict[tuple[str, str], bytearray] = {}
        self.sealed: list[str] = []
        self.failing: TeleportError | None = None
        self.refuse: dict[str, TeleportError] = {}

    async def send_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        self._fail()
        for event in events:
            if event["uid"] in self.refuse:
                raise self.refuse[event["uid"]]
        self.events += [event["user"] for event in events]

    async def send_part(self, sid: str, name: str, offset: int, data: bytes) -> None:
        self._fail()
        if sid in self.refuse:
            raise self.refuse[sid]
        file = self.files.setdefault((sid, name), bytearray())
        assert offset <= len(file)
        file[offset:] = data

    async def seal(self, sid: str, meta: Mapping[str, Any]) -> None:
        self._fail()
        self.sealed.append(sid)

    def _fail(self) -> None:
        if self.failing is not None:
            raise self.failing


@pytest.fixture
def auth() -> Auth:
    return Auth()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path, clock=FakeClock())


def uplink(spool: Spool, auth: Auth) -> Uplink:
    return Uplink(spool, auth, clock=FakeClock())


async def emit(spool: Spool, *numbers: int) -> None:
    for number in numbers:
        await spool.emit(numbered(number))


async def record(spool: Spool, number: int, text: bytes = b"hello") -> str:
    """A sealed recording that waits in the spool."""
    sid, clock = f"{SID}{number}", FakeClock()
    info = RecordingInfo(sid, "ann", "root", "host-1", "db-1", True, clock.time())
    recorder = Recorder(spool.recordings / sid, info, clock=clock, on_failure=lambda _: None)
    await recorder.start()
    recorder.output(text)
    await recorder.seal(lambda _: "signature")
    return sid


async def test_events_arrive_in_the_order_they_were_emitted_and_once(spool: Spool, auth: Auth) -> None:
    await emit(spool, *range(1200))

    await uplink(spool, auth).drain()
    await uplink(spool, auth).drain()

    assert auth.events == [f"user-{number}" for number in range(1200)]


async def test_an_event_is_on_disk_when_emit_returns(spool: Spool, tmp_path: Path, auth: Auth) -> None:
    await emit(spool, 1)

    await uplink(Spool(tmp_path, clock=FakeClock()), auth).drain()

    assert auth.events == ["user-1"]


async def test_what_could_not_be_sent_is_sent_later(spool: Spool, auth: Auth) -> None:
    await emit(spool, 1, 2)
    auth.failing = Unavailable("the auth service cannot be reached")
    with pytest.raises(Unavailable):
        await uplink(spool, auth).drain()
    await emit(spool, 3)

    auth.failing = None
    await uplink(spool, auth).drain()

    assert auth.events == ["user-1", "user-2", "user-3"]


async def test_a_crash_before_the_position_was_kept_sends_again_rather_than_losing(
    spool: Spool, tmp_path: Path, auth: Auth
) -> None:
    await emit(spool, 1)
    await uplink(spool, auth).drain()
    (tmp_path / "events.sent").unlink()

    await uplink(Spool(tmp_path, clock=FakeClock()), auth).drain()

    assert auth.events == ["user-1", "user-1"]


async def test_a_line_that_a_crash_cut_off_is_dropped_and_the_next_event_is_whole(tmp_path: Path, auth: Auth) -> None:
    first = Spool(tmp_path, clock=FakeClock())
    await emit(first, 1)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "user.lo')

    spool = Spool(tmp_path, clock=FakeClock())
    await emit(spool, 2)
    await uplink(spool, auth).drain()

    assert auth.events == ["user-1", "user-2"]


async def test_a_line_that_the_disk_spoilt_holds_nothing_up(spool: Spool, tmp_path: Path, auth: Auth) -> None:
    await emit(spool, 1)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b"\x00\x00\x00\n")
    await emit(spool, 2)

    await uplink(spool, auth).drain()

    assert auth.events == ["user-1", "user-2"]


@pytest.mark.parametrize(
    "refusal", [BadInput("an event without a code"), AccessDenied("only of itself", details={"final": True})]
)
async def test_an_event_that_auth_will_never_take_is_set_aside_and_holds_nothing_up(
    spool: Spool, tmp_path: Path, auth: Auth, refusal: TeleportError
) -> None:
    await emit(spool, 1, 2, 3)
    auth.refuse["uid-2"] = refusal

    await uplink(spool, auth).drain()

    assert auth.events == ["user-1", "user-3"]
    (kept,) = [json.loads(line) for line in (tmp_path / "refused.jsonl").read_text().splitlines()]
    assert (kept["event"]["user"], kept["refused"]) == ("user-2", refusal.message)


async def test_events_of_a_host_that_is_locked_wait_until_it_is_not(spool: Spool, tmp_path: Path, auth: Auth) -> None:
    await emit(spool, 1)
    auth.failing = AccessDenied("lock/x is in force on this host")
    with pytest.raises(AccessDenied):
        await uplink(spool, auth).drain()

    auth.failing = None
    await uplink(spool, auth).drain()

    assert auth.events == ["user-1"]
    assert not (tmp_path / "refused.jsonl").exists()


async def test_a_big_file_that_is_at_auth_is_begun_anew(spool: Spool, tmp_path: Path, auth: Auth) -> None:
    await spool.emit(numbered(1).__class__(user="x" * (2 << 20)))
    await uplink(spool, auth).drain()

    await emit(spool, 2)
    await uplink(spool, auth).drain()

    assert auth.events[1:] == ["user-2"]
    assert (tmp_path / "events.jsonl").stat().st_size < 1000


# -- recordings


async def test_a_sealed_recording_is_brought_to_auth_whole_and_then_removed(spool: Spool, auth: Auth) -> None:
    text = bytes(range(256)) * 10_000
    sid = await record(spool, 1, text)
    expected = {name: (spool.recordings / sid / name).read_bytes() for name in (OUTPUT, TIMING)}

    await uplink(spool, auth).drain()

    assert {name: bytes(auth.files[sid, name]) for name in expected} == expected
    assert auth.sealed == [sid]
    assert not (spool.recordings / sid).exists()


async def test_a_recording_that_is_at_auth_already_is_removed(spool: Spool, auth: Auth) -> None:
    sid = await record(spool, 1)
    auth.refuse[sid] = Conflict(f"the recording {sid} is complete already", details={"complete": True})

    await uplink(spool, auth).drain()

    assert not (spool.recordings / sid).exists()


async def test_a_recording_that_does_not_go_through_stays_and_holds_no_other_up(spool: Spool, auth: Auth) -> None:
    stuck, other = await record(spool, 1), await record(spool, 2)
    auth.refuse[stuck] = Conflict("output differs from what the host sealed")

    with pytest.raises(Conflict):
        await uplink(spool, auth).drain()

    assert auth.sealed == [other]
    assert (spool.recordings / stuck / META).exists()


async def test_a_recording_that_auth_will_never_take_is_set_aside(spool: Spool, tmp_path: Path, auth: Auth) -> None:
    sid = await record(spool, 1)
    auth.refuse[sid] = AccessDenied("the recording belongs to another host", details={"final": True})

    await uplink(spool, auth).drain()

    assert (tmp_path / "refused" / sid / OUTPUT).exists()
    assert spool.sealed() == []


async def test_the_running_uplink_sends_what_is_emitted_without_being_told(spool: Spool, auth: Auth) -> None:
    running = asyncio.create_task(uplink(spool, auth).run())
    await emit(spool, 1)

    async with asyncio.timeout(5):
        while not auth.events:
            await asyncio.sleep(0.01)

    running.cancel()
    assert auth.events == ["user-1"]


# -- after a crash


async def test_the_end_of_a_session_that_a_crash_cut_off_is_written_and_its_recording_sealed(
    spool: Spool, tmp_path: Path, auth: Auth
) -> None:
    sid = f"{SID}1"
    folder = spool.recordings / sid
    folder.mkdir()
    for name, data in {START: b'{"sid": "x"}', OUTPUT: b"header\nlast words", TIMING: b"O 0.1 5\n"}.items():
        (folder / name).write_bytes(data)
    spool.begin(sid, {"event": "session.end", "uid": "end-1", "user": "ann", "sid": sid})

    again = Spool(tmp_path, clock=FakeClock())
    assert await again.recover(lambda _: "signature") == 1
    await uplink(again, auth).drain()

    assert auth.events == ["ann"]
    assert auth.files[sid, OUTPUT].endswith(b"last words")
    assert auth.sealed == [sid]
    assert await Spool(tmp_path, clock=FakeClock()).recover(lambda _: "signature") == 0


async def test_a_session_that_ended_is_not_ended_again(spool: Spool, tmp_path: Path) -> None:
    spool.begin(f"{SID}1", {"event": "session.end", "uid": "end-1"})
    spool.finished(f"{SID}1")

    assert await Spool(tmp_path, clock=FakeClock()).recover(lambda _: "signature") == 0
