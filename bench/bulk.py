"""Bulk transfer by the OpenSSH client through proxy and agent, against an sshd without a proxy and behind ProxyJump."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.rows import Row
from bench.sessions import jumping, login, our_cluster, plain_sshd

MEGABYTES = 1024
CIPHER = ("-c", "aes128-gcm@openssh.com")


def measure() -> list[Row]:
    if shutil.which("sshd", path="/usr/sbin:/usr/bin") is None or os.geteuid() != 0:
        sys.stderr.write("  skipped: needs root and an sshd\n")
        return []
    with login() as name, tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder, \
            our_cluster(Path(folder)) as ours, plain_sshd(Path(folder), name) as peer:  # fmt: skip
        jump = jumping(peer)
        rows = []
        for way, transfer in (("download", download), ("upload", upload)):
            mine, direct, jumped = transfer(ours), transfer(peer), transfer(jump)
            rows += [
                Row(f"bulk {way}, plain ssh", mine, "sshd, no proxy", direct, "MB/s", "≥ 0.85 ×"),
                Row(f"bulk {way}, plain ssh", mine, "sshd, ProxyJump", jumped, "MB/s", "≥ 1.5 ×"),
            ]
        return rows


def download(command: list[str]) -> float:
    """Megabytes a second, the best of three."""
    return max(
        rate([command[0], *CIPHER, *command[1:], f"head -c {MEGABYTES}M /dev/zero"], stdin=None) for _ in range(3)
    )


def upload(command: list[str]) -> float:
    zeros = ["head", "-c", f"{MEGABYTES}M", "/dev/zero"]
    return max(rate([command[0], *CIPHER, *command[1:], "cat > /dev/null"], stdin=zeros) for _ in range(3))


def rate(command: list[str], *, stdin: list[str] | None) -> float:
    source = subprocess.Popen(stdin, stdout=subprocess.PIPE) if stdin is not None else None
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=source.stdout if source is not None else None)
    took = time.perf_counter() - started
    if source is not None:
        source.wait()
        if source.stdout is not None:
            source.stdout.close()
    return MEGABYTES / took
