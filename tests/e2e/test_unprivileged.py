"""The whole program run by an ordinary user: it serves that user alone, in demo mode, and says so otherwise."""

import getpass
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import LOGIN, ROLE, Person, World, missing, user

ROOT = Path(__file__).resolve().parents[2]


def as_user() -> tuple[str, ...]:
    """The program run as LOGIN, by an interpreter which that user may execute."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    version = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]!r})"
    if python is None or subprocess.run([python, "-c", version], check=False).returncode:
        pytest.skip("the system has no interpreter of this version that an ordinary user may run")
    if reason := missing("setpriv"):
        pytest.skip(reason)
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    return (
        "setpriv", f"--reuid={LOGIN}", f"--regid={LOGIN}", "--init-groups", "env", f"HOME=/home/{LOGIN}",
        f"PYTHONPATH={ROOT}:{packages}", python, "-m", "teleport.service",
    )  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if reason := missing("ssh"):
        pytest.skip(reason)
    if os.geteuid() == 0:
        folder = Path(f"/home/{LOGIN}/world")
        world = World(folder, program=as_user())
        own = LOGIN
    else:
        world = World(tmp_path_factory.mktemp("world"))
        own = getpass.getuser()
    world.write("dev.yaml", ROLE)
    world.write("ann.yaml", user("ann", logins=f"{own}, daemon"))
    if os.geteuid() == 0:
        shutil.chown(folder, LOGIN, LOGIN)
    yield world.start()
    world.stop()


@pytest.fixture(scope="module")
def ann(world: World) -> Person:
    return world.person("ann").enrol().login()


def test_its_own_user_is_served_in_demo_mode_and_every_status_says_so(world: World, ann: Person) -> None:
    result = ann.ssh(f"{LOGIN}@db-1", "id -un; cat /proc/self/status | grep ^Groups")

    assert (result.status, result.output.splitlines()[0]) == (0, LOGIN)
    assert world.tctl_json("status", "-o", "json")["demo"] is True


def test_another_login_is_refused_with_the_reason(ann: Person) -> None:
    result = ann.ssh("daemon@db-1", "true")

    assert result.status == 255
    assert f"this agent does not run as root, so it serves only its own user {LOGIN}, not daemon" in result.errors


def test_a_terminal_works(ann: Person) -> None:
    with ann.terminal("tsh", "ssh", f"{LOGIN}@db-1", rows=30, columns=99) as terminal:
        terminal.expect(r"\$ ")
        terminal.type("stty size; exit 4\n")

        terminal.expect("30 99")
        assert terminal.wait() == 4


def test_the_socket_and_the_data_are_private(world: World) -> None:
    modes = {
        path.name: path.stat().st_mode & 0o777 for path in (world.data, world.data / "run", world.data / "sealing.key")
    }

    assert modes == {"data": 0o700, "run": 0o700, "sealing.key": 0o600}
    assert (world.data / "run" / "admin.sock").stat().st_mode & 0o777 == 0o600
    others = [path for path in world.data.rglob("*") if path.stat().st_mode & 0o077]
    assert others == []


def of_cluster(pid: int) -> list[int]:
    """The service's process and those below it: one of them starts people's programs."""
    below = [child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return [pid, *(one for child in below for one in of_cluster(int(child)))]


def limit_processes(pid: int, number: str) -> str:
    """How many its user may have, as the service's processes see it; what it was before."""
    if reason := missing("prlimit"):
        pytest.skip(reason)
    line = next(one for one in Path(f"/proc/{pid}/limits").read_text().splitlines() if one.startswith("Max processes"))
    own = ("setpriv", f"--reuid={LOGIN}", f"--regid={LOGIN}", "--clear-groups") if os.geteuid() == 0 else ()
    for one in of_cluster(pid):
        subprocess.run([*own, "prlimit", f"--pid={one}", f"--nproc={number}:"], check=True)
    return line.split()[2]


def test_without_processes_newcomers_are_told_those_who_work_go_on_and_all_is_well_again_later(
    world: World, ann: Person
) -> None:
    assert world.process is not None
    pid, at = world.process.pid, f"{LOGIN}@db-1"
    with ann.terminal("tsh", "ssh", at) as terminal:
        terminal.expect(r"\$ ")
        before = limit_processes(pid, "1")
        try:
            refused = ann.ssh(at, "echo never")

            terminal.type("echo still-$((1+1))\n")
            terminal.expect("still-2")
        finally:
            limit_processes(pid, before)
        assert (refused.status, refused.output) == (255, "")
        assert "cannot be started" in refused.errors or "an internal error ended this session" in refused.errors
        assert ann.ssh(at, "echo works").output == "works\n"
