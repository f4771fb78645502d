"""docs/getting-started.md, done as it says: its own commands, in its order, with the outputs that it promises."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.world import BIN, Finished, Terminal, enrol_at, log_in_at, missing, wait_until

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "getting-started.md").read_text()


@dataclass
class Reader:
    """Somebody who follows the page in a folder of their own."""

    folder: Path
    substitutes: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.folder), "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}

    def line(self, start: str) -> str:
        """An indented line of the page that starts so."""
        match = re.search(rf"^    ({re.escape(start)}.*)$", PAGE, re.MULTILINE)
        assert match is not None, f"the page no longer says {start}"
        text = match[1]
        for old, new in self.substitutes.items():
            text = text.replace(old, new)
        return text

    def block(self, start: str) -> str:
        """A block of shell on the page that starts so."""
        match = re.search(rf"^```sh\n({re.escape(start)}.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        assert match is not None, f"the page no longer says {start}"
        return match[1]

    def run(self, text: str) -> Finished:
        done = subprocess.run(
            ["bash", "-c", text], capture_output=True, text=True, cwd=self.folder, env=self.environment, check=False,
            timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Finished(done.returncode, done.stdout, done.stderr)

    def terminal(self, text: str) -> Terminal:
        return Terminal.start(("bash", "-c", f"exec {text}"), self.environment, 24, 100, self.folder)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    if reason := missing("ssh", "bash"):
        pytest.skip(reason)
    return Reader(tmp_path)


@pytest.fixture
def cluster(reader: Reader) -> Iterator["subprocess.Popen[str]"]:
    written = reader.run(reader.block("mkdir -p policies/roles"))
    assert written.status == 0, written.errors
    process = subprocess.Popen(
        ["bash", "-c", f"exec {reader.line('teleport start')} --listen 127.0.0.1:0"], cwd=reader.folder,
        env=reader.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    ready = process.stdout.readline()
    match = re.match(r"ready: https://(127\.0\.0\.1:\d+) cluster example ca-pin (sha256:\S+)", ready)
    assert match is not None, ready
    reader.substitutes |= {"127.0.0.1:3080": match[1], "sha256:…": match[2]}
    yield process
    process.terminate()
    process.terminate()  # twice: without waiting for sessions
    process.wait(30)
    process.stdout.close()


@pytest.mark.usefixtures("cluster")
def test_the_page_is_true(reader: Reader) -> None:
    allowed, denied = (reader.run(line) for line in reader.block("tctl access check").splitlines())
    assert (allowed.status, denied.status) == (0, 3), denied.errors
    assert "roles/developer.yaml" in allowed.output

    invited = reader.run(reader.line("tctl --data-dir data users invite"))
    assert invited.status == 0, invited.errors
    token = re.search(r"--token (\S+)", invited.output)
    assert token is not None
    app = enrol_at(reader.terminal(reader.line("tsh enrol").replace("--token …", f"--token {token[1]}")))
    log_in_at(reader.terminal(reader.line("tsh login")), app)
    assert reader.run("tsh status").status == 0
    listed = reader.run("tsh ls")
    assert os.uname().nodename in listed.output

    shell = reader.terminal(reader.line("tsh ssh"))
    shell.expect(r"[#$%] ", timeout=60)
    (reader.folder / ".ssh").mkdir()
    assert reader.run(reader.line("tsh config")).status == 0
    plain = reader.run(f"ssh -F .ssh/config {reader.line('ssh ').removeprefix('ssh ')} true")
    assert plain.status == 0, plain.errors
    jumped = reader.run(f"ssh -F .ssh/config {reader.line('ssh -J').removeprefix('ssh ')} true")
    assert jumped.status == 0, jumped.errors
    role = reader.folder / "policies" / "roles" / "developer.yaml"
    role.write_text(role.read_text().replace('node_labels: {"*": "*"}', reader.line("node_labels: {env")))
    shell.expect(reader.line("access withdrawn").replace("…", r"\S+"))
    assert shell.wait() == 255

    assert reader.run(reader.block("mkdir -p policies/nodes")).status == 0
    wait_until(lambda: reader.run(f"{reader.line('tsh ssh')} true").status == 0, what="the granted session")

    status = reader.run(reader.line("tctl --data-dir data policy status"))
    searched = reader.run(reader.line("tctl --data-dir data audit search"))
    verified = reader.run(reader.line("tctl --data-dir data audit verify"))
    recorded = reader.run(reader.line("tctl --data-dir data recordings ls"))
    assert [one.status for one in (status, searched, verified, recorded)] == [0, 0, 0, 0]
    assert "session.start" in searched.output
    assert "ann" in recorded.output
    user = reader.folder / "policies" / "users" / "ann.yaml"
    assert "roles: [developer]" in user.read_text()
    user.write_text(user.read_text().replace("roles: [developer]", "roles: [developer, auditor]"))
    session = recorded.output.splitlines()[1].split()[0]
    wait_until(lambda: reader.run(f"tsh play {session} -o text").status == 0, what="playing as an auditor")
    assert session in reader.run(reader.line("tsh recordings ls")).output
    shell.close()
