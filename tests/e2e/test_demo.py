"""`make demo`, as somebody tries it: the three commands are pasted as they are printed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.world import Terminal, enrol_at, log_in_at, missing

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Demo:
    said: str
    home: Path

    def command(self, name: str) -> str:
        """One of the lines that are there to be pasted."""
        match = re.search(rf"^  (\S*/tsh {name} .*)$", self.said, re.MULTILINE)
        assert match is not None, self.said
        return match[1]

    def paste(self, command: str) -> Terminal:
        env = {"HOME": str(self.home), "PATH": os.environ["PATH"]}
        return Terminal.start(("sh", "-c", f"exec {command}"), env, 24, 80, self.home)

    @property
    def mine(self) -> Path:
        """The file of the person who runs the demo."""
        match = re.search(r"edit (\S+):", self.said)
        assert match is not None, self.said
        return Path(match[1])


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    if reason := missing("ssh"):
        pytest.skip(reason)
    program = subprocess.Popen(
        [sys.executable, ROOT / "scripts" / "demo.py"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert program.stdout is not None
    said = ""
    while "Ctrl-C ends the demo" not in said:
        line = program.stdout.readline()
        assert line, said
        said += line
    yield Demo(said, tmp_path)
    program.send_signal(signal.SIGINT)
    assert program.wait(20) == 0
    program.stdout.close()


def test_from_the_printed_commands_to_a_shell_that_an_edit_ends(demo: Demo) -> None:
    began = time.monotonic()
    app = enrol_at(demo.paste(demo.command("enrol")))
    log_in_at(demo.paste(demo.command("login")), app)

    shell = demo.paste(demo.command("ssh"))
    shell.expect(r"[#$] ", timeout=60)
    took = time.monotonic() - began
    shell.type("echo $((6 * 7))\n")
    shell.expect("42")
    demo.mine.write_text(demo.mine.read_text().replace("developer, sandbox", "developer"))

    shell.expect("access withdrawn")
    assert shell.wait() == 255
    assert took < 60
    shell.close()
