"""Two organisations, two repositories, networks between them: one login, and work on the hosts of both."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.services import hosts, join_token
from tests.e2e.world import LOGIN, Person, make_login, missing, remove_login, user, wait_until
from tests.networks.edge import PORT, Edge, edge_agent
from tests.networks.lab import CLUSTER_4, unavailable
from tests.networks.organisations import (
    INTERVAL,
    LEAF,
    REMOTE,
    ROOT,
    ROOT_4,
    SUPPORT,
    VISITOR,
    LabPlainHost,
    Neighbours,
    Organisation,
    give_token,
    neighbours,
    trusted,
)

_ABSENT = unavailable() or missing("git", "ssh", "scp", "sshd")
pytestmark = pytest.mark.skipif(bool(_ABSENT), reason=_ABSENT)
OLD, DEVICE = "old-1", f"edge-1.{LEAF}"
"""The root's host with only OpenSSH, and the leaf's device behind NAT, as ann calls them."""


@dataclass
class Field:
    root: Organisation
    leaf: Organisation
    machines: Neighbours
    ann: Person

    def ssh(self, where: str, *command: str) -> tuple[int, str, str]:
        ended = self.ann.run("ssh", "-F", "ssh_config", "-o", "BatchMode=yes", f"{LOGIN}@{where}", *command)
        return ended.status, ended.output, ended.errors

    @contextlib.contextmanager
    def session(self, where: str) -> "Iterator[subprocess.Popen[str]]":
        """A live session, which has said that it is there."""
        program = subprocess.Popen(
            [*self.root.machine.prefix, "ssh", "-F", "ssh_config", f"{LOGIN}@{where}", "echo here; exec sleep 60"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.ann.home,
            env=self.ann.environment(),
        )  # fmt: skip
        with program:
            assert program.stdout is not None
            assert program.stderr is not None
            line = program.stdout.readline()
            assert line == "here\n", program.stderr.read()
            yield program
            program.kill()

    def back(self) -> None:
        wait_until(lambda: self.ssh(DEVICE, "true")[0] == 0 and self.ssh(OLD, "true")[0] == 0, what="the way")


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("organisations")
    own_login = subprocess.run(["id", LOGIN], capture_output=True, check=False).returncode != 0
    make_login()
    with neighbours() as machines, contextlib.ExitStack() as stack:
        stack.callback(lambda: own_login and remove_login())
        root = Organisation(folder / "root", cluster=ROOT, address=ROOT_4).on(machines.partner)
        root.commit({"roles.yaml": SUPPORT, "users/ann.yaml": user("ann", roles="support"), "remote.yaml": REMOTE})
        leaf = Organisation(folder / "leaf", cluster=LEAF, address=CLUSTER_4).on(machines.leaf.cluster)
        leaf.commit({"roles.yaml": VISITOR})
        for one in (root, leaf):
            one.start(listen=f"{one.address}:{PORT}")
            stack.callback(one.stop)
        give_token(root, leaf)
        leaf.commit({"trust.yaml": trusted(root, leaf)})
        host = stack.enter_context(plain_host(root, folder / "old"))
        root.commit({"nodes/old-1.yaml": host.declared()})
        device = edge_agent(leaf, machines.leaf, folder / "edge", join_token(leaf.data, "node"))
        device.start()
        stack.callback(device.kill)
        yield Field(root, leaf, machines, logged_in(root, leaf, device))


@contextlib.contextmanager
def plain_host(root: Organisation, folder: Path) -> Iterator[LabPlainHost]:
    host = LabPlainHost(folder, OLD, machine=root.machine)
    host.install()
    joined = host.join(root)
    assert joined.status == 0, joined.errors
    host.start()
    yield host
    host.stop()


def logged_in(root: Organisation, leaf: Organisation, device: Edge) -> Person:
    """Ann, who logs in once, at home; and what she needs to use plain ssh."""
    ann = root.person("ann").enrol().login()
    wait_until(lambda: "edge-1" in hosts(leaf.data), what=device.log)
    wait_until(lambda: "online" in ann.tsh("clusters").output, what="the tunnel")
    wait_until(lambda: OLD in ann.tsh("ls").output, what="the host in tsh ls")
    config = ann.tsh("config").output + ann.tsh("config", "--cluster", LEAF).output
    (ann.home / "ssh_config").write_text(config)
    return ann


def test_one_login_works_on_the_hosts_of_both(field: Field) -> None:
    at_home, abroad = field.ssh(OLD, "id -un"), field.ssh(DEVICE, "id -un; hostname -I")

    assert at_home[:2] == (0, f"{LOGIN}\n"), at_home
    assert abroad[:2] == (0, f"{LOGIN}\n192.168.7.2 2001:db8:7::2 \n"), abroad
    assert len(field.root.events("user.login")) == 1
    assert not field.leaf.events("user.login")
