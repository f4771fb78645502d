"""Forwarding with the real ssh and its helpers: ports, sockets, the agent, and what a policy's edit ends."""

import os
import pwd
import socket
import socketserver
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.world import LOGIN, ROLE, Person, World, wait_until

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
            try:
                running.wait(2)
            except subprocess.TimeoutExpired:  # ssh overlooks a signal that comes between its waits
                running.kill()


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


def test_programs_at_both_ends_of_a_pipe_are_joined(ann: Person, shouting: int) -> None:
    joined = ann.run(*plain(ann, "-W", f"127.0.0.1:{shouting}", f"{LOGIN}@db-1"), stdin="through")
    by_tsh = ann.tsh("ssh", "-W", f"127.0.0.1:{shouting}", f"{LOGIN}@db-1", stdin="again")

    assert (joined.output, by_tsh.output) == ("THROUGH", "AGAIN")


def test_the_flags_of_tsh_forward_and_a_socks_proxy_asks_for_what_it_needs(ann: Person, shouting: int) -> None:
    local, socks = free_port(), free_port()
    flags = ("-N", "-L", f"{local}:127.0.0.1:{shouting}", "-D", f"127.0.0.1:{socks}")

    with in_background(ann, "tsh", "ssh", *flags, f"{LOGIN}@db-1"):
        wait_until(lambda: answers(("127.0.0.1", local)))
        with socket.create_connection(("127.0.0.1", socks), timeout=20) as client:
            client.sendall(b"\x05\x01\x00")
            assert client.recv(2) == b"\x05\x00"
            client.sendall(b"\x05\x01\x00\x03\x09localhost" + struct.pack("!H", shouting))
            assert client.recv(10)[:2] == b"\x05\x00"
            client.sendall(b"socks")
            client.shutdown(socket.SHUT_WR)
            answer = client.recv(100)

    assert answer == b"SOCKS"


def test_why_a_connection_is_not_forwarded_is_told(ann: Person, world: World) -> None:
    nobody = free_port()

    result = ann.run(*plain(ann, "-W", f"127.0.0.1:{nobody}", f"{LOGIN}@db-1"))

    assert "Connection refused" in result.errors
    assert world.wait_event("port", code="T3003E", addr=f"127.0.0.1:{nobody}")["error"] == "Connection refused"


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder in which the login may make sockets."""
    folder = Path(f"/tmp/teleport-sockets-{os.getpid()}")
    folder.mkdir()
    os.chown(folder, pwd.getpwnam(LOGIN).pw_uid, -1)
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@contextmanager
def who_connects(path: Path, mode: int) -> Iterator[list[str]]:
    """The names of those who connect to a socket."""
    seen: list[str] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(mode)
        server.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        uid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
                        seen.append(pwd.getpwuid(uid).pw_name)
                        client.sendall(b"UP?")

        threading.Thread(target=serve, daemon=True).start()
        yield seen
        server.shutdown(socket.SHUT_RDWR)


def test_a_socket_of_the_host_is_reached_as_the_login(ann: Person, sockets: Path) -> None:
    near = ann.home / "near.sock"
    with (
        who_connects(sockets / "far.sock", 0o666) as seen,
        in_background(ann, *plain(ann, "-N", "-L", f"{near}:{sockets}/far.sock", f"{LOGIN}@db-1")),
    ):
        wait_until(near.exists)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(near))
            assert client.recv(100) == b"UP?"

    assert seen == [LOGIN]


@as_root
def test_sockets_of_others_stay_closed_to_the_login(ann: Person, world: World, sockets: Path) -> None:
    (sockets / "roots.sock").unlink(missing_ok=True)
    administration = str(world.data / "run" / "admin.sock")
    with who_connects(sockets / "roots.sock", 0o600) as seen:
        for path in (str(sockets / "roots.sock"), administration):
            near = ann.home / "closed.sock"
            near.unlink(missing_ok=True)
            with in_background(ann, *plain(ann, "-N", "-L", f"{near}:{path}", f"{LOGIN}@db-1")):
                wait_until(near.exists)
                assert ask(str(near), b"") == b""

            assert world.wait_event("port", code="T3003E", addr=path)["error"] in (
                "Permission denied", "No such file or directory"
            )  # fmt: skip
    assert seen == []


def test_a_socket_that_listens_on_the_host_is_the_logins_and_goes_with_the_connection(
    ann: Person, sockets: Path, shouting: int
) -> None:
    path = sockets / "back.sock"

    with in_background(ann, *plain(ann, "-N", "-R", f"{path}:localhost:{shouting}", f"{LOGIN}@db-1")):
        wait_until(path.exists)
        made = path.stat()
        answer = ask(str(path), b"back")

    assert answer == b"BACK"
    assert (pwd.getpwuid(made.st_uid).pw_name, made.st_mode & 0o777) == (LOGIN, 0o600)
    wait_until(lambda: not path.exists())


def test_a_privileged_port_and_one_that_is_taken_are_not_listened_on(ann: Person, shouting: int) -> None:
    taken = ann.run(
        *plain(ann, "-o", "ExitOnForwardFailure=yes", "-R", f"{shouting}:localhost:1", f"{LOGIN}@db-1", "true")
    )

    assert taken.status != 0
    assert "remote port forwarding failed" in taken.errors
    if os.geteuid() == 0 and int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) > 81:
        privileged = ann.run(
            *plain(ann, "-o", "ExitOnForwardFailure=yes", "-R", "81:localhost:1", f"{LOGIN}@db-1", "true")
        )
        assert "remote port forwarding failed" in privileged.errors


def test_forwards_are_added_to_a_running_connection_and_taken_back(ann: Person, shouting: int) -> None:
    control = plain(ann, "-S", str(ann.home / "fw"))
    far, near = free_port(), free_port()
    with in_background(ann, *control, "-M", "-N", f"{LOGIN}@db-1"):
        wait_until((ann.home / "fw").exists)
        remote, local = f"{far}:localhost:{shouting}", f"{near}:localhost:{far}"

        added = [
            ann.run(*control, "-O", "forward", *flags, f"{LOGIN}@db-1") for flags in (("-R", remote), ("-L", local))
        ]
        answered = ask(("127.0.0.1", near), b"there and back")
        cancelled = ann.run(*control, "-O", "cancel", "-R", remote, f"{LOGIN}@db-1")

        assert [one.status for one in (*added, cancelled)] == [0, 0, 0], (added, cancelled)
        assert answered == b"THERE AND BACK"
        wait_until(lambda: not answers(("127.0.0.1", far)))
        assert ann.run(*control, f"{LOGIN}@db-1", "echo lives").output == "lives\n"


@pytest.fixture
def agent(ann: Person) -> Iterator[str]:
    """The socket of an agent that holds one key."""
    path = ann.home / "agent.sock"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL) as running:
        wait_until(path.exists)
        key = ann.home / "extra"
        ann.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "the extra key", "-f", str(key))
        ann.run("ssh-add", "-q", str(key), env={"SSH_AUTH_SOCK": str(path)})
        yield str(path)
        running.terminate()


def test_the_agent_is_forwarded_through_a_socket_of_the_logins_own(ann: Person, world: World, agent: str) -> None:
    script = "ssh-add -l; stat -c %U:%a $(dirname $SSH_AUTH_SOCK) $SSH_AUTH_SOCK; echo $SSH_AUTH_SOCK"

    result = ann.run("tsh", "ssh", "-A", f"{LOGIN}@db-1", script, env={"SSH_AUTH_SOCK": agent})

    key, folder, made, path = result.output.splitlines()
    assert "the extra key" in key
    assert (folder, made) == (f"{LOGIN}:700", f"{LOGIN}:600")
    wait_until(lambda: not Path(path).parent.exists(), what="the end of the folder")
    assert world.wait_event("port", code="T3003I", kind="agent")["addr"] == path
    assert world.wait_event("port", code="T3003S", kind="agent-connection")["tx"] > 0


_X_CLIENT = """
import os, socket, subprocess
cookie = bytes.fromhex(subprocess.run(["xauth", "list", "unix:" + os.environ["DISPLAY"].split(":")[1]],
    capture_output=True, text=True).stdout.split()[2])
port = 6000 + int(os.environ["DISPLAY"].split(":")[1].split(".")[0])
display = socket.create_connection(("localhost", port))
display.sendall(b"l" + bytes(1) + (11).to_bytes(2, "little") + bytes(2) + (18).to_bytes(2, "little")
    + (16).to_bytes(2, "little") + bytes(2) + b"MIT-MAGIC-COOKIE-1" + bytes(2) + cookie + b"draw")
print(display.recv(1000).decode())
"""


class _Display(socketserver.BaseRequestHandler):
    """Draws when it is told to."""

    def handle(self) -> None:
        said = b""
        while not said.endswith(b"draw") and (data := self.request.recv(65536)):
            said += data
        self.request.sendall(b"drawn")


def test_a_display_is_forwarded_with_a_cookie_for_the_programs_of_the_session(ann: Person, world: World) -> None:
    if not Path("/usr/bin/xauth").exists() or not Path("/usr/bin/python3").exists():
        pytest.skip("needs xauth and python3")
    with _Server(("127.0.0.1", 0), _Display) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]

        result = ann.run(
            *plain(ann, "-Y", f"{LOGIN}@db-1", "/usr/bin/python3 -"), stdin=_X_CLIENT,
            env={"DISPLAY": f"127.0.0.1:{port - 6000}"},
        )  # fmt: skip
        server.shutdown()

    assert result.output == "drawn\n", result.errors
    begun = world.wait_event("x11-forward", code="T3008I", kind="display")
    assert begun["addr"].startswith("localhost:60")
    world.wait_event("x11-forward", code="T3008S", kind="display")


def test_a_withdrawn_permission_ends_what_is_forwarded_at_once_and_the_session_goes_on(
    ann: Person, world: World, shouting: int
) -> None:
    near, far = free_port(), free_port()
    forwards = ("-L", f"{near}:localhost:{shouting}", "-R", f"{far}:localhost:{shouting}")
    with in_background(ann, *plain(ann, *forwards, f"{LOGIN}@db-1", "cat")) as running:
        wait_until(lambda: answers(("127.0.0.1", near)) and answers(("127.0.0.1", far)))
        with (
            socket.create_connection(("127.0.0.1", near), timeout=20) as local,
            socket.create_connection(("127.0.0.1", far), timeout=20) as remote,
        ):
            local.sendall(b"not all yet")
            remote.sendall(b"not all yet")
            world.write("roles/dev.yaml", _NO_LOCAL)

            assert local.recv(100) == b""
            remote.shutdown(socket.SHUT_WR)
            assert remote.recv(100) == b"NOT ALL YET"
        refused = ann.run(*plain(ann, "-W", f"127.0.0.1:{shouting}", f"{LOGIN}@db-1"))
        still = answers(("127.0.0.1", far))
        world.write("roles/dev.yaml", _NO_LOCAL.replace("local: {enabled: no}", "remote: {enabled: no}"))
        wait_until(lambda: not answers(("127.0.0.1", far)))
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write("lives\n")
        running.stdin.flush()
        assert running.stdout.readline() == "lives\n"

    world.write("roles/dev.yaml", _FORWARDS)
    assert still
    assert "the roles do not permit forwarding ports to here" in refused.errors
    stopped = world.wait_event("port", code="T3003S", reason="access withdrawn: the roles do not permit forwarding ports to here")  # fmt: skip  # noqa: E501
    assert stopped["kind"] == "local"


@as_root
def test_sessions_that_are_ended_leave_no_child_and_no_listener(ann: Person, world: World, shouting: int) -> None:
    far = free_port()
    with in_background(ann, *plain(ann, "-N", "-R", f"{far}:localhost:{shouting}", f"{LOGIN}@db-1")) as running:
        wait_until(lambda: answers(("127.0.0.1", far)))
        assert _of_the_login()

        assert world.tctl("users", "lock", "ann").status == 0

        assert running.wait(5) == 255
        wait_until(lambda: not answers(("127.0.0.1", far)) and not _of_the_login(), timeout=3)
    assert world.tctl("users", "unlock", "ann").status == 0


def _of_the_login() -> list[int]:
    uid = pwd.getpwnam(LOGIN).pw_uid
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if path.stat().st_uid == uid or f"Uid:\t{uid}\t" in (path / "status").read_text():
                found.append(int(path.name))
    return found
