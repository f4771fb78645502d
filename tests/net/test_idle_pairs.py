"""Joined connections on which nothing happens: no pipes, no processor time, little memory, and awake at once.

With TELEPORT_FULL set, ten thousand of them, as far as descriptors go.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

PAIRS = 10_000 if os.environ.get("TELEPORT_FULL") else 1000


def test_idle_pairs_take_two_descriptors_little_memory_and_no_time_and_wake_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.net.idle_pairs", str(PAIRS)], cwd=Path(__file__).parents[2],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    assert found["descriptors_for_pipes"] <= 2
    assert found["bytes_per_pair"] < 16 * 1024
    assert found["idle_share_of_processor"] < 0.05
    assert found["wake_seconds"] < 0.1
    assert found["sockets_left"] == 0
    assert found["descriptors_left"] <= 0
