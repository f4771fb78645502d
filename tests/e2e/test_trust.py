"""Two organisations with two folders: users of one reach hosts of the other, under the other's rules."""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.plain import PlainHost, plain_host
from tests.e2e.world import LOGIN, Person, World, missing, user, wait_until

ROOT, LEAF = "root.test", "leaf.test"
SUPPORT = """\
kind: role
version: v7
metadata: {name: support}
spec:
  allow:
    logins: []
    cluster_labels: {partner: "yes"}
"""
REMOTE = 'kind: remote_cluster\nversion: v3\nmetadata: {name: leaf.test, labels: {partner: "yes"}}\n'
VISITOR = f"""\
kind: role
version: v7
metadata: {{name: visitor}}
spec:
  allow:
    logins: [{LOGIN}]
    node_labels: {{"*": "*"}}
"""


@dataclass
class Two:
    """The root, the leaf that trusts it, and somebody at home in the root."""

    root: World
    leaf: World
    ann: Person

    def trust(self, *, enabled: str = "yes", maps: str = "{remote: support, local: [visitor]}") -> None:
        self.leaf.write(
            "trust.yaml",
            f"kind: trusted_cluster\nversion: v2\nmetadata: {{name: {ROOT}}}\nspec:\n  enabled: {enabled}\n"
            f"  web_proxy_addr: {self.root.proxy}\n  ca_pin: {self.root.pin}\n"
            f"  token: {{file: {self.leaf.data}/secrets/root}}\n  role_map: [{maps}]\n",
        )

    def ssh(self, *command: str, host: str = "app-1") -> "tuple[int, str, str]":
        ended = self.ann.ssh("--cluster", LEAF, f"{LOGIN}@{host}", *command)
        return ended.status, ended.output, ended.errors

    @contextlib.contextmanager
    def session(self, host: str = "app-1") -> "Iterator[subprocess.Popen[str]]":
        """A live session across the clusters, which has said that it is there."""
        program = subprocess.Popen(
            ["tsh", "ssh", "--cluster", LEAF, f"{LOGIN}@{host}", "echo here; exec sleep 60"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self.ann.environment(),
        )  # fmt: skip
        with program:
            assert program.stdout is not None
            assert program.stderr is not None
            line = program.stdout.readline()
            assert line == "here\n", program.stderr.read()
            yield program
            program.kill()

    def status(self) -> str:
        rows = self.root_clusters()
        return next((row["status"] for row in rows if row["name"] == LEAF), "unknown")

    def root_clusters(self) -> "list[dict[str, str]]":
        return list(json.loads(self.ann.tsh("clusters", "-o", "json").output or "[]"))


def logged_in(root: World) -> Person:
    """Ann, with a login that used none of her codes."""
    ann, exported = root.person("ann").enrol(), root.root / "ann.identity"
    assert root.tctl("auth", "sign", "--user", "ann", "--out", str(exported), "--ttl", "1h").status == 0
    assert ann.tsh("login", "--identity", str(exported)).status == 0
    return ann


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    if reason := missing("ssh"):
        pytest.skip(reason)
    with trusting(tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("leaf")) as two:
        yield two


@contextlib.contextmanager
def trusting(root_folder: Path, leaf_folder: Path) -> Iterator[Two]:
    """Both, with the tunnel between them."""
    root = World(root_folder, cluster=ROOT)
    root.write("roles.yaml", SUPPORT)
    root.write("users/ann.yaml", user("ann", roles="support"))
    leaf = World(leaf_folder, host="app-1", cluster=LEAF)
    leaf.write("roles.yaml", VISITOR)
    leaf.write("nodes/app-1.yaml", "kind: node\nversion: v2\nmetadata: {name: app-1, labels: {env: prod}}\n")
    leaf.write("users/ann.yaml", user("ann", roles="visitor", logins="nobody"))
    root.start()
    leaf.start()
    try:
        two = Two(root, leaf, logged_in(root))
        token = root.tctl_json("tokens", "add", "--type", "trusted_cluster", "--ttl", "1h", "-o", "json")["token"]
        secrets = leaf.data / "secrets"
        secrets.mkdir(mode=0o700, exist_ok=True)
        (secrets / "root").write_text(token)
        two.trust()
        leaf.wait_event("trusted_cluster.join", success=True)
        root.write("remote.yaml", REMOTE)
        wait_until(lambda: two.status() == "online", what="the tunnel")
        yield two
    finally:
        root.stop()
        leaf.stop()


def test_a_user_of_the_root_works_on_a_host_of_the_leaf(two: Two) -> None:
    status, output, errors = two.ssh("id -un")

    assert (status, output) == (0, f"{LOGIN}\n"), errors
    started = two.leaf.wait_event("session.start")
    assert started["user"] == f"remote-ann-{ROOT}"
    assert started["user_roles"] == ["visitor"]
    connected = two.root.wait_event("session.connect", server_hostname=f"app-1.{LEAF}")
    assert connected["user"] == "ann"


def cut(two: Two, program: "subprocess.Popen[str]", change: Callable[[], object]) -> tuple[float, str]:
    """After how many seconds a session was over that a change took the right from, and what its user read.

    It is over when the leaf has written down its end, with all that ran there.
    """
    edit = time.time()
    change()
    _, errors = program.communicate(timeout=10)

    def moment() -> float:
        ends = [datetime.fromisoformat(one["time"]).timestamp() for one in two.leaf.events("session.end")]
        return max((end for end in ends if end >= edit), default=0.0)

    ended: float = wait_until(moment, what="the end")
    return ended - edit, errors


def test_hosts_of_the_leaf_are_listed_with_the_logins_that_the_map_opens(two: Two) -> None:
    listed = two.ann.tsh("ls", "--cluster", LEAF, "-o", "json")

    (row,) = json.loads(listed.output)
    assert (row["hostname"], row["logins"]) == ("app-1", [LOGIN]), listed.errors


def test_a_command_runs_on_all_hosts_of_the_leaf_with_a_label(two: Two) -> None:
    ended = two.ann.ssh("--cluster", LEAF, f"{LOGIN}@env=prod", "echo all")
    nowhere = two.ann.ssh("--cluster", LEAF, f"{LOGIN}@env=none", "echo all")

    assert (ended.status, ended.output) == (0, "app-1 | all\n"), ended.errors
    assert "none of the hosts you reach has env=none" in nowhere.errors


def test_plain_ssh_goes_there_by_the_configuration(two: Two) -> None:
    config = two.ann.tsh("config", "--cluster", LEAF)
    path = two.ann.home / "ssh_config"
    path.write_text(config.output)

    ended = two.ann.run("ssh", "-F", str(path), f"{LOGIN}@app-1.{LEAF}", "echo plain")

    assert (ended.status, ended.output) == (0, "plain\n"), ended.errors
    trusted = next((two.ann.home / ".tsh" / "keys").glob(f"*/.known_hosts.{LEAF}")).read_text()
    assert re.fullmatch(rf"(@cert-authority \*\.{LEAF} \S+ \S+\n)+", trusted)


def test_a_cluster_may_be_chosen_and_files_copied_there(two: Two) -> None:
    (two.ann.home / "note").write_text("text")
    two.ann.tsh("login", LEAF)
    try:
        copied = two.ann.tsh("scp", "note", f"{LOGIN}@app-1:/tmp/note-of-{LOGIN}")
    finally:
        two.ann.tsh("login", ROOT)

    assert copied.status == 0, copied.errors
    arrived = Path(f"/tmp/note-of-{LOGIN}")
    assert arrived.read_text() == "text"
    arrived.unlink()
    assert two.leaf.wait_event("sftp", action="open")["user"] == f"remote-ann-{ROOT}"


def test_what_the_map_does_not_give_is_refused_by_the_leaf(two: Two) -> None:
    ended = two.ann.ssh("--cluster", LEAF, "nobody@app-1", "true")

    assert ended.status == 255
    assert f"remote-ann-{ROOT} may not log in as nobody on app-1" in ended.errors
    rejected = two.leaf.wait_event("session.rejected", login="nobody")
    assert rejected["user"] == f"remote-ann-{ROOT}"


def test_a_second_factor_that_the_leaf_demands_is_asked_for_and_proved_at_home(two: Two) -> None:
    two.leaf.write("roles.yaml", VISITOR.replace("spec:\n", "spec:\n  options: {require_session_mfa: yes}\n"))
    wait_until(lambda: "Code from the authenticator app" in two.ssh("true")[2], what="the question")

    ended = two.ann.ssh("--cluster", LEAF, "--mfa-code", two.ann.code(), f"{LOGIN}@app-1", "echo in")
    two.leaf.write("roles.yaml", VISITOR)

    assert (ended.status, ended.output) == (0, "in\n"), ended.errors
    wait_until(lambda: two.ssh("true")[0] == 0, what="the way without it")


def test_the_root_tells_of_its_leaf_and_the_leaf_of_its_root(two: Two) -> None:
    (remote,) = two.root.tctl_json("get", "remote_cluster", "-o", "json")
    (trusted,) = two.leaf.tctl_json("get", "trusted_cluster", "-o", "json")

    assert remote["metadata"]["name"] == LEAF
    assert remote["status"] == {"connection": "online"}
    assert (trusted["metadata"]["name"], trusted["status"]["state"]) == (ROOT, "trusted")
    assert two.root.wait_event("trusted_cluster.join", success=True)["name"] == LEAF


@pytest.mark.parametrize(
    "change",
    [
        lambda two: two.trust(maps="{remote: other, local: [visitor]}"),
        lambda two: two.root.write("remote.yaml", REMOTE.replace('"yes"', '"no"')),
    ],
    ids=["the leaf's map", "the root's labels"],
)
def test_a_change_on_either_side_cuts_what_is_open_at_once(two: Two, change: Callable[[Two], object]) -> None:
    with two.session() as program:
        took, errors = cut(two, program, lambda: change(two))
    refused = two.ssh("true")
    two.trust()
    two.root.write("remote.yaml", REMOTE)

    assert took < 1.0, errors
    assert refused[0] != 0
    wait_until(lambda: two.ssh("true")[0] == 0, what="the way to be open again")


@pytest.fixture
def old(two: Two, tmp_path: Path) -> Iterator[PlainHost]:
    """A host of the leaf that runs only OpenSSH."""
    if reason := missing("sshd"):
        pytest.skip(reason)
    with plain_host(two.leaf, tmp_path / "old") as host:
        wait_until(lambda: two.ssh("true", host="old-1")[0] == 0, what="the way to the host")
        yield host
        (two.leaf.policies / "nodes/old-1.yaml").unlink()


def test_a_host_with_only_openssh_is_reached_recorded_and_cut_off_as_one_with_an_agent(
    two: Two, old: PlainHost
) -> None:
    status, output, errors = two.ssh("id -un; exit 3", host=old.name)
    with two.session(old.name) as program:
        took, told = cut(two, program, lambda: two.trust(maps="{remote: other, local: [visitor]}"))
    refused = two.ssh("true", host=old.name)
    two.trust()

    assert (status, output) == (3, f"{LOGIN}\n"), errors
    assert took < 1.0, told
    assert refused[0] == 255
    started = two.leaf.wait_event("session.start", server_id=old.name)
    about = {key: started[key] for key in ("user", "user_roles", "login", "server_sub_kind", "role")}
    visitor = f"remote-ann-{ROOT}"
    assert about == {
        "user": visitor, "user_roles": ["visitor"], "login": LOGIN, "server_sub_kind": "openssh", "role": "visitor",
    }  # fmt: skip
    assert two.leaf.wait_event("cert.create", cert_type="openssh")["user"] == visitor
    assert two.leaf.wait_event("session.end", sid=started["sid"])["user"] == visitor
    two.leaf.wait_event("session.upload", sid=started["sid"])
    wait_until(lambda: two.ssh("true", host="app-1")[0] == 0, what="the way to be open again")


def test_a_user_who_is_deleted_at_home_is_cut_over_there(two: Two) -> None:
    with two.session() as program:
        took, errors = cut(two, program, lambda: (two.root.policies / "users/ann.yaml").unlink())

    assert took < 1.0, errors
    assert f"access withdrawn by {ROOT}" in errors
    told = two.root.wait_event("client.disconnect", user="ann")
    assert "user ann does not exist" in told["reason"]


def test_a_root_that_is_trusted_no_more_is_forgotten(two: Two) -> None:
    (two.leaf.policies / "trust.yaml").unlink()

    assert two.leaf.wait_event("trusted_cluster.forget", name=ROOT)["role"] == "root"
