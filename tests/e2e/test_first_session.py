"""The main job: enrol, log in, open a session, be recorded; an edit ends it and says why."""

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.e2e.world import LOGIN, PASSWORD, ROLE, Person, World, user, wait_until


@pytest.fixture(scope="module")
def ann(world: World) -> Person:
    return world.person("ann").enrol().login()


def test_the_enrolments_code_also_logs_in_once(world: World) -> None:
    bob = world.person("bob").enrol()
    code = bob.code()
    arguments = ("login", "--proxy", world.proxy, "--user", "bob", "--password-stdin", "--mfa-code", code)

    first = bob.tsh(*arguments, stdin=PASSWORD + "\n")
    again = bob.tsh(*arguments, stdin=PASSWORD + "\n")

    assert first.status == 0, first.errors
    assert again.status == 1
    assert "user name, password or code is wrong" in again.errors


def test_a_command_runs_as_the_login_and_its_status_comes_back(ann: Person) -> None:
    result = ann.ssh(f"{LOGIN}@db-1", "echo out; echo err >&2; id -un; exit 7")

    assert result.status == 7
    assert result.output == f"out\n{LOGIN}\n"
    assert "err" in result.errors


def test_standard_input_reaches_the_command(ann: Person) -> None:
    result = ann.ssh(f"{LOGIN}@db-1", "cat", stdin="line\n" * 50_000)

    assert result.status == 0
    assert result.output == "line\n" * 50_000


def test_a_shell_has_a_terminal_of_the_right_size_that_can_change(ann: Person) -> None:
    with ann.terminal("tsh", "ssh", f"{LOGIN}@db-1", rows=33, columns=101) as terminal:
        terminal.expect(r"[#$] ")
        terminal.type("stty size; tty\n")
        terminal.expect(r"33 101\r\n/dev/pts/\d+")
        terminal.resize(40, 90)
        terminal.type("stty size\n")
        terminal.expect(r"40 90")
        terminal.type("exit 3\n")

        assert terminal.wait() == 3


def test_a_signal_is_reported(ann: Person) -> None:
    result = ann.ssh(f"{LOGIN}@db-1", "kill -TERM $$")

    assert result.status != 0


def test_a_login_that_no_role_allows_is_refused_and_told_why(ann: Person, world: World) -> None:
    result = ann.ssh("nobody@db-1", "true")

    assert result.status == 255
    assert f"ann may not log in as nobody on db-1 (role/dev allows {LOGIN}, not nobody)" in result.errors
    event = world.wait_event("session.rejected", login="nobody")
    assert event["user"] == "ann"


def test_a_host_that_does_not_exist_is_not_found(ann: Person) -> None:
    result = ann.ssh(f"{LOGIN}@nowhere", "true")

    assert result.status == 255
    assert "node nowhere not found" in result.errors


@pytest.fixture
def edited(world: World, ann: Person) -> Iterator[None]:
    yield
    world.write("roles/dev.yaml", ROLE)
    wait_until(lambda: ann.ssh(f"{LOGIN}@db-1", "true").status == 0)


@pytest.mark.usefixtures("edited")
def test_a_role_edit_ends_the_running_session_within_a_second_and_says_why(world: World, ann: Person) -> None:
    with ann.terminal("tsh", "ssh", f"{LOGIN}@db-1") as terminal:
        terminal.expect(r"[#$] ")
        edit = time.time()

        world.write("roles/dev.yaml", ROLE.replace('{"*": "*"}', "{env: nowhere}"))

        terminal.expect(f"access withdrawn: role/dev no longer allows {LOGIN} on db-1")
        assert terminal.wait() == 255

    end = world.wait_event(
        "session.end",
        user="ann",
        interactive=True,
        reason=f"access withdrawn: role/dev no longer allows {LOGIN} on db-1",
    )
    start = next(one for one in world.events("session.start") if one["sid"] == end["sid"])
    assert (start["role"], start["file"]) == ("dev", "roles/dev.yaml")
    assert start["line"] == ROLE[: ROLE.index('"{{internal')].count("\n") + 1
    assert datetime.fromisoformat(end["time"]).timestamp() - edit < 1.0


def test_a_login_granted_by_an_edit_works_without_a_new_login(world: World, ann: Person) -> None:
    assert ann.ssh("nobody@db-1", "true").status == 255

    world.write("users/ann.yaml", user("ann", logins=f"{LOGIN}, daemon"))

    result = wait_until(lambda: (found := ann.ssh("daemon@db-1", "true")).errors.find("may not log in") < 0 and found)
    assert result.status in (0, 1)
