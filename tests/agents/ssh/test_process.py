"""Running programs as a user: identity, descriptors, ends, and what is left behind."""

import asyncio
import os
import pwd
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from teleport.agents.ssh import members, process
from teleport.agents.ssh.process import Account, Cgroups, Leash, Program, account, start
from teleport.agents.ssh.reaping import Reaper
from teleport.agents.ssh.spawning import Spawner
from teleport.core.errors import AccessDenied, Unavailable

ME = pwd.getpwuid(os.geteuid()).pw_name
SPAWNER = Spawner()
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture(scope="module", autouse=True)
def closed() -> Iterator[None]:
    yield
    SPAWNER.close()


def run(
    command: str, *, login: str = ME, terminal: bool = False, cgroup: Path | None = None, reaper: Reaper | None = None
) -> Program:
    who = account(login, forbidden_uid=None)
    return start(
        who, ["sh", "-c", command], {"HOME": "/", "PATH": "/usr/bin:/bin"}, program="/bin/sh",
        terminal=({}, 24, 80) if terminal else None, leash=Leash(cgroup, reaper, spawner=SPAWNER),
    )  # fmt: skip


async def output_of(program: Program) -> bytes:
    data = bytearray()
    while True:
        try:
            chunk = os.read(program.output, 65536)
        except BlockingIOError:
            await asyncio.sleep(0.01)
            continue
        except OSError:
            break
        if not chunk:
            break
        data += chunk
    return bytes(data)


async def numbers(program: Program, count: int) -> list[int]:
    """The first that it prints, on a line."""
    text = b""
    async with asyncio.timeout(5):
        while len(text.split()) < count or not text.endswith(b"\n"):
            try:
                text += os.read(program.output, 100)
            except BlockingIOError:
                await asyncio.sleep(0.01)
    return [int(word) for word in text.split()[:count]]


async def first_number(program: Program) -> int:
    return (await numbers(program, 1))[0]


def close(program: Program, *, but: int = -1) -> None:
    for descriptor in {program.input, program.output, program.errors} - {-1, but}:
        os.close(descriptor)


async def test_the_status_of_a_program_comes_back() -> None:
    program = run("exit 7")

    assert await program.wait() == 7
    close(program)


async def test_a_signal_comes_back_as_a_negative_status() -> None:
    program = run("kill -TERM $$")

    assert await program.wait() == -signal.SIGTERM
    close(program)


async def test_a_program_starts_with_three_descriptors_and_only_the_environment_it_was_given() -> None:
    program = run("ls /proc/self/fd; env")

    lines = (await output_of(program)).decode().split()

    assert lines[:3] == ["0", "1", "2"]
    assert len([line for line in lines if line.isdigit()]) == 4  # ls itself has the folder open
    assert "TELEPORT_HOME" not in " ".join(lines)
    await program.wait()
    close(program)


async def test_a_program_ignores_no_signal_whatever_the_agent_ignores() -> None:
    """Who ignored SIGPIPE would complain about each `| head`, and who ignored SIGHUP would outlive its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        program = run("grep -E '^Sig(Ign|Blk)' /proc/self/status; kill -PIPE $$")
    finally:
        signal.signal(signal.SIGHUP, before)

    masks = (await output_of(program)).decode().split()
    status = await program.wait()

    of_the_c_library = 0b11 << 31  # which nobody can set
    assert [int(mask, 16) & ~of_the_c_library for mask in masks[1::2]] == [0, 0]
    assert status == -signal.SIGPIPE
    close(program)


async def test_a_program_leads_a_session_of_its_own() -> None:
    program = run("ps -o sid=,pgid=,pid= -p $$")

    numbers = (await output_of(program)).split()

    assert len(set(numbers)) == 1
    await program.wait()
    close(program)


@as_root
async def test_a_program_has_the_ids_and_groups_of_its_login_for_good() -> None:
    program = run("grep -E '^(Uid|Gid|Groups|NoNewPrivs)' /proc/self/status; id -un", login="nobody")

    text = (await output_of(program)).decode()

    uid = str(pwd.getpwnam("nobody").pw_uid)
    assert text.splitlines()[0].split()[1:] == [uid] * 4
    assert "nobody" in text
    await program.wait()
    close(program)


@as_root
async def test_a_home_that_is_missing_or_closed_is_no_reason_to_fail() -> None:
    entry = pwd.getpwnam("nobody")
    closed = pwd.struct_passwd((*entry[:5], "/root/.ssh-none", entry.pw_shell))
    program = start(
        Account(closed, (entry.pw_gid,)), ["sh", "-c", "pwd"], {"PATH": "/bin"}, program="/bin/sh", terminal=None,
        leash=Leash(spawner=SPAWNER),
    )  # fmt: skip

    assert await output_of(program) == b"/\n"
    await program.wait()
    close(program)


async def test_a_program_that_does_not_exist_is_told_on_standard_error() -> None:
    who = account(ME, forbidden_uid=None)
    program = start(who, ["x"], {}, program="/no/such/shell", terminal=None, leash=Leash(spawner=SPAWNER))

    status = await program.wait()

    assert status == 254
    assert b"could not be started" in os.read(program.errors, 1000)
    close(program)


async def test_an_endless_command_line_is_refused_before_anything_starts() -> None:
    who = account(ME, forbidden_uid=None)

    with pytest.raises(Unavailable, match="too long"):
        start(who, ["sh", "-c", "x" * 300_000], {}, program="/bin/sh", terminal=None, leash=Leash(spawner=SPAWNER))


async def test_stopping_kills_a_group_that_ignores_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.2)
    program = run("trap '' HUP TERM INT; sleep 60 & echo $!; while :; do sleep 1; done")
    background = await first_number(program)

    await program.stop()

    async with asyncio.timeout(2):
        while _runs(background) or Path(f"/proc/{program.process.pid}").exists():
            await asyncio.sleep(0.01)
    close(program)


async def test_stopping_kills_the_jobs_of_a_shell_which_are_groups_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "GRACE", 0.2)
    program = run("set -m; (trap '' HUP TERM; while :; do :; done) & echo $!; wait", terminal=True)
    background = await first_number(program)

    await program.stop()

    assert not _runs(background)
    close(program)


@as_root
@pytest.mark.skipif(not Path("/proc/self/sessionid").exists(), reason="a kernel without audit")
async def test_stopping_kills_what_has_left_for_a_session_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.2)
    program = run("setsid sh -c 'echo $$; trap : HUP TERM; while :; do sleep 1; done' & wait", login="nobody")
    escaped = await first_number(program)
    if members.audit_session(escaped) is None:
        os.kill(escaped, signal.SIGKILL)
        await program.stop()
        close(program)
        pytest.skip("this kernel begins no audit sessions here")

    await program.stop()

    assert not _runs(escaped)
    close(program)


async def test_what_a_program_left_behind_is_found_after_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.2)
    program = run("set -m; trap '' HUP; (trap '' TERM; while :; do sleep 1; done) & echo $!")
    background = await first_number(program)
    await program.wait()

    await program.stop()

    assert not _runs(background)
    close(program)


async def test_a_program_that_ends_with_its_input_leaves_what_it_started_alone() -> None:
    program = run("sleep 60 >/dev/null 2>&1 & echo $!; cat")
    background = await first_number(program)
    os.close(program.input)

    await program.hang_up()

    assert program.process.returncode == 0
    assert _runs(background)
    os.kill(background, signal.SIGKILL)
    close(program, but=program.input)


async def test_a_shell_takes_its_jobs_along_when_it_is_hung_up_but_neither_daemons_nor_what_ignores_that(
    tmp_path: Path,
) -> None:
    program = run("exec bash --norc -i", terminal=True)
    typed = (
        "sleep 60 &\nnohup sleep 60 >/dev/null 2>&1 &\n"
        f"setsid -f sh -c 'echo $$ > {tmp_path}/daemon; exec sleep 60 >/dev/null'\njobs -p > {tmp_path}/jobs\n"
    )
    os.write(program.input, typed.encode())
    job, spared = await _written(tmp_path / "jobs", 2)
    (daemon,) = await _written(tmp_path / "daemon", 1)
    os.close(program.output)

    await program.hang_up()

    await _end(job)
    assert _runs(spared)
    assert _runs(daemon)
    for pid in (spared, daemon):
        os.kill(pid, signal.SIGKILL)


async def test_what_is_hung_up_and_does_not_end_is_killed_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LEAVING", 0.1)
    monkeypatch.setattr(process, "GRACE", 0.2)
    program = run(
        "trap : HUP TERM; sh -c 'trap : HUP TERM; echo $$; while :; do sleep 1; done' & while :; do wait; done"
    )
    background = await first_number(program)

    await program.hang_up()

    assert not Path(f"/proc/{program.process.pid}").exists() or program.process.poll() is not None
    await _end(background)
    close(program)


async def test_a_program_that_ignores_being_hung_up_goes_on_and_is_reaped_when_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "LEAVING", 0.1)
    program = run("trap '' HUP; echo $$; exec sleep 60")
    pid = await first_number(program)

    await program.hang_up()

    assert _runs(pid)
    os.kill(pid, signal.SIGTERM)
    async with asyncio.timeout(2):
        while program.process.returncode is None:
            await asyncio.sleep(0.01)
    close(program)


async def test_what_stays_after_its_client_left_also_stays_when_the_agent_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "LEAVING", 0.1)
    reaper = Reaper(grace=0.1)
    program = run("trap '' HUP; echo $$; exec sleep 60", reaper=reaper)
    pid = await first_number(program)
    await program.hang_up()

    await asyncio.to_thread(reaper.close)  # returns when it has ended all it was told of

    assert _runs(pid)
    os.kill(pid, signal.SIGTERM)
    await program.wait()
    close(program)


async def test_a_program_that_ended_before_the_client_left_is_not_looked_for_again() -> None:
    program = run("sleep 60 & echo $!")
    background = await first_number(program)
    await program.wait()

    await program.hang_up()

    assert _runs(background)
    os.kill(background, signal.SIGKILL)
    close(program)


async def test_a_program_is_in_its_sessions_control_group_which_is_killed_with_it(tmp_path: Path) -> None:
    """In a folder that looks like the kernel's: what really happens in a group is the kernel's business."""
    folder = tmp_path / "session-s-1"
    folder.mkdir()
    (folder / "cgroup.kill").touch()
    group = Cgroups(tmp_path).create("s-1")
    program = run("sleep 60", cgroup=group)
    joined = (folder / "cgroup.procs").read_text()

    await program.stop()

    assert joined == str(program.process.pid)
    assert (folder / "cgroup.kill").read_text() == "1"
    close(program)


def test_where_the_kernel_lets_us_make_no_control_groups_there_are_none(tmp_path: Path) -> None:
    plain = Cgroups(tmp_path).create("s-1")
    closed = Cgroups(Path("/proc/nowhere")).create("s-1")

    assert (plain, closed) == (None, None)


async def _written(path: Path, count: int) -> list[int]:
    async with asyncio.timeout(5):
        while not path.exists() or len(path.read_text().splitlines()) < count:
            await asyncio.sleep(0.01)
    return [int(line) for line in path.read_text().splitlines()]


async def _end(pid: int) -> None:
    async with asyncio.timeout(2):
        while _runs(pid):
            await asyncio.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_login_that_does_not_exist_is_refused() -> None:
    with pytest.raises(AccessDenied, match="login no-such-user does not exist"):
        account("no-such-user", forbidden_uid=None)


def test_the_uid_of_the_auth_service_is_refused() -> None:
    with pytest.raises(AccessDenied, match="the user that the auth service runs as"):
        account(ME, forbidden_uid=os.geteuid())


@as_root
def test_nologin_closes_the_host_to_everybody_but_root(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.exists

    def exists(path: Path, **more: bool) -> bool:
        return True if str(path) == "/etc/nologin" else real(path, **more)

    monkeypatch.setattr(Path, "exists", exists)

    with pytest.raises(AccessDenied, match="/etc/nologin"):
        account("nobody", forbidden_uid=None)
    assert account("root", forbidden_uid=None).entry.pw_uid == 0
