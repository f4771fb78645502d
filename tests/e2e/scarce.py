"""A cluster that runs short of something: limits of its process, and people of whom one must be recorded."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.world import ROLE, World, missing, user

STRICT = ROLE.replace("name: dev", "name: strict").replace(
    "spec:\n", "spec:\n  options: {record_session: {default: strict}}\n"
)


ADDRESSES, RESIDENT = 0, 1
"""Columns of /proc/PID/statm."""


@contextmanager
def limited(world: World, kind: int, value: int) -> Iterator[None]:
    """The cluster's process has this limit, one of `resource.RLIMIT_*`, for a while."""
    assert world.process is not None
    pid = world.process.pid
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (value, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, kind, before)


def of_process(world: World, entry: str) -> Path:
    """What the kernel says of the cluster's process."""
    assert world.process is not None
    return Path(f"/proc/{world.process.pid}") / entry


def pages(world: World, which: int) -> int:
    """Bytes of the cluster's process: of its ADDRESSES, or RESIDENT in memory."""
    return int(of_process(world, "statm").read_text().split()[which]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def lenient_and_strict(root: Path, diagnostics: int) -> Iterator[World]:
    """A running cluster in which bob's sessions must be recorded, and ann's should be."""
    if reason := missing("ssh"):
        pytest.skip(reason)
    world = World(root, arguments=("--demo", "--diag-addr", f"127.0.0.1:{diagnostics}"))
    world.write("roles/dev.yaml", ROLE)
    world.write("roles/strict.yaml", STRICT)
    world.write("users/ann.yaml", user("ann"))
    world.write("users/bob.yaml", user("bob", roles="strict"))
    yield world.start()
    world.stop()
