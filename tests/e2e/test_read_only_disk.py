"""A disk that fails under a running cluster, so that the kernel lets nobody write to it: until it is mounted anew."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from teleport.api import models as m
from teleport.api import routes as r
from tests.e2e.scarce import lenient_and_strict
from tests.e2e.services import Service, administer, asked, free_port
from tests.e2e.world import LOGIN, World, missing, wait_until


class Disk:
    """A file system of its own in a file, which can be made to fail as a broken disk does."""

    def __init__(self, image: Path, place: Path) -> None:
        self._image, self.place = image, place

    def make(self) -> None:
        """Skips the test where the kernel lets nobody mount anything."""
        if os.geteuid() != 0:
            pytest.skip("only root can mount")
        if reason := missing("mkfs.ext4", "mount", "findmnt"):
            pytest.skip(reason)
        with self._image.open("wb") as file:
            file.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", str(self._image)], check=True)
        self.place.mkdir()
        mounted = self.mount()
        if mounted.returncode:
            pytest.skip(f"no file system in a file can be mounted here: {mounted.stderr.strip()}")
        if not self._trigger().exists():
            self.unmount()
            pytest.skip("this kernel lets no file system fail on demand")

    def mount(self) -> "subprocess.CompletedProcess[str]":
        command = ["mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.place)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.place)], check=True)

    def fail(self) -> None:
        """From now on it can only be read."""
        self._trigger().write_text("1")

    def _trigger(self) -> Path:
        found = subprocess.run(
            ["findmnt", "-no", "SOURCE", str(self.place)], capture_output=True, text=True, check=True
        )
        return Path("/sys/fs/ext4", Path(found.stdout.strip()).name, "trigger_fs_error")


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "image", tmp_path / "data")
    disk.make()
    yield disk
    disk.unmount()


@pytest.fixture
def world(tmp_path: Path, port: int, disk: Disk) -> Iterator[World]:
    with lenient_and_strict(tmp_path, port) as world:
        assert world.data == disk.place
        yield world


def test_nobody_gets_in_who_must_be_recorded_stops_the_others_stay_and_all_is_well_on_a_disk_that_is_mounted_anew(
    world: World, disk: Disk, port: int
) -> None:
    ann, bob = world.person("ann").enrol().login(), world.person("bob").enrol().login()
    with (
        ann.terminal("tsh", "ssh", f"{LOGIN}@db-1") as lenient,
        bob.terminal("tsh", "ssh", f"{LOGIN}@db-1") as strict,
    ):
        lenient.expect(r"[#$] ")
        strict.expect(r"[#$] ")

        disk.fail()

        strict.type("echo some output\n")
        strict.expect("the recording cannot be written: Read-only file system")
        assert strict.wait() == 255
        lenient.type("echo still-$((1+1))\n")
        lenient.expect("still-2")
        newcomer = ann.ssh(f"{LOGIN}@db-1", "echo in")
        assert (newcomer.status != 0, newcomer.output) == (True, "")
        assert "Read-only file system" in newcomer.errors
        _, health = wait_until(lambda: asked(port) if asked(port)[0] == 503 else None)
        assert "cannot be written: Read-only file system" in str(health)
        refused = world.tctl("users", "invite", "ann")
        assert "the store cannot be written" in refused.errors
        assert "hint: free disk space, or mount it writable" in refused.errors
        lenient.type("exit\n")
        assert lenient.wait() == 0
    assert world.process is not None
    world.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "the process is stopping" in str(asked(port)[1]))
    assert world.stop() == 0  # told a second time, it waits for nothing that cannot be written
    again = Service(world.root, ("--listen", "127.0.0.1:0", "--policies", str(world.policies))).fail()
    assert again.status == 1
    assert "Read-only file system" in again.errors
    disk.unmount()
    assert disk.mount().returncode == 0
    world.start()
    wait_until(lambda: ann.ssh(f"{LOGIN}@db-1", "echo in").output == "in\n")
    assert [world.wait_event("session.end", user=name, interactive=True)["reason"] for name in ("ann", "bob")]
    assert administer(world.data, r.VERIFY, m.AuditCheck()).faults == ()
