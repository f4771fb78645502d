"""The records of one session: what is written before anything runs, what follows, and what failure means."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from teleport.access.decide import AccessRequest, Decision, Target
from teleport.access.options import Conditions
from teleport.agents.ssh.copies import Copy
from teleport.agents.ssh.recorded import Recording, RecordingHost, Request
from teleport.audit.events import FileTransferred
from teleport.audit.recording import META, OUTPUT
from teleport.audit.spool import Spool
from teleport.core.errors import Unavailable
from teleport.core.identity import Identity
from teleport.sessions.gate import Session
from tests.builders import FakeClock


class Auth:
    """The auth service as a destination; `away` makes it unreachable."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.parts: dict[str, bytearray] = {}
        self.away = False

    async def send_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        self._answer()
        self.events += events

    async def send_part(self, sid: str, name: str, offset: int, data: bytes) -> None:
        self._answer()
        part = self.parts.setdefault(name, bytearray())
        part[offset : offset + len(data)] = data

    async def seal(self, sid: str, meta: Mapping[str, Any]) -> None:
        self._answer()

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("the auth service cannot be reached")


@pytest.fixture
def auth() -> Auth:
    return Auth()


@pytest.fixture
def host(tmp_path: Path, auth: Auth) -> RecordingHost:
    clock = FakeClock()
    spool = Spool(tmp_path / "spool", clock=clock)
    return RecordingHost("u-1", "db-1", spool, auth, lambda _: "signed", clock, lambda: 10)


def session(*, mode: str = "node", recording: str = "best_effort") -> Session:
    identity = Identity("user", "ann", "a-1", "acme")
    conditions = Conditions(recording=recording, recording_mode=mode)
    decision = Decision(
        True, ("role/dev allows",), role="dev", file="dev.yaml", line=7, conditions=conditions, revision=4
    )
    return Session(AccessRequest(identity, Target("node", "db-1", "u-1"), "root"), decision, "192.0.2.1", 0.0)


def spooled(host: RecordingHost) -> list[dict[str, Any]]:
    return host.spool.unsent()[0]


SHELL = Request(interactive=True, rows=24, columns=80, term="xterm")
COMMAND = Request(interactive=False, command="ls -l")


async def test_the_start_is_on_disk_before_begin_returns_and_names_the_rule(host: RecordingHost) -> None:
    recording = await Recording.begin(host, session(), SHELL, on_failure=lambda _: None)

    start = spooled(host)[0]
    await recording.end()

    assert (start["event"], start["role"], start["file"], start["line"]) == ("session.start", "dev", "dev.yaml", 7)
    assert (start["size"], start["policy_revision"], start["session_recording"]) == ("80:24", 4, "node")


async def test_a_session_is_recorded_sealed_and_ended(host: RecordingHost) -> None:
    recording = await Recording.begin(host, session(), SHELL, on_failure=lambda _: None)
    recording.output(b"hello\r\n")

    await recording.end(reason="done")

    folder = host.spool.recordings / recording.sid
    assert (folder / OUTPUT).read_bytes().endswith(b"hello\r\n")
    meta = json.loads((folder / META).read_bytes())
    end = spooled(host)[-1]
    assert (end["event"], end["reason"], end["recording_sha256"]) == ("session.end", "done", meta["output_sha256"])
    assert list(host.spool.live.iterdir()) == []


async def test_an_end_that_a_restart_writes_again_is_the_same_event_to_auth(host: RecordingHost) -> None:
    recording = await Recording.begin(host, session(), SHELL, on_failure=lambda _: None)
    marker = host.spool.live / f"{recording.sid}.json"
    before = marker.read_bytes()

    await recording.end(reason="done")
    marker.write_bytes(before)
    await host.spool.recover(lambda _: "signed")

    ends = [event for event in spooled(host) if event["event"] == "session.end"]
    assert [one["reason"] for one in ends] == ["done", "the agent stopped"]
    assert ends[0]["uid"] == ends[1]["uid"]


async def test_a_command_leaves_its_status_and_only_the_head_of_its_output(host: RecordingHost) -> None:
    recording = await Recording.begin(host, session(), COMMAND, on_failure=lambda _: None)
    recording.output(b"0123456789 and much more")

    await recording.end(status=3)

    events = {event["event"]: event for event in spooled(host)}
    assert (events["exec"]["command"], events["exec"]["exitCode"], events["exec"]["code"]) == ("ls -l", 3, "T3002E")
    assert events["session.end"]["recording_bytes"] == 24
    output = (host.spool.recordings / recording.sid / OUTPUT).read_bytes()
    assert output.split(b"\n", 1)[1] == b"0123456789"
    meta = json.loads((host.spool.recordings / recording.sid / META).read_bytes())
    assert meta["truncated"] is True


async def test_recording_switched_off_still_leaves_start_and_end(host: RecordingHost) -> None:
    recording = await Recording.begin(host, session(mode="off"), SHELL, on_failure=lambda _: None)
    recording.output(b"unseen")

    await recording.end()

    assert [event["event"] for event in spooled(host)] == ["session.start", "session.end"]
    assert list(host.spool.recordings.iterdir()) == []


async def test_in_a_sync_mode_the_start_is_at_auth_or_there_is_no_session(host: RecordingHost, auth: Auth) -> None:
    auth.away = True

    with pytest.raises(Unavailable, match="audit log cannot be reached"):
        await Recording.begin(host, session(mode="node-sync"), SHELL, on_failure=lambda _: None)

    assert list(host.spool.recordings.iterdir()) == []
    auth.away = False
    recording = await Recording.begin(host, session(mode="node-sync"), SHELL, on_failure=lambda _: None)
    assert [event["event"] for event in auth.events] == ["session.start"]
    await recording.end()


async def test_in_a_sync_mode_output_follows_to_auth_and_failing_to_ends_the_session(
    host: RecordingHost, auth: Auth
) -> None:
    failures: list[str] = []
    recording = await Recording.begin(host, session(mode="node-sync"), SHELL, on_failure=failures.append)
    recording.output(b"first")
    async with asyncio.timeout(5):
        while b"first" not in auth.parts.get(OUTPUT, b""):
            await asyncio.sleep(0.05)

        auth.away = True
        recording.output(b"second")
        while not failures:
            await asyncio.sleep(0.05)

    assert "cannot be brought to the auth service" in failures[0]
    await recording.end(reason=failures[0])
    assert spooled(host)[-1]["event"] == "session.end"


async def test_where_the_role_demands_a_recording_none_means_no_session(
    host: RecordingHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host.spool.recordings).rmdir()
    host.spool.recordings.write_text("a file where the folder should be")

    with pytest.raises(Unavailable, match="cannot be recorded"):
        await Recording.begin(host, session(recording="strict"), SHELL, on_failure=lambda _: None)

    assert list(host.spool.live.iterdir()) == []


async def test_where_the_role_does_not_the_session_goes_on_and_the_loss_is_told(host: RecordingHost) -> None:
    (host.spool.recordings).rmdir()
    host.spool.recordings.write_text("a file where the folder should be")

    recording = await Recording.begin(host, session(), SHELL, on_failure=lambda _: None)
    await recording.end()

    assert [event["event"] for event in spooled(host)] == ["session.start", "session.recording.lost", "session.end"]


async def test_an_end_that_the_disk_does_not_take_is_written_once_there_is_room(host: RecordingHost) -> None:
    failures: list[str] = []
    recording = await Recording.begin(host, session(), COMMAND, on_failure=failures.append)
    events, kept = host.spool.directory / "events.jsonl", host.spool.directory / "kept"
    events.rename(kept)
    events.mkdir()

    await recording.end(reason="done", status=0)
    await host.settle()
    owed = len(host.owed)
    events.rmdir()
    kept.rename(events)
    await host.settle()

    assert (owed, host.owed, failures) == (1, [], [])
    assert [event["event"] for event in spooled(host)] == ["session.start", "exec", "session.end"]
    assert spooled(host)[-1]["recording_sha256"]
    assert host.spool.unfinished == 0


async def test_where_a_recording_is_demanded_an_end_that_is_not_written_ends_the_connection(
    host: RecordingHost,
) -> None:
    failures: list[str] = []
    recording = await Recording.begin(host, session(recording="strict"), SHELL, on_failure=failures.append)
    (host.spool.directory / "events.jsonl").unlink()
    (host.spool.directory / "events.jsonl").mkdir()

    await recording.end()

    assert failures == ["the end of the session cannot be recorded"]


async def test_without_a_disk_to_note_the_start_there_is_no_session(host: RecordingHost) -> None:
    host.spool.live.rmdir()
    host.spool.live.write_text("a file where the folder should be")

    with pytest.raises(Unavailable, match="cannot be recorded"):
        await Recording.begin(host, session(), SHELL, on_failure=lambda _: None)


UPLOAD = Request(interactive=False, command="scp -t x", copy=Copy("scp", "upload", "x"))


@pytest.mark.parametrize(
    ("how", "code", "error"),
    [
        ({"status": 0}, "T3005I", None),
        ({"status": 1}, "T3005E", None),
        ({"reason": "access withdrawn: so"}, "T3005E", "access withdrawn: so"),
    ],
    ids=["done", "failed", "ended"],
)
async def test_a_copy_by_scp_leaves_an_event_however_it_ended(
    host: RecordingHost, how: dict[str, Any], code: str, error: str | None
) -> None:
    recording = await Recording.begin(host, session(), UPLOAD, on_failure=lambda _: None)

    await recording.end(**how)

    (event,) = [event for event in spooled(host) if event["event"] == "scp"]
    assert (event["code"], event["action"], event["path"]) == (code, "upload", "x")
    assert event.get("exitError") == error


async def test_what_happens_meanwhile_is_written_in_order_to_where_the_mode_says(
    host: RecordingHost, auth: Auth
) -> None:
    recording = await Recording.begin(host, session(mode="node-sync"), COMMAND, on_failure=lambda _: None)

    await recording.note(FileTransferred(**recording.about(), action="open", path=str(n)) for n in range(5))

    assert [event["path"] for event in auth.events if event["event"] == "sftp"] == ["0", "1", "2", "3", "4"]
    await recording.end()


async def test_what_auth_does_not_take_ends_the_session_in_a_sync_mode_and_is_kept_here(
    host: RecordingHost, auth: Auth
) -> None:
    failures: list[str] = []
    recording = await Recording.begin(host, session(mode="node-sync"), COMMAND, on_failure=failures.append)
    auth.away = True

    await recording.note([FileTransferred(**recording.about(), action="remove", path="x")])

    assert len(failures) == 1
    assert [event["path"] for event in spooled(host) if event["event"] == "sftp"] == ["x"]
    await recording.end()
