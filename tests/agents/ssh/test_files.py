"""Which program serves SFTP, and how what it does becomes events."""

import asyncio
import pwd
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from teleport.agents.ssh.files import FileAudit, as_text, sftp_server
from teleport.agents.ssh.process import Account
from teleport.agents.ssh.pump import Brake
from teleport.agents.ssh.recorded import Recording, RecordingHost, Request
from teleport.audit.spool import Spool
from teleport.core.errors import AccessDenied, Unavailable
from tests.agents.ssh.test_recorded import Auth, session
from tests.builders import FakeClock
from tests.wire.test_sftp import closes, handle, opens, request, status, text, writes


def who(shell: str = "/bin/sh") -> Account:
    return Account(pwd.struct_passwd(("ann", "x", 1000, 1000, "", "/home/ann", shell)), (1000,))


def test_the_first_server_that_is_there_is_taken(tmp_path: Path) -> None:
    program = tmp_path / "sftp-server"
    program.touch(mode=0o755)
    (tmp_path / "not-executable").touch(mode=0o644)

    found = sftp_server(who(), [str(tmp_path / "none"), str(tmp_path / "not-executable"), str(tmp_path), str(program)])

    assert found == str(program)


def test_without_a_server_the_error_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="this host has no sftp-server program") as error:
        sftp_server(who(), [str(tmp_path / "none")])

    assert "openssh-sftp-server" in error.value.hint


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false"])
def test_a_login_that_the_host_closed_gets_no_files_either(shell: str) -> None:
    with pytest.raises(AccessDenied, match=f"its shell is {shell}"):
        sftp_server(who(shell))


@pytest.mark.parametrize(
    ("name", "shown"), [(b"caf\xc3\xa9", "café"), (b"caf\xe9", "caf\\xe9"), (b"x" * 5000, "x" * 4096 + "…")]
)
def test_a_name_is_text_in_an_event(name: bytes, shown: str) -> None:
    assert as_text(name) == shown


class Scene:
    """A recorded SFTP session and what was said about it."""

    def __init__(self, host: RecordingHost, recording: Recording) -> None:
        self.host, self.recording = host, recording
        self.braking: list[str] = []
        self.complaints: list[str] = []
        brake = Brake(stop=lambda: self.braking.append("stop"), go=lambda: self.braking.append("go"))
        self.files = FileAudit(recording, home="/home/ann", brake=brake, unfollowable=self.complaints.append)

    def events(self) -> list[Mapping[str, Any]]:
        return [event for event in self.host.spool.unsent()[0] if event["event"] == "sftp"]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    clock = FakeClock()
    host = RecordingHost("u-1", "db-1", Spool(tmp_path, clock=clock), Auth(), lambda _: "signed", clock, lambda: 10)
    recording = await Recording.begin(host, session(), Request(False, subsystem="sftp"), on_failure=lambda _: None)
    yield Scene(host, recording)
    await recording.end()


async def test_operations_become_events_of_the_session_in_their_order(scene: Scene) -> None:
    passed = [scene.files.client(opens(1, b"a", 26) + writes(2, b"12345") + closes(3))]
    passed.append(scene.files.server(handle(1) + status(2) + status(3)))
    await scene.files.finish()

    first, last = scene.events()
    assert passed == [True, True]
    assert (first["action"], first["path"], first["flags"], first["code"]) == ("open", "a", 26, "TS001I")
    assert (last["action"], last["bytes_written"], last["sid"]) == ("close", 5, scene.recording.sid)
    assert (last["user"], last["login"], last["working_directory"]) == ("ann", "root", "/home/ann")


async def test_what_was_never_answered_is_told_as_that(scene: Scene) -> None:
    scene.files.client(request(13, 1, text(b"gone")))

    await scene.files.finish()

    (event,) = scene.events()
    assert (event["code"], event["error"]) == ("TS011I", "the session ended before it was answered")


async def test_after_what_cannot_be_followed_nothing_passes_in_either_direction(scene: Scene) -> None:
    passed = [scene.files.client(bytes(5)), scene.files.client(opens(1, b"a")), scene.files.server(handle(1))]

    assert passed == [False, False, False]
    assert len(scene.complaints) == 1


async def test_a_client_waits_while_events_wait_to_be_written(scene: Scene) -> None:
    scene.files.client(b"".join(request(13, n, text(b"x")) for n in range(300)))
    scene.files.server(b"".join(status(n) for n in range(300)))
    braked = list(scene.braking)

    async with asyncio.timeout(5):
        await scene.files.finish()

    assert (braked, scene.braking) == (["stop"], ["stop", "go"])
    assert len(scene.events()) == 300
