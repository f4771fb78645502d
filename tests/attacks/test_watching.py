"""Looking on at live sessions: who may not, what an observer tries, and what observers cannot do to a session."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import Boolean, String, UInt32

from teleport.agents.ssh import observer
from teleport.resources.codec import from_dict
from teleport.resources.kinds import AnyResource
from tests.attacks.host import LOGIN, Client, HostUnderAttack, RawChannel, host, pty
from tests.net.sockets import wait_until
from tests.sessions.policies import lock, role, user

NOWHERE = "0a3c9d6e-0000-4000-8000-000000000001"


def watch(*modes: str, name: str = "watch", roles: str = "dev", **sides: Any) -> AnyResource:
    """A role whose holders look on at sessions of devs, and reach nothing."""
    join = {"name": "look", "roles": [roles], "kinds": ["ssh"], "modes": list(modes or ("observer",))}
    spec = {"allow": {"join_sessions": [join]}, **sides}
    return from_dict({"kind": "role", "version": "v8", "metadata": {"name": name}, "spec": spec})


POLICY = (
    role("dev", logins=LOGIN), role("other", logins="nobody"), watch(), watch("peer", name="peers"),
    user("ann"), user("bob", roles="watch"), user("cleo", roles="other"), user("eve", roles="peers"),
)  # fmt: skip


@dataclass
class Stage:
    """A host on whose terminal ann runs a program that answers what it reads, and who else comes."""

    host: HostUnderAttack
    ann: Client
    shell: RawChannel
    sid: str

    async def observer(self, name: str = "bob", **fields: Any) -> Client:
        return await self.connect(name, f"observer:{self.sid}", **fields)

    async def connect(self, name: str, login: str, **fields: Any) -> Client:
        return await self.host.connect(self.host.authorities.user(name, **fields), login=login)

    async def look_on(self, client: Client, **more: Any) -> RawChannel:
        """An observer's channel on a terminal of its own, once it is served."""
        channel = await client.open(**more)
        assert await channel.grants(b"pty-req", *pty())
        assert await channel.grants(b"shell")
        await channel.prints(b"you look on")
        return channel

    async def refusal(self, name: str, login: str) -> str:
        """What somebody reads who is not let in."""
        said: list[str] = []
        badge = self.host.authorities.user(name)
        key = (asyncssh.import_private_key(badge.ssh_key), asyncssh.import_certificate(badge.ssh_certificate))
        with pytest.raises(asyncssh.PermissionDenied):
            await self.host.log_in(badge, login=login, client_keys=[key], said=said)
        return "".join(said).strip()

    def type(self, text: bytes) -> None:
        """ann does."""
        self.shell.data(text)


@asynccontextmanager
async def stage(tmp_path: Path, *more: AnyResource) -> AsyncIterator[Stage]:
    async with host(tmp_path, *POLICY, *more) as made:
        ann = await made.connect(made.authorities.user("ann"))
        shell = await ann.open()
        assert await shell.grants(b"pty-req", *pty(columns=90, rows=30))
        assert await shell.grants(b"exec", String(b"stty -echo; echo up; while read x; do echo got:$x; done"))
        await shell.prints(b"up")
        (start,) = made.events("session.start")
        yield Stage(made, ann, shell, start["sid"])


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path) as made:
        yield made


async def test_an_observer_sees_what_was_printed_lately_and_what_comes_and_its_size(at: Stage) -> None:
    channel = await at.look_on(await at.observer())

    at.type(b"one\n")

    await channel.prints(b"got:one")
    assert channel.output.index(b"\x1b[8;30;90t") < channel.output.index(b"up\r\n") < channel.output.index(b"got:one")
    assert b"ann's session" in channel.output


async def test_the_host_user_reads_who_looks_on_and_both_events_are_written_first_and_last(at: Stage) -> None:
    bob = await at.observer()
    channel = await at.look_on(bob)
    (join,) = at.host.events("session.join")
    assert at.host.events("session.leave") == []
    channel.data(b"\x03")
    await asyncio.wait_for(channel.closed, 20)

    await at.shell.prints(b"Teleport > bob left")

    assert b"Teleport > bob joined as observer" in at.shell.output
    await wait_until(lambda: at.host.events("session.leave"))
    (leave,) = at.host.events("session.leave")
    for event in (join, leave):
        assert (event["user"], event["sid"], event["owner"], event["mode"]) == ("bob", at.sid, "ann", "observer")
        assert event["user_roles"] == ["watch"]
    assert join["role"] == "watch"


async def test_the_recording_holds_nothing_of_observers(at: Stage) -> None:
    await at.look_on(await at.observer())
    at.type(b"one\n")
    await at.shell.prints(b"got:one")
    at.type(b"\x04")
    await asyncio.wait_for(at.shell.closed, 20)
    await wait_until(lambda: at.host.events("session.end"), within=10)

    (output,) = [path.read_bytes() for path in at.host.spool.recordings.rglob("output")]
    assert b"got:one" in output
    assert b"Teleport >" not in output
    assert at.host.events("session.end")[0]["participants"] == ["ann", "bob"]


# -- who may not


async def test_a_session_that_may_not_be_known_and_one_that_is_not_there_are_answered_alike(at: Stage) -> None:
    hidden = await at.refusal("cleo", f"observer:{at.sid}")
    absent = await at.refusal("cleo", f"observer:{NOWHERE}")

    assert hidden == absent.replace(NOWHERE, at.sid)
    assert f"session {at.sid} not found" in hidden
    assert b"cleo" not in at.shell.output
    assert at.host.events("session.join") == []


async def test_who_may_join_otherwise_reads_why_not_so(at: Stage) -> None:
    refusal = await at.refusal("eve", f"observer:{at.sid}")

    assert "eve may not join session" in refusal
    assert "no role of eve lets sessions of ann be joined as observer" in refusal


@pytest.mark.parametrize("mode", ["peer", "moderator"])
async def test_taking_part_is_not_possible_yet_whoever_asks(at: Stage, mode: str) -> None:
    for name in ("eve", "ann", "cleo"):
        assert f"cannot be joined as {mode} yet" in await at.refusal(name, f"{mode}:{at.sid}")


@pytest.mark.parametrize("login", ["observer:", "observer:../../x", "OBSERVER:{sid}", "root:{sid}"])
async def test_names_that_only_look_like_a_session_are_logins_that_nobody_has(at: Stage, login: str) -> None:
    assert "may not log in as" in await at.refusal("ann", login.format(sid=at.sid))


async def test_a_command_without_a_terminal_is_no_session_that_could_be_joined(at: Stage) -> None:
    channel = await at.ann.open()
    assert await channel.grants(b"exec", String(b"echo up; cat"))
    await channel.prints(b"up")
    sid = at.host.events("session.start")[-1]["sid"]

    assert "not found" in await at.refusal("bob", f"observer:{sid}")


# -- what an observer tries


async def test_what_an_observer_types_reaches_nothing(at: Stage) -> None:
    channel = await at.look_on(await at.observer())

    channel.data(b"bob was here\n" * 1000)
    at.type(b"mark\n")

    await channel.prints(b"got:mark")
    assert b"bob was here" not in at.shell.output


async def test_an_observer_changes_neither_size_nor_signals_nor_breaks_nor_ends_the_session(at: Stage) -> None:
    channel = await at.look_on(await at.observer())

    channel.tell(b"window-change", UInt32(10), UInt32(10), UInt32(0), UInt32(0))
    for name in (b"INT", b"KILL", b"HUP", b"TERM"):
        channel.tell(b"signal", String(name))
    await channel.grants(b"break", UInt32(500))
    channel.tell(b"eof")
    at.type(b"mark\n")

    await channel.prints(b"got:mark")
    assert at.host.events("session.resize") == []


@pytest.mark.parametrize(
    ("request_", "parts"),
    [
        (b"exec", (String(b"id"),)),
        (b"subsystem", (String(b"sftp"),)),
        (b"auth-agent-req@openssh.com", ()),
        (b"x11-req", (Boolean(False), String(b"MIT-MAGIC-COOKIE-1"), String(b"00"), UInt32(0))),
    ],
    ids=["a command", "files", "an agent", "a display"],
)
async def test_an_observer_gets_nothing_else(at: Stage, request_: bytes, parts: tuple[bytes, ...]) -> None:
    bob = await at.observer()
    channel = await bob.open()

    assert not await channel.grants(request_, *parts)
    assert not at.host.events("exec")


async def test_an_observers_connection_forwards_nothing_and_has_one_channel(at: Stage) -> None:
    bob = await at.observer()
    await at.look_on(bob)
    target = String(b"127.0.0.1") + UInt32(22)

    assert not (await bob.open(b"direct-tcpip", rest=target + target)).opened
    assert not await bob.global_request(b"tcpip-forward", String(b""), UInt32(0))
    assert not (await bob.open()).opened


async def test_a_stuck_observer_holds_nobody_up_and_is_given_up(at: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "MAX_BEHIND", 20_000)
    stuck = await at.observer()
    channel = await at.look_on(stuck, window=2000)
    other = await at.look_on(await at.observer())

    for number in range(40):
        at.type(b"%d-" % number + b"x" * 3000 + b"\n")
        await at.shell.prints(b"got:%d-" % number)
        at.shell.adjust(10_000)
    await at.shell.prints(b"Teleport > bob left")

    await other.prints(b"got:39-")
    channel.adjust(1 << 20)
    await channel.prints(b"you were too slow")
    await asyncio.wait_for(channel.closed, 20)


async def test_no_more_than_some_look_on_at_once(at: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleport.agents.ssh.live.MAX_OBSERVERS", 1)
    await at.look_on(await at.observer())
    channel = await (await at.observer()).open()
    assert await channel.grants(b"shell")

    await channel.prints(b"look on already")

    await asyncio.wait_for(channel.closed, 20)


# -- how it ends


async def test_the_end_of_the_session_ends_its_observers(at: Stage) -> None:
    bob = await at.observer()
    channel = await at.look_on(bob)
    idle = await at.observer()

    at.type(b"\x04")

    await channel.prints(b"the session ended")
    await asyncio.wait_for(channel.closed, 20)
    await asyncio.wait_for(idle.connection.wait_closed(), 20)
    assert "not found" in await at.refusal("bob", f"observer:{at.sid}")


async def test_a_host_user_who_vanishes_ends_the_observers_too(at: Stage) -> None:
    channel = await at.look_on(await at.observer())

    at.ann.vanish()

    await channel.prints(b"the session ended")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(watch(roles="others"), id="the right to join"),
        pytest.param(lock(user="bob"), id="a lock on the observer"),
        pytest.param(user("bob", roles="other"), id="the observer's role"),
        pytest.param(watch(deny={"node_labels": {"*": "*"}}), id="a denial of the host"),
    ],
)
async def test_a_right_that_is_withdrawn_cuts_the_observer_and_nobody_else(at: Stage, change: AnyResource) -> None:
    bob = await at.observer()
    channel = await at.look_on(bob)

    await at.host.live.write(change)

    await channel.prints(b"access withdrawn")
    await asyncio.wait_for(bob.connection.wait_closed(), 20)
    await at.shell.prints(b"Teleport > bob left")
    at.type(b"mark\n")
    await at.shell.prints(b"got:mark")


async def test_the_owners_roles_are_asked_not_those_at_the_beginning(at: Stage) -> None:
    channel = await at.look_on(await at.observer())

    await at.host.live.write(role("ops", logins=LOGIN), user("ann", roles="ops"))

    await channel.prints(b"access withdrawn")
    at.type(b"mark\n")
    await at.shell.prints(b"got:mark")


async def test_nobody_looks_on_where_it_cannot_be_written_down(at: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    bob = await at.observer()

    async def full(_: object) -> None:
        from teleport.core.errors import Unavailable

        raise Unavailable("the disk is full")

    monkeypatch.setattr(at.host.spool, "emit", full)
    channel = await bob.open()
    assert await channel.grants(b"shell")

    await channel.prints(b"the disk is full")
    await asyncio.wait_for(channel.closed, 20)
    assert b"up" not in channel.output
    assert b"joined" not in at.shell.output
