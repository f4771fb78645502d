"""Two organisations, two repositories, networks between them: one login, and work on the hosts of both."""

import contextlib
import shutil
import subprocess
import tempfile
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
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "ansible"
OLD, DEVICE, OLD_THERE = "old-1", f"edge-1.{LEAF}", f"old-2.{LEAF}"
"""What ann calls the root's host with only OpenSSH, the leaf's device behind NAT, and its host with only OpenSSH."""


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
        if own_login:
            stack.callback(remove_login)
        root = Organisation(folder / "root", cluster=ROOT, address=ROOT_4).on(machines.partner)
        leaf = Organisation(folder / "leaf", cluster=LEAF, address=CLUSTER_4).on(machines.leaf.cluster)
        old = LabPlainHost(folder / "old-1", "old-1", machine=root.machine)
        old_there = LabPlainHost(folder / "old-2", "old-2", machine=leaf.machine)
        for host in (old, old_there):
            host.install()
        root.commit({
            "roles.yaml": SUPPORT, "users/ann.yaml": user("ann", roles="support"), "remote.yaml": REMOTE,
            "nodes/old-1.yaml": old.declared(),
        })  # fmt: skip
        start(root, old, stack)
        give_token(root, leaf)
        leaf.commit(
            {"roles.yaml": VISITOR, "trust.yaml": trusted(root, leaf), "nodes/old-2.yaml": old_there.declared()}
        )
        start(leaf, old_there, stack)
        device = edge_agent(leaf, machines.leaf, folder / "edge", join_token(leaf.data, "node"))
        device.start()
        stack.callback(device.kill)
        yield Field(root, leaf, machines, logged_in(root, leaf, device))


def start(organisation: Organisation, host: LabPlainHost, stack: contextlib.ExitStack) -> None:
    """A cluster, and a host with only OpenSSH in it."""
    organisation.start(listen=f"{organisation.address}:{PORT}")
    stack.callback(organisation.stop)
    joined = host.join(organisation)
    assert joined.status == 0, joined.errors
    host.start()
    stack.callback(host.stop)


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
    without_agent = field.ssh(OLD_THERE, "id -un")

    assert at_home[:2] == (0, f"{LOGIN}\n"), at_home
    assert abroad[:2] == (0, f"{LOGIN}\n192.168.7.2 2001:db8:7::2 \n"), abroad
    assert without_agent[:2] == (0, f"{LOGIN}\n"), without_agent
    assert field.leaf.wait_event("session.start", server_sub_kind="openssh")["user"] == f"remote-ann-{ROOT}"
    assert len(field.root.events("user.login")) == 1
    assert not field.leaf.events("user.login")


def test_files_are_copied_to_both_and_back(field: Field) -> None:
    (field.ann.home / "note").write_text("text")
    there = Path(f"/tmp/note-of-{LOGIN}")

    for where in (OLD, DEVICE, OLD_THERE):
        to = field.ann.run("scp", "-q", "-F", "ssh_config", "note", f"{LOGIN}@{where}:{there}")
        back = field.ann.run("scp", "-q", "-F", "ssh_config", f"{LOGIN}@{where}:{there}", f"back-{where}")

        assert (to.status, back.status) == (0, 0), to.errors + back.errors
        assert (field.ann.home / f"back-{where}").read_text() == "text"
        there.unlink()
    assert field.leaf.wait_event("sftp", action="open")["user"] == f"remote-ann-{ROOT}"
    assert field.root.wait_event("sftp", action="open")["user"] == "ann"


@pytest.mark.skipif(bool(missing("ansible")), reason=missing("ansible"))
def test_ansible_works_on_both_at_once(field: Field) -> None:
    shutil.copy(EXAMPLE / "ansible.cfg", field.ann.home)
    (field.ann.home / "inventory").write_text(
        f"{OLD}\n{DEVICE}\n{OLD_THERE}\n[all:vars]\nansible_user={LOGIN}\nansible_control_path=%(directory)s/%%h\n"
    )

    with tempfile.TemporaryDirectory(prefix="cp-", dir="/tmp") as sockets:  # whose names have room for little more
        result = field.ann.run(
            "ansible", "-o", "all", "-m", "command", "-a", "id -un", timeout=120,
            env={"ANSIBLE_SSH_CONTROL_PATH_DIR": sockets},
        )  # fmt: skip
        for path in Path(sockets).iterdir():
            subprocess.run(["ssh", "-S", str(path), "-O", "exit", "any"], capture_output=True, check=False)

    assert result.status == 0, result.output + result.errors
    assert result.output.count(LOGIN) == 3


@pytest.mark.parametrize("where", [DEVICE, OLD_THERE])
def test_both_logs_tell_of_one_session_each_in_its_own_words_and_both_explain_it(field: Field, where: str) -> None:
    assert field.ssh(where, "true")[0] == 0
    name = where.removesuffix(f".{LEAF}")
    there = field.leaf.wait_event("session.start", server_hostname=name)
    here = field.root.wait_event("session.connect", sid=there["connection"])
    let_through = field.root.wait_event("trusted_cluster.passage", sid=here["sid"])

    told_there = field.leaf.tctl("access", "explain", "--session", here["sid"])
    told_here = field.root.tctl("access", "explain", "--session", here["sid"])

    assert (here["user"], here["server_hostname"], here["role"]) == ("ann", where, "support")
    assert (there["user"], there["server_hostname"], there["role"]) == (f"remote-ann-{ROOT}", name, "visitor")
    assert here["addr.remote"] == there["addr.remote"] == let_through["addr.remote"] == ROOT_4
    assert f"allowed: remote-ann-{ROOT} logged in as {LOGIN} on {name}" in told_there.output, told_there.errors
    assert f"commit {field.leaf.first}" in told_there.output
    assert f"allowed: ann was let through to log in as {LOGIN} on {where}" in told_here.output, told_here.errors
    assert f"commit {field.root.first}" in told_here.output


@pytest.mark.parametrize("side", ["leaf", "root"])
def test_a_commit_on_either_side_ends_what_is_open_abroad_and_a_second_one_opens_the_way_again(
    field: Field, side: str
) -> None:
    closing, opening = {
        "leaf": ({"trust.yaml": trusted(field.root, field.leaf, maps="{remote: other, local: [visitor]}")},
                 {"trust.yaml": trusted(field.root, field.leaf)}),
        "root": ({"remote.yaml": REMOTE.replace('"yes"', '"no"')}, {"remote.yaml": REMOTE}),
    }[side]  # fmt: skip
    governed = field.leaf if side == "leaf" else field.root

    with field.session(DEVICE) as abroad, field.session(OLD) as at_home:
        commit, began = governed.commit(closing), time.monotonic()
        abroad.wait(20)
        took = time.monotonic() - began
        stays = at_home.poll()
    refused = field.ssh(DEVICE, "true")[0]
    governed.commit(opening)

    assert took < INTERVAL + 1
    assert stays is None
    assert refused == 255
    cut = governed.wait_event("client.disconnect" if side == "root" else "session.end", login=LOGIN)
    assert ("access withdrawn" in cut["reason"], commit in cut["reason"]) == (True, True), cut["reason"]
    field.back()


def test_a_commit_that_deletes_the_user_at_home_ends_what_is_open_on_both_sides(field: Field) -> None:
    with field.session(DEVICE) as abroad, field.session(OLD) as at_home:
        (field.root.upstream.folder / "policies/users/ann.yaml").unlink()
        began = time.monotonic()
        field.root.commit({})
        abroad.wait(20)
        at_home.wait(20)
        took = time.monotonic() - began

    assert took < INTERVAL + 1
    assert "user ann does not exist" in field.root.wait_event("client.disconnect", user="ann")["reason"]
    wait_until(lambda: field.leaf.events("session.end")[-1]["user"] == f"remote-ann-{ROOT}")
