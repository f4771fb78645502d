"""Opening sessions through the proxy with plain ssh, against an sshd without any proxy."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.rows import Row

if TYPE_CHECKING:
    from tests.e2e.world import World

ROUNDS = 100
AT_ONCE = 50
BURST = 200


def measure() -> list[Row]:
    if shutil.which("sshd", path="/usr/sbin:/usr/bin") is None or os.geteuid() != 0:
        sys.stderr.write("  skipped: needs root and an sshd\n")
        return []
    with login() as name, tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder, \
            our_cluster(Path(folder)) as ours, plain_sshd(Path(folder), name) as peer:  # fmt: skip
        mine, theirs = median(ours), median(peer)
        many, jumped = each_second(ours), each_second(jumping(peer))
    return [
        Row(f"new session, plain ssh, median of {ROUNDS}", mine, "sshd, no proxy", theirs, "s", "≤ 1 ×"),
        Row(f"new sessions a second, {AT_ONCE} at a time", many, "sshd, ProxyJump", jumped, "1/s", "≥ 2 ×"),
    ]


def each_second(command: list[str]) -> float:
    """Sessions a second, when some are always being opened."""

    def one(_: int) -> None:
        subprocess.run([*command, "true"], check=True, capture_output=True, stdin=subprocess.DEVNULL)

    started = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, range(BURST)))
    return BURST / (time.perf_counter() - started)


def jumping(peer: list[str]) -> list[str]:
    """The same sshd, reached through itself."""
    *options, destination = peer
    way = " ".join([*options, "-W", "%h:%p", destination])
    return [*options, "-o", f"ProxyCommand={way}", destination]


def median(command: list[str]) -> float:
    found = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run([*command, "true"], check=True, capture_output=True)
        found.append(time.perf_counter() - started)
    return statistics.median(found)


@contextmanager
def login() -> Iterator[str]:
    """The ordinary user that sessions log in as."""
    from tests.e2e.world import LOGIN, make_login, remove_login

    make_login()
    try:
        yield LOGIN
    finally:
        remove_login()


@contextmanager
def our_cluster(folder: Path) -> Iterator[list[str]]:
    """The command that reaches our host with plain ssh."""
    with our_world(folder) as (_, command):
        yield command


@contextmanager
def our_world(folder: Path) -> "Iterator[tuple[World, list[str]]]":
    from tests.e2e.world import LOGIN, ROLE, World, user

    world = World(folder / "world")
    world.write("dev.yaml", ROLE)
    world.write("ann.yaml", user("ann"))
    world.start()
    try:
        ann = world.person("ann").enrol().login()
        config = folder / "ssh_config"
        config.write_text(ann.tsh("config").output)
        yield world, ["ssh", "-F", str(config), f"{LOGIN}@{world.host}"]
    finally:
        world.stop()


@contextmanager
def plain_sshd(folder: Path, login: str) -> Iterator[list[str]]:
    """The command that reaches an sshd as Debian sets one up, with certificates on both sides, as ours has them."""
    folder.chmod(0o755)
    key, host = certified_keys(folder, login)
    Path("/run/sshd").mkdir(exist_ok=True)
    port = 22_022
    options = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": host, "HostCertificate": f"{host}-cert.pub",
        "TrustedUserCAKeys": folder / "ca.pub", "AuthorizedKeysFile": "none", "PidFile": "none",
        "MaxStartups": "200:100:200",
    }  # fmt: skip
    flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", "/etc/ssh/sshd_config", *flags])
    command = [
        "ssh", "-F", "none", "-i", str(key), "-o", f"CertificateFile={key}-cert.pub", "-o", "IdentitiesOnly=yes",
        "-o", f"UserKnownHostsFile={folder / 'known'}", "-o", "GlobalKnownHostsFile=/dev/null",
        "-o", "StrictHostKeyChecking=yes", "-o", "PreferredAuthentications=publickey", "-p", str(port),
        f"{login}@127.0.0.1",
    ]  # fmt: skip
    try:
        wait_for(lambda: subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0)
        yield command
    finally:
        server.terminate()
        server.wait()


def certified_keys(folder: Path, login: str) -> tuple[Path, Path]:
    """The client's key and the host's, each with a certificate of the authority beside them."""
    key, host, authority = folder / "id", folder / "host", folder / "ca"
    for path in (key, host, authority):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "bench"]
    subprocess.run([*sign, "-n", login, f"{key}.pub"], check=True)
    subprocess.run([*sign, "-h", "-n", "127.0.0.1", f"{host}.pub"], check=True)
    (folder / "known").write_text(f"@cert-authority * {authority.with_suffix('.pub').read_text()}")
    return key, host


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit("sshd did not start")
        time.sleep(0.05)
