"""Jumping with plain ssh, as over a bastion: `ssh -J PROXY LOGIN@HOST`, with what `tsh config` prints or without."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.world import LOGIN, ROLE, Finished, Person, World, wait_until

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bastion.md"
LOCK = "kind: lock\nversion: v2\nmetadata: {name: gone}\nspec: {target: {user: bob}, message: gone fishing}\n"


@pytest.fixture(scope="module")
def ann(world: World) -> Person:
    return prepared(world, "ann")


@pytest.fixture(scope="module")
def bob(world: World) -> Person:
    return prepared(world, "bob")


def prepared(world: World, name: str) -> Person:
    """Somebody who has logged in and keeps the configuration for ssh."""
    person = world.person(name).enrol().login()
    wait_until(lambda: "db-1" in person.tsh("ls").output)
    (person.home / "ssh_config").write_text(person.tsh("config").output)
    return person


def words(person: Person, *arguments: str, program: str = "ssh") -> tuple[str, ...]:
    return (program, "-F", str(person.home / "ssh_config"), "-o", "BatchMode=yes", *arguments)


def jump(person: Person, *arguments: str, stdin: str = "") -> Finished:
    return person.run(*words(person, "-J", person.world.proxy, *arguments), stdin=stdin)


def to_proxy(person: Person, *arguments: str, stdin: str = "") -> Finished:
    """ssh to the proxy itself."""
    host, port = person.world.proxy.split(":")
    return person.run(*words(person, "-p", port, *arguments[:-1], host, arguments[-1]), stdin=stdin)


def test_a_command_runs_as_by_any_other_way_and_is_written_down_alike(world: World, ann: Person) -> None:
    result = jump(ann, f"{LOGIN}@db-1", "echo jumped; id -un; cat", stdin="and its input")

    assert (result.status, result.errors) == (0, "")
    assert result.output == f"jumped\n{LOGIN}\nand its input"
    ended = world.wait_event("session.end", initial_command=["echo jumped; id -un; cat"])
    connected = world.wait_event("session.connect", server_id=ended["server_id"])
    assert (connected["user"], connected["addr.remote"]) == ("ann", "127.0.0.1")
    assert (ended["user"], ended["login"], ended["addr.remote"]) == ("ann", LOGIN, "127.0.0.1")


@pytest.mark.parametrize("name", ["db-1", "db-1.acme"])
def test_the_host_key_behind_the_proxy_is_verified_under_each_of_its_names(ann: Person, name: str) -> None:
    assert jump(ann, f"{LOGIN}@{name}", "true").status == 0


def test_files_are_copied_and_forwards_work_over_the_jump(ann: Person) -> None:
    content = os.urandom(2_000_000)
    (ann.home / "there").write_bytes(content)
    far = f"{LOGIN}@db-1:/tmp/jump-{LOGIN}"
    over = ("-o", f"ProxyJump={ann.world.proxy}")

    there = ann.run(*words(ann, *over, "there", far, program="scp"))
    back = ann.run(*words(ann, "-O", *over, far, "back", program="scp"))
    batch = ann.run(*words(ann, *over, "-b", "-", f"{LOGIN}@db-1", program="sftp"), stdin=f"rm /tmp/jump-{LOGIN}\n")

    assert (there.status, there.errors, back.status, batch.status) == (0, "", 0, 0)
    assert (ann.home / "back").read_bytes() == content


def test_what_stdio_is_joined_with_is_the_hosts_own_ssh(ann: Person) -> None:
    host, port = ann.world.proxy.split(":")
    program = subprocess.Popen(
        words(ann, "-p", port, "-W", "db-1:22", host), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=ann.environment(), cwd=ann.home,
    )  # fmt: skip
    with program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"SSH-2.0-Teleport\r\n"
        program.terminate()


@pytest.mark.parametrize(
    "asked", [("-T", "id"), ("-tt", "id"), ("-s", "sftp"), ("-A", "id"), ("-X", "id")], ids=lambda words: words[0]
)
def test_the_proxy_runs_nothing_and_says_how_to_reach_a_host(ann: Person, asked: tuple[str, ...]) -> None:
    result = to_proxy(ann, *asked)

    assert result.status == 255
    assert "this is the proxy of acme, which runs nothing" in result.errors
    assert f"ssh -J {ann.world.proxy} LOGIN@HOST" in result.errors


def test_the_proxy_listens_for_nobody_and_leads_to_no_other_port(ann: Person) -> None:
    listening = to_proxy(ann, "-v", "-o", "ExitOnForwardFailure=yes", "-R", "0:localhost:22", "-N")
    other = to_proxy(ann, "-W", "db-1:5432", "")

    assert listening.status == 255
    assert "the proxy listens for nobody" in listening.errors
    assert "the proxy leads to the SSH of hosts alone, not to port 5432" in other.errors


def test_an_unknown_host_is_not_found_and_a_wrong_login_is_refused_by_the_host(ann: Person) -> None:
    unknown = jump(ann, f"{LOGIN}@nowhere", "true")
    wrong = jump(ann, "daemon@db-1", "true")

    assert (unknown.status, wrong.status) == (255, 255)
    assert "node nowhere not found" in unknown.errors
    assert "ann may not log in as daemon on db-1" in wrong.errors


def test_a_certificate_of_somebody_else_behind_the_jump_is_refused_by_the_host(ann: Person, bob: Person) -> None:
    """The way was given to ann."""
    own, others = ((person.home / "ssh_config").read_text() for person in (ann, bob))
    (ann.home / "mixed").write_text(
        own.partition("Host *.acme")[0] + "Host *.acme" + others.partition("Host *.acme")[2]
    )

    result = ann.run("ssh", "-F", str(ann.home / "mixed"), "-J", ann.world.proxy, f"{LOGIN}@db-1", "true")

    assert result.status == 255
    assert "another's than the one that the proxy was shown" in result.errors


def test_without_a_certificate_nobody_gets_past_the_proxy(ann: Person) -> None:
    key = ann.home / "own"
    ann.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    host, port = ann.world.proxy.split(":")
    known = f"UserKnownHostsFile={ann.home}/.tsh/known_hosts"

    result = ann.run(
        "ssh", "-F", "none", "-o", "BatchMode=yes", "-o", known, "-o", "HostKeyAlias=ssh+proxy.acme", "-i", str(key),
        "-p", port, "-W", "db-1:22", host,
    )  # fmt: skip

    assert result.status == 255
    assert "Permission denied (publickey)" in result.errors


def test_the_page_on_bastions_is_enough_for_a_machine_without_tsh(world: World, ann: Person) -> None:
    host, port = world.proxy.split(":")
    folder = ann.home / ".ssh"
    folder.mkdir()
    assert world.tctl("auth", "sign", "--user", "ann", "--out", f"{folder}/ci", "--format", "openssh").status == 0
    (folder / "known_hosts").write_text(world.tctl("auth", "export", "--type", "host").output)
    written = re.search(r"```\n(Match host.*?)```", PAGE.read_text(), re.DOTALL)
    assert written is not None
    config = written[1].replace("teleport.example.com", host).replace("3080", port).replace("~/.ssh", str(folder))
    (folder / "config").write_text(config.replace(".example", ".acme"))

    result = ann.run("ssh", "-F", f"{folder}/config", "-o", "BatchMode=yes", f"{LOGIN}@db-1.acme", "id -un")

    assert (result.status, result.output) == (0, f"{LOGIN}\n"), result.errors


def test_the_proxys_address_can_be_trusted_instead_of_its_name(ann: Person) -> None:
    host, port = ann.world.proxy.split(":")
    authority = (ann.home / ".tsh" / "known_hosts").read_text().split(" ", 2)[2]
    known = ann.home / "known"
    known.write_text(f"@cert-authority [{host}]:{port} {authority}")
    text = (ann.home / "ssh_config").read_text()
    (ann.home / "by-address").write_text(
        re.sub("(?m)^ *HostKeyAlias .*\n", "", text.replace(f"{ann.home}/.tsh/known_hosts.acme", str(known), 1))
    )

    result = ann.run("ssh", "-F", f"{ann.home}/by-address", "-J", ann.world.proxy, f"{LOGIN}@db-1", "id -un")

    assert (result.status, result.output) == (0, f"{LOGIN}\n"), result.errors


def test_the_machine_of_the_proxy_keeps_an_ssh_server_of_its_own(ann: Person) -> None:
    """What `tsh config` says is about the proxy's port, and the machine may have others."""
    host, port = ann.world.proxy.split(":")

    own, others = (ann.run(*words(ann, "-G", "-p", number, host)).output for number in (port, "22"))

    assert "hostkeyalias ssh+proxy.acme" in own
    assert "hostkeyalias" not in others
    assert str(ann.home / ".tsh") not in others


def test_one_master_connection_to_the_proxy_carries_many_jumps(ann: Person) -> None:
    host, port = ann.world.proxy.split(":")
    path = f"ControlPath={ann.home}/master"
    with subprocess.Popen(words(ann, "-M", "-N", "-o", path, "-p", port, host), env=ann.environment()) as master:
        wait_until((ann.home / "master").exists)
        command = f"ssh -F {ann.home}/ssh_config -o {path} -p {port} -W %h:%p {host}"

        results = [
            ann.run(*words(ann, "-o", f"ProxyCommand={command}", "-o", "ProxyUseFdpass=no", f"{LOGIN}@db-1", "id -un"))
            for _ in range(3)
        ]

        master.terminate()
    assert [result.output for result in results] == [f"{LOGIN}\n"] * 3, results[0].errors


def test_a_withdrawn_right_ends_the_session_behind_the_jump_with_the_reason(world: World, ann: Person) -> None:
    with ann.terminal(*words(ann, "-tt", "-J", world.proxy, f"{LOGIN}@db-1")) as terminal:
        terminal.expect(r"[#$] ")

        world.write("roles/dev.yaml", ROLE.replace('"*": "*"', "env: elsewhere"))

        terminal.expect("access withdrawn: role/dev no longer allows")
        assert terminal.wait() == 255
    world.write("roles/dev.yaml", ROLE)
    wait_until(lambda: jump(ann, f"{LOGIN}@db-1", "true").status == 0)


def test_who_is_locked_is_hung_up_on_by_the_proxy_and_kept_out(world: World, bob: Person) -> None:
    host, port = world.proxy.split(":")
    idle = subprocess.Popen(
        words(bob, "-N", "-p", port, host), stderr=subprocess.PIPE, text=True, env=bob.environment(), cwd=bob.home
    )
    with idle:
        wait_until(lambda: jump(bob, f"{LOGIN}@db-1", "true").status == 0)
        path = world.write("locks/gone.yaml", LOCK)

        assert idle.wait(10) == 255
        assert idle.stderr is not None
        said = idle.stderr.read()
    after = jump(bob, f"{LOGIN}@db-1", "true")
    path.unlink()
    assert "access withdrawn: lock/gone" in said
    assert "gone fishing" in said
    assert after.status == 255
    assert "gone fishing" in after.errors
