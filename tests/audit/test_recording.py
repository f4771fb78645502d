"""Recordings: flat files that other tools read, whole after a crash, and honest about what was left out."""

import asyncio
import hashlib
import json
import resource
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

import teleport.audit.recording as recording_module
from teleport.audit.recording import META, OUTPUT, START, TIMING, Recorder, RecordingInfo, seal_folder, signed_text
from teleport.core.errors import Unavailable
from tests.builders import FakeClock

SID = "5a3c9d6e-0000-4000-8000-000000000001"


def sign(data: bytes) -> str:
    """A stand-in for the host's signature that shows what was signed."""
    return hashlib.sha256(data).hexdigest()


def info(clock: FakeClock, *, interactive: bool = True, limit: int | None = None) -> RecordingInfo:
    return RecordingInfo(
        sid=SID, user="ann", login="root", server_id="host-1", server_hostname="db-1", interactive=interactive,
        started=clock.time(), rows=24, columns=80, term="xterm", limit=limit,
    )  # fmt: skip


class Recording:
    """A recorder under test with its folder and clock; `failures` are what it complained of."""

    def __init__(self, folder: Path, *, interactive: bool = True, limit: int | None = None) -> None:
        self.clock, self.folder = FakeClock(), folder
        self.failures: list[str] = []
        self.full: list[bool] = []
        self.recorder = Recorder(
            folder, info(self.clock, interactive=interactive, limit=limit), clock=self.clock,
            on_failure=self.failures.append, on_full=self.full.append,
        )  # fmt: skip

    def print(self, text: str, *, after: float = 0.0) -> None:
        self.clock.advance(after)
        self.recorder.output(text.encode())

    def meta(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / META).read_bytes())
        return found


@pytest.fixture
async def recording(tmp_path: Path) -> Recording:
    recording = Recording(tmp_path / SID)
    await recording.recorder.start()
    return recording


async def test_output_is_one_line_about_the_session_and_then_the_bytes_as_they_were(recording: Recording) -> None:
    recording.print("\x1b[31mred\x1b[0m")
    recording.print(" and more\r\n", after=1)

    await recording.recorder.seal(sign)

    header, rest = (recording.folder / OUTPUT).read_bytes().split(b"\n", 1)
    assert header.startswith(b"Script started on 2023-11-14T22:13:20.000Z [SID=" + SID.encode())
    assert rest == b"\x1b[31mred\x1b[0m and more\r\n"


async def test_timing_says_after_which_pause_how_many_bytes_or_which_size(recording: Recording) -> None:
    recording.print("abc", after=0.5)
    recording.clock.advance(2)
    recording.recorder.resize(50, 132)
    recording.print("de", after=0.25)

    await recording.recorder.seal(sign)

    assert [line for line in (recording.folder / TIMING).read_text().splitlines() if not line.startswith("H")] == [
        "O 0.500000 3",
        "S 2.000000 SIGWINCH ROWS=50 COLS=132",
        "O 0.250000 2",
    ]


async def test_the_description_carries_digests_of_both_files_and_a_signature_over_everything(
    recording: Recording,
) -> None:
    recording.print("abc")

    sealed = await recording.recorder.seal(sign)

    meta = recording.meta()
    for name in (OUTPUT, TIMING):
        assert meta[f"{name}_sha256"] == hashlib.sha256((recording.folder / name).read_bytes()).hexdigest()
    assert meta["signature"] == sign(signed_text(meta))
    assert (sealed.sha256, sealed.bytes_seen, sealed.truncated) == (meta["output_sha256"], 3, False)


@pytest.mark.skipif(shutil.which("scriptreplay") is None, reason="not installed: scriptreplay")
@settings(max_examples=25, deadline=None)
@given(pieces=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=20), max_size=8))
def test_the_real_scriptreplay_prints_what_was_recorded(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("recording") / SID

    async def record() -> None:
        recording = Recording(folder)
        await recording.recorder.start()
        for piece in pieces:
            recording.print(piece, after=0.001)
            recording.recorder.resize(30, 90)
        await recording.recorder.seal(sign)

    asyncio.run(record())

    replayed = subprocess.run(
        ["scriptreplay", "--timing", TIMING, OUTPUT], cwd=folder, capture_output=True, check=False
    )
    assert replayed.returncode == 0, replayed.stderr
    assert replayed.stdout.rstrip(b"\n") == "".join(pieces).encode().rstrip(b"\n")


async def test_bytes_are_on_disk_soon_without_anybody_waiting(recording: Recording) -> None:
    recording.print("abc")

    async with asyncio.timeout(5):
        while b"abc" not in (recording.folder / OUTPUT).read_bytes():
            await asyncio.sleep(0.05)
    await recording.recorder.seal(sign)


async def test_sealing_loses_nothing_that_was_being_written(recording: Recording) -> None:
    """However often the writing is interrupted: by callers that give up, by the seal itself."""
    for number in range(200):
        recording.print(f"{number:04}" * 20_000)
        if number % 10 == 0:
            giving_up = asyncio.create_task(recording.recorder.flush())
            await asyncio.sleep(0)
            giving_up.cancel()

    await recording.recorder.seal(sign)

    expected = b"".join(b"%04d" % number * 20_000 for number in range(200))
    assert (recording.folder / OUTPUT).read_bytes().split(b"\n", 1)[1] == expected
    assert recording.meta()["stream_blake3"] == blake3(expected).hexdigest()


async def test_of_a_long_command_the_head_the_count_and_a_digest_of_all_are_kept(tmp_path: Path) -> None:
    recording = Recording(tmp_path / SID, interactive=False, limit=10)
    await recording.recorder.start()
    for _ in range(5):
        recording.print("0123456")

    sealed = await recording.recorder.seal(sign)

    meta = recording.meta()
    assert (recording.folder / OUTPUT).read_bytes().split(b"\n", 1)[1] == b"0123456012"
    assert (sealed.truncated, meta["truncated"], meta["bytes_seen"]) == (True, True, 35)
    assert meta["stream_blake3"] == blake3(b"0123456" * 5).hexdigest()


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 4000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_is_told_once_and_what_was_kept_can_be_sealed(recording: Recording, full_disk: None) -> None:
    recording.print("kept")
    await recording.recorder.flush()
    recording.print("x" * 10_000)
    await recording.recorder.flush()
    recording.print("y" * 10_000)
    await recording.recorder.flush()

    await recording.recorder.seal(sign)

    assert len(recording.failures) == 1
    assert recording.failures[0].startswith("the recording cannot be written")
    assert (recording.folder / OUTPUT).read_bytes().split(b"\n", 1)[1].startswith(b"kept")
    assert recording.meta()["truncated"]


async def test_a_recording_that_cannot_be_started_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recording = Recording(tmp_path / "file" / SID)

    with pytest.raises(Unavailable, match="the session cannot be recorded"):
        await recording.recorder.start()


# -- after a crash


def left_by_a_crash(folder: Path, output: bytes, timing: str) -> None:
    folder.mkdir()
    (folder / START).write_text(json.dumps({"sid": SID, "user": "ann"}))
    (folder / OUTPUT).write_bytes(b"header\n" + output)
    (folder / TIMING).write_text(timing)


def replayed(folder: Path) -> bytes:
    """The bytes that the timing accounts for."""
    data, position = (folder / OUTPUT).read_bytes().split(b"\n", 1)[1], 0
    for line in (folder / TIMING).read_text().splitlines():
        if line.startswith("O "):
            position += int(line.split()[2])
    assert position <= len(data)
    return data[:position]


@pytest.mark.parametrize(
    ("output", "timing"),
    [
        pytest.param(b"abcdef", "O 0.1 3\n", id="output is ahead"),
        pytest.param(b"abc", "O 0.1 3\nO 0.1 3\n", id="timing is ahead"),
        pytest.param(b"abcdef", "O 0.1 3\nO 0.1 ", id="a line of timing is cut"),
        pytest.param(b"abcdef", "", id="no timing at all"),
        pytest.param(b"", "O 0.1 3\n", id="no output at all"),
    ],
)
async def test_what_a_crash_left_is_made_consistent_and_loses_no_output(
    tmp_path: Path, output: bytes, timing: str
) -> None:
    folder = tmp_path / SID
    left_by_a_crash(folder, output, timing)

    meta = seal_folder(folder, sign, 1_700_000_100.0, {"interrupted": True})

    assert replayed(folder) == output
    assert meta["interrupted"]
    assert meta["timing_sha256"] == hashlib.sha256((folder / TIMING).read_bytes()).hexdigest()


@given(st.lists(st.integers(1, 9), max_size=6), st.integers(0, 60), st.integers(0, 80))
def test_wherever_a_crash_cuts_both_files_all_output_stays_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], output_cut: int, timing_cut: int
) -> None:
    folder = tmp_path_factory.mktemp("crash") / SID
    output = bytes(range(65, 65 + sum(sizes)))[:output_cut]
    timing = "".join(f"O 0.100000 {size}\n" for size in sizes)[:timing_cut]
    left_by_a_crash(folder, output, timing)

    seal_folder(folder, sign, 1_700_000_100.0, {})

    assert replayed(folder) == output


# -- a disk that does not keep up


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is written before it is set."""
    spins, write = threading.Event(), recording_module._write

    def slowly(*arguments: Any) -> None:
        assert spins.wait(10)
        write(*arguments)

    monkeypatch.setattr(recording_module, "_write", slowly)
    return spins


async def test_a_source_that_is_faster_than_the_disk_is_asked_to_wait_and_nothing_is_lost(
    recording: Recording, slow_disk: threading.Event
) -> None:
    sent = 0
    async with asyncio.timeout(10):
        while recording.full != [True]:
            recording.print("x" * 65536)
            sent += 65536
            await asyncio.sleep(0)

    slow_disk.set()
    async with asyncio.timeout(10):
        while recording.full != [True, False]:
            await asyncio.sleep(0.01)
    await recording.recorder.seal(sign)

    assert sent < 8 << 20
    assert (recording.folder / OUTPUT).read_bytes().count(b"x") == sent
    assert recording.full == [True, False]


async def test_what_comes_during_a_write_is_written_though_nothing_comes_after_it(
    recording: Recording, slow_disk: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_module, "_FLUSH_SECONDS", 0.01)
    recording.print("first")
    await asyncio.sleep(0.05)

    recording.print(", last")
    slow_disk.set()

    async with asyncio.timeout(5):
        while not (recording.folder / OUTPUT).read_bytes().endswith(b"first, last"):
            await asyncio.sleep(0.01)
    await recording.recorder.seal(sign)
