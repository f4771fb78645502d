"""The line by which ssh has certificates refreshed: what a shell and every version of ssh make of it."""

import os
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from teleport.cli import freshness
from teleport.cli import profile as p
from teleport.cli.tsh_commands import config
from teleport.core.errors import BadInput
from tests.e2e.world import missing

PROFILE = p.Profile(proxy="proxy.example.com:3080", user="ann", cluster="acme", expires=2**33)
HOMES = ["plain", "with space", "100%d", "a'b", "$HOME;id", "*"]


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Whatever ssh runs as `tsh` writes its arguments here."""
    program, written = tmp_path / "tsh", tmp_path / "called"
    program.write_text(f'#!/bin/sh\necho "$TELEPORT_HOME" "$@" >> {written}\n')
    program.chmod(0o755)
    monkeypatch.setattr(freshness, "program", lambda: str(program))
    return written


def connect(tmp_path: Path, command: str) -> None:
    """What ssh does with its configuration before it connects."""
    path = tmp_path / "ssh_config"
    path.write_text(f'Match originalhost db-1.acme exec "{command}"\nHost *\n    User x\n')
    done = subprocess.run(
        ["ssh", "-T", "-G", "-F", str(path), "db-1.acme"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(bool(missing("ssh")), reason=missing("ssh"))
@pytest.mark.parametrize("name", [name for name in HOMES if "'" not in name])
def test_ssh_calls_tsh_where_nothing_was_refreshed_of_late_and_otherwise_does_not(
    tmp_path: Path, called: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    home = tmp_path / name
    monkeypatch.setenv("TELEPORT_HOME", str(home))
    PROFILE.folder.mkdir(parents=True)
    PROFILE.refreshed.touch()
    command = config._refresh_command(PROFILE)

    connect(tmp_path, command)
    fresh = called.exists()
    os.utime(PROFILE.refreshed, (0, time.time() - freshness.INTERVAL - 1))
    connect(tmp_path, command)

    assert not fresh
    assert called.read_text() == f"{home} refresh --if-due --proxy {PROFILE.proxy}\n"


def test_a_shell_calls_tsh_where_nobody_knows_when_it_was_last(
    tmp_path: Path, called: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEPORT_HOME", str(tmp_path))

    subprocess.run(["sh", "-c", config._refresh_command(PROFILE)], check=True, capture_output=True)

    assert called.read_text() == f"{tmp_path} refresh --if-due --proxy {PROFILE.proxy}\n"


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a'b"])
def test_what_sshs_configuration_cannot_hold_is_not_written(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("TELEPORT_HOME", f"/home/{name}")

    with pytest.raises(BadInput, match="cannot hold the path"):
        config._refresh_command(PROFILE)


@pytest.mark.parametrize("name", ["plain", "with space", "$HOME;id"])
def test_a_shell_sees_the_words_as_they_are(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("TELEPORT_HOME", f"/home/{name}")

    words = shlex.split(config._refresh_command(PROFILE))

    assert words[:2] == ["find", f"/home/{name}/keys/proxy.example.com-3080/.refreshed"]
    assert words[-4:] == ["refresh", "--if-due", "--proxy", PROFILE.proxy]
