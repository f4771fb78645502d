"""A disk that fills up under a running cluster, and is emptied again: who gets in, who stays, and what recovers."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.scarce import lenient_and_strict, limited
from tests.e2e.services import asked, free_port
from tests.e2e.world import LOGIN, ROLE, World, wait_until


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def world(tmp_path: Path, port: int) -> Iterator[World]:
    with lenient_and_strict(tmp_path, port) as world:
        yield world


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
        with limited(world, resource.RLIMIT_FSIZE, 0):  # not a byte more fits into any file
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
