"""`make demo-trust`, as somebody tries it: two clusters come up, and what is printed can be pasted."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.world import BIN, Terminal, enrol_at, log_in_at, missing, wait_until

ROOT = Path(__file__).resolve().parents[2]


def test_what_the_demo_prints_leads_into_the_workshop(tmp_path: Path) -> None:
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
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}

        def paste(name: str) -> Terminal:
            match = re.search(rf"^  (\S*/tsh {name} .*)$", said, re.MULTILINE)
            assert match is not None, said
            return Terminal.start(("sh", "-c", f"exec {match[1]}"), environment, 24, 80, tmp_path)

        log_in_at(paste("login"), enrol_at(paste("enrol")))

        def listed() -> str:
            command = [str(BIN / "tsh"), "ls", "--cluster", "workshop", "-o", "names"]
            return subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout

        assert wait_until(listed, what="the workshop") == "bench-1\n"
    finally:
        os.killpg(demo.pid, signal.SIGTERM)
        demo.wait(20)
        if demo.stdout is not None:
            demo.stdout.close()
