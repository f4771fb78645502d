"""Two hundred live sessions: how soon the last of them ends when their role is edited, and what one costs in memory."""

import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.rows import Row
from bench.sessions import login, our_world

SESSIONS = 200
_AT_ONCE = 20


def measure() -> list[Row]:
    if os.geteuid() != 0:
        sys.stderr.write("  skipped: needs root\n")
        return []
    from tests.e2e.world import ROLE

    with (
        login(),
        tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder,
        our_world(Path(folder)) as (world, ssh),
    ):
        assert world.process is not None
        service = world.process.pid
        open_all([*ssh, "true"], 1)[0].wait()
        before = memory(service)
        running = open_all([*ssh, "exec sleep 600"], SESSIONS)
        per_session = (memory(service) - before) / SESSIONS
        child = sum(memory(one) for one in programs(service)) / SESSIONS
        world.write("dev.yaml", ROLE.replace("{{internal.logins}}", "nobody-here"))
        edited = time.perf_counter()
        for one in running:
            one.wait()
        ended = time.perf_counter() - edited
    return [
        Row(f"role edited → last of {SESSIONS} sessions ended", ended, "", 0.0, "s", "≤ 1 s"),
        Row("memory of an idle session: server", per_session, "", 0.0, "MB", "≤ 1 MB"),
        Row("memory of an idle session: its program (sleep)", child, "", 0.0, "MB", "report"),
    ]


def open_all(command: Sequence[str], count: int) -> "list[subprocess.Popen[bytes]]":
    """Sessions whose program runs; a few are opened at a time."""
    running = []
    for start in range(0, count, _AT_ONCE):
        batch = [
            subprocess.Popen(
                [*command[:-1], f"echo up; {command[-1]}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(min(_AT_ONCE, count - start))
        ]  # fmt: skip
        wait_up(batch)
        running += batch
    return running


def wait_up(batch: "Sequence[subprocess.Popen[bytes]]") -> None:
    with selectors.DefaultSelector() as waiting:
        for one in batch:
            assert one.stdout is not None
            waiting.register(one.stdout, selectors.EVENT_READ)
        for _ in batch:
            for key, _ in waiting.select(60):
                if os.read(key.fd, 16) != b"up\n":
                    raise SystemExit("a session could not be opened")
                waiting.unregister(key.fileobj)
            if not waiting.get_map():
                return


def memory(process: int) -> float:
    """Megabytes that a process has for itself."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_")) / 1024


def programs(service: int) -> list[int]:
    """The programs that a service has started."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _parent(entry) == service]


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0
