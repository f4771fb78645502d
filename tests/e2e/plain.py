"""A host with only OpenSSH, as Debian ships it: an sshd of its own, beside the cluster under test."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cli import programs
from tests.e2e.world import Finished, World, wait_until


@dataclass
class PlainHost:
    """An sshd that knows nothing of a cluster until its configuration says so."""

    folder: Path
    name: str = "old-1"
    port: int = 0
    more: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def config(self) -> Path:
        return self.folder / "sshd_config"

    @property
    def host_key(self) -> Path:
        return self.folder / "ssh_host_ed25519_key"

    @property
    def program(self) -> str:
        return shutil.which("sshd", path="/usr/sbin:/usr/bin") or "sshd"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def install(self) -> "PlainHost":
        """What the package does: a host key, and a configuration."""
        self.folder.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.host_key)], check=True)
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
        options = {
            "Port": str(self.port), "ListenAddress": "127.0.0.1", "HostKey": str(self.host_key), "PidFile": "none",
            "UsePAM": "no", "AuthorizedKeysFile": "none", "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no", "AcceptEnv": "LANG LC_*", "X11Forwarding": "yes",
            "PrintLastLog": "no", "PrintMotd": "no", "MaxSessions": "100", "MaxStartups": "200",
            "Subsystem": "sftp /usr/lib/openssh/sftp-server", **self.more,
        }  # fmt: skip
        self.config.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        return self

    def start(self) -> "PlainHost":
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen([self.program, "-D", "-e", "-f", str(self.config)], stderr=log)
        wait_until(self._listens, what="an sshd")
        return self

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def declared(self, **labels: str) -> str:
        """Its manifest."""
        written = ", ".join(f"{key}: {value}" for key, value in {"env": "old", **labels}.items())
        return (
            "kind: node\nsub_kind: openssh\nversion: v2\n"
            f"metadata: {{name: {self.name}, labels: {{{written}}}}}\nspec: {{addr: '127.0.0.1:{self.port}'}}\n"
        )


@contextmanager
def plain_host(world: World, folder: Path, name: str = "old-1", **more: str) -> Iterator[PlainHost]:
    """A host that was joined and is declared."""
    host = PlainHost(folder, name, more=more).install()
    joined = join(world, host)
    assert joined.status == 0, joined.errors
    host.start()
    try:
        world.write(f"nodes/{name}.yaml", host.declared())
        yield host
    finally:
        host.stop()


def join(world: World, host: PlainHost, *more: str) -> Finished:
    """What an administrator does on the host."""
    token = world.tctl_json("tokens", "add", "--type", "node", "-o", "json")["token"]
    return teleport_join(
        host, "--proxy", world.proxy, "--ca-pin", world.pin, "--token", token, "--name", host.name, *more
    )


def teleport_join(host: PlainHost, *arguments: str) -> Finished:
    """`teleport join openssh` on the host, but within this process: starting one takes longer than what it does."""
    with ThreadPoolExecutor(1) as elsewhere:
        ended = elsewhere.submit(
            programs.teleport, "join", "openssh", "--config", str(host.config), *arguments
        ).result()  # fmt: skip
    return Finished(ended.status, ended.output, ended.errors)
