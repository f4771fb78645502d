"""What ssh runs for every session: the connection of an ordinary login, and what it leaves to others."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from teleport.api import models as m
from teleport.cli import freshness, straight, way
from teleport.cli import profile as p
from teleport.cli.tsh_commands.login import keep
from teleport.core.errors import AccessDenied, Unavailable
from tests.proxy.badges import Authorities

ROOT = Path(straight.__file__).parents[2]
AUTHORITIES = Authorities("acme")
ANN = AUTHORITIES.user("ann")
LEAVES, KEEPS = "teleport-proxy-ssh-leaving", "teleport-proxy-ssh"
BANNER = b"SSH-2.0-host\r\n"
ACCEPTED = {"host_id": "h-1", "ok": True, "session": "s-1"}


class Proxy:
    """Answers everybody the same; a host speaks behind it."""

    def __init__(self, context: ssl.SSLContext, answer: dict[str, Any]) -> None:
        self._context, self._answer = context, answer
        self.asked: list[bytes] = []
        self.silent = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            with plain:
                plain.settimeout(5)
                try:
                    self._answer_one(plain)
                except OSError:
                    continue  # who does not trust us

    def _answer_one(self, plain: socket.socket) -> None:
        with self._context.wrap_socket(plain, server_side=True) as tls:
            leaves = tls.selected_alpn_protocol() == LEAVES
            self.asked.append(tls.recv(4096))
            tls.sendall(json.dumps(self._answer).encode() + b"\n")
            if "error" in self._answer:
                return
            with tls.unwrap() if leaves else tls as host:
                if not (leaves and self.silent):
                    host.sendall(BANNER)
                    host.sendall(host.recv(4096))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TELEPORT_HOME", str(tmp_path))
    return tmp_path


class Proxies:
    """Starts proxies, and ends them."""

    def __init__(self) -> None:
        self._running: list[Proxy] = []

    def start(
        self, *, protocols: tuple[str, ...] = (LEAVES, KEEPS), answer: dict[str, Any] = ACCEPTED,
        authorities: Authorities = AUTHORITIES, role: str = "Proxy",
    ) -> Proxy:  # fmt: skip
        badge = replace(authorities.host("proxy", role), trust=AUTHORITIES.users.public.certificates)
        proxy = Proxy(authorities.server(badge, *protocols, clients=authorities is AUTHORITIES), answer)
        self._running.append(proxy)
        return proxy

    def close(self) -> None:
        for proxy in self._running:
            proxy.close()


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    proxies = Proxies()
    yield proxies
    proxies.close()


def log_in(proxy: str, *, expires_in: float = 3600) -> p.Profile:
    answer = m.Certificates(
        user="ann", cluster="acme", ssh_certificate=ANN.ssh_certificate, tls_certificate=ANN.certificate,
        authorities=tuple(one.encode().decode() for one in AUTHORITIES.public), expires=time.time() + expires_in,
        logins=("root",), roles=("dev",),
    )  # fmt: skip
    return keep(proxy, answer, ANN.ssh_key, ANN.key)


class Ssh:
    """Waits for a connection on the other end of what it gave the program as standard output."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self.out = self._theirs.fileno()

    def connection(self) -> socket.socket | None:
        """What was passed on, if anything was."""
        self._theirs.close()
        self._ours.settimeout(5)
        _, descriptors, _, _ = socket.recv_fds(self._ours, 1, 1)
        return socket.socket(fileno=descriptors[0]) if descriptors else None

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


@pytest.fixture
def ssh() -> Iterator[Ssh]:
    ssh = Ssh()
    yield ssh
    ssh.close()


def what_is_left(proxy: Proxy, ssh: Ssh, destination: str = "root@db-1.acme:22") -> list[str]:
    """The names of what the module for everything else is to do."""
    rest = straight.go(proxy.address, destination, out=ssh.out)
    called: list[str] = []

    class Way:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: called.append(name)

    if rest is not None:
        rest(Way())
    return called


def test_ssh_gets_the_plain_connection_on_which_the_host_speaks(proxies: Proxies, ssh: Ssh) -> None:
    proxy = proxies.start()
    log_in(proxy.address)

    left = what_is_left(proxy, ssh)

    connection = ssh.connection()
    assert left == []
    assert connection is not None
    with connection:
        connection.settimeout(5)
        assert connection.recv(len(BANNER)) == BANNER
        connection.sendall(b"SSH-2.0-client\r\n")
        assert connection.recv(100) == b"SSH-2.0-client\r\n"


def test_it_asks_what_the_whole_way_asks(proxies: Proxies, ssh: Ssh) -> None:
    proxy = proxies.start()
    profile = log_in(proxy.address)

    what_is_left(proxy, ssh, "root@db-1.acme:22")

    assert [json.loads(asked) for asked in proxy.asked] == [way.question(profile, "root", "db-1.acme", "")]


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_a_proxy_that_is_not_the_clusters_is_asked_nothing(proxies: Proxies, ssh: Ssh, wrong: str) -> None:
    proxy = proxies.start(authorities=Authorities("acme")) if wrong == "authority" else proxies.start(role="Node")
    log_in(proxy.address)

    left = what_is_left(proxy, ssh)

    assert left == ["lead_by"]
    assert proxy.asked == []
    assert ssh.connection() is None


def test_a_refusal_is_the_proxys_and_is_asked_for_once(proxies: Proxies, ssh: Ssh) -> None:
    proxy = proxies.start(answer=AccessDenied("ann may not log in as root on db-1").to_wire())
    log_in(proxy.address)

    rest = straight.go(proxy.address, "root@db-1:22", out=ssh.out)

    assert rest is not None
    with pytest.raises(AccessDenied, match="may not log in as root"):
        rest(way)
    assert len(proxy.asked) == 1
    assert ssh.connection() is None


def test_where_tls_is_kept_the_connection_that_there_is_goes_on(
    proxies: Proxies, ssh: Ssh, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = proxies.start(protocols=(KEEPS,))
    log_in(proxy.address)
    kept: list[tuple[Any, bytes]] = []
    monkeypatch.setattr(way, "keep", lambda connection, rest: kept.append((connection, rest)))

    rest = straight.go(proxy.address, "root@db-1:22", out=ssh.out)

    assert rest is not None
    rest(way)
    (connection, said) = kept[0]
    client, shell = socket.socketpair()
    with client, shell:
        carrying = threading.Thread(target=way.carry, args=(connection, said, shell.fileno(), os.dup(shell.fileno())))
        carrying.start()
        client.settimeout(5)
        assert client.recv(len(BANNER)) == BANNER
        client.sendall(b"SSH-2.0-client\r\n")
        assert client.recv(100) == b"SSH-2.0-client\r\n"
        client.shutdown(socket.SHUT_WR)
        carrying.join(5)
    connection.close()
    assert len(proxy.asked) == 1


def test_a_network_that_swallows_what_is_not_tls_gets_tls(
    proxies: Proxies, ssh: Ssh, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = proxies.start()
    proxy.silent = True
    log_in(proxy.address)
    kept: list[Any] = []
    monkeypatch.setattr(way, "keep", lambda connection, _: kept.append(connection))

    rest = straight.go(proxy.address, "root@db-1:22", out=ssh.out)

    assert rest is not None
    rest(way)
    (connection,) = kept
    with connection:
        assert connection.selected_alpn_protocol() == KEEPS
    assert list(p.home().glob("*.keeps-tls"))


@pytest.mark.parametrize("about", ["expired", "damaged", "network", "nobody", "names"])
def test_what_is_not_as_usual_is_left_to_the_whole_way_before_anything_is_asked(
    proxies: Proxies, ssh: Ssh, about: str
) -> None:
    proxy = proxies.start()
    profile = log_in(proxy.address, expires_in=-1 if about == "expired" else 3600)
    if about == "damaged":
        profile.ssh_certificate.write_text("nothing")
    if about == "network":
        way._network(profile).touch()
    if about == "nobody":
        p.forget(profile)

    left = what_is_left(proxy, ssh, 'root@"db-1":22' if about == "names" else "root@db-1:22")

    assert left == ["lead_by"]
    assert proxy.asked == []


def test_damage_is_what_a_refresh_repairs(proxies: Proxies, ssh: Ssh) -> None:
    proxy = proxies.start()
    profile = log_in(proxy.address)
    profile.known_hosts.write_text("@cert-authority *.acme other\n")

    left = what_is_left(proxy, ssh)

    assert left == ["lead_by"]
    assert freshness.is_damaged(profile)


def test_a_proxy_that_is_not_there_is_named(ssh: Ssh) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    log_in(address)

    rest = straight.go(address, "root@db-1:22", out=ssh.out)

    assert rest is not None
    with pytest.raises(Unavailable, match=f"the proxy {address} is not reached"):
        rest(way)


def test_standard_output_that_takes_no_connection_is_explained(proxies: Proxies, tmp_path: Path) -> None:
    proxy = proxies.start()
    log_in(proxy.address)
    with (tmp_path / "out").open("w") as file:
        rest = straight.go(proxy.address, "root@db-1:22", out=file.fileno())

    assert rest is not None
    with pytest.raises(Unavailable, match="standard output takes no connection"):
        rest(way)


def test_nothing_is_imported_that_takes_its_time() -> None:
    heavy = {"ssl", "socket", "json", "re", "enum", "pathlib", "dataclasses", "typing", "click", "asyncio"}
    script = f"import sys; sys.path.append({str(ROOT)!r}); import teleport.cli.straight; print(*sys.modules)"

    ended = subprocess.run([sys.executable, "-IS", "-c", script], capture_output=True, text=True, check=True)

    assert heavy & set(ended.stdout.split()) == set()


def test_what_ssh_runs_fails_as_every_command_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["tsh", "proxy", "ssh", "--proxy", "x.example.com:3080", "--fdpass", "root@db-1:22"]
    )

    with pytest.raises(SystemExit) as ended:
        straight.begin()

    assert ended.value.code not in (None, 0)
    assert capsys.readouterr().err.startswith("tsh: error: not logged in")


@pytest.mark.parametrize("words", [["--help"], ["--proxy", "x:1", "--fdpass", "--help"]])
def test_everything_else_is_the_programs(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tsh", "proxy", "ssh", *words])

    with pytest.raises(SystemExit) as ended:
        straight.begin()

    assert ended.value.code == 0
    assert "Usage: tsh proxy ssh" in capsys.readouterr().out
