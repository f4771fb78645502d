"""SSH as people and scripts use it: users, terminals, environments, configuration, ends."""

import getpass
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from teleport.agents.ssh import members
from tests.e2e.world import BIN, LOGIN, ROLE, Finished, Person, World, user, wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")


@pytest.fixture(scope="module")
def ann(world: World) -> Person:
    world.write("users/ann.yaml", user("ann", logins=f"{LOGIN}, no-such-login"))
    ann = world.person("ann").enrol().login()
    wait_until(lambda: "no-such-login" in ann.tsh("ls").output)
    return ann


@as_root
def test_everything_runs_as_the_login_with_its_groups_home_shell_and_umask(ann: Person) -> None:
    result = ann.ssh(
        f"{LOGIN}@db-1", "id; pwd; umask; echo $HOME $SHELL $USER $LOGNAME; cat /proc/self/status | grep CapEff"
    )

    lines = result.output.splitlines()
    assert f"({LOGIN})" in lines[0]
    assert "games" in lines[0]
    assert "(root)" not in lines[0]
    assert lines[1:4] == [f"/home/{LOGIN}", "0022", f"/home/{LOGIN} /bin/bash {LOGIN} {LOGIN}"]
    assert lines[4].split()[1] == "0000000000000000"


def test_a_shell_has_a_controlling_terminal_that_belongs_to_its_user(ann: Person) -> None:
    with ann.terminal("tsh", "ssh", f"{LOGIN}@db-1") as terminal:
        terminal.expect(r"\$ ")
        terminal.type("stat -c %U:%a $(tty); ps -o tty= -p $$; exec true\n")

        terminal.expect(rf"{LOGIN}:620\s+pts/\d+")
        assert terminal.wait() == 0


def test_a_child_inherits_no_descriptor_and_no_secret(ann: Person) -> None:
    result = ann.ssh(f"{LOGIN}@db-1", "ls /proc/$$/fd; env")

    listing, _, rest = result.output.partition("HOME=")
    assert listing.split()[:3] == ["0", "1", "2"]
    assert not [name for name in listing.split() if name.isdigit() and int(name) > 2 and int(name) < 255]
    assert "TELEPORT_SEALING_KEY" not in rest


def test_only_harmless_variables_of_the_client_are_taken(ann: Person) -> None:
    result = ann.run(
        "tsh", "ssh", "-o", "SendEnv=LC_ALL LD_PRELOAD TZ", f"{LOGIN}@db-1", "env",
        env={"LC_ALL": "C.UTF-8", "LD_PRELOAD": "", "TZ": "UTC", "BASH_ENV": "/tmp/x"},
    )  # fmt: skip

    assert "LC_ALL=C.UTF-8" in result.output
    assert "TZ=UTC" in result.output
    assert "LD_PRELOAD" not in result.output
    assert "BASH_ENV" not in result.output


def test_a_login_that_does_not_exist_on_the_host_is_refused_in_words(ann: Person) -> None:
    result = ann.ssh("no-such-login@db-1", "true")

    assert result.status == 255
    assert "login no-such-login does not exist on this host" in result.errors


def test_plain_ssh_reaches_hosts_by_name_without_a_prompt(ann: Person) -> None:
    config = ann.home / "ssh_config"
    config.write_text(ann.tsh("config").output)

    by_name = ann.run("ssh", "-F", str(config), "-o", "BatchMode=yes", f"{LOGIN}@db-1", "echo one")
    in_full = ann.run("ssh", "-F", str(config), "-o", "BatchMode=yes", f"{LOGIN}@db-1.acme", "echo two")

    assert (by_name.status, by_name.output, in_full.output) == (0, "one\n", "two\n")
    assert by_name.errors == ""


def test_one_connection_carries_many_sessions_and_one_failing_harms_none(ann: Person) -> None:
    config = ann.home / "ssh_config"
    config.write_text(ann.tsh("config").output)
    control = ("-F", str(config), "-o", "ControlPath=" + str(ann.home / "cm"))
    master = ann.run("ssh", *control, "-o", "ControlMaster=yes", "-o", "ControlPersist=20", f"{LOGIN}@db-1", "true")
    assert master.status == 0, master.errors
    commands = ["echo fine"] * 6 + ["kill -SEGV $$", "exec /no/such/program", "head -c 3000000 /dev/zero; exit 9"]

    with ThreadPoolExecutor(len(commands)) as pool:
        results = list(pool.map(lambda command: ann.run("ssh", *control, f"{LOGIN}@db-1", command), commands))

    assert [result.output for result in results[:6]] == ["fine\n"] * 6
    assert all(result.status != 0 for result in results[6:])
    assert len(results[8].output) == 3_000_000
    ann.run("ssh", *control, "-O", "exit", f"{LOGIN}@db-1")


def test_two_hundred_sessions_at_once_all_work(ann: Person, world: World) -> None:
    config = ann.home / "ssh_config"
    config.write_text(ann.tsh("config").output)
    before = len(world.events("session.end"))

    def one(number: int) -> Finished:
        return ann.run("ssh", "-F", str(config), f"{LOGIN}@db-1", f"echo {number}", timeout=120)

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(one, range(200)))

    assert {answer.errors for answer in answers} == {""}
    assert [answer.output.strip() for answer in answers] == [str(number) for number in range(200)]
    wait_until(lambda: len(world.events("session.end")) >= before + 200)


def test_a_command_without_terminal_reads_on_standard_error_why_it_ends(world: World, ann: Person) -> None:
    running = subprocess.Popen(
        ["tsh", "ssh", f"{LOGIN}@db-1", "echo up; sleep 60"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=ann.environment(), text=True, cwd=ann.home,
    )  # fmt: skip
    with running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == "up\n"

        lock = world.tctl("users", "lock", "ann", "--message", "left the company")

        assert lock.status == 0, lock.errors
        assert running.wait(5) == 255
        errors = running.stderr.read()
        assert "access withdrawn: lock/user-ann on user ann: left the company" in errors
    refused = ann.ssh(f"{LOGIN}@db-1", "true")
    assert refused.status == 255
    assert "left the company" in refused.errors
    assert world.tctl("users", "unlock", "ann").status == 0
    wait_until(lambda: ann.ssh(f"{LOGIN}@db-1", "true").status == 0)


def test_children_that_ignore_the_end_are_killed(world: World, ann: Person) -> None:
    script = "trap '' HUP TERM; setsid sleep 300 & echo $! $$ > pids; echo up; while :; do sleep 1; done"
    running = subprocess.Popen(
        ["tsh", "ssh", f"{LOGIN}@db-1", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=ann.environment(), text=True, cwd=ann.home,
    )  # fmt: skip
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        pids = ann.ssh(f"{LOGIN}@db-1", "cat pids").output.split()
        escaped, shell = (int(line) for line in pids)
        audited = members.audit_session(escaped) is not None

        assert world.tctl("users", "lock", "ann").status == 0

    wait_until(lambda: not Path(f"/proc/{shell}").exists(), what="the end of the shell")
    assert world.tctl("users", "unlock", "ann").status == 0
    if audited or Path("/sys/fs/cgroup/cgroup.controllers").exists():
        wait_until(lambda: not Path(f"/proc/{escaped}").exists(), what="the end of what left the process group")
    else:
        os.kill(escaped, 9)
    wait_until(lambda: ann.ssh(f"{LOGIN}@db-1", "true").status == 0)


def test_an_idle_session_ends_and_says_so(new_world: Callable[..., World]) -> None:
    world = new_world()
    ann = world.person("ann").enrol().login()
    world.write("roles/dev.yaml", ROLE.replace("spec:\n", "spec:\n  options: {client_idle_timeout: 1s}\n"))
    world.wait_event("role.updated", name="dev")

    with ann.terminal("tsh", "ssh", f"{LOGIN}@db-1") as terminal:
        terminal.expect(r"[#$] ")

        terminal.expect("the session was idle for 1s")
        assert terminal.wait() == 255


def test_a_session_that_needs_a_second_factor_asks_for_it(new_world: Callable[..., World]) -> None:
    world = new_world(
        files={
            "roles/dev.yaml": ROLE.replace("spec:\n", "spec:\n  options: {require_session_mfa: yes}\n"),
            "users/ann.yaml": user("ann"),
        }
    )
    ann = world.person("ann").enrol().login()

    without = ann.ssh(f"{LOGIN}@db-1", "true", stdin="")
    result = ann.tsh("ssh", "--mfa-code", ann.code(), f"{LOGIN}@db-1", "echo in", timeout=60)

    assert without.status != 0
    assert "requires a second factor for each session" in without.errors
    assert (result.status, result.output) == (0, "in\n")
    assert world.wait_event("session.start", user="ann")["with_mfa"] is True


def test_a_deleted_user_is_cut_off_and_a_new_one_of_the_name_inherits_nothing(new_world: Callable[..., World]) -> None:
    world = new_world()
    ann = world.person("ann").enrol().login()
    with ann.terminal("tsh", "ssh", f"{LOGIN}@db-1") as terminal:
        terminal.expect(r"[#$] ")

        (world.policies / "users/ann.yaml").unlink()

        terminal.expect("access withdrawn: user ann does not exist")
        assert terminal.wait() == 255

    world.write("users/ann.yaml", user("ann"))
    wait_until(lambda: len(world.events("user.create")) == 3)
    old = ann.ssh(f"{LOGIN}@db-1", "true")
    assert old.status == 255
    assert "deleted and created again" in old.errors
    login = ann.tsh(
        "login", "--proxy", world.proxy, "--user", "ann", "--password-stdin", "--mfa-code", ann.code(),
        stdin="correct horse battery staple\n",
    )  # fmt: skip
    assert login.status == 1


def test_the_own_user_of_auth_is_no_login_without_demo(new_world: Callable[..., World]) -> None:
    own = getpass.getuser()
    world = new_world("--roles", "auth,proxy,node", files={"dev.yaml": ROLE, "ann.yaml": user("ann", logins=own)})
    ann = world.person("ann").enrol().login()

    result = ann.ssh(f"{own}@db-1", "true")

    assert result.status == 255
    assert f"login {own} is the user that the auth service runs as" in result.errors


def test_a_session_that_was_live_when_the_agent_died_has_an_end_and_a_recording(
    new_world: Callable[..., World],
) -> None:
    world = new_world()
    ann = world.person("ann").enrol().login()
    with ann.terminal("tsh", "ssh", f"{LOGIN}@db-1") as terminal:
        terminal.expect(r"[#$] ")
        terminal.type("echo before-the-crash\n")
        terminal.expect(r"before-the-crash\r\n")
        time.sleep(1.2)  # the recording is flushed every half second
        started = world.wait_event("session.start", user="ann")

        world.kill()

    world.start()
    end = world.wait_event("session.end", sid=started["sid"])
    assert end["reason"] == "the agent stopped"
    recording = wait_until(lambda: (world.data / "recordings" / started["sid"] / "meta.json").exists())
    assert recording
    assert b"before-the-crash" in (world.data / "recordings" / started["sid"] / "output").read_bytes()


def test_without_an_ssh_program_commands_and_shells_still_work(ann: Person) -> None:
    bare = {"PATH": str(BIN)}

    command = ann.run("tsh", "ssh", f"{LOGIN}@db-1", "cat; exit 6", stdin="over there\n", env=bare)
    refused = ann.run("tsh", "ssh", "nobody@db-1", "true", env=bare)
    option = ann.run("tsh", "ssh", "-L", "1:localhost:2", f"{LOGIN}@db-1", env=bare)
    with ann.terminal(str(BIN / "tsh"), "ssh", f"{LOGIN}@db-1", rows=31, columns=77, env=bare) as terminal:
        terminal.expect(r"\$ ")
        terminal.type("stty size; exit 8\n")
        terminal.expect("31 77")
        shell = terminal.wait()

    assert shell == 8
    assert (command.status, command.output) == (6, "over there\n"), command.errors
    assert refused.status != 0
    assert "not nobody" in refused.errors
    assert "needs an ssh program" in option.errors
