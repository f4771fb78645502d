"""Clients that are not OpenSSH, and certificates that refresh by themselves: whoever connects finds them good."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from tests.e2e.world import LOGIN, ROLE, Finished, Person, World, missing, wait_until

HOST = "db-1.acme"
needs_dropbear = pytest.mark.skipif(bool(missing("dbclient")), reason=missing("dbclient"))
needs_putty = pytest.mark.skipif(
    bool(missing("plink", "psftp", "puttygen")), reason=missing("plink", "psftp", "puttygen")
)


@pytest.fixture(scope="module")
def ann(world: World) -> Person:
    ann = world.person("ann").enrol().login()
    (ann.home / "ssh_config").write_text(ann.tsh("config").output)
    return ann


# -- certificates that refresh


def grown_old(person: Person) -> None:
    (mark,) = (person.home / ".tsh" / "keys").glob("*/.refreshed")
    os.utime(mark, (time.time() - 3600, time.time() - 3600))


def issued(world: World) -> int:
    return len([one for one in world.events("cert.create") if one["user"] == "ann"])


def ssh(person: Person, *command: str) -> str:
    result = person.run("ssh", "-F", "ssh_config", f"{LOGIN}@{HOST}", *command)
    assert result.status == 0, result.errors
    return result.output + result.errors


def test_ssh_refreshes_certificates_without_a_word_and_once_for_many_connections(world: World, ann: Person) -> None:
    (certificate,) = (ann.home / ".tsh" / "keys").glob("*/ann-cert.pub")
    before, count = certificate.read_text(), issued(world)
    grown_old(ann)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ssh(ann, "echo", "here"), range(8)))

    assert answers == ["here\n"] * 8
    assert issued(world) == count + 1
    assert certificate.read_text() != before


@pytest.mark.parametrize("name", ["ann", "ann-cert.pub"])
def test_ssh_finds_files_that_were_lost(ann: Person, name: str) -> None:
    (path,) = (ann.home / ".tsh" / "keys").glob(f"*/{name}")
    path.unlink()

    assert ssh(ann, "echo", "here") == "here\n"


def test_tsh_ssh_refreshes_certificates_too(world: World, ann: Person) -> None:
    count = issued(world)
    grown_old(ann)

    results = [ann.ssh(f"{LOGIN}@db-1", "echo", "here") for _ in range(2)]

    assert [(one.output, one.errors) for one in results] == [("here\n", "")] * 2
    assert issued(world) == count + 1


# -- any client, by way of `tsh proxy ssh --local`


@dataclass(frozen=True)
class Local:
    """A running `tsh proxy ssh --local`."""

    process: "subprocess.Popen[str]"
    port: str
    password_file: Path
    fingerprint: str
    host_key: str

    @property
    def password(self) -> str:
        return self.password_file.read_text().strip()


@contextlib.contextmanager
def listening(person: Person, *more: str, destination: str = f"{LOGIN}@db-1") -> Iterator[Local]:
    process = subprocess.Popen(
        ["tsh", "proxy", "ssh", "--local", "-o", "json", *more, destination],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=person.environment(),
    )  # fmt: skip
    assert process.stdout is not None
    about = json.loads(process.stdout.readline())
    yield Local(
        process, str(about["port"]), Path(about.get("password_file", "/nowhere")), about.get("fingerprint", ""),
        about.get("host_key", ""),
    )  # fmt: skip
    process.terminate()
    with process:
        process.wait(10)


@pytest.fixture(scope="module")
def local(ann: Person) -> Iterator[Local]:
    with listening(ann) as local:
        yield local


def dbclient(person: Person, local: Local, *arguments: str, stdin: str = "", login: str = LOGIN) -> Finished:
    """Dropbear's client, which knows no certificates."""
    command = ["dbclient", "-y", "-p", local.port, "-l", login, *arguments]
    return person.run(*command, stdin=stdin, env={"DROPBEAR_PASSWORD": local.password})


def to_local(local: Local, program: str, *options: str) -> list[str]:
    """A program of PuTTY's, on its way to the listener."""
    return [
        program, "-batch", *options, "-hostkey", local.fingerprint, "-pwfile", str(local.password_file),
        "-P", local.port, "-l", LOGIN, "127.0.0.1",
    ]  # fmt: skip


@needs_dropbear
def test_dbclient_runs_commands_with_input_output_errors_and_status(ann: Person, local: Local) -> None:
    result = dbclient(ann, local, "127.0.0.1", "tr a-z A-Z; echo err >&2; exit 7", stdin="hello\n")

    assert (result.status, result.output) == (7, "HELLO\n")
    assert result.errors.endswith("err\n")


@needs_dropbear
def test_dbclient_has_a_terminal_whose_size_follows_the_window(ann: Person, local: Local) -> None:
    command = ["dbclient", "-y", "-t", "-p", local.port, "-l", LOGIN, "127.0.0.1"]
    password = {"DROPBEAR_PASSWORD": local.password}

    with ann.terminal(*command, rows=30, columns=100, env=password) as terminal:
        terminal.expect(r"\$ ")
        terminal.type("stty size; echo $TERM\n")
        terminal.expect(r"30 100\s+xterm")
        terminal.resize(40, 120)
        terminal.type("sleep 0.2; stty size\n")
        terminal.expect("40 120")
        terminal.type("echo begun; sleep 100\n")
        terminal.expect(r"begun\r")
        terminal.type("\x03")
        terminal.expect(r"\$ ")
        terminal.type("exit 3\n")
        status = terminal.wait()

    assert status == 3


@needs_dropbear
def test_much_goes_through_whole_however_slowly_it_is_read(ann: Person, local: Local) -> None:
    size = 20_000_000
    command = f"yes teleport | head -c {size}; sleep 0.1; exit 9"
    words = ["dbclient", "-y", "-p", local.port, "-l", LOGIN, "127.0.0.1", command]
    env = {**ann.environment(), "DROPBEAR_PASSWORD": local.password}

    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    ) as it:
        assert it.stdout is not None
        it.stdout.read(1)
        time.sleep(0.5)
        rest = it.stdout.read()

    assert len(rest) == size - 1
    assert set(rest.split(b"\n")[1:-1]) == {b"teleport"}
    assert it.returncode == 9


@needs_putty
def test_plink_and_psftp_come_in_with_the_password(ann: Person, local: Local, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "there").write_bytes(content)
    batch = f"put {tmp_path}/there clients-test\nget clients-test {tmp_path}/back\nrm clients-test\nquit\n"

    ran = ann.run(*to_local(local, "plink"), "echo here; exit 5")
    copied = ann.run(*to_local(local, "psftp", "-be"), stdin=batch)

    assert (ran.status, ran.output) == (5, "here\n")
    assert copied.status == 0, copied.errors
    assert (tmp_path / "back").read_bytes() == content


def with_paramiko(person: Person, *arguments: str) -> dict[str, object]:
    """What a program built on paramiko tells of a session."""
    result = person.run(sys.executable, str(Path(__file__).with_name("with_paramiko.py")), *arguments)
    assert result.status == 0, result.errors
    told: dict[str, object] = json.loads(result.output)
    return told


RIGHT = {"output": "HERE", "status": 4, "copied": True}


def test_paramiko_comes_in_with_the_password(ann: Person, local: Local) -> None:
    hosts = ann.home / "local_hosts"
    hosts.write_text(f"[127.0.0.1]:{local.port} {local.host_key}\n")
    there = ("--host", "127.0.0.1", "--port", local.port, "--login", LOGIN, "--hosts", str(hosts))

    told = with_paramiko(ann, *there, "--password-file", str(local.password_file))

    assert told == RIGHT


async def test_signals_reach_the_program_and_its_end_by_one_is_told(ann: Person, local: Local) -> None:
    port = int(local.port)

    async with asyncssh.connect(
        "127.0.0.1", port, username=LOGIN, password=local.password, known_hosts=None, config=[], agent_path=None
    ) as connection:
        process = await connection.create_process("echo ready; exec sleep 100")
        await process.stdout.readline()
        process.send_signal("TERM")
        ended = await asyncio.wait_for(process.wait(), 10)

    assert ended.exit_signal is not None
    assert ended.exit_signal[0] == "TERM"


async def test_ports_are_forwarded_from_the_host(world: World, ann: Person, local: Local) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"from behind the host")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    behind = server.sockets[0].getsockname()[1]
    async with server, asyncssh.connect(
        "127.0.0.1", int(local.port), username=LOGIN, password=local.password, known_hosts=None, config=[],
        agent_path=None,
    ) as connection:  # fmt: skip
        reader, writer = await connection.open_connection("127.0.0.1", behind)
        greeting = await asyncio.wait_for(reader.read(), 10)
        writer.close()

    assert greeting == b"from behind the host"
    world.wait_event("port", user="ann", code="T3003S")


# -- what the listener does not do


@needs_dropbear
def test_it_leads_to_the_login_that_was_asked_for_alone(ann: Person, local: Local) -> None:
    result = dbclient(ann, local, "127.0.0.1", "id", login="daemon")

    assert result.status == 1
    assert f"this leads to {LOGIN}@db-1, and you are logging in as daemon" in result.errors


@needs_dropbear
def test_a_wrong_password_is_refused_and_not_for_ever(ann: Person, local: Local) -> None:
    env = {"DROPBEAR_PASSWORD": "x" + local.password}

    result = ann.run("dbclient", "-y", "-p", local.port, "-l", LOGIN, "127.0.0.1", "id", env=env)

    assert (result.status, result.output) == (1, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_hears_not_a_byte(ann: Person, local: Local) -> None:
    words = f"exec 3<>/dev/tcp/127.0.0.1/{local.port}; head -c 100 <&3; cat {local.password_file}"

    result = subprocess.run(
        ["bash", "-c", words], user=LOGIN, group=LOGIN, extra_groups=[], capture_output=True, text=True, check=False,
        cwd="/", timeout=10,
    )  # fmt: skip

    assert result.stdout == ""
    assert "Permission denied" in result.stderr


@pytest.mark.parametrize("where", ["0.0.0.0:0", "192.0.2.1:2222", "[::]:0", "example.com:22"])
def test_it_listens_nowhere_but_on_the_loopback(ann: Person, where: str) -> None:
    result = ann.tsh("proxy", "ssh", "--local", "--listen", where, f"{LOGIN}@db-1")

    assert result.status == 2
    assert "no address of the loopback" in result.errors


@needs_dropbear
def test_what_the_host_refuses_is_told_in_the_clients_own_window(ann: Person) -> None:
    with listening(ann, destination="db-1") as anybody:
        result = dbclient(ann, anybody, "127.0.0.1", "id", login="daemon")

    assert result.status == 1
    assert "daemon" in result.errors
    assert "may not log in" in result.errors or "does not let you in" in result.errors


def test_its_password_ends_with_it(ann: Person) -> None:
    with listening(ann) as local:
        mode = local.password_file.stat().st_mode & 0o777

    assert (mode, local.process.returncode) == (0o600, 0)
    assert not local.password_file.exists()


@needs_dropbear
def test_withdrawn_access_ends_what_runs_and_says_why(world: World, ann: Person, local: Local) -> None:
    words = ["dbclient", "-y", "-p", local.port, "-l", LOGIN, "127.0.0.1", "echo ready; sleep 100"]
    env = {**ann.environment(), "DROPBEAR_PASSWORD": local.password}
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()

        world.write("roles/dev.yaml", ROLE.replace('"*": "*"', "env: none"))
        errors = running.stderr.read()
        status = running.wait(10)
    afterwards = dbclient(ann, local, "127.0.0.1", "id")
    world.write("roles/dev.yaml", ROLE)
    wait_until(lambda: ann.ssh(f"{LOGIN}@db-1", "true").status == 0)

    assert "access withdrawn" in errors
    assert status != 0
    assert afterwards.status == 1
    assert "tsh: error:" in afterwards.errors


# -- clients that have certificates


@needs_putty
def test_plink_comes_in_with_a_certificate_and_knows_the_hosts_authority(ann: Person) -> None:
    (key,) = (ann.home / ".tsh" / "keys").glob("*/ann")
    authority = (ann.home / ".tsh" / "known_hosts").read_text().split()[3]
    trusted = ann.home / ".putty" / "sshhostcas" / "acme"
    trusted.parent.mkdir(parents=True)
    trusted.write_text(f"PublicKey={authority}\nValidity=*.acme\n")
    made = ann.run("puttygen", str(key), "--certificate", f"{key}-cert.pub", "-O", "private", "-o", "ann.ppk")
    way = ["-proxycmd", f"tsh proxy ssh {LOGIN}@%host:%port"]

    result = ann.run("plink", "-batch", "-i", "ann.ppk", *way, "-l", LOGIN, HOST, "echo here; exit 5")

    assert made.status == 0, made.errors
    assert (result.status, result.output) == (5, "here\n"), result.errors


@pytest.fixture
def certified(ann: Person) -> tuple[str, ...]:
    """Arguments for a program that has the key with its certificate, and knows the host."""
    (key,) = (ann.home / ".tsh" / "keys").glob("*/ann")
    hosts = ann.home / "plain_hosts"
    hosts.write_text(ann.tsh("host-key", f"{LOGIN}@db-1").output)
    return ("--host", HOST, "--login", LOGIN, "--hosts", str(hosts), "--key", str(key))


def test_paramiko_comes_in_with_a_certificate_and_knows_the_host(ann: Person, certified: tuple[str, ...]) -> None:
    told = with_paramiko(ann, *certified, "--command", f"tsh proxy ssh {LOGIN}@{HOST}:22")

    assert told == RIGHT


def test_end_to_end_the_client_authenticates_by_itself(ann: Person, certified: tuple[str, ...]) -> None:
    with listening(ann, "--end-to-end") as local:
        told = with_paramiko(ann, *certified, "--through", local.port)

    assert told == RIGHT


@needs_dropbear
def test_end_to_end_without_a_certificate_nobody_gets_in(ann: Person) -> None:
    with listening(ann, "--end-to-end") as local:
        result = ann.run("dbclient", "-y", "-p", local.port, "-l", LOGIN, "127.0.0.1", "id")

    assert result.output == ""
    assert "exited" in result.errors


# -- certificates that were exported


def test_an_identity_file_is_a_login_for_programs(world: World, tmp_path: Path) -> None:
    robot = world.person("robot")
    exported = tmp_path / "ann.identity"
    assert world.tctl("auth", "sign", "--user", "ann", "--out", str(exported), "--ttl", "1h").status == 0

    shown = robot.tsh("login", "--identity", str(exported))
    ran = robot.ssh(f"{LOGIN}@db-1", "echo", "here")

    assert shown.status == 0, shown.errors
    assert LOGIN in shown.output
    assert ran.output == "here\n", ran.errors


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"user": "../x", "cluster": "acme"}'])
def test_what_is_no_identity_file_leaves_nothing_behind(world: World, tmp_path: Path, text: str) -> None:
    nobody = world.person("nobody")
    (tmp_path / "file").write_text(text)

    result = nobody.tsh("login", "--identity", str(tmp_path / "file"))

    assert result.status == 2
    assert "is not an identity file" in result.errors
    assert not (nobody.home / ".tsh").exists()
