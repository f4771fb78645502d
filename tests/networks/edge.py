"""A cluster and an edge device on machines of the lab, as processes of the real programs."""

import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.services import Service
from tests.e2e.world import BIN, Person, World
from tests.networks.lab import CLUSTER_4, Lab, Machine

PORT = 3080


@dataclass
class LabWorld(World):
    """A cluster that runs on a machine of the lab, and people who sit there too."""

    machine: Machine = field(default_factory=lambda: Machine(""))

    def on(self, machine: Machine) -> "LabWorld":
        self.machine = machine
        self.program = (*machine.prefix, str(BIN / "teleport"))
        config = self.root / "teleport.yaml"
        self.root.mkdir(parents=True, exist_ok=True)
        config.write_text(f"version: v3\nproxy_service: {{public_addr: ['{CLUSTER_4}:{PORT}']}}\n")
        self.arguments = ("--demo", "--config", str(config))
        return self

    def person(self, name: str) -> Person:
        person = LabPerson(self, name, self.root / "homes" / name)
        person.home.mkdir(parents=True, exist_ok=True)
        wrapped = person.home / "bin"
        wrapped.mkdir(exist_ok=True)
        tsh = wrapped / "tsh"
        tsh.write_text(f'#!/bin/sh\nexec {shlex.join(self.machine.prefix)} {BIN}/tsh "$@"\n')
        tsh.chmod(0o755)
        return person


@dataclass
class LabPerson(Person):
    """Somebody whose programs run on the cluster's machine."""

    def environment(self) -> dict[str, str]:
        found = super().environment()
        return {**found, "PATH": f"{self.home / 'bin'}:{found['PATH']}"}


@dataclass
class Edge(Service):
    """An agent on the edge device."""

    machine: Machine = field(default_factory=lambda: Machine(""))
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, *more: str) -> list[str]:
        settings = [f"{name}={value}" for name, value in self.environment.items()]
        return [*self.machine.prefix, "env", *settings, *super().command(*more)]


def edge_agent(world: World, lab: Lab, root: Path, token: str, **more: str) -> Edge:
    """Not started yet. `at` is the proxy's address, `name` the host's; anything else goes into its environment."""
    at, name = more.pop("at", f"{CLUSTER_4}:{PORT}"), more.pop("name", "edge-1")
    arguments = (
        "--roles", "node", "--nodename", name, "--proxy-server", at, "--token", token, "--ca-pin", world.pin
    )  # fmt: skip
    return Edge(root, arguments, machine=lab.edge, environment=more)


def connect_proxy(machine: Machine, port: int) -> "subprocess.Popen[str]":
    """A web proxy that lets CONNECT through, and nothing else; it says on standard output where to."""
    program = Path(__file__).with_name("connect_proxy.py")
    return subprocess.Popen(
        [*machine.prefix, str(BIN / "python"), str(program), str(port)], stdout=subprocess.PIPE, text=True,
        env={**os.environ},
    )  # fmt: skip
