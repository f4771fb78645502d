"""The operator as its container starts it, as a process of its own."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from teleport.core.generated import REPOSITORY
from tests.kubernetes.clusters import NAMESPACE

__all__ = ["OperatorProcess"]

_ENTRYPOINT: Final = re.compile(r"^ENTRYPOINT \[(.*)\]$", re.MULTILINE)


def command() -> list[str]:
    """What the image starts, with the programs of this virtual environment and of this repository."""
    found = _ENTRYPOINT.search((REPOSITORY / "operator" / "Dockerfile").read_text())
    assert found is not None
    words = [word.strip(' "') for word in found[1].split(",")]
    places = {"/opt/teleport/bin": str(Path(sys.executable).parent), "/opt/operator": str(REPOSITORY / "operator")}
    for place, here in places.items():
        words = [word.replace(place, here) for word in words]
    return words


@dataclass
class OperatorProcess:
    """A running operator, or one that can be started."""

    home: Path
    kubeconfig: Path
    environment: Mapping[str, str]
    name: str = "operator"
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def log(self) -> str:
        path = self.home / f"{self.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> "OperatorProcess":
        with (self.home / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command(), f"--namespace={NAMESPACE}"], stdout=log, stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig),
                     "HOSTNAME": self.name, "POD_ID": self.name, **self.environment},
            )  # fmt: skip
        return self

    def wait_for(self, pattern: str, *, timeout: float = 30, restarting: bool = False) -> None:
        """Until a line of the log says something. `restarting` starts it again when it ends, as a kubelet does."""
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.log):
            assert self.process is not None
            if self.process.poll() is not None:
                assert restarting, self.log
                self.start()
            assert time.monotonic() < deadline, f"{pattern} is not in:\n{self.log[-4000:]}"
            time.sleep(0.05)

    def kill(self) -> None:
        """As a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """In an orderly way; the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{shlex.join(command())} did not end:\n{self.log[-4000:]}") from None
