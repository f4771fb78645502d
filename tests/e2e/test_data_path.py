"""What crosses the network between a client and the proxy: TLS to its end, or to the end of its first exchange."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from tests.e2e.world import LOGIN, PASSWORD, Person, World, wait_until

NETWORKING = """\
kind: cluster_networking_config
version: v2
metadata: {{name: cluster-networking-config}}
spec: {{tls_throughout: {}}}
"""


@dataclass
class Network:
    """A forwarder between clients and the proxy that sees what passes, and may not let everything."""

    target: tuple[str, int]
    only_tls: bool = False
    seen: bytearray = field(default_factory=bytearray)
    cut: int = 0
    sockets: list[socket.socket] = field(default_factory=list)

    def serve(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            self.sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        records = Records()
        try:
            while data := source.recv(65536):
                self.seen += data
                if self.only_tls and not records.are_tls(data):
                    self.cut += 1
                    break
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class Records:
    """Whether a stream is TLS records and nothing else, as an inspecting middlebox would find out."""

    def __init__(self) -> None:
        self._buffer = b""

    def are_tls(self, data: bytes) -> bool:
        self._buffer += data
        while len(self._buffer) >= 5:
            if not (20 <= self._buffer[0] <= 23 and self._buffer[1] == 3):
                return False
            length = int.from_bytes(self._buffer[3:5])
            if len(self._buffer) < 5 + length:
                return True
            self._buffer = self._buffer[5 + length :]
        return True


@contextmanager
def network(world: World, *, only_tls: bool = False) -> Iterator[tuple[str, Network]]:
    host, _, port = world.proxy.rpartition(":")
    made = Network((host, int(port)), only_tls)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        serving = threading.Thread(target=made.serve, args=(listening,), daemon=True)
        serving.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}", made
        listening.shutdown(socket.SHUT_RDWR)
        serving.join()
    for one in made.sockets:
        one.close()


@pytest.fixture
def ann(world: World) -> Person:
    """Somebody new for each test: who logs in again so soon would have to wait for the next code."""
    return world.newcomer(f"ann-{len(list(world.policies.glob('users/*')))}")


@pytest.fixture
def switch(world: World) -> Iterator[Callable[[str], None]]:
    def turn(value: str) -> None:
        def says() -> bool:
            shown = world.tctl("get", "cluster_networking_config", "-o", "yaml").output
            return ("tls_throughout: true" in shown) is (value == "true")

        world.write("networking.yaml", NETWORKING.format(value))
        wait_until(says)

    yield turn
    turn("false")


def log_in(ann: Person, proxy: str) -> None:
    result = ann.tsh(
        "login", "--proxy", proxy, "--user", ann.name, "--ca-pin", ann.world.pin, "--password-stdin", "--mfa-code",
        ann.code(), stdin=PASSWORD + "\n",
    )  # fmt: skip
    assert result.status == 0, result.errors


def test_ssh_protects_its_own_bytes_once_the_way_is_found(world: World, ann: Person) -> None:
    with network(world) as (proxy, seen):
        log_in(ann, proxy)
        seen.seen.clear()

        result = ann.ssh(f"{LOGIN}@db-1", "echo secret; id -un")

        assert (result.status, result.errors) == (0, "")
        assert result.output.splitlines() == ["secret", LOGIN]
        assert b"SSH-2.0-OpenSSH" in seen.seen
        assert b"secret" not in seen.seen


def test_with_tls_throughout_nothing_of_ssh_is_seen_on_the_network(
    world: World, ann: Person, switch: Callable[[str], None]
) -> None:
    with network(world) as (proxy, seen):
        log_in(ann, proxy)
        with ann.terminal("tsh", "ssh", f"{LOGIN}@db-1") as live:
            live.expect(r"[#$] ")
            switch("true")
            seen.seen.clear()

            result = ann.ssh(f"{LOGIN}@db-1", "cat", stdin="line\n" * 200_000)

            assert (result.status, result.errors, len(result.output)) == (0, "", 1_000_000)
            assert b"SSH-2.0" not in seen.seen
            live.type("echo still $((6 * 7))\n")
            live.expect("still 42")


def test_a_network_that_lets_only_tls_pass_is_noticed_and_remembered(world: World, ann: Person) -> None:
    with network(world, only_tls=True) as (proxy, seen):
        log_in(ann, proxy)

        first = ann.ssh(f"{LOGIN}@db-1", "echo here")
        second = ann.ssh(f"{LOGIN}@db-1", "echo here")

        assert (first.output, second.output) == ("here\n", "here\n")
        assert seen.cut == 1


def test_other_programs_get_a_pipe_instead_of_the_connection(world: World, ann: Person) -> None:
    with network(world) as (proxy, _):
        log_in(ann, proxy)
        config = ann.home / "config"
        text = ann.tsh("config").output
        config.write_text(text.replace(" --fdpass", "").replace("ProxyUseFdpass yes", "ProxyUseFdpass no"))

        result = ann.run("ssh", "-F", str(config), f"{LOGIN}@db-1", "cat", stdin="line\n" * 200_000)

        assert (result.status, len(result.output)) == (0, 1_000_000)
