"""From a backup to a working cluster again: with the sealing key, and without it."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from teleport.api import models as m
from teleport.api import routes as r
from tests.e2e.services import administer
from tests.e2e.world import BIN, DEADLINE, LOGIN, Finished, World, wait_until

NewWorld = Callable[..., World]


def back_up(world: World, file: Path) -> Path:
    administer(world.data, r.BACKUP, m.BackupRequest(path=str(file)))
    return file


def teleport(*arguments: str | Path) -> Finished:
    command = [str(BIN / "teleport"), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    return Finished(result.returncode, result.stdout, result.stderr)


def verified(world: World) -> m.AuditVerdict:
    verdict: m.AuditVerdict = administer(world.data, r.VERIFY, m.AuditCheck())
    return verdict


def test_after_losing_the_disk_people_log_in_again_with_what_they_had(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world("--demo")
    ann = world.person("ann").enrol().login()
    backup, key, pin = back_up(world, tmp_path / "backup"), tmp_path / "sealing.key", world.pin
    shutil.copy(world.data / "sealing.key", key)
    world.stop()
    shutil.rmtree(world.data)

    result = teleport("restore", backup, "--data-dir", world.data)

    assert (result.status, result.output.split(" at ")[0]) == (0, "restored: cluster acme")
    assert f"hint: put the sealing key at {world.data}/sealing.key before the start" in result.errors
    assert (world.data / "store.sqlite").stat().st_mode & 0o777 == 0o600
    shutil.copy(key, world.data / "sealing.key")
    world.start()
    assert world.pin == pin
    ann.login()
    wait_until(lambda: ann.ssh(f"{LOGIN}@db-1", "true").status == 0)
    assert world.wait_event("backup.restore")["name"] == str(backup)


def test_with_the_sealing_key_lost_everybody_enrols_again_and_the_rest_is_as_it_was(new_world: NewWorld) -> None:
    world = new_world("--demo")
    ann = world.person("ann").enrol().login()
    events, pin, store = verified(world).events, world.pin, world.data / "store.sqlite"
    world.stop()
    (world.data / "sealing.key").unlink()

    refused = teleport("start", "--data-dir", world.data, "--policies", world.policies, "--listen", "127.0.0.1:0")

    assert refused.status == 1
    assert f"the sealing key {world.data}/sealing.key is missing" in refused.errors
    command = f"teleport restore {store} --data-dir {world.data} --discard-secrets --force"
    assert command in refused.errors
    assert not (world.data / "sealing.key").exists()
    assert teleport(*command.split()[1:]).status == 0
    world.start()
    assert world.pin != pin
    assert ann.tsh("login", "--proxy", world.proxy, "--user", "ann", "--password-stdin", "--mfa-code", "0").status != 0
    ann.enrol().login()
    wait_until(lambda: ann.ssh(f"{LOGIN}@db-1", "true").status == 0)
    verdict = verified(world)
    assert verdict.faults == ()
    assert (verdict.first, verdict.events > events) == (1, True)
    assert world.events("backup.restore")[0]["secrets_discarded"] is True
    assert [one["name"] for one in world.events("user.create")] == ["ann", "bob"]


def test_nothing_is_restored_into_a_directory_that_a_process_has_or_over_a_store(
    new_world: NewWorld, tmp_path: Path
) -> None:
    world = new_world("--demo")
    backup = back_up(world, tmp_path / "backup")

    running = teleport("restore", backup, "--data-dir", world.data, "--force")
    world.stop()
    occupied = teleport("restore", backup, "--data-dir", world.data)

    assert running.status == 1
    assert "is in use by process" in running.errors
    assert occupied.status == 1
    assert "store.sqlite exists already" in occupied.errors
    assert "--force moves it aside" in occupied.errors
