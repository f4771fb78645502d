"""Hosts with only OpenSSH: bulk transfer through the proxy, where SSH ends and begins anew, against the same sshd."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.bulk import download, upload
from bench.rows import Row
from bench.sessions import login, our_world, plain_sshd


def measure() -> list[Row]:
    if shutil.which("sshd", path="/usr/sbin:/usr/bin") is None or os.geteuid() != 0:
        sys.stderr.write("  skipped: needs root and an sshd\n")
        return []
    with login() as name, tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder, \
            through_proxy(Path(folder)) as ours, plain_sshd(Path(folder), name) as peer:  # fmt: skip
        return [
            Row(
                f"bulk {way}, host with only OpenSSH",
                transfer(ours),
                "sshd, no proxy",
                transfer(peer),
                "MB/s",
                "≥ 0.6 ×",
            )
            for way, transfer in (("download", download), ("upload", upload))
        ]


@contextmanager
def through_proxy(folder: Path) -> Iterator[list[str]]:
    """The command that reaches an sshd without an agent through our proxy."""
    from tests.e2e.plain import plain_host
    from tests.e2e.world import wait_until

    folder.chmod(0o755)
    with our_world(folder) as (world, command), plain_host(world, folder / "old", "old-1"):
        reached = [*command[:-1], command[-1].replace(world.host, "old-1.acme")]
        wait_until(lambda: world.tctl("get", "node/old-1").status == 0)
        yield reached
