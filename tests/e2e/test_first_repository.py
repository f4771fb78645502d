"""docs/first-repository.md, done as it says: its own commands, in its order, with the outputs that it promises."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.world import BIN, Finished, missing, wait_until

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "first-repository.md").read_text()
_COMMIT = re.compile(r"\([0-9a-f]{12}\)")
_BLOCK = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


SETTING_UP = (
    "1. Write policy", "2. Sign it, and put it where a cluster can fetch it", "3. Let it govern a cluster",
)  # fmt: skip


@dataclass
class Reader:
    """Somebody who follows the page in an empty folder."""

    folder: Path

    @property
    def policy(self) -> Path:
        return self.folder / "policy"

    def run(self, text: str, folder: Path) -> Finished:
        done = subprocess.run(
            ["bash", "-ec", text], capture_output=True, text=True, cwd=folder, check=False, timeout=60,
            env={"HOME": str(self.folder), "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin"}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Finished(done.returncode, done.stdout, done.stderr)

    def follow(self, heading: str) -> Iterator[None]:
        """Do what a section says, block by block, and see what it shows."""
        section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        assert section, f"the page no longer has {heading}"
        for kind, text in _BLOCK.findall(section):
            if kind == "sh":
                above = heading.startswith("3.") or text.startswith("mkdir")
                done = self.run(text, self.folder if above else self.policy)
                assert done.status == 0, done.errors
            else:
                command, _, shown = text.removeprefix("$ ").partition("\n")
                done = self.run(command, self.policy)
                assert _COMMIT.sub("(3f2c1a9d0e12)", done.errors + done.output) == shown
            yield

    def line(self, start: str) -> str:
        """An indented line of the page that starts so."""
        match = re.search(rf"^    ({re.escape(start)}.*)$", PAGE, re.MULTILINE)
        assert match is not None, f"the page no longer says {start}"
        return match[1]

    def wait(self, state: str) -> str:
        """What the status says once the cluster has read the newest commit and come to a state."""
        head = self.run("git rev-parse HEAD", self.policy).output.strip()
        command = self.line("tctl --data-dir ../data policy status")

        def status() -> str:
            told = self.run(command, self.policy).output
            return told if f"\n  {state}" in told and f"{head} read last" in told else ""

        return str(wait_until(status, what=f"{state} at {head}"))

    def may_reach_production(self) -> bool:
        """What the cluster itself has in force says."""
        role = self.run("tctl --data-dir ../data get role/developer -o json", self.policy)
        return "prod" in json.loads(role.output)[0]["spec"]["allow"]["node_labels"]["env"]


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    if reason := missing("git", "ssh-keygen", "bash"):
        pytest.skip(reason)
    return Reader(tmp_path)


@pytest.fixture
def cluster(reader: Reader) -> Iterator[None]:
    for heading in SETTING_UP:
        list(reader.follow(heading))
    process = subprocess.Popen(
        ["bash", "-c", f"exec {reader.line('teleport start')} --listen 127.0.0.1:0"], cwd=reader.folder,
        env={"HOME": str(reader.folder), "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin"}, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ready: ")
    yield
    process.terminate()
    process.wait(30)
    process.stdout.close()


@pytest.mark.usefixtures("cluster")
def test_the_page_is_true(reader: Reader) -> None:
    reader.wait("Ready")
    assert not reader.may_reach_production()

    list(reader.follow("4. A reviewed change"))
    reader.wait("Ready")
    unchanged = reader.run(reader.line("tctl --data-dir ../data policy plan policies"), reader.policy)
    assert (unchanged.status, reader.may_reach_production()) == (0, True)

    blocks = reader.follow("5. A refused one")
    next(blocks)
    told = reader.wait("Stalled")
    assert reader.line("users/ann.yaml") in told
    assert reader.may_reach_production()
    next(blocks)
    reader.wait("Ready")

    list(reader.follow("6. A rollback"))
    reader.wait("Ready")
    assert not reader.may_reach_production()
