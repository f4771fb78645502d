"""Services as processes of their own, beside a world whose process runs the rest of the cluster."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from tests.e2e.world import BIN, DEADLINE, Finished, World

READY = re.compile(r"ready: https://(\S+) cluster (\S+) ca-pin (sha256:[0-9a-f]{64})( DEMO: .*)?\n")


@dataclass
class Service:
    """One `teleport start` with arguments of its own."""

    root: Path
    arguments: tuple[str, ...]
    process: "subprocess.Popen[str] | None" = None
    address: str = ""
    pin: str = ""

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def log(self) -> str:
        return (self.root / "log").read_text(errors="replace")

    def command(self, *more: str) -> list[str]:
        return [str(BIN / "teleport"), "start", "--data-dir", str(self.data), *self.arguments, *more]

    def start(self, *more: str) -> "Service":
        """Return when it says that it is ready."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "log").open("a") as log:
            self.process = subprocess.Popen(self.command(*more), stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        match = READY.fullmatch(self.process.stdout.readline())
        assert match is not None, self.log
        self.address, self.pin = match[1], match[3]
        return self

    def fail(self, *more: str) -> Finished:
        """Start what must not get up; what it said."""
        result = subprocess.run(self.command(*more), capture_output=True, text=True, timeout=DEADLINE, check=False)
        return Finished(result.returncode, result.stdout, result.stderr)

    def kill(self) -> None:
        """As a power cut would."""
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self) -> int:
        """In an orderly way; the exit status."""
        assert self.process is not None
        assert self.process.stdout is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


def administer(data: Path, route: r.Route[Any, Any], request: m.Message) -> Any:
    """Ask the auth service of a data directory at its administration socket."""

    async def ask() -> Any:
        async with ApiClient.at_socket(data / "run" / "admin.sock") as client:
            return await client.call(route, request)

    return asyncio.run(ask())


def join_token(data: Path, *roles: str) -> str:
    """A token for services in these roles."""
    secret: m.TokenSecret = administer(data, r.TOKEN, m.TokenRequest(roles=roles))
    return secret.token


def hosts(data: Path) -> dict[str, m.HostRow]:
    """The hosts of the cluster, by name."""
    found: m.Hosts = administer(data, r.HOSTS, m.Empty())
    return {row.hostname: row for row in found.hosts}


def agent(world: World, root: Path, *more: str, name: str = "web-1") -> Service:
    """An agent that would join the world's cluster through its proxy."""
    return Service(root, ("--roles", "node", "--nodename", name, "--proxy-server", world.proxy, *more))


def free_port() -> int:
    """A port of this host that nobody listens on at the moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def asked(port: int) -> tuple[int, Any]:
    """What /readyz says at a diagnostic port."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=DEADLINE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def configured(world: World, text: str) -> Path:
    """Write the world's teleport.yaml; what else it needs it is told by flags."""
    path = world.root / "teleport.yaml"
    path.write_text(f"version: v3\n{text}")
    return path
