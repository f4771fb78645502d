"""How sessions end, whatever client and program do about it: by failures, by the policy, by clients that vanish."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncssh.packet import String

from teleport.core.errors import Unavailable
from tests.attacks.host import (
    DISCONNECT,
    GLOBAL_REQUEST,
    LOGIN,
    Client,
    HostUnderAttack,
    RawChannel,
    host,
    scene,
)
from tests.net.sockets import wait_until
from tests.sessions.policies import lock, role, setting, user

# -- failures


async def test_a_session_that_fails_inside_the_server_ends_alone_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(tmp_path) as at:
        sibling = await at.eve.open()
        assert await sibling.grants(b"exec", String(b"echo up; exec cat"))
        await sibling.prints(b"up")
        monkeypatch.setattr("teleport.agents.ssh.running.start", lambda *_, **__: 1 / 0)
        channel = await at.eve.open()
        await channel.grants(b"exec", String(b"echo never"))
        await asyncio.wait_for(channel.closed, 20)
        monkeypatch.undo()

        sibling.data(b"still here\n")

        await sibling.prints(b"still here")
        assert b"an internal error ended this session" in channel.output
        (end,) = at.host.events("session.end")
        assert end["reason"] == "an internal error ended this session"
        assert await at.fine()


async def test_a_program_that_cannot_be_started_ends_its_session_alone_and_the_client_reads_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Unavailable("the program cannot be started: no processes are left")

    async with scene(tmp_path) as at:
        monkeypatch.setattr("teleport.agents.ssh.running.start", fail)
        channel = await at.eve.open()
        await channel.grants(b"exec", String(b"echo never"))
        await asyncio.wait_for(channel.closed, 20)
        monkeypatch.undo()

        assert b"no processes are left" in channel.output
        assert await at.fine()


# -- clients that vanish


async def test_a_client_that_vanishes_leaves_no_session(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open()
        assert await channel.grants(b"exec", String(b"echo up; exec cat"))
        await channel.prints(b"up")

        at.eve.vanish()

        await wait_until(lambda: [one.user for one in at.host.gate.live] == ["bob"], within=10)
        await wait_until(lambda: at.host.events("session.end"), within=10)
        assert at.host.events("session.end")[0]["reason"] == "the client disconnected"
        await wait_until(lambda: at.host.spool.unfinished == 0, within=10)
        assert await at.bystander_is_fine()


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21])
async def test_a_client_that_vanishes_while_its_session_begins_leaves_a_start_with_an_end_or_neither(
    tmp_path: Path, turns: int
) -> None:
    async with host(tmp_path) as made:
        eve = await made.connect(made.authorities.user("ann"))
        channel = await eve.open()
        assert await channel.grants(b"exec", String(b"exec cat"))
        for _ in range(turns):
            await asyncio.sleep(0.001)

        eve.vanish()
        await asyncio.wait(made.serving, timeout=20)

        starts, ends = made.events("session.start"), made.events("session.end")
        assert [one["sid"] for one in starts] == [one["sid"] for one in ends]
        assert made.spool.unfinished == 0


async def test_a_client_that_vanishes_while_it_is_judged_is_no_failure_of_the_server(tmp_path: Path) -> None:
    async with host(tmp_path) as made:
        admit, judging, gone = made.gate.admit, asyncio.Event(), asyncio.Event()

        @asynccontextmanager
        async def slowly(*args: Any, **more: Any) -> AsyncIterator[Any]:
            judging.set()
            await gone.wait()
            async with admit(*args, **more) as session:
                yield session

        made.gate.admit = slowly  # type: ignore[method-assign]
        connecting = asyncio.create_task(made.connect(made.authorities.user("ann")))
        await asyncio.wait_for(judging.wait(), 10)

        connecting.cancel()
        await wait_until(lambda: made.streams[0].transport.is_closing(), within=10)
        gone.set()

        await asyncio.wait_for(asyncio.gather(*made.serving), 10)
        assert tuple(made.gate.live) == ()


# -- the policy


async def test_a_withdrawn_right_ends_a_session_that_ignores_everything(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        channel = await at.eve.open(window=2**31)
        trapped = b"trap '' HUP TERM INT; echo [$$]; while :; do :; done"
        assert await channel.grants(b"exec", String(trapped))
        await channel.prints(b"]")
        pid = int(bytes(channel.output).split(b"[")[1].split(b"]")[0])

        await at.host.live.write(lock(user="ann", message="gone fishing"))
        await asyncio.wait_for(at.eve.connection.wait_closed(), 10)

        assert b"gone fishing" in channel.output
        await wait_until(lambda: not Path(f"/proc/{pid}").exists(), within=10)
        assert await at.bystander_is_fine()


async def test_who_stays_after_the_goodbye_runs_nothing_more(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        opened_before = await at.eve.open()
        at.eve.stay_whatever_is_said()

        await at.host.live.write(lock(user="ann"))
        await wait_until(lambda: not [one for one in at.host.gate.live if one.user == "ann"], within=10)
        opened_later = at.eve.request_channel()

        assert not await opened_before.grants(b"exec", String(b"touch here"))
        assert not await asyncio.wait_for(opened_later.answered, 20)
        await at.eve.connection.wait_closed()
        assert at.host.events("session.start") == []


async def test_the_reason_is_heard_before_the_goodbye(tmp_path: Path) -> None:
    """OpenSSH's client drops what came in one piece with the last message."""
    async with running(tmp_path) as (made, client, channel):
        seen: list[tuple[int, bool]] = []
        client.watch(lambda kind: seen.append((kind, b"access withdrawn" in channel.output)))

        await made.live.write(lock(user="ann"))
        await ended(made, client, channel)

        assert seen[-2:] == [(GLOBAL_REQUEST, True), (DISCONNECT, True)]


async def ended(made: HostUnderAttack, client: Client, channel: RawChannel) -> str:
    """Wait until the policy has ended a connection; what its session read, after checking that the log says it too."""
    await asyncio.wait_for(client.connection.wait_closed(), 20)
    await wait_until(lambda: made.events("session.end"), within=10)
    reason = str(made.events("session.end")[0]["reason"])
    assert reason in channel.output.decode()
    return reason


@asynccontextmanager
async def running(
    tmp_path: Path, badge: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[HostUnderAttack, Client, RawChannel]]:
    """A host that ann has entered, where a program of hers runs."""
    async with host(tmp_path, role("dev", logins=LOGIN), user("ann")) as made:
        client = await made.connect(made.authorities.user("ann", **(badge or {})))
        channel = await client.open()
        assert await channel.grants(b"exec", String(b"echo up; exec cat"))
        await channel.prints(b"up")
        try:
            yield made, client, channel
        finally:
            await client.close()


async def test_a_second_factor_that_is_demanded_now_ends_a_session_that_was_opened_without(tmp_path: Path) -> None:
    async with running(tmp_path) as (made, client, channel):
        await made.live.write(role("dev", logins=LOGIN, options={"require_session_mfa": True}))

        assert "second factor" in await ended(made, client, channel)


async def test_a_second_factor_that_is_demanded_now_leaves_a_session_that_was_opened_with_one(tmp_path: Path) -> None:
    async with running(tmp_path, {"mfa_verified": True}) as (made, client, _):
        await made.live.write(role("dev", logins=LOGIN, options={"require_session_mfa": True}))

        assert await client.works()


async def test_a_shorter_lifetime_ends_a_session_whose_login_is_older(tmp_path: Path) -> None:
    async with running(tmp_path, {"authenticated": int(time.time()) - 600}) as (made, client, channel):
        await made.live.write(role("dev", logins=LOGIN, options={"max_session_ttl": "5m"}))

        assert "role/dev permits logins of at most 5m" in await ended(made, client, channel)


async def test_a_connection_outlives_its_certificate_only_for_as_long_as_the_policy_permits(tmp_path: Path) -> None:
    """What ControlMaster keeps: sessions of a connection that was opened in time."""
    async with running(tmp_path, {"expires_in": 2}) as (made, client, channel):
        sibling = await client.open()
        assert await sibling.grants(b"exec", String(b"echo up; exec cat"))
        await sibling.prints(b"up")
        expires = int(made.authorities.now + 2)
        await wait_until(lambda: time.time() > expires, within=5)
        permitted = await client.works()

        await made.live.write(role("dev", logins=LOGIN, options={"disconnect_expired_cert": True}))

        await asyncio.wait_for(asyncio.gather(channel.closed, sibling.closed), 20)
        assert b"the certificate expired at" in channel.output
        assert b"the certificate expired at" in sibling.output
        assert permitted


async def test_a_shorter_idle_timeout_counts_for_a_session_that_is_silent_already(tmp_path: Path) -> None:
    async with running(tmp_path) as (made, client, channel):
        await made.live.write(setting("cluster_networking_config", client_idle_timeout="200ms"))

        assert await ended(made, client, channel) == "the session was idle for 200ms"


async def test_recording_that_is_demanded_now_ends_the_channel_that_was_not_recorded_and_only_that(
    tmp_path: Path,
) -> None:
    unrecorded = setting("session_recording_config", mode="off")
    async with host(tmp_path, role("dev", logins=LOGIN), user("ann"), unrecorded) as made:
        client = await made.connect(made.authorities.user("ann"))
        channel = await client.open()
        assert await channel.grants(b"exec", String(b"echo up; exec cat"))
        await channel.prints(b"up")

        await made.live.write(setting("session_recording_config", mode="node"))
        await asyncio.wait_for(channel.closed, 20)

        reason = "access withdrawn: sessions must be recorded in mode node from their beginning"
        assert reason in channel.output.decode()
        assert made.events("session.end")[0]["reason"] == reason
        assert await client.works()
        assert [one["session_recording"] for one in made.events("session.start")] == ["off", "node"]
        await client.close()


async def test_strict_recording_that_is_demanded_now_ends_a_channel_that_was_recorded_at_best_effort(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as (made, client, channel):
        strict = {"record_session": {"default": "strict"}}
        await made.live.write(role("dev", logins=LOGIN, options=strict))
        await asyncio.wait_for(channel.closed, 20)

        assert b"sessions must be recorded strictly from their beginning" in channel.output
        assert await client.works()
