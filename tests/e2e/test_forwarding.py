"""Forwarding with the real ssh and its helpers: ports, sockets, the agent, and what a policy's edit ends."""

import os
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.world import LOGIN, ROLE, Person, World, user, wait_until

_FORWARDS = ROLE.replace("spec:\n", "spec:\n  options: {forward_agent: yes, permit_x11_forwarding: yes}\n")
_NO_LOCAL = ROLE.replace("spec:\n", "spec:\n  options: {ssh_port_forwarding: {local: {enabled: no}}}\n")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")


@pytest.fixture(scope="module")
def ann(world: World) -> Person:
    world.write("roles/dev.yaml", _FORWARDS)
    world.wait_event("role.updated", name="dev")
    ann = world.person("ann").enrol().login()
    wait_until(lambda: "db-1" in ann.tsh("ls").output)
    (ann.home / "ssh_config").write_text(ann.tsh("config").output)
    return ann


class _Shout(socketserver.BaseRequestHandler):
    """Answers with everything that it was sent, in capitals, once its client has said that this was all."""

    def handle(self) -> None:
        said = b""
        while data := self.request.recv(65536):
            said += data
        self.request.sendall(said.upper())


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@pytest.fixture
def shouting() -> Iterator[int]:
    """The port of a server on this machine."""
    with _Server(("127.0.0.1", 0), _Shout) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def ask(address: object, text: bytes) -> bytes:
    """Say something and nothing more; the whole answer."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(20)
        client.connect(address)  # type: ignore[arg-type]
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while data := client.recv(65536):
            answer += data
        return answer


def answers(address: object) -> bool:
    with suppress(OSError):
        return ask(address, b"up?") == b"UP?"
    return False


@contextmanager
def in_background(ann: Person, *arguments: str, env: dict[str, str] | None = None) -> Iterator["subprocess.Popen[str]"]:
    running = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ann.home,
        env={**ann.environment(), **(env or {})},
    )  # fmt: skip
    with running:
        try:
            yield running
        finally:
            running.terminate()


def plain(ann: Person, *arguments: str) -> tuple[str, ...]:
    return ("ssh", "-F", str(ann.home / "ssh_config"), "-o", "BatchMode=yes", *arguments)


def test_a_local_port_leads_to_the_host(ann: Person, world: World, shouting: int) -> None:
    port = free_port()

    with in_background(ann, *plain(ann, "-N", "-L", f"{port}:localhost:{shouting}", f"{LOGIN}@db-1")):
        wait_until(lambda: answers(("127.0.0.1", port)))
        answer = ask(("127.0.0.1", port), b"x" * 3_000_000)

    assert answer == b"X" * 3_000_000
    begun = world.wait_event("port", code="T3003I", kind="local", addr=f"localhost:{shouting}")
    assert (begun["user"], begun["login"], begun["server_hostname"]) == ("ann", LOGIN, "db-1")
    assert world.wait_event("port", code="T3003S", kind="local", rx=3_000_000)["tx"] == 3_000_000


def test_a_port_of_the_host_leads_back_and_never_leaves_its_loopback(ann: Person, shouting: int) -> None:
    with in_background(ann, *plain(ann, "-N", "-R", f"0.0.0.0:0:localhost:{shouting}", f"{LOGIN}@db-1")) as running:
        assert running.stderr is not None
        port = int(running.stderr.readline().split("Allocated port ")[1].split()[0])
        answer = ask(("127.0.0.1", port), b"hello")
        bound = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=False).stdout

    assert answer == b"HELLO"
    assert {line.split()[3].rsplit(":", 1)[0] for line in bound.splitlines()} <= {"127.0.0.1", "[::1]"}
    wait_until(lambda: not answers(("127.0.0.1", port)), what="the end of the listener")
