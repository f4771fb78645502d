"""What lives long: shared connections, what survives the loss of one, and editors that work on a host."""

import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.world import LOGIN, Finished, Person, World, missing, wait_until

HOST = f"{LOGIN}@db-1"


@pytest.fixture(scope="module")
def ann(world: World) -> Person:
    ann = world.person("ann").enrol().login()
    (ann.home / "ssh_config").write_text(ann.tsh("config").output)
    return ann


def ssh(ann: Person, *arguments: str, stdin: str = "") -> Finished:
    return ann.run("ssh", "-F", "ssh_config", "-o", "BatchMode=yes", *arguments, stdin=stdin)


def there(ann: Person, command: str) -> str:
    """What a command on the host prints."""
    return ssh(ann, HOST, command).output


@contextmanager
def running(ann: Person, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """An `ssh` that goes on; killed at the end."""
    program = subprocess.Popen(
        ["ssh", "-F", "ssh_config", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=ann.environment(), cwd=ann.home,
    )  # fmt: skip
    with program:
        try:
            yield program
        finally:
            program.kill()


def line_of(program: "subprocess.Popen[str]") -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


def lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture
def left(ann: Person) -> Iterator[list[int]]:
    """Processes of the host that a test left there."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        there(ann, f"kill -9 {pid}")


# -- many sessions over one connection


@contextmanager
def shared(ann: Person) -> Iterator[tuple[str, ...]]:
    """A connection that others share, kept by itself; the flags that find it."""
    flags = ("-o", f"ControlPath={ann.home}/shared", "-o", "ControlMaster=auto")
    first = ssh(ann, *flags, "-o", "ControlPersist=60", HOST, "true")
    assert first.status == 0, first.errors
    yield flags
    ssh(ann, *flags, "-O", "exit", HOST)


def test_thirty_sessions_at_once_share_a_connection_and_some_failing_harm_none(ann: Person, world: World) -> None:
    before = len(world.events("session.connect"))
    commands = {
        number: f"echo {number}; echo e{number} >&2; head -c 100000 /dev/zero; exit {number}" for number in range(27)
    }
    failing = ["kill -9 $$", "exec /no/such/program", "kill -9 $PPID; yes | head -c 1000000; exec kill -SEGV $$"]

    with shared(ann) as flags:
        with ThreadPoolExecutor(30) as pool:
            broken = [pool.submit(ssh, ann, *flags, HOST, command) for command in failing]
            good = {number: pool.submit(ssh, ann, *flags, HOST, command) for number, command in commands.items()}
            results = {number: future.result() for number, future in good.items()}
        checked = ann.tsh("ssh", "-S", f"{ann.home}/shared", "-O", "check", HOST)

    assert {number: result.status for number, result in results.items()} == {number: number for number in commands}
    assert all(result.output == f"{number}\n" + "\0" * 100_000 for number, result in results.items())
    assert all(result.errors == f"e{number}\n" for number, result in results.items())
    assert all(future.result().status for future in broken)
    assert "Master running" in checked.errors
    assert len(world.events("session.connect")) == before + 1


def test_a_shared_connection_listens_no_more_when_told_and_goes_on_for_who_uses_it(ann: Person) -> None:
    with shared(ann) as flags, running(ann, *flags, HOST, "echo up; cat") as session:
        assert line_of(session) == "up"

        stopped = ssh(ann, *flags, "-O", "stop", HOST)

        wait_until(lambda: not (ann.home / "shared").exists())
        answer = session.communicate("still here\n", timeout=20)[0]
        gone = ssh(ann, *flags, "-O", "check", HOST)
        assert (stopped.status, answer, session.returncode, gone.status) == (0, "still here\n", 0, 255)


def test_a_withdrawn_right_ends_every_session_of_a_shared_connection_and_each_reads_why(
    ann: Person, world: World
) -> None:
    with shared(ann) as flags:
        sessions = [
            subprocess.Popen(
                ["ssh", "-F", "ssh_config", *flags, HOST, "echo up; sleep 60"], stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=ann.environment(), cwd=ann.home,
            )
            for _ in range(5)
        ]  # fmt: skip
        assert [line_of(session) for session in sessions] == ["up"] * 5

        assert world.tctl("users", "lock", "ann", "--message", "on leave").status == 0

        errors = [session.communicate(timeout=10)[1] for session in sessions]
    refused = ssh(ann, *flags, HOST, "true")
    assert world.tctl("users", "unlock", "ann").status == 0
    wait_until(lambda: there(ann, "echo back") == "back\n")
    with shared(ann) as flags:
        checked = ssh(ann, *flags, "-O", "check", HOST)
    assert [session.returncode for session in sessions] == [255] * 5
    assert all("access withdrawn: lock/user-ann on user ann: on leave" in one for one in errors), errors
    assert "on leave" in refused.errors
    assert checked.status == 0


# -- the client vanishes


def test_who_loses_the_connection_finds_again_what_was_meant_to_stay(
    ann: Person, world: World, left: list[int]
) -> None:
    script = (
        "nohup sleep 300 >/dev/null 2>&1 & a=$!; "
        "echo $(setsid -f sh -c 'echo $$; exec sleep 300 >/dev/null 2>&1'); "
        "echo $a; echo $$; echo $SSH_SESSION_ID; sleep 300"
    )
    with running(ann, HOST, script) as session:
        daemon, spared, shell = (int(line_of(session)) for _ in range(3))
        left += [daemon, spared]
        sid = line_of(session)

        session.kill()

        wait_until(lambda: not lives(shell), what="the end of the shell")
    end = world.wait_event("session.end", sid=sid)
    assert end["reason"] == "the client disconnected"
    assert (lives(spared), lives(daemon)) == (True, True)


def test_a_shell_that_loses_its_terminal_leaves_tmux_behind_and_nothing_that_was_not_meant_to(
    ann: Person, world: World, left: list[int]
) -> None:
    if reason := missing("tmux"):
        pytest.skip(reason)
    tmux = "tmux -L teleport-test"
    with ann.terminal("ssh", "-F", "ssh_config", HOST) as terminal:
        terminal.expect(r"[#$] ")
        terminal.type(
            "sleep 300 & nohup sleep 300 >/dev/null 2>&1 & echo job=$! sid=$SSH_SESSION_ID; jobs -p | xargs\n"
        )
        found = terminal.expect(r"job=(\d+) sid=(\S+)\s+(\d+) \d+")
        spared, sid, job = int(found[1]), found[2], int(found[3])
        left.append(spared)
        terminal.type(f"{tmux} new -s work\n")
        wait_until(lambda: "work" in there(ann, f"{tmux} ls"))

        os.kill(terminal.pid, signal.SIGKILL)

        wait_until(lambda: not lives(job), what="the end of an ordinary job")
    world.wait_event("session.end", sid=sid, reason="the client disconnected")
    with ann.terminal("ssh", "-F", "ssh_config", "-t", HOST, f"{tmux} attach -t work") as terminal:
        terminal.expect(r"\[work\]")
        terminal.type("echo again-$((6 * 7)); exit\n")
        terminal.expect("again-42")
        assert terminal.wait() == 0
    assert lives(spared)


# -- editors that work on a host: a long command that starts a server, reached through forwards


SERVER = """
import asyncio, os, sys
async def shout(reader, writer):
    while line := await reader.readline():
        writer.write(str(os.getpid()).encode() + b" " + line.upper())
    writer.close()
async def main():
    tcp = await asyncio.start_server(shout, "127.0.0.1", 0)
    await asyncio.start_unix_server(shout, sys.argv[1])
    with open(sys.argv[1] + ".port", "w") as file:
        file.write(str(tcp.sockets[0].getsockname()[1]) + "\\n")
    await asyncio.Event().wait()
asyncio.run(main())
"""


@contextmanager
def editor(ann: Person, near: Path, far: str) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """The connection that an editor holds: the port of its SOCKS proxy, and a shell that reads what to do."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    near.unlink(missing_ok=True)
    with running(ann, "-T", "-D", str(port), "-L", f"{near}:{far}", HOST, "bash") as shell:
        yield port, shell


def told(shell: "subprocess.Popen[str]", script: str) -> str:
    """What the shell says to a line."""
    assert shell.stdin is not None
    shell.stdin.write(script + "\n")
    shell.stdin.flush()
    return line_of(shell)


def through(connection: socket.socket, text: str) -> tuple[int, str]:
    """Ask the server: who answers, and what."""
    with connection, connection.makefile("rw") as file:
        connection.settimeout(20)
        file.write(text + "\n")
        file.flush()
        pid, answer = file.readline().split(" ", 1)
        return int(pid), answer.strip()


def by_socks(proxy: int, port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", proxy), timeout=20)
    client.sendall(b"\x05\x01\x00")
    assert client.recv(2, socket.MSG_WAITALL) == b"\x05\x00"
    client.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + struct.pack("!H", port))
    assert client.recv(10, socket.MSG_WAITALL)[:2] == b"\x05\x00"
    return client


def by_path(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(str(path))
    return client


def test_an_editor_starts_its_server_reaches_it_and_finds_it_again_after_the_connection_is_lost(
    ann: Person, left: list[int]
) -> None:
    if not Path("/usr/bin/python3").exists():
        pytest.skip("not installed: python3")
    far, near = f"/tmp/teleport-editor-{os.getpid()}", ann.home / "editor"
    start = f"nohup /usr/bin/python3 -c '{SERVER}' {far} >/dev/null 2>&1 </dev/null &"
    with editor(ann, near, far) as (proxy, shell):
        told(
            shell, f"{start}\nuntil test -s {far}.port; do sleep 0.05; done; cat {far}.port > {far}.copy; echo started"
        )
        port = int(told(shell, f"cat {far}.port"))
        with ThreadPoolExecutor(40) as pool:
            asked = [
                pool.submit(lambda n: through(by_path(near) if n % 4 == 0 else by_socks(proxy, port), f"ask {n}"), n)
                for n in range(40)
            ]
            answers = [future.result() for future in asked]
        held = by_socks(proxy, port)
        time.sleep(1)  # nothing moves
        held_answer = through(held, "idle")
        left.append(answers[0][0])
        shell.kill()
    with editor(ann, near, far) as (proxy, shell):
        same = told(shell, f"cat {far}.port")
        again = through(by_socks(proxy, port), "again")
        path_again = through(by_path(near), "again")
        told(shell, f"rm {far} {far}.port {far}.copy; echo gone")

    (pid,) = {who for who, _ in answers}
    assert sorted(answer for _, answer in answers) == sorted(f"ASK {n}" for n in range(40))
    assert held_answer == (pid, "IDLE")
    assert int(same) == port
    assert again == path_again == (pid, "AGAIN")
