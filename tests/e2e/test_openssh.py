"""The OpenSSH client as people use it: what programs see and answer is what they know from sshd."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.peers import plain_sshd
from tests.e2e.world import LOGIN, Finished, Person, World, missing, wait_until

HOST = f"{LOGIN}@db-1"
OWN_VARIABLES = {
    "SSH_SESSION_ID", "SSH_TELEPORT_USER", "SSH_TELEPORT_CLUSTER_NAME", "SSH_TELEPORT_HOST_UUID",
}  # fmt: skip
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")


@pytest.fixture(scope="module")
def ann(world: World) -> Person:
    ann = world.person("ann").enrol().login()
    (ann.home / "ssh_config").write_text(ann.tsh("config").output)
    return ann


def ssh(ann: Person, *arguments: str, stdin: str = "", env: dict[str, str] | None = None) -> Finished:
    return ann.run("ssh", "-F", "ssh_config", *arguments, stdin=stdin, env=env)


# -- as through sshd


@dataclass
class Pair:
    """The same client at an sshd without anything of ours, and at ours; one connection each."""

    ann: Person
    config: Path

    def run(self, command: str, *flags: str, stdin: str = "") -> tuple[Finished, Finished]:
        """What came of a command at the sshd, and at ours."""
        plain = self._run(self.config, "plain", command, *flags, stdin=stdin)
        return plain, self._run(Path("ssh_config"), HOST, command, *flags, stdin=stdin)

    def _run(self, config: Path, host: str, command: str, *flags: str, stdin: str) -> Finished:
        shared = ("-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o", f"ControlPath={self.ann.home}/cm-%n")
        flags = ("-F", str(config), "-o", "LogLevel=ERROR", *shared, *flags)
        return self.ann.run("ssh", *flags, host, command, stdin=stdin)

    def close(self) -> None:
        for config, host in ((self.config, "plain"), (Path("ssh_config"), HOST)):
            path = f"ControlPath={self.ann.home}/cm-%n"
            self.ann.run("ssh", "-F", str(config), "-o", path, "-O", "exit", host)


@pytest.fixture(scope="module")
def pair(ann: Person, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    if reason := missing("sshd"):
        pytest.skip(reason)
    with plain_sshd(tmp_path_factory.mktemp("sshd")) as config:
        made = Pair(ann, config)
        yield made
        made.close()


@pytest.mark.parametrize(
    "command",
    [
        "exit 7", "exit 255", "exit 300", "/no/such/program", "if", "kill -9 $$", "kill -TERM $$", "kill -PIPE $$",
        "kill -BUS $$", "kill -RTMIN $$", "exec 2>/dev/null; sh -c 'kill -9 $$'; exit $?",
        "echo out; echo err >&2; exit 3", "yes | head -n 1", "printf '\\377\\376\\0'", "cat; echo end",
        "head -c 3", "exec <&-; echo deaf",
        "exec >&-; echo only errors >&2", "(sleep 0.3; echo late) & echo early", "tty; echo $TERM", "pwd; umask; id",
        "shopt login_shell; echo $0 $-", "grep -E '^(Sig|Cap|Groups|NoNewPrivs)' /proc/self/status",
        "cut -d' ' -f5,8 /proc/$$/stat | tr ' ' '\\n' | sort -u | wc -l", "ulimit -c", "echo $PPID >/dev/null; wc -c",
    ],
)  # fmt: skip
def test_a_command_ends_prints_and_reads_as_through_sshd(pair: Pair, command: str) -> None:
    plain, ours = pair.run(command, stdin="line\n" * 100_000)

    assert ours == plain


@pytest.mark.parametrize(
    "command",
    ["stty -a; echo $TERM", "exit 9", "kill -9 $$", "test -t 0 && test -t 1 && test -t 2; echo $?", "sleep 60 & exit 4",
     "stat -c %a $(tty); echo $SSH_TTY | tr -d 0-9"],
)  # fmt: skip
def test_a_command_on_a_terminal_does_as_well(pair: Pair, command: str) -> None:
    plain, ours = pair.run(command, "-tt")

    assert ours == plain


def test_programs_find_the_variables_that_they_know(pair: Pair) -> None:
    found = []
    for one in pair.run("env; echo =$SSH_CONNECTION=$SSH_CLIENT"):
        lines = one.output.splitlines()
        found.append({line.split("=")[0]: line.split("=", 1)[1] for line in lines if line[0] != "="})
    plain, ours = found

    assert ours.keys() - OWN_VARIABLES == plain.keys()
    same = plain.keys() - {"SSH_CLIENT", "SSH_CONNECTION", "SHLVL", "_"}
    assert {name: ours[name] for name in same} == {name: plain[name] for name in same}
    assert re.fullmatch(r"127\.0\.0\.1 \d+ 22", ours["SSH_CLIENT"])
    assert re.fullmatch(r"127\.0\.0\.1 \d+ 127\.0\.0\.1 22", ours["SSH_CONNECTION"])
    assert ours["SSH_CONNECTION"].startswith(ours["SSH_CLIENT"].rpartition(" ")[0] + " ")


def test_bytes_of_any_kind_pass_in_both_directions(ann: Person) -> None:
    (ann.home / "random").write_bytes(os.urandom(20_000_000))

    result = ann.run("sh", "-c", f"ssh -F ssh_config {HOST} cat < random | cmp - random && echo same")

    assert (result.output, result.errors) == ("same\n", "")


# -- options


@pytest.mark.parametrize(
    ("flags", "command", "output"),
    [
        (["-T"], "tty; true", "not a tty\n"),
        (["-n"], "cat; echo end", "end\n"),
        (["-C"], "echo packed", "packed\n"),
        (["-4", "-a", "-x", "-k", "-q"], "echo quiet", "quiet\n"),
        (["-n", "-o", "RequestTTY=force"], "tty | cut -c1-9", "/dev/pts/\n"),
        (["-n", "-tt"], "tty | cut -c1-9", "/dev/pts/\n"),
        (["-e", "none", "-E", "said-by-ssh"], "echo out", "out\n"),
        (["-o", "RemoteCommand=echo remote %n %r"], "", f"remote db-1 {LOGIN}\n"),
        (["-o", "SetEnv=LC_TEST=set FOO=bar"], "echo $LC_TEST-$FOO-", "set--\n"),
        (["-o", "SendEnv=LC_* FOO"], "echo $LC_HERE-$FOO-", "here--\n"),
        (["-o", "ServerAliveInterval=1", "-o", "TCPKeepAlive=no"], "sleep 1.5; echo lives", "lives\n"),
        (["-o", "IPQoS=none", "-o", "RekeyLimit=16K"], "head -c 200000 /dev/zero | wc -c; cat | wc -c", "200000\n4\n"),
        (["-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo here"], "echo there", "here\nthere\n"),
        (["-o", "StdinNull=yes", "-o", "ConnectTimeout=10", "-o", "ConnectionAttempts=2"], "cat", ""),
        (["-o", "Ciphers=aes128-gcm@openssh.com", "-o", "Tunnel=no"], "echo in", "in\n"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_do_what_they_say_with_ssh_and_with_tsh_ssh(
    ann: Person, flags: list[str], command: str, output: str
) -> None:
    words = [HOST, command] if command else [HOST]
    env = {"LC_HERE": "here", "FOO": "bar"}

    plain = ssh(ann, *flags, *words, stdin="typd", env=env)
    ours = ann.run("tsh", "ssh", *flags, *words, stdin="typd", env=env)

    assert (plain.status, plain.output) == (0, output), plain.errors
    assert (ours.status, ours.output) == (0, output), ours.errors


def test_the_trace_of_a_good_connection_speaks_of_no_trouble(ann: Person) -> None:
    result = ssh(ann, "-v", "-o", "LogLevel=VERBOSE", HOST, "true")

    assert "Authenticated to db-1" in result.errors
    assert not re.findall(
        r"(?i)^.*(?:error|fail|denied|warn|unexpected|invalid|corrupt).*$", result.errors, re.MULTILINE
    )


def test_what_ssh_would_do_is_shown_without_connecting(ann: Person, world: World) -> None:
    before = len(world.events("session.connect"))

    shown = ssh(ann, "-G", HOST).output
    by_tsh = ann.tsh("ssh", "-G", HOST).output

    for text in (shown, by_tsh):
        assert f"user {LOGIN}\n" in text
        assert "certificatefile " in text
        assert "proxycommand " in text
    assert len(world.events("session.connect")) == before


# -- shells


def test_a_login_shell_greets_unless_it_is_told_to_hush(ann: Person) -> None:
    message = Path("/etc/motd").read_text(errors="replace").strip() if Path("/etc/motd").exists() else ""
    if not message:
        pytest.skip("this machine has no message of the day")
    first = re.escape(message.splitlines()[0].strip())

    with ann.terminal("ssh", "-F", "ssh_config", HOST) as terminal:
        terminal.expect(first)
        terminal.type("shopt login_shell; echo mail=$MAIL; touch .hushlogin; exit\n")
        terminal.expect(r"login_shell\s+on")
        terminal.expect(f"mail=/var/mail/{LOGIN}")
        terminal.wait()
    with ann.terminal("ssh", "-F", "ssh_config", HOST) as terminal:
        terminal.type("rm .hushlogin; exit\n")
        terminal.wait()
        assert not re.search(first, terminal.text)


def test_escapes_open_forwards_and_leave(ann: Person, world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as free:
        far, near = server.getsockname()[1], free.getsockname()[1]
        free.close()
        with ann.terminal("ssh", "-F", "ssh_config", "-o", "EnableEscapeCommandline=yes", HOST, rows=33) as terminal:
            terminal.expect(r"[#$] ")
            terminal.resize(44, 132)
            terminal.type("while ! stty size | grep '44 132'; do sleep 0.1; done\n")
            terminal.expect("44 132\r")
            terminal.type("\n~C")
            terminal.expect("ssh> ")
            terminal.type(f"-L {near}:localhost:{far}\n")
            terminal.expect("Forwarding port")
            with socket.create_connection(("127.0.0.1", near), timeout=20):
                server.settimeout(20)
                server.accept()[0].close()
            terminal.type("\n~#")
            terminal.expect("The following connections are open")
            sid = world.wait_event("session.start", user="ann", interactive=True)["sid"]
            terminal.type("\n~.")

            assert terminal.wait() == 255

    assert world.wait_event("session.end", sid=sid)["reason"] == "the client disconnected"


# -- in the background


def test_forwards_of_every_kind_wait_in_the_background(ann: Person, tmp_path: Path) -> None:
    control = ("-S", str(ann.home / "background"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        socks = free.getsockname()[1]
    kinds = ("-L", f"{ann.home}/near:/none", "-R", "0:localhost:1", "-D", f"{socks}")

    started = ssh(ann, "-f", "-N", "-M", *control, "-o", "ExitOnForwardFailure=yes", *kinds, HOST)
    checks = [ssh(ann, *control, "-O", word, HOST) for word in ("check", "exit")]
    wait_until(lambda: ssh(ann, *control, "-O", "check", HOST).status == 255)

    assert (started.status, [one.status for one in checks]) == (0, [0, 0]), started.errors
    assert "Allocated port" in started.errors
    assert (ann.home / "near").is_socket()


def test_a_command_goes_on_in_the_background(ann: Person) -> None:
    result = ann.run("sh", "-c", f"ssh -F ssh_config -f {HOST} 'sleep 0.3; echo done' > out; cat out; wait", stdin="")

    assert result.status == 0, result.errors
    wait_until(lambda: (ann.home / "out").read_text() == "done\n")


# -- programs on top of ssh


@pytest.mark.skipif(bool(missing("git")), reason=missing("git"))
def test_git_clones_with_submodules(ann: Person) -> None:
    env = {
        "GIT_SSH_COMMAND": f"ssh -F {ann.home}/ssh_config", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
    }  # fmt: skip
    url = f"ssh://{HOST}/home/{LOGIN}" if os.geteuid() == 0 else f"ssh://{HOST}{Path.home()}"
    assert ssh(ann, HOST, "for name in inner outer; do git init -q --bare submodule-$name.git; done").status == 0
    script = (
        "set -e; for name in inner outer; do git init -q -b main $name; cd $name; echo content-of-$name > file; "
        f"git add file; if [ $name = outer ]; then git submodule --quiet add -b main {url}/submodule-inner.git inner; "
        f"fi; git commit -qm first; git push -q {url}/submodule-$name.git main; cd ..; done; "
        f"git clone -q -b main --recurse-submodules {url}/submodule-outer.git clone; cat clone/file clone/inner/file"
    )

    result = ann.run("sh", "-c", script, env=env)

    assert result.output == "content-of-outer\ncontent-of-inner\n", result.errors
    assert ssh(ann, HOST, "rm -r submodule-*.git").status == 0


def test_a_folder_of_the_host_is_mounted(ann: Person) -> None:
    if reason := missing("sshfs", "fusermount3"):
        pytest.skip(reason)
    here = ann.home / "mounted"
    here.mkdir()
    mounted = ann.run("sshfs", "-F", str(ann.home / "ssh_config"), f"{HOST}:", str(here))
    if mounted.status and not os.access("/dev/fuse", os.W_OK):
        pytest.skip("FUSE is not permitted here")
    assert mounted.status == 0, mounted.errors

    try:
        (here / "mounted-file").write_text("through\n")
        there = ssh(ann, HOST, "cat mounted-file; rm mounted-file").output
        listed = os.listdir(here)
    finally:
        subprocess.run([shutil.which("fusermount3") or "fusermount3", "-u", str(here)], check=True)

    assert there == "through\n"
    assert "mounted-file" not in listed
