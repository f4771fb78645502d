"""Fifty live sessions of a partner's user: how soon the last of them ends when the role map is edited."""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.fleet import open_all
from bench.rows import Row
from bench.sessions import login

if TYPE_CHECKING:
    from tests.e2e.test_trust import Two

SESSIONS = 50
ROUNDS = 3


def measure() -> list[Row]:
    if os.geteuid() != 0:
        sys.stderr.write("  skipped: needs root\n")
        return []
    with (
        login(),
        tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder,
        organisations(Path(folder)) as two,
    ):
        times = [withdrawn(two) for _ in range(ROUNDS)]
    what = f"role map edited → last of {SESSIONS} sessions across clusters ended, worst of {ROUNDS}"
    return [Row(what, max(times), "", 0.0, "s", "≤ 1 s")]


@contextlib.contextmanager
def organisations(folder: Path) -> "Iterator[Two]":
    """The two of the end-to-end tests, with plain ssh set up for ann."""
    from tests.e2e.test_trust import LEAF, trusting

    with trusting(folder / "root", folder / "leaf") as two:
        (two.ann.home / "ssh_config").write_text(two.ann.tsh("config", "--cluster", LEAF).output)
        yield two


def withdrawn(two: "Two") -> float:
    """Seconds from the edit to the exit of the last client, and open the way again."""
    from tests.e2e.test_trust import LEAF
    from tests.e2e.world import LOGIN, wait_until

    wait_until(lambda: two.ssh("true")[0] == 0, what="the way")
    config = str(two.ann.home / "ssh_config")
    running = open_all(["ssh", "-F", config, f"{LOGIN}@app-1.{LEAF}", "exec sleep 600"], SESSIONS)
    two.trust(maps="{remote: other, local: [visitor]}")
    edited = time.perf_counter()
    for one in running:
        one.wait()
    took = time.perf_counter() - edited
    two.trust()
    return took
