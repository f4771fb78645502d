"""Ansible with the configuration of the example: many hosts at once, its ways of copying, and other users."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import LOGIN, Person, World, missing, wait_until

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "ansible"
NODE = """\
kind: node
version: v2
sub_kind: teleport
metadata: {name: db-1, labels: {env: staging, team: shop-1}}
spec: {hostname: db-1}
"""
PLAYBOOK = """\
- hosts: ways
  gather_facts: no
  tasks:
    - shell: {{cmd: "id -un; cat; echo $ANSIBLE_SAYS", stdin: standard input}}
      environment: {{ANSIBLE_SAYS: through the environment}}
      register: said
    - command: {{cmd: id -un}}
      become: "{{{{ become_root }}}}"
      register: became
    - copy: {{dest: "{there}/{{{{ inventory_hostname }}}}-copy", content: "{{{{ said.stdout }}}}", mode: "0640"}}
    - template: {{src: template.j2, dest: "{there}/{{{{ inventory_hostname }}}}-template"}}
"""
WAYS = {
    "pipelined": "ansible_pipelining=true",
    "by_sftp": "ansible_pipelining=false ansible_ssh_transfer_method=sftp",
    "by_scp": "ansible_pipelining=false ansible_ssh_transfer_method=scp",
    "by_pipe": "ansible_pipelining=false ansible_ssh_transfer_method=piped",
}

pytestmark = pytest.mark.skipif(bool(missing("ansible", "scp", "sftp")), reason=missing("ansible", "scp", "sftp"))


@pytest.fixture(scope="module")
def ann(world: World) -> Person:
    world.write("nodes/db-1.yaml", NODE)
    ann = world.person("ann").enrol().login()
    wait_until(lambda: "staging" in ann.tsh("ls").output)
    for name in ("ansible.cfg", "inventory"):
        shutil.copy(EXAMPLE / name, ann.home / name)
    (ann.home / "ssh_config").write_text(ann.tsh("config").output)
    return ann


@pytest.fixture
def there() -> Iterator[Path]:
    """A folder of the host into which the login may write."""
    folder = Path(f"/tmp/teleport-ansible-{os.getpid()}")
    folder.mkdir()
    if os.geteuid() == 0:
        shutil.chown(folder, LOGIN)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def may_become_root() -> Iterator[bool]:
    """Whether the login may, which takes root to arrange."""
    rule = Path(f"/etc/sudoers.d/{LOGIN}")
    if os.geteuid() != 0 or missing("sudo") or not rule.parent.exists():
        yield False
        return
    rule.write_text(f"{LOGIN} ALL=(ALL) NOPASSWD: ALL\n")
    rule.chmod(0o440)
    yield True
    rule.unlink()


@pytest.fixture(autouse=True)
def no_connection_is_left(ann: Person) -> Iterator[None]:
    yield
    for path in (ann.home / ".ansible" / "cp").glob("*"):
        subprocess.run(["ssh", "-S", str(path), "-O", "exit", "any"], capture_output=True, check=False)


def inventory(ann: Person, name: str, hosts: dict[str, str], **variables: object) -> str:
    """A file in which many names are the one host there is, each over a connection of its own."""
    lines = [f"[{name}]", *(f"{host} {more}" for host, more in hosts.items()), f"[{name}:vars]"]
    fixed = {
        "ansible_host": "db-1",
        "ansible_user": LOGIN,
        "ansible_control_path": "%(directory)s/{{ inventory_hostname }}",
    }
    lines += [f"{key}={value}" for key, value in {**fixed, **variables}.items()]
    (ann.home / name).write_text("\n".join(lines) + "\n")
    return name


def test_the_inventory_has_the_hosts_that_are_reached_and_groups_by_their_labels(ann: Person) -> None:
    result = ann.run("ansible-inventory", "--list")

    listed = json.loads(result.output)
    assert listed["env_staging"]["hosts"] == listed["team_shop_1"]["hosts"] == ["db-1"]
    assert listed["_meta"]["hostvars"]["db-1"]["ansible_user"] == LOGIN


def test_fifty_hosts_answer_at_once_over_connections_that_are_kept(ann: Person, world: World) -> None:
    hosts = inventory(ann, "fleet", {f"host{number}": "" for number in range(50)})
    arguments = ("ansible", "-i", hosts, "-o", "fleet", "-m")

    pinged = ann.run(*arguments, "ping", timeout=120)
    again = ann.run(*arguments, "raw", "-a", "echo again", "--limit", "host4*", timeout=120)

    assert (pinged.status, pinged.output.count('"ping": "pong"')) == (0, 50), pinged.output
    assert (again.status, again.output.count("again")) == (0, 11), again.output
    assert len(world.events("session.connect")) == 50


def test_modules_work_by_every_way_of_bringing_them_and_as_another_user(
    ann: Person, there: Path, may_become_root: bool
) -> None:
    hosts = inventory(ann, "ways", WAYS, become_root=may_become_root)
    (ann.home / "playbook.yaml").write_text(PLAYBOOK.format(there=there))
    (ann.home / "template.j2").write_text("{{ 6 * 7 }} {{ inventory_hostname }} {{ became.stdout }}\n")

    result = ann.run("ansible-playbook", "-i", hosts, "playbook.yaml", timeout=120)

    assert result.status == 0, result.output + result.errors
    who, said = "root" if may_become_root else LOGIN, f"{LOGIN}\nstandard input\nthrough the environment"
    for way in WAYS:
        copied = there / f"{way}-copy"
        assert (copied.read_text(), copied.owner(), copied.stat().st_mode & 0o777) == (said, LOGIN, 0o640)
        assert (there / f"{way}-template").read_text() == f"42 {way} {who}\n"
