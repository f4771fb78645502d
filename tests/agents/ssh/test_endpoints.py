"""The child that holds the ends of what is forwarded: whose sockets they are, how they end, and what it costs."""

import asyncio
import contextlib
import os
import pwd
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from teleport.agents.ssh.endpoints import Accepted, Endpoints, Pipes
from teleport.agents.ssh.process import Account
from tests.net.sockets import wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
ANOTHER = pwd.getpwnam("nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)


@asynccontextmanager
async def endpoints() -> AsyncIterator[Endpoints]:
    started = await Endpoints.start(Account(ANOTHER, (ANOTHER.pw_gid,)), lost=lambda: None)
    try:
        yield started
    finally:
        await started.close()


def pid_of(ends: Endpoints) -> int:
    return ends._program.process.pid


async def read(pipes: Pipes) -> bytes:
    """What comes next; empty at the end."""
    found: list[bytes] = []

    def try_it() -> bool:
        with contextlib.suppress(BlockingIOError):
            found.append(os.read(pipes.output, 65536))
        return bool(found)

    await wait_until(try_it)
    return found[0]


@asynccontextmanager
async def joined(ends: Endpoints) -> AsyncIterator[tuple[Pipes, socket.socket]]:
    """A connection to a server, and the server's side of it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        pipes = await ends.connect({"host": "127.0.0.1", "port": server.getsockname()[1]})
        far, _ = server.accept()
        with far:
            far.settimeout(10)
            yield pipes, far


async def test_each_direction_ends_by_itself() -> None:
    async with endpoints() as ends, joined(ends) as (pipes, far):
        os.write(pipes.input, b"question")
        os.close(pipes.input)
        asked = await asyncio.to_thread(far.recv, 100)
        end = await asyncio.to_thread(far.recv, 100)
        far.sendall(b"answer")

        answer = await read(pipes)

        assert (asked, end, answer) == (b"question", b"", b"answer")
        os.close(pipes.output)


async def test_a_connection_of_which_nothing_more_is_wanted_is_closed_after_what_was_on_its_way() -> None:
    async with endpoints() as ends, joined(ends) as (pipes, far):
        os.write(pipes.input, b"the last words")

        pipes.close()

        assert await asyncio.to_thread(far.recv, 100) == b"the last words"
        assert await asyncio.to_thread(far.recv, 100) == b""


async def test_a_dropped_connection_ends_though_the_other_side_keeps_it_open() -> None:
    async with endpoints() as ends, joined(ends) as (pipes, far):
        ends.drop(pipes.number)

        assert await asyncio.to_thread(far.recv, 100) == b""
        assert await read(pipes) == b""
        pipes.close()


async def test_who_reads_nothing_stops_the_sender_and_costs_no_time() -> None:
    async with endpoints() as ends, joined(ends) as (pipes, far):
        far.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(1000):
                far.send(b"x" * 65536)
        await asyncio.sleep(0.1)
        before = _ticks(pid_of(ends))

        await asyncio.sleep(0.5)

        assert _ticks(pid_of(ends)) - before < 10
        pipes.close()


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


@as_root
async def test_the_child_is_the_login_for_good_and_holds_nothing_of_the_agents() -> None:
    async with endpoints() as ends:
        status = Path(f"/proc/{pid_of(ends)}/status").read_text()
        held = [os.readlink(path) for path in Path(f"/proc/{pid_of(ends)}/fd").iterdir()]
        environment = Path(f"/proc/{pid_of(ends)}/environ").read_bytes()

        uid = str(ANOTHER.pw_uid)
        assert next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:] == [uid] * 4
        assert next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1] == "0" * 16
        assert [one for one in held if one != "/dev/null" and not one.startswith(("socket:", "anon_inode:"))] == []
        assert len([one for one in held if one.startswith("socket:")]) == 1
        assert environment == b""


@as_root
async def test_a_socket_of_roots_is_closed_to_the_child_and_an_open_one_sees_the_login(tmp_path: Path) -> None:
    for folder in (*tmp_path.parents, tmp_path):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)
    async with endpoints() as ends:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / "s"))
            server.listen()
            (tmp_path / "s").chmod(0o600)
            with pytest.raises(OSError, match="Permission denied"):
                await ends.connect({"path": str(tmp_path / "s")})
            (tmp_path / "s").chmod(0o666)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

            pipes = await ends.connect({"path": str(tmp_path / "s")})
            far, _ = server.accept()
            far.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            os.write(pipes.input, b"who writes?")
            _, ancillary, _, _ = await asyncio.to_thread(far.recvmsg, 100, 100)

    credentials = next(body for _, kind, body in ancillary if kind == socket.SCM_CREDENTIALS)
    assert int.from_bytes(credentials[4:8], "little") == ANOTHER.pw_uid
    far.close()
    pipes.close()


async def test_files_of_listeners_go_with_the_child_and_only_those_that_it_made() -> None:
    async with endpoints() as ends:
        agent = await ends.listen({}, lambda _: None)
        replaced = await ends.listen({"path": f"{Path(agent.path).parent}/other"}, lambda _: None)
        folder = Path(agent.path).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert Path(agent.path).stat().st_mode & 0o777 == 0o600
        Path(replaced.path).unlink()
        Path(replaced.path).symlink_to("/etc/passwd")

    assert not Path(agent.path).exists()
    assert Path(replaced.path).is_symlink()
    Path(replaced.path).unlink()
    folder.rmdir()


async def test_nothing_is_bound_over_what_is_there(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "file").write_text("kept")
    async with endpoints() as ends:
        for name in ("link", "file"):
            with pytest.raises(OSError, match=r"in use|denied"):
                await ends.listen({"path": str(tmp_path / name)}, lambda _: None)

    assert (tmp_path / "file").read_text() == "kept"
    assert not (tmp_path / "target").exists()


async def test_a_child_that_is_stopped_is_killed_and_what_it_was_asked_fails() -> None:
    async with endpoints() as ends:
        os.kill(pid_of(ends), signal.SIGSTOP)
        asked = asyncio.ensure_future(ends.connect({"host": "127.0.0.1", "port": 9}))
        await asyncio.sleep(0)

    with pytest.raises(OSError, match="gone"):
        await asked
    assert not Path(f"/proc/{pid_of(ends)}").exists()


async def test_a_child_that_talks_nonsense_is_hung_up_on() -> None:
    for nonsense in (b"\xff", b"[]", b'{"accepted": "x", "listener": 1, "peer": 3}', b'{"id": [1]}', b"[" * 10_000):
        async with endpoints() as ends:
            near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            lost = asyncio.Event()
            fooled = Endpoints(ends._program, near, lost.set)
            with far:
                far.send(nonsense)
                await asyncio.wait_for(lost.wait(), 5)
            assert fooled.gone


async def test_an_answer_that_comes_at_once_is_not_missed() -> None:
    async with endpoints() as ends:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        asking = Endpoints(ends._program, near, lambda: None)
        with far:
            answered = asking._question(1, {"do": "connect"})
            far.send(b'{"id": 1}')
            asking._read()

            assert answered.done()
            asking._hang_up()


async def test_a_listener_tells_who_came_and_gives_the_connection() -> None:
    async with endpoints() as ends:
        came: list[Accepted] = []
        at = await ends.listen({"port": 0}, came.append)
        with socket.create_connection(("127.0.0.1", at.port)) as client:
            await wait_until(lambda: came)
            pipes = await ends.take(came[0])
            client.sendall(b"hello")

            assert await read(pipes) == b"hello"
            assert came[0].port == client.getsockname()[1]
            pipes.close()
        ends.unlisten(at.number)

        def is_closed() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", at.port)):
                return False
            return True

        await wait_until(is_closed)
