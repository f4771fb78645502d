"""Hosts with only OpenSSH, behind the proxy, with Debian's sshd: prepared by a command, and then like any other.

What sessions do there is tried by the tests of hosts with agents, too, which `make plain-hosts` runs against one.
"""

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.plain import PlainHost, join, plain_host, teleport_join
from tests.e2e.test_forwarding import _Server, _Shout, answers, ask, free_port, in_background
from tests.e2e.test_watching import WATCH
from tests.e2e.world import LOGIN, ROLE, Person, World, missing, user, wait_until

pytestmark = pytest.mark.skipif(bool(missing("sshd", "scp")), reason=missing("sshd", "scp"))
WHERE = f"{LOGIN}@old-1"
FORWARDS = ROLE.replace("spec:\n", "spec:\n  options: {forward_agent: yes}\n")


@pytest.fixture(scope="module")
def host(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainHost]:
    world.write("roles/dev.yaml", FORWARDS)
    world.write("roles/watch.yaml", WATCH)
    world.write("users/bob.yaml", user("bob", roles="watch"))
    world.write("nodes/another.yaml", "kind: node\nversion: v2\nmetadata: {name: another}\n")
    with plain_host(world, tmp_path_factory.mktemp("old")) as found:
        yield found


@pytest.fixture(scope="module")
def ann(world: World, host: PlainHost) -> Person:
    person = programmed(world, "ann")
    wait_until(lambda: host.name in person.tsh("ls").output, what="the host in tsh ls")
    assert host.name in world.tctl("nodes", "ls").output
    return person


def programmed(world: World, name: str) -> Person:
    """Somebody with a login that no second factor was needed for."""
    person, exported = world.person(name), world.root / f"{name}.identity"
    assert world.tctl("auth", "sign", "--user", name, "--out", str(exported), "--ttl", "1h").status == 0
    assert person.tsh("login", "--identity", str(exported)).status == 0
    (person.home / "ssh_config").write_text(person.tsh("config").output)
    return person


def ssh(ann: Person, *arguments: str) -> tuple[str, ...]:
    return ("ssh", "-F", str(ann.home / "ssh_config"), "-o", "BatchMode=yes", *arguments)


def test_a_command_prints_reads_and_ends_and_is_recorded_played_and_explained(world: World, ann: Person) -> None:
    result = ann.ssh(WHERE, "id -un; cat; echo bad >&2; exit 3", stdin="read ")

    assert (result.status, result.output) == (3, f"{LOGIN}\nread ")
    assert "bad" in result.errors
    started = world.wait_event("session.start", server_id="old-1")
    told = {key: started[key] for key in ("user", "login", "server_hostname", "server_sub_kind", "role", "addr.remote")}
    assert told == {
        "user": "ann", "login": LOGIN, "server_hostname": "old-1", "server_sub_kind": "openssh", "role": "dev",
        "addr.remote": "127.0.0.1",
    }  # fmt: skip
    issued = world.wait_event("cert.create", cert_type="openssh")
    assert (issued["identity"]["logins"], issued["identity"]["host"]) == ([LOGIN], "old-1")
    world.wait_event("session.upload", sid=started["sid"])
    assert "read " in ann.tsh("play", started["sid"], "-o", "text").output
    assert "role/dev" in world.tctl("access", "explain", "--session", started["sid"]).output


def test_a_terminal_has_its_size_and_a_signal_its_name(ann: Person) -> None:
    with ann.terminal("tsh", "ssh", WHERE, rows=31, columns=77) as terminal:
        terminal.expect(r"\$ ")
        terminal.type("stty size\n")
        terminal.expect("31 77")
        terminal.resize(40, 99)
        terminal.type("sleep 0.1; stty size; exit 9\n")
        terminal.expect("40 99")
        assert terminal.wait() == 9
    assert ann.ssh(WHERE, "kill -9 $$").status == 255


def test_files_are_copied_by_either_protocol_and_written_down(world: World, ann: Person) -> None:
    (ann.home / "file").write_bytes(os.urandom(300_000))
    scp = ("scp", "-q", "-F", str(ann.home / "ssh_config"))

    there = ann.run(*scp, "file", f"{WHERE}:copied")
    back = ann.run(*scp, "-O", f"{WHERE}:copied", "back")

    assert (there.status, back.status) == (0, 0), there.errors + back.errors
    assert (ann.home / "back").read_bytes() == (ann.home / "file").read_bytes()
    written = world.wait_event("sftp", action="close", server_id="old-1")
    assert (written["bytes_written"], written["server_sub_kind"]) == (300_000, "openssh")
    assert world.wait_event("scp", server_id="old-1")["path"] == "copied"


def test_ports_are_forwarded_both_ways_over_a_jump_and_a_withdrawn_permission_ends_it(
    world: World, ann: Person
) -> None:
    near, far = free_port(), free_port()
    with _Server(("127.0.0.1", 0), _Shout) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        ways = ("-L", f"{near}:localhost:{port}", "-R", f"{far}:localhost:{port}")
        with in_background(ann, *ssh(ann, "-J", world.proxy, "-N", *ways, WHERE)):
            wait_until(lambda: answers(("127.0.0.1", near)) and answers(("127.0.0.1", far)))
            assert ask(("127.0.0.1", far), b"x" * 500_000) == b"X" * 500_000

            world.write("roles/dev.yaml", FORWARDS.replace("yes}", "yes, ssh_port_forwarding: {local: {enabled: no}}}"))
            wait_until(lambda: not answers(("127.0.0.1", near)), timeout=5)
            assert answers(("127.0.0.1", far))
        world.write("roles/dev.yaml", FORWARDS)
        server.shutdown()
    assert world.wait_event("port", kind="local", server_id="old-1", code="T3003S")["server_sub_kind"] == "openssh"


def test_the_agent_is_forwarded(ann: Person) -> None:
    path = ann.home / "agent.sock"
    with in_background(ann, "ssh-agent", "-D", "-a", str(path)):
        wait_until(path.exists)
        result = ann.run(*ssh(ann, "-A", WHERE, "ssh-add -l; true"), env={"SSH_AUTH_SOCK": str(path)})

    assert "no identities" in result.output + result.errors


def test_a_live_session_is_listed_and_looked_on_at(world: World, ann: Person) -> None:
    bob = programmed(world, "bob")
    with ann.terminal("tsh", "ssh", WHERE) as terminal:
        terminal.expect(r"\$ ")
        rows = wait_until(lambda: json.loads(bob.tsh("sessions", "ls", "-o", "json").output), what="a live session")
        with bob.terminal("tsh", "join", rows[0]["sid"]) as observer:
            observer.expect("you look on at ann's session")
            terminal.type("echo seen-$((40+2))\n")
            observer.expect("seen-42")
        terminal.type("exit\n")
        terminal.wait()

    assert (rows[0]["server_hostname"], rows[0]["server_id"]) == ("old-1", "old-1")
    assert world.wait_event("session.join", server_id="old-1")["user"] == "bob"


def test_an_edit_cuts_a_session_within_a_second_with_the_reason_and_ends_what_ran(
    world: World, ann: Person, host: PlainHost
) -> None:
    with in_background(ann, *ssh(ann, WHERE, "echo $$; exec sleep 600")) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        pid = int(running.stdout.readline())

        edited = time.monotonic()
        world.write("nodes/old-1.yaml", host.declared(env="closed"))
        world.write("roles/dev.yaml", FORWARDS.replace('"*": "*"', "env: old"))
        assert running.wait(5) == 255
        took, said = time.monotonic() - edited, running.stderr.read()
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), timeout=5)
        refused = ann.ssh(WHERE, "true")

    assert took < 2
    assert "access withdrawn: role/dev no longer allows" in said
    assert "not found" in refused.errors
    world.write("roles/dev.yaml", FORWARDS)
    world.write("nodes/old-1.yaml", host.declared())
    wait_until(lambda: ann.ssh(WHERE, "true").status == 0)


def test_a_host_that_is_declared_no_longer_ends_its_sessions(world: World, ann: Person, host: PlainHost) -> None:
    with in_background(ann, *ssh(ann, WHERE, "echo up; sleep 600")) as running:
        assert running.stdout is not None
        running.stdout.readline()

        (world.policies / "nodes" / "old-1.yaml").unlink()

        assert running.wait(5) == 255
    world.write("nodes/old-1.yaml", host.declared())
    wait_until(lambda: ann.ssh(WHERE, "true").status == 0)


def test_what_is_not_the_host_is_refused_in_words(world: World, ann: Person, host: PlainHost, tmp_path: Path) -> None:
    other = PlainHost(tmp_path / "other", "old-2").install().start()
    try:
        world.write("nodes/old-2.yaml", other.declared())
        wait_until(lambda: "old-2" in ann.tsh("ls").output)
        unknown = ann.ssh(f"{LOGIN}@old-2", "true")
        key = (other.folder / "ssh_host_ed25519_key.pub").read_text().strip()
        world.write("nodes/old-2.yaml", other.declared().replace("spec: {", f"spec: {{host_keys: ['{key}'], "))
        known = wait_until(
            lambda: (said := ann.ssh(f"{LOGIN}@old-2", "true").errors) and "not old-2" not in said and said
        )
    finally:
        other.stop()
        (world.policies / "nodes" / "old-2.yaml").unlink()

    assert f"what answers at 127.0.0.1:{other.port} is not old-2" in unknown.errors
    assert "does not take the certificate" in known  # the key is right now, and sshd knows no authority


def test_a_certificate_for_one_host_or_login_opens_no_other(world: World, host: PlainHost, tmp_path: Path) -> None:
    """sshd itself refuses what was made for another host, another login, or by another authority."""
    from teleport.pki.authority import Authority, new_authority
    from teleport.pki.credentials import issue_ssh_login
    from teleport.pki.keys import new_ssh_key, ssh_private

    own = new_authority("openssh", "acme", now=time.time())
    trusted = host.folder / "teleport" / "openssh_ca.pub"
    trusted.write_text(trusted.read_text() + f"{own.public.keys[0].ssh_public}\n")
    host.restart()

    def opens(authority: Authority, principal: str) -> bool:
        key, path = new_ssh_key(), tmp_path / f"key-{time.monotonic_ns()}"
        path.write_text(ssh_private(key))
        path.chmod(0o600)
        now = time.time()
        line = issue_ssh_login(
            authority, "ann", key.public_key(), principal=principal, permits=["permit-pty"], start=now, until=now + 60
        )
        path.with_name(f"{path.name}-cert.pub").write_text(line)
        options = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes")
        command = ["ssh", "-F", "none", *options, "-i", str(path), "-p", str(host.port), f"{LOGIN}@127.0.0.1", "true"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    stranger = new_authority("openssh", "acme", now=time.time())
    assert opens(own, f"{LOGIN}@old-1.acme")
    assert not opens(own, f"{LOGIN}@old-2.acme")
    assert not opens(own, f"{LOGIN}@old-1.other")
    assert not opens(own, "root@old-1.acme")
    assert not opens(own, LOGIN)
    assert not opens(stranger, f"{LOGIN}@old-1.acme")


def test_joining_again_changes_nothing_and_undoing_leaves_what_was(world: World, tmp_path: Path) -> None:
    host = PlainHost(tmp_path / "old", "old-3").install()
    before = {path.name: path.read_bytes() for path in host.folder.iterdir()}

    first, again = join(world, host), teleport_join(host, "-o", "json")
    identity = host.folder / "teleport" / "identity.json"
    identity.write_text(json.dumps({**json.loads(identity.read_text()), "issued": 0}))
    renewed = teleport_join(host, "-o", "json")
    undone, nothing = teleport_join(host, "--undo"), teleport_join(host, "--undo")

    assert first.status == 0, first.errors
    assert "sub_kind: openssh" in first.output
    assert (json.loads(again.output)["changed"], json.loads(renewed.output)["changed"]) == (False, True), renewed.errors
    assert (undone.output, nothing.output) == ("sshd is configured as before\n", "there is nothing to undo\n")
    assert {path.name: path.read_bytes() for path in host.folder.iterdir()} == before


def test_what_sshd_would_not_take_is_not_left_there(world: World, tmp_path: Path) -> None:
    host = PlainHost(tmp_path / "old", "old-4", more={"TrustedUserCAKeys": "/etc/ssh/others.pub"}).install()
    before = host.config.read_bytes()

    taken = join(world, host)
    host.config.write_bytes(b"Nonsense yes\n" + before)
    broken = join(world, host)

    assert taken.status != 0
    assert "trustedusercakeys /etc/ssh/others.pub already" in taken.errors
    assert "sshd does not accept" in broken.errors
    assert host.config.read_bytes() == b"Nonsense yes\n" + before
    assert not (host.folder / "teleport" / "identity.json").exists()
    assert socket.gethostname() not in taken.output
