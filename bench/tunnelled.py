"""Sessions and bulk to an agent behind its tunnel, against sshd, and against OpenSSH's own way of reaching such a host.

That is a reverse forwarding that the host keeps at a jump host, reached through ProxyJump.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.bulk import download, upload
from bench.rows import Row
from bench.sessions import login, our_world, plain_sshd, wait_for

if TYPE_CHECKING:
    from tests.e2e.world import World

ROUNDS = 60
TRANSFERS = 2
"""Of three each."""
REVERSE_PORT = 22_023


def measure() -> list[Row]:
    if shutil.which("sshd", path="/usr/sbin:/usr/bin") is None or os.geteuid() != 0:
        sys.stderr.write("  skipped: needs root and an sshd\n")
        return []
    with login() as name, tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder, \
            our_world(Path(folder)) as (world, beside), edge(world, Path(folder), beside) as ours, \
            plain_sshd(Path(folder), name) as peer, reverse_forwarded(peer) as reversed_:  # fmt: skip
        through, here = alternating(ours, beside)
        rows = [
            Row(f"new session through a tunnel, median of {ROUNDS}", through, "agent beside the proxy", here, "s",
                "≤ 1.3 ×"),
        ]  # fmt: skip
        for way, transfer in (("download", download), ("upload", upload)):
            mine, direct, jumped = in_turns(transfer, ours, peer, reversed_)
            rows += [
                Row(f"bulk {way} through a tunnel", mine, "sshd, no proxy", direct, "MB/s", "≥ 0.85 ×"),
                Row(f"bulk {way} through a tunnel", mine, "ssh -R, ProxyJump", jumped, "MB/s", "≥ 1.5 ×"),
            ]
        return rows


def alternating(one: list[str], other: list[str]) -> tuple[float, float]:
    """The medians of both, measured in turns: what else the machine does is done to both."""
    found: tuple[list[float], list[float]] = [], []
    for _ in range(ROUNDS):
        for command, times in zip((one, other), found, strict=True):
            started = time.perf_counter()
            subprocess.run([*command, "true"], check=True, capture_output=True)
            times.append(time.perf_counter() - started)
    return statistics.median(found[0]), statistics.median(found[1])


def in_turns(transfer: Callable[[list[str]], float], *commands: list[str]) -> list[float]:
    """The best rate of each."""
    rates: list[list[float]] = [[] for _ in commands]
    for _ in range(TRANSFERS):
        for command, found in zip(commands, rates, strict=True):
            found.append(transfer(command))
    return [max(found) for found in rates]


@contextmanager
def edge(world: "World", folder: Path, beside: list[str]) -> Iterator[list[str]]:
    """The command that reaches an agent in a process of its own, joined through the proxy."""
    from tests.e2e.services import agent, join_token

    joining = ("--token", join_token(world.data, "node"), "--ca-pin", world.pin)
    service = agent(world, folder / "edge", *joining, name="edge-1").start()
    config = folder / "ssh_config_edge"
    config.write_text(world.person("ann").tsh("config").output)  # which names the hosts that are there
    try:
        yield ["ssh", "-F", str(config), f"{beside[-1].partition('@')[0]}@edge-1"]
    finally:
        service.stop()


@contextmanager
def reverse_forwarded(peer: list[str]) -> Iterator[list[str]]:
    """The command that reaches the same sshd by a port that it forwards from the jump host to itself."""
    *options, destination = peer
    port = options[options.index("-p") + 1]
    keeping = subprocess.Popen(
        [*options, "-N", "-o", "ExitOnForwardFailure=yes", "-R", f"127.0.0.1:{REVERSE_PORT}:127.0.0.1:{port}",
         destination], stdin=subprocess.DEVNULL,
    )  # fmt: skip
    way = " ".join([*options, "-W", f"127.0.0.1:{REVERSE_PORT}", destination])
    command = [*options, "-o", f"ProxyCommand={way}", destination]
    try:
        wait_for(lambda: subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0)
        yield command
    finally:
        keeping.terminate()
        keeping.wait()
