"""Starting a command, against the interpreter doing nothing."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.rows import Row, best_of
from teleport.cli import profile


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as home:
        os.environ["TELEPORT_HOME"] = home
        profile.save(profile.Profile("localhost:3080", "ann", "demo", time.time() + 3600, ("root",), ("dev",), {}))
        tsh = [str(Path(sys.executable).with_name("tsh")), "status"]
        ours = best_of(10, lambda: subprocess.run(tsh, check=True, capture_output=True))
        nothing = best_of(10, lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
    return [Row("tsh status, cold", ours, "python -c pass", nothing, "s", "≤ 6 ×")]
