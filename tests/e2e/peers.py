"""An sshd without anything of ours, for what must be the same through the cluster."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.world import LOGIN, wait_until


@contextmanager
def plain_sshd(folder: Path) -> Iterator[Path]:
    """The `ssh_config` of a client of it, which calls it `plain`."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    options = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host", "PidFile": "none", "UsePAM": "no",
        "AuthorizedKeysCommand": f"/bin/echo {(folder / 'user.pub').read_text().strip()}",
        "AuthorizedKeysCommandUser": LOGIN, "AuthorizedKeysFile": "none", "AcceptEnv": "LANG LC_*", "MaxSessions": 100,
        "PrintLastLog": "no",
    }  # fmt: skip
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    config = folder / "ssh_config"
    config.write_text(
        f"Host plain\n HostName 127.0.0.1\n Port {port}\n User {LOGIN}\n IdentityFile {folder}/user\n"
        f" IdentitiesOnly yes\n StrictHostKeyChecking no\n UserKnownHostsFile {folder}/known\n"
    )
    program = shutil.which("sshd", path="/usr/sbin:/usr/bin") or "sshd"
    with (folder / "log").open("w") as log:
        running = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    works = ["ssh", "-F", str(config), "-o", "LogLevel=ERROR", "plain", "true"]
    try:
        wait_until(lambda: subprocess.run(works, capture_output=True, check=False).returncode == 0, what="an sshd")
        yield config
    finally:
        running.terminate()
        running.wait()
