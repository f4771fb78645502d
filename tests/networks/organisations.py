"""Two organisations on networks of their own: each a cluster that a repository of its own governs.

partner 203.0.113.1 --peer-- 203.0.113.2 cluster 198.51.100.1 --wan-- router --lan-- edge

The root is on `partner`, with a host that has only OpenSSH; the leaf is on `cluster`, with a device behind NAT.
"""

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.e2e.plain import PlainHost
from tests.e2e.world import BIN, LOGIN, Finished, Person, World, wait_until
from tests.gitops.repositories import Upstream
from tests.networks.edge import PORT, LabPerson, LabWorld
from tests.networks.lab import Lab, Link, Machine, lab

ROOT: Final = "root.test"
LEAF: Final = "leaf.test"
ROOT_4: Final = "203.0.113.1"
LEAF_4: Final = "203.0.113.2"
INTERVAL: Final = 1.0
"""Seconds after which a repository is asked for news."""

REMOTE: Final = f'kind: remote_cluster\nversion: v3\nmetadata: {{name: {LEAF}, labels: {{partner: "yes"}}}}\n'
SUPPORT: Final = f"""\
kind: role
version: v7
metadata: {{name: support}}
spec:
  allow:
    logins: [{LOGIN}]
    node_labels: {{"*": "*"}}
    cluster_labels: {{partner: "yes"}}
"""
VISITOR: Final = f"""\
kind: role
version: v7
metadata: {{name: visitor}}
spec:
  allow:
    logins: [{LOGIN}]
    node_labels: {{"*": "*"}}
"""


@dataclass
class Neighbours:
    """The machines of both, and the link between the two clusters."""

    partner: Machine
    leaf: Lab
    peer: Link


@contextlib.contextmanager
def neighbours() -> Iterator[Neighbours]:
    with lab() as machines, contextlib.ExitStack() as stack:
        partner = Machine.make("partner")
        stack.callback(partner.remove)
        peer = Link.between(partner, machines.cluster, "peer")
        stack.callback(peer.remove)
        partner.address("peer", f"{ROOT_4}/24")
        machines.cluster.address("peer", f"{LEAF_4}/24")
        yield Neighbours(partner, machines, peer)


@dataclass
class Organisation(LabWorld):
    """A cluster on a machine of the lab, governed by a repository: what is written is committed."""

    by_folder: bool = False
    address: str = ""
    upstream: Upstream = field(init=False)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.upstream = Upstream(self.root / "repository")

    def on(self, machine: Machine) -> "Organisation":
        super().on(machine)
        (self.root / "teleport.yaml").write_text(
            f"version: v3\nproxy_service: {{public_addr: ['{self.address}:{PORT}']}}\n"
            f"policies:\n  git: {{url: '{self.upstream.url}', path: policies, interval: {INTERVAL:.0f}s}}\n"
        )
        return self

    def write(self, name: str, text: str) -> Path:
        self.commit({name: text})
        return self.upstream.folder / "policies" / name

    def commit(self, files: Mapping[str, str]) -> str:
        """The name of the commit."""
        return self.upstream.commit({f"policies/{name}": text for name, text in files.items()})

    def person(self, name: str) -> Person:
        super().person(name)  # with a `tsh` that runs on the machine
        return Inhabitant(self, name, self.root / "homes" / name)

    @property
    def first(self) -> str:
        """The commit that the repository began with."""
        return self.upstream.git("rev-list", "--max-parents=0", "HEAD")


@dataclass
class Inhabitant(LabPerson):
    """Somebody all of whose programs run on the machine of their organisation."""

    def run(
        self, *arguments: str, stdin: str = "", timeout: float = 40.0, env: Mapping[str, str] | None = None
    ) -> Finished:
        assert isinstance(self.world, LabWorld)
        return super().run(*self.world.machine.prefix, *arguments, stdin=stdin, timeout=timeout, env=env)


@dataclass
class LabPlainHost(PlainHost):
    """A host with only OpenSSH on a machine of the lab."""

    machine: Machine = field(default_factory=lambda: Machine(""))

    def start(self) -> "LabPlainHost":
        with (self.folder / "log").open("a") as log:
            command = [*self.machine.prefix, self.program, "-D", "-e", "-f", str(self.config)]
            self.process = subprocess.Popen(command, stderr=log)
        wait_until(lambda: "listening on" in self.log, what="an sshd")
        return self

    def join(self, world: World) -> Finished:
        """What an administrator does on the host."""
        token = world.tctl_json("tokens", "add", "--type", "node", "-o", "json")["token"]
        command = [
            *self.machine.prefix, str(BIN / "teleport"), "join", "openssh", "--config", str(self.config),
            "--proxy", world.proxy, "--ca-pin", world.pin, "--token", token, "--name", self.name,
        ]  # fmt: skip
        ended = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
        return Finished(ended.returncode, ended.stdout, ended.stderr)


def trusted(root: World, leaf: World, *, maps: str = "{remote: support, local: [visitor]}") -> str:
    """What the leaf declares of the root."""
    return (
        f"kind: trusted_cluster\nversion: v2\nmetadata: {{name: {ROOT}}}\nspec:\n  enabled: yes\n"
        f"  web_proxy_addr: {root.proxy}\n  ca_pin: {root.pin}\n"
        f"  token: {{file: {leaf.data}/secrets/root}}\n  role_map: [{maps}]\n"
    )


def give_token(root: World, leaf: World) -> None:
    """Carry a token for joining from one organisation to the other."""
    token = root.tctl_json("tokens", "add", "--type", "trusted_cluster", "--ttl", "1h", "-o", "json")["token"]
    for folder in (leaf.data, leaf.data / "secrets"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (leaf.data / "secrets" / "root").write_text(token)
