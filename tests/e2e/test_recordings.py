"""Recordings as people see them: listed, replayed, exported, and read by the tools that everybody has."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import LOGIN, Person, World, missing, user, wait_until

MARK = "the\tneedle \N{SNOWMAN}"


@pytest.fixture(scope="module")
def ann(world: World) -> Person:
    return world.person("ann").enrol().login()


@pytest.fixture(scope="module")
def bob(world: World) -> Person:
    return world.person("bob").enrol().login()


@pytest.fixture(scope="module")
def shell(world: World, ann: Person) -> str:
    """The id of a recorded shell in which something was printed in colour, with a pause and a new size."""
    with ann.terminal("tsh", "ssh", f"{LOGIN}@db-1", rows=30, columns=100) as terminal:
        terminal.expect(r"[#$] ")
        terminal.type(
            "PS1='> '; printf '\\033[31mthe\\tneedle \\342\\230\\203\\033[0m\\n'; sleep 1; echo after-the-pause\n"
        )
        terminal.expect(r"\nafter-the-pause")
        terminal.resize(40, 120)
        terminal.type("stty size\n")
        terminal.expect("40 120")
        terminal.type("exit\n")
        terminal.wait()
    return str(world.wait_event("session.upload", user="ann")["sid"])


@pytest.fixture(scope="module")
def exported(ann: Person, shell: str) -> Path:
    folder = ann.home / "evidence"
    result = ann.tsh("recordings", "export", shell, str(folder))
    assert result.status == 0, result.errors
    return folder


def accesses(world: World, sid: str) -> list[dict[str, Any]]:
    return [one for one in world.events("session.recording.access") if one["sid"] == sid]


def test_a_recording_is_listed_with_who_where_and_when(ann: Person, shell: str) -> None:
    rows = json.loads(ann.tsh("recordings", "ls", "-o", "json").output)

    (row,) = [one for one in rows if one["sid"] == shell]
    assert (row["user"], row["login"], row["server_hostname"], row["interactive"]) == ("ann", LOGIN, "db-1", True)


def test_play_prints_what_the_terminal_was_sent(ann: Person, shell: str) -> None:
    result = ann.tsh("play", shell, "-o", "text")

    assert result.status == 0, result.errors
    assert f"\x1b[31m{MARK}\x1b[0m" in result.output


def test_the_beginning_of_an_id_is_enough(ann: Person, shell: str) -> None:
    assert MARK in ann.tsh("play", shell[:13], "-o", "text").output

    unknown = ann.tsh("play", "ffffffff-0000", "-o", "text")
    assert unknown.status == 1
    assert "no recording begins with ffffffff-0000" in unknown.errors


def test_reading_a_recording_is_audited_once_a_play(world: World, ann: Person, shell: str) -> None:
    before = len(accesses(world, shell))

    ann.tsh("play", shell, "-o", "text")

    found = accesses(world, shell)[before:]
    assert [(one["user"], one["user_roles"], one["format"]) for one in found] == [("ann", ["dev"], "text")]


def test_replaying_on_a_terminal_keeps_the_pauses_and_leaves_the_terminal_in_order(ann: Person, shell: str) -> None:
    with ann.terminal("tsh", "play", shell, "--speed", "2") as terminal:
        terminal.expect("\x1b\\[31mthe\tneedle")
        before = time.monotonic()
        terminal.expect("\nafter-the-pause")
        paused = time.monotonic() - before
        status = terminal.wait()

    assert status == 0
    assert paused > 0.3
    assert "\x1b[0m\x1b[?25h" in terminal.text


def test_controls_in_a_recording_are_shown_instead_of_obeyed_on_request(ann: Person, shell: str) -> None:
    shown = ann.tsh("play", shell, "-o", "text", "--neutralise").output

    assert f"\\x1b[31m{MARK}\\x1b[0m" in shown
    assert "\x1b" not in shown
    assert "\r" not in shown


def test_json_lists_what_came_when_and_each_new_size(ann: Person, shell: str) -> None:
    found = json.loads(ann.tsh("play", shell, "-o", "json").output)

    assert found["sid"] == shell
    text = "".join(one.get("output", "") for one in found["events"])
    assert MARK in text
    assert (40, 120) in [(one.get("rows"), one.get("columns")) for one in found["events"]]
    moments = [one["at"] for one in found["events"]]
    assert moments == sorted(moments)
    assert moments[-1] > 1.0


def test_the_real_scriptreplay_replays_an_exported_recording(exported: Path) -> None:
    if reason := missing("scriptreplay"):
        pytest.skip(reason)

    result = subprocess.run(
        ["scriptreplay", "--timing", "timing", "output"], cwd=exported, capture_output=True, text=True, check=False,
        timeout=30,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    assert f"\x1b[31m{MARK}\x1b[0m" in result.stdout
    assert "after-the-pause" in result.stdout


def test_the_real_scriptreplay_replays_what_lies_on_the_auth_host(world: World, shell: str) -> None:
    if reason := missing("scriptreplay"):
        pytest.skip(reason)
    folder = world.data / "recordings" / shell

    result = subprocess.run(
        ["scriptreplay", "--timing", "timing", "--maxdelay", "0.1", "output"], cwd=folder, capture_output=True,
        text=True, check=False, timeout=30,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    assert MARK in result.stdout


def test_cat_shows_an_exported_recording(exported: Path) -> None:
    result = subprocess.run(["cat", "output"], cwd=exported, capture_output=True, text=True, check=True)

    assert MARK in result.stdout


def test_an_exported_folder_is_replayed_without_the_cluster(world: World, exported: Path) -> None:
    nobody = world.person("nobody")

    result = nobody.tsh("play", str(exported), "-o", "text")

    assert result.status == 0, result.errors
    assert MARK in result.output


def test_a_recording_that_was_changed_is_not_replayed(ann: Person, exported: Path) -> None:
    copy = ann.home / "forged"
    shutil.copytree(exported, copy)
    output = copy / "output"
    output.write_bytes(output.read_bytes().replace(b"needle", b"noodle"))

    result = ann.tsh("play", str(copy), "-o", "text")

    assert result.status == 1
    assert "is not what the host sealed" in result.errors
    assert "noodle" not in result.output


def test_an_export_never_overwrites(ann: Person, exported: Path, shell: str) -> None:
    result = ann.tsh("recordings", "export", shell, str(exported))

    assert result.status == 1
    assert "exists already" in result.errors


def test_somebody_else_neither_sees_nor_reads_it(bob: Person, shell: str, world: World) -> None:
    before = len(accesses(world, shell))

    listed = bob.tsh("recordings", "ls", "-o", "json").output
    played = bob.tsh("play", shell, "-o", "text")

    assert shell not in listed
    assert played.status == 1
    assert f"recording {shell} does not exist" in played.errors
    assert len(accesses(world, shell)) == before


def test_an_auditor_reads_everybodys(world: World, shell: str) -> None:
    world.write("users/aud.yaml", user("aud", roles="auditor"))
    wait_until(lambda: "aud" in world.tctl("users", "ls").output)
    aud = world.person("aud").enrol().login()

    result = aud.tsh("play", shell, "-o", "text")

    assert result.status == 0, result.errors
    assert MARK in result.output


def test_tctl_lists_recordings_on_the_auth_host(world: World, shell: str) -> None:
    assert re.search(rf"^{shell} +ann +{LOGIN} +db-1 ", world.tctl("recordings", "ls").output, re.MULTILINE)


def test_a_command_is_recorded_with_its_output(world: World, ann: Person) -> None:
    assert ann.ssh(f"{LOGIN}@db-1", "echo from-a-command").status == 0

    def recorded() -> Any:
        rows = json.loads(ann.tsh("recordings", "ls", "-o", "json").output)
        return next((one for one in rows if one["command"] == "echo from-a-command"), None)

    row = wait_until(recorded)
    assert not row["interactive"]
    assert ann.tsh("play", row["sid"], "-o", "text").output == "from-a-command\n"


def test_session_events_name_the_roles_their_user_had(world: World, shell: str) -> None:
    found = [one for one in world.events() if one.get("sid") == shell and one["event"].startswith("session.")]

    with_roles = {one["event"] for one in found if one.get("user_roles") == ["dev"]}
    assert {"session.start", "session.end", "session.resize"} <= with_roles
