"""A disk that fills up under a running cluster, and is emptied again: who gets in, who stays, and what recovers."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.services import asked, free_port
from tests.e2e.world import LOGIN, ROLE, World, missing, user, wait_until

STRICT = ROLE.replace("name: dev", "name: strict").replace(
    "spec:\n", "spec:\n  options: {record_session: {default: strict}}\n"
)


@contextmanager
def full_disk(world: World) -> Iterator[None]:
    """Not a byte more fits into any file, as far as the cluster's process is concerned."""
    assert world.process is not None
    pid, before = world.process.pid, resource.prlimit(world.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def world(tmp_path: Path, port: int) -> Iterator[World]:
    if reason := missing("ssh"):
        pytest.skip(reason)
    world = World(tmp_path, arguments=("--demo", "--diag-addr", f"127.0.0.1:{port}"))
    world.write("roles/dev.yaml", ROLE)
    world.write("roles/strict.yaml", STRICT)
    world.write("users/ann.yaml", user("ann"))
    world.write("users/bob.yaml", user("bob", roles="strict"))
    yield world.start()
    world.stop()


def test_nobody_gets_in_who_must_be_recorded_stops_the_others_stay_and_all_is_well_once_there_is_room(
    world: World, port: int
) -> None:
    ann, bob = world.person("ann").enrol().login(), world.person("bob").enrol().login()
    with (
        ann.terminal("tsh", "ssh", f"{LOGIN}@db-1") as lenient,
        bob.terminal("tsh", "ssh", f"{LOGIN}@db-1") as strict,
    ):
        lenient.expect(r"[#$] ")
        strict.expect(r"[#$] ")
        with full_disk(world):
            strict.type("echo some output\n")
            strict.expect("the recording cannot be written")
            assert strict.wait() == 255

            lenient.type("echo still-$((1+1))\n")
            lenient.expect("still-2")
            newcomer = ann.ssh(f"{LOGIN}@db-1", "echo in")
            assert (newcomer.status != 0, newcomer.output) == (True, "")
            assert "cannot be written" in newcomer.errors
            assert asked(port)[0] == 503
            refused = world.tctl("users", "invite", "ann")
            assert refused.status != 0
            assert "the store cannot be written" in refused.errors
            assert "hint: free disk space" in refused.errors
            world.write("roles/dev.yaml", ROLE.replace("name: dev", "name: dev, labels: {edited: 'yes'}"))

        wait_until(lambda: asked(port)[0] == 200)
        assert ann.ssh(f"{LOGIN}@db-1", "echo in").output == "in\n"
        lenient.type("exit\n")
        assert lenient.wait() == 0
    assert world.wait_event("session.end", user="bob", interactive=True)["recording_error"]
    assert world.wait_event("session.end", user="ann", interactive=True)["recording_error"]
    assert world.wait_event("role.updated", name="dev")
