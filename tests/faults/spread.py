"""A cluster whose auth service, proxy and agents are a process each, to be killed and started again one by one."""

import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.pki.authority import TrustedAuthority
from teleport.pki.keys import new_ssh_key, new_tls_key, private_pem, public_pem, ssh_line, ssh_private
from tests.e2e.services import Service, join_token

__all__ = ["Badge", "Kept", "Spread", "started"]


@dataclass
class Kept:
    """A process that is killed and started again, and since when it is as it should be."""

    name: str
    service: Service
    since: float = 0.0
    """When it was last ready; infinite while it is down."""
    kills: int = 0

    def start(self) -> None:
        self.service.start()
        self.since = time.monotonic()

    def kill(self) -> None:
        self.since = float("inf")
        self.kills += 1
        self.service.kill()


@dataclass(frozen=True)
class Badge:
    """What somebody proves an identity with: files for TLS and SSH."""

    user: str
    certificate: Path
    key: Path
    trust: Path
    ssh_certificate: Path
    ssh_key: Path


@dataclass
class Spread:
    """The processes and their folders. `policies` is a link, so that an edit of many files comes at once."""

    root: Path
    hosts: Sequence[str]
    processes: dict[str, Kept] = field(default_factory=dict)
    edit: int = 0

    @property
    def policies(self) -> Path:
        return self.root / "policies"

    @property
    def data(self) -> Path:
        """Of the auth service."""
        return self.root / "auth" / "data"

    def events(self, event: str) -> list[dict[str, Any]]:
        """The audit log as it lies on disk."""
        paths = sorted((self.data / "audit").glob("????-??-??.jsonl"))
        found = [
            json.loads(line) for path in paths for line in path.read_text().splitlines(keepends=True) if "\n" in line
        ]
        return [one for one in found if one["event"] == event]

    @property
    def proxy(self) -> str:
        return self.processes["proxy"].service.address

    def publish(self, files: dict[str, str]) -> int:
        """Make a set of files the policy, in one step; the number of the edit."""
        self.edit += 1
        folder = self.root / f"policies-{self.edit}"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        link = self.root / "policies.next"
        link.symlink_to(folder.name)
        link.replace(self.policies)
        shutil.rmtree(self.root / f"policies-{self.edit - 20}", ignore_errors=True)
        return self.edit

    def start(self) -> None:
        auth = ("--roles", "auth", "--cluster-name", "acme", "--nodename", "auth", "--policies", str(self.policies))
        pin = self._start("auth", *auth, "--listen", "127.0.0.1:0").service.pin
        token = ("--ca-pin", pin, "--token", join_token(self.data, "proxy", "node"))
        auth_server = ("--auth-server", self.processes["auth"].service.address)
        gate = ("--roles", "proxy", "--nodename", "gate", *auth_server, *token, "--listen", "127.0.0.1:0")
        self._start("proxy", *gate)
        for host in self.hosts:
            self._start(host, "--roles", "node", "--nodename", host, "--proxy-server", self.proxy, *token)

    def _start(self, name: str, *arguments: str) -> Kept:
        kept = self.processes[name] = Kept(name, Service(self.root / name, arguments))
        kept.start()
        if "--listen" in arguments:
            kept.service.arguments = (*arguments[:-1], kept.service.address)
        return kept

    def stop(self) -> None:
        for kept in reversed(self.processes.values()):
            if kept.service.process is not None and kept.service.process.returncode is None:
                kept.service.stop()

    def admin(self) -> ApiClient:
        return ApiClient.at_socket(self.data / "run" / "admin.sock")

    async def badge(self, user: str, *, hours: float = 12.0) -> Badge:
        """Certificates for somebody, made by the administrator."""
        ssh, tls = new_ssh_key(), new_tls_key()
        request = m.IdentityRequest(
            user=user, ssh_public_key=ssh_line(ssh.public_key()), tls_public_key=public_pem(tls.public_key()),
            ttl=hours * 3600.0,
        )  # fmt: skip
        async with self.admin() as client:
            made = await client.call(r.SIGN, request)
        trusted = [TrustedAuthority.decode(text) for text in made.authorities]
        folder = Path(tempfile.mkdtemp(prefix=f"badge-{user}-", dir=self.root))
        files = {
            "tls.crt": made.tls_certificate, "tls.key": private_pem(tls),
            "ca.pem": "".join(one.certificates for one in trusted if one.kind == "host"),
            "ssh-cert.pub": made.ssh_certificate + "\n", "ssh": ssh_private(ssh),
        }  # fmt: skip
        for name, text in files.items():
            path = folder / name
            path.touch(mode=0o600)
            path.write_text(text)
        paths = [folder / name for name in files]
        return Badge(user, paths[0], paths[1], paths[2], paths[3], paths[4])

    def stored(self, prefix: str) -> dict[str, bytes]:
        """Records of a stopped or running auth service's store, from a copy of its files."""
        with tempfile.TemporaryDirectory() as folder:
            for path in self.data.glob("store.sqlite*"):
                shutil.copy(path, folder)
            db = sqlite3.connect(Path(folder) / "store.sqlite")
            try:
                rows = db.execute("SELECT key, value FROM records WHERE key LIKE ?", (f"{prefix}%",)).fetchall()
            finally:
                db.close()
        return {key.removeprefix(prefix): value for key, value in rows}


def started(pid: int) -> str:
    """When a process began; empty for one that is gone or a corpse."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
