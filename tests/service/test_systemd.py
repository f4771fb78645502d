"""Telling systemd: what is said, when a watchdog is meant, and that a manager that is away harms nothing."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from teleport.service.systemd import Supervisor


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def test_states_are_sent_as_lines(manager: socket.socket, tmp_path: Path) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": str(tmp_path / "notify")})

    supervisor.ready("serving")
    supervisor.reloading()
    supervisor.stopping(within=1.5)

    assert manager.recv(4096) == b"READY=1\nSTATUS=serving"
    reloading = manager.recv(4096).decode().splitlines()
    assert reloading[0] == "RELOADING=1"
    assert reloading[1].removeprefix("MONOTONIC_USEC=").isdigit()
    assert manager.recv(4096).startswith(b"STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000\n")


def test_an_abstract_socket_is_understood() -> None:
    name = f"teleport-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")

        Supervisor({"NOTIFY_SOCKET": f"@{name}"}).ready("serving")

        assert sock.recv(100).startswith(b"READY=1")


def test_without_a_manager_nothing_happens_and_one_that_is_away_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Supervisor({}).ready("serving")
    assert caplog.text == ""

    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "nowhere")}).ready("serving")

    assert "systemd could not be told READY=1" in caplog.text


@pytest.mark.parametrize(
    ("environment", "watched"),
    [
        ({}, False),
        ({"WATCHDOG_USEC": "1000000"}, True),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
    ],
)
def test_signs_of_life_are_given_only_where_they_are_asked_of_this_process(
    environment: dict[str, str], watched: bool
) -> None:
    assert Supervisor(environment).watches is watched


async def test_signs_of_life_come_twice_within_the_limit(manager: socket.socket, tmp_path: Path) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"})
    alive = asyncio.create_task(supervisor.keep_alive())

    heard = [await asyncio.to_thread(manager.recv, 100) for _ in range(3)]

    assert heard == [b"WATCHDOG=1"] * 3
    alive.cancel()
