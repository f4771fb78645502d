"""What a running process does when it is told to stop or to read its configuration again, and whom it tells."""

import json
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.e2e.services import READY, agent, asked, configured, free_port, join_token
from tests.e2e.world import DEADLINE, LOGIN, ROLE, Person, World, missing, user, wait_until

NewWorld = Callable[..., World]


def started(new_world: NewWorld, text: str) -> World:
    """A world with this in its teleport.yaml."""
    world = new_world("--demo", start=False, files={"roles/dev.yaml": ROLE, "users/ann.yaml": user("ann")})
    world.arguments = ("--demo", "-c", str(configured(world, text)))
    return world.start()


def tell(world: World, number: int) -> None:
    assert world.process is not None
    world.process.send_signal(number)


def ended(world: World) -> int:
    assert world.process is not None
    assert world.process.stdout is not None
    world.process.stdout.close()
    return world.process.wait(DEADLINE)


def logged(world: World, text: str) -> None:
    wait_until(lambda: text in world.log, what=f"{text!r} in the log")


def a_shell(ann: Person) -> Any:
    return ann.terminal("tsh", "ssh", f"{LOGIN}@db-1")


def test_told_to_stop_it_lets_sessions_go_on_refuses_new_ones_and_then_ends_them_with_the_reason(
    new_world: NewWorld,
) -> None:
    world = started(new_world, "teleport: {shutdown_timeout: 3s}\n")
    ann = world.person("ann").enrol().login()
    with a_shell(ann) as terminal:
        terminal.expect(r"[#$] ")

        tell(world, signal.SIGTERM)

        logged(world, "sessions may go on for 3 s")
        terminal.type("echo still-$((1+1))\n")
        terminal.expect("still-2")
        assert "nobody is admitted: the service is stopping" in ann.ssh(f"{LOGIN}@db-1", "true").errors
        terminal.expect("the service is stopping")
        assert terminal.wait() == 255
    assert ended(world) == 0
    world.start()
    world.wait_event("session.end", interactive=True, reason="the service is stopping")


def test_told_twice_it_stops_at_once(new_world: NewWorld) -> None:
    world = started(new_world, "teleport: {shutdown_timeout: 10m}\n")
    ann = world.person("ann").enrol().login()
    with a_shell(ann) as terminal:
        terminal.expect(r"[#$] ")
        tell(world, signal.SIGTERM)
        logged(world, "sessions may go on for 600 s")

        tell(world, signal.SIGINT)

        assert ended(world) == 0
        terminal.expect("the service is stopping")


def test_it_can_be_stopped_while_it_starts(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world("--roles", "auth,proxy")
    web = agent(world, tmp_path / "web", "--ca-pin", world.pin, "--token", join_token(world.data, "node")).start()
    web.stop()
    world.stop()
    with (web.root / "log").open("a") as log:
        process = subprocess.Popen(web.command(), stdout=subprocess.PIPE, stderr=log, text=True)
    wait_until(lambda: "the policy cannot be followed" in web.log)

    process.send_signal(signal.SIGTERM)

    output, _ = process.communicate(timeout=DEADLINE)
    assert (process.returncode, output) == (0, "")


@dataclass
class Steady:
    """A cluster for tests that leave it as it was, whose host is open to ann by its label."""

    world: World
    ann: Person
    port: int

    TEXT: ClassVar[str] = "ssh_service: {labels: {env: dev}}\n"

    def put_back(self) -> None:
        configured(self.world, self.TEXT)
        tell(self.world, signal.SIGHUP)
        wait_until(lambda: self.ann.ssh(f"{LOGIN}@db-1", "true").status == 0)


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steady]:
    if reason := missing("ssh"):
        pytest.skip(reason)
    world, port = World(tmp_path_factory.mktemp("steady")), free_port()
    world.write("roles/dev.yaml", ROLE.replace('{"*": "*"}', "{env: dev}"))
    world.write("users/ann.yaml", user("ann"))
    world.arguments = ("--demo", "-c", str(configured(world, Steady.TEXT)), "--diag-addr", f"127.0.0.1:{port}")
    world.start()
    yield Steady(world, world.person("ann").enrol().login(), port)
    world.stop()


def test_told_to_reload_it_takes_what_can_change_and_names_what_cannot(steady: Steady) -> None:
    world, ann = steady.world, steady.ann
    with a_shell(ann) as terminal:
        terminal.expect(r"[#$] ")
        configured(world, "ssh_service: {labels: {env: prod}}\nauth_service: {audit_retention: 24h}\n")

        tell(world, signal.SIGHUP)

        terminal.expect("access withdrawn")
    assert "the configuration was read again: changed ssh_service.labels" in world.log
    assert "auth_service.audit_retention has changed, which takes a restart" in world.log
    steady.put_back()


def test_a_broken_configuration_changes_nothing_and_says_why(steady: Steady) -> None:
    world, ann = steady.world, steady.ann
    configured(world, "ssh_service: {lables: {env: prod}}\n")

    tell(world, signal.SIGHUP)

    logged(world, "nothing was changed")
    assert "unknown field lables (did you mean labels?)" in world.log
    assert ann.ssh(f"{LOGIN}@db-1", "true").status == 0
    assert json.loads(ann.tsh("ls", "-o", "json").output)[0]["labels"]["env"] == "dev"
    steady.put_back()


def test_systemd_is_told_of_every_turn(new_world: NewWorld, tmp_path: Path) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.settimeout(DEADLINE)
    manager.bind(str(tmp_path / "notify"))
    world = new_world("--demo", start=False)
    world.environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}

    def hears(what: str) -> str:
        while what not in (message := manager.recv(4096).decode()).splitlines():
            pass
        return message

    world.start()

    assert READY.fullmatch(f"{hears('READY=1').partition('STATUS=')[2]}\n") is not None
    hears("WATCHDOG=1")
    tell(world, signal.SIGHUP)
    assert "MONOTONIC_USEC=" in hears("RELOADING=1")
    assert "STATUS=ready: https://" in hears("READY=1")
    tell(world, signal.SIGTERM)
    assert "EXTEND_TIMEOUT_USEC=55000000" in hears("STOPPING=1")
    assert ended(world) == 0
    manager.close()


def test_when_records_cannot_be_written_nobody_is_admitted_and_readiness_says_so(steady: Steady) -> None:
    world, ann, port = steady.world, steady.ann, steady.port
    assert asked(port)[0] == 200
    events = world.data / "spool" / "node" / "events.jsonl"
    events.unlink(missing_ok=True)
    events.mkdir()

    result = ann.ssh(f"{LOGIN}@db-1", "echo in")

    assert result.status != 0
    assert "in\n" not in result.output
    assert "the event spool cannot be written" in result.errors
    status, body = asked(port)
    assert status == 503
    assert body["reasons"] == ["node: the event spool cannot be written: Is a directory"]
    events.rmdir()
    wait_until(lambda: asked(port)[0] == 200)
    assert ann.ssh(f"{LOGIN}@db-1", "echo in").output == "in\n"
