"""One command on all hosts with some labels: what is printed, what is written down, how it ends."""

import itertools
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.services import agent, hosts, join_token
from tests.e2e.world import BIN, LOGIN, Person, World, user, wait_until

NODE = """\
kind: node
version: v2
sub_kind: teleport
metadata: {{name: {name}, labels: {{env: {env}, owner: "ops@acme"}}}}
spec: {{hostname: {name}}}
"""
ENVIRONMENTS = {"db-1": "prod", "web-1": "prod", "web-2": "dev"}
WHERE = "echo on-$(cat /proc/sys/kernel/ostype); echo complaint >&2"


@pytest.fixture(scope="module")
def ann(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """Three hosts, two of them with env=prod; ann may log in as nobody too where the system lets her."""
    for name, env in ENVIRONMENTS.items():
        world.write(f"nodes/{name}.yaml", NODE.format(name=name, env=env))
    world.write("users/ann.yaml", user("ann", logins=f"{LOGIN}, no-such-login"))
    token = join_token(world.data, "Node")
    others = [
        agent(world, tmp_path_factory.mktemp(name), "--token", token, "--ca-pin", world.pin, name=name).start()
        for name in ("web-1", "web-2")
    ]
    try:
        wait_until(lambda: {host.labels.get("env") for host in hosts(world.data).values()} == {"prod", "dev"})
        yield world.person("ann").enrol().login()
    finally:
        for one in others:
            one.stop()


def test_a_command_runs_on_every_host_with_all_labels_and_each_line_says_where(ann: Person) -> None:
    result = ann.ssh(f"{LOGIN}@env=prod,owner=ops@acme", WHERE)

    assert result.status == 0, result.errors
    assert sorted(result.output.splitlines()) == ["db-1  | on-Linux", "web-1 | on-Linux"]
    assert "web-1 | complaint" in result.errors
    assert re.search(r"Host +Status +Exit +Time", result.errors)
    assert result.errors.endswith("2 of 2 succeeded\n")
    assert "\x1b" not in result.output + result.errors


def test_what_failed_comes_first_and_is_in_the_exit_status(ann: Person) -> None:
    uuids = {host["hostname"]: host["uuid"] for host in json.loads(ann.tsh("ls", "-o", "json").output)}

    result = ann.ssh(f"{LOGIN}@owner=ops@acme", f"test $SSH_TELEPORT_HOST_UUID != {uuids['web-1']} || exit 7")

    rows = [line.split() for line in result.errors.splitlines()[-5:]]
    assert result.status == 1
    assert rows[1][:3] == ["web-1", "failed", "7"]
    assert [row[1] for row in rows[2:4]] == ["succeeded", "succeeded"]
    assert result.errors.endswith("2 of 3 succeeded\n")


def test_programs_get_one_object_a_host_and_files_hold_all_of_the_output(ann: Person) -> None:
    folder = ann.home / "logs"

    result = ann.ssh("--format", "json", "--log-dir", str(folder), f"{LOGIN}@env=prod", f"{WHERE}; exit 3")

    rows = {row["host"]: row for row in json.loads(result.output)}
    assert result.status == 1
    assert set(rows) == {"db-1", "web-1"}
    for name, row in rows.items():
        assert (row["status"], row["exit_code"], row["error"]) == ("failed", 3, "")
        assert (row["stdout"], row["stderr"]) == ("on-Linux\n", "complaint\n")
        assert 0 < row["seconds"] < 20
        assert (folder / f"{name}.stdout").read_text() == "on-Linux\n"
        assert (folder / f"{name}.stderr").read_text() == "complaint\n"
    assert result.errors == ""


def test_without_an_ssh_program_it_works_all_the_same(ann: Person) -> None:
    bare = {"PATH": str(BIN)}

    result = ann.run("tsh", "ssh", f"{LOGIN}@env=prod", f"{WHERE}; exit 3", env=bare)
    refused = ann.run("tsh", "ssh", "-A", f"{LOGIN}@env=prod", WHERE, env=bare)

    assert sorted(result.output.splitlines()) == ["db-1  | on-Linux", "web-1 | on-Linux"]
    assert result.errors.endswith("0 of 2 succeeded\n")
    assert result.status == 1
    assert "tsh: error: -A needs an ssh program" in refused.errors


def test_a_host_that_lets_nobody_in_is_told_with_its_reason(ann: Person) -> None:
    result = ann.ssh("--format", "json", "no-such-login@env=dev", "true")

    (row,) = json.loads(result.output)
    assert (result.status, row["status"], row["exit_code"]) == (1, "unreached", 255)
    assert "login no-such-login does not exist on this host" in row["error"]


def test_on_a_terminal_hosts_are_coloured_and_nothing_drives_it(ann: Person) -> None:
    with ann.terminal("tsh", "ssh", f"{LOGIN}@env=dev", r"printf 'a\033]0;owned\007b\r\n'; sleep 0.3") as terminal:
        terminal.expect(r"0/1 done, 1 running")
        terminal.expect(r"\x1b\[\d+mweb-2\x1b\[0m \| a\\x1b\]0;owned\\x07b\r\n")
        terminal.expect("1 of 1 succeeded")

        assert terminal.wait() == 0


def test_only_so_many_run_at_a_time(ann: Person) -> None:
    moment = "date +%s%N; sleep 0.5; date +%s%N"

    result = ann.ssh("--parallel", "1", "--format", "json", f"{LOGIN}@owner=ops@acme", moment)

    spans = sorted([int(at) for at in row["stdout"].split()] for row in json.loads(result.output))
    assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(spans))


def test_an_interrupt_ends_it_everywhere(ann: Person, tmp_path: Path) -> None:
    marker = f"sleep 9{os.getpid()}"
    with ann.terminal("tsh", "ssh", f"{LOGIN}@owner=ops@acme", f"echo begun; {marker}; echo over") as terminal:
        for _ in ENVIRONMENTS:
            terminal.expect("begun")
        began = time.monotonic()

        os.kill(terminal.pid, signal.SIGINT)

        terminal.expect("0 of 3 succeeded")
        assert terminal.wait() == 130
        assert time.monotonic() - began < 5
    wait_until(lambda: ann.run("pgrep", "-f", f"^{marker}").output == "", what="the end of the programs")


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        ((f"{LOGIN}@env=none", "true"), "none of the hosts you reach has env=none", "tsh ls"),
        (("root2@env=prod", "true"), "you may not log in as root2 on any of the 2 hosts", "LOGIN@env=prod"),
        ((f"{LOGIN}@env=prod",), "a shell on 2 hosts at once is not possible", "give a command"),
        (("-t", f"{LOGIN}@env=prod", "true"), "-t goes with one host", "tsh ls"),
        ((f"{LOGIN}@env=prod,env=dev", "true"), "is not a list of labels", "env=prod,team=web"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(
    ann: Person, arguments: tuple[str, ...], error: str, hint: str
) -> None:
    result = ann.ssh(*arguments)

    assert result.status != 0
    assert f"tsh: error: {error}" in result.errors or error in result.errors
    assert hint in result.errors.partition("tsh: hint: ")[2]
    assert result.output == ""


def test_labels_that_mean_one_host_open_a_shell_there(ann: Person) -> None:
    with ann.terminal("tsh", "ssh", f"{LOGIN}@env=dev") as terminal:
        terminal.expect(r"\$ ")
        terminal.type("echo at-$((4+4)); exit 5\n")

        terminal.expect("at-8")
        assert terminal.wait() == 5


def test_the_own_cluster_may_be_named(ann: Person) -> None:
    assert "web-2" in ann.tsh("ls", "--cluster", "acme", "env=dev").output
    assert ann.ssh("--cluster", "acme", f"{LOGIN}@db-1", "true").status == 0
