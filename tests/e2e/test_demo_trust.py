"""`make demo-trust`, as somebody tries it: two clusters come up, and one trusts the other."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.world import missing, wait_until

ROOT = Path(__file__).resolve().parents[2]


def test_two_clusters_come_up_of_which_one_trusts_the_other() -> None:
    if reason := missing("ssh"):
        pytest.skip(reason)
    demo = subprocess.Popen(
        [sys.executable, ROOT / "scripts" / "demo_trust.py"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        said = ""
        assert demo.stdout is not None
        while "Ctrl-C ends the demo" not in said:
            line = demo.stdout.readline()
            assert line, said
            said += line
        tctl = re.search(r"^  (\S*/tctl --data-dir \S*/headquarters/data) audit search$", said, re.MULTILINE)
        assert tctl is not None, said

        def connected() -> bool:
            command = [*tctl[1].split(), "get", "remote_cluster"]
            return "online" in subprocess.run(command, capture_output=True, text=True, check=False).stdout

        wait_until(connected, what="the workshop's tunnel")
        assert re.search(r"^  \S*/tsh enrol .*--ca-pin sha256:[0-9a-f]{64}$", said, re.MULTILINE)
    finally:
        os.killpg(demo.pid, signal.SIGTERM)
        demo.wait(20)
        if demo.stdout is not None:
            demo.stdout.close()
