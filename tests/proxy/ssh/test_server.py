"""Jumping through the proxy with SSH: where channels lead, what they share with other ways, how all of it ends."""

import asyncio
import time
from typing import Any

import asyncssh
import pytest

from teleport.audit.events import AuthFailed, SessionConnected, SessionRejected
from teleport.core.aio import SystemClock
from teleport.net.leaving import connected_socket
from teleport.proxy import relay
from teleport.proxy.listener import Limits
from teleport.proxy.ssh import server
from tests.net.sockets import Peer, wait_until
from tests.proxy.edge import Agent, Edge, edge
from tests.proxy.jumps import Jumper, jump
from tests.sessions.policies import lock, role, setting, user


@pytest.fixture(params=["TLS throughout", "leaving TLS"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Agents come back on either way."""
    monkeypatch.setattr(Edge, "leaving", request.param == "leaving TLS")
    return str(request.param)


class Clock(SystemClock):
    """The machine's, and what a test adds to it."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


async def arranged(made: Edge, **labels: Any) -> tuple[Jumper, Agent]:
    """ann, logged in to the proxy, and db-1."""
    agent = await made.agent(**labels)
    return await jump(made, made.authorities.user()), agent


# -- where channels lead


async def test_a_channel_is_joined_with_its_host_and_it_is_written_down() -> None:
    async with edge() as made:
        ann, agent = await arranged(made)

        client, host = await ann.session(agent)
        client.write(b"SSH-2.0-client\r\n")
        await host.reads(b"SSH-2.0-client\r\n")
        host.write(b"SSH-2.0-agent\r\n")
        await client.reads(b"SSH-2.0-agent\r\n")

        (event,) = made.events.of(SessionConnected)
        assert (event.user, event.server_id, event.addr__remote) == ("ann", "h-db-1", "127.0.0.1")
        assert len(tuple(made.gate.live)) == 1


async def test_the_ticket_names_whom_the_certificate_names() -> None:
    async with edge() as made:
        agent = await made.agent()
        ann = await jump(made, made.authorities.user(requested_roles=("dev",)))
        opening = asyncio.create_task(ann.channel())

        ticket = await agent.asked()

        sock = ann.connection.get_extra_info("sockname")
        assert (ticket["user"], ticket["user_uid"], ticket["cluster"]) == ("ann", "u-ann", "example.com")
        assert ticket["scope"] == ["dev"]
        assert (ticket["client_address"], ticket["client_port"]) == sock
        opening.cancel()


@pytest.mark.parametrize(("asked", "port"), [("db-1", 22), ("h-db-1", 22), ("db-1.example.com", 22), ("db-1", 3022)])
async def test_a_host_is_found_as_it_is_by_other_clients(asked: str, port: int) -> None:
    async with edge() as made:
        ann, agent = await arranged(made)
        opening = asyncio.create_task(ann.channel(asked, port))

        await agent.take()

        assert (await asyncio.wait_for(opening, 2)).channel.is_closing() is False


async def test_several_hosts_are_reached_by_one_connection_and_each_channel_ends_alone() -> None:
    async with edge() as made:
        ann, first = await arranged(made)
        second = await made.agent("db-2")
        one, _ = await ann.session(first)
        other, host = await ann.session(second)

        one.channel.close()
        await one.cut()
        other.write(b"still here")

        await host.reads(b"still here")
        await wait_until(lambda: len(tuple(made.gate.live)) == 1)


# -- what is refused


async def test_a_host_that_no_role_could_mean_looks_like_one_that_does_not_exist() -> None:
    async with edge(role("dev", labels={"env": "test"}), user()) as made:
        ann, _ = await arranged(made, env="prod")

        assert await ann.refused("db-1") == "node db-1 not found"
        assert await ann.refused("nowhere") == "node nowhere not found"


async def test_a_denial_explains_itself_and_is_written_down() -> None:
    deny = role("freeze", labels={}, deny={"node_labels": {"env": "prod"}})
    async with edge(role("dev"), deny, user(roles="dev freeze")) as made:
        ann, agent = await arranged(made, env="prod")

        reason = await ann.refused()

        assert reason == "ann may not log in on db-1 (role/freeze denies env=prod)"
        (event,) = made.events.of(SessionRejected)
        assert (event.user, event.server_hostname) == ("ann", "db-1")
        assert agent.dials.empty()


@pytest.mark.parametrize("port", [1, 80, 2222, 65535])
async def test_other_ports_than_those_of_ssh_lead_nowhere(port: int) -> None:
    async with edge() as made:
        ann, agent = await arranged(made)

        reason = await ann.refused("db-1", port)

        assert reason.startswith(f"the proxy leads to the SSH of hosts alone, not to port {port}")
        assert "ssh -J proxy.example.com:3080 LOGIN@HOST -L" in reason
        assert agent.dials.empty()


@pytest.mark.parametrize("asked", [{"command": "id"}, {}, {"subsystem": "sftp"}, {"term_type": "xterm"}])
async def test_who_takes_the_proxy_for_a_host_is_told_how_to_reach_one(asked: dict[str, Any]) -> None:
    async with edge() as made:
        ann, agent = await arranged(made)

        with pytest.raises(asyncssh.ChannelOpenError, match=r"this is the proxy of example\.com") as caught:
            await ann.connection.create_process(**asked)

        assert "ssh -J proxy.example.com:3080 LOGIN@HOST" in caught.value.reason
        await ann.session(agent)


async def test_what_listens_and_sockets_are_refused_and_the_connection_goes_on() -> None:
    async with edge() as made:
        ann, agent = await arranged(made)

        with pytest.raises(asyncssh.ChannelListenError):
            await ann.connection.forward_remote_port("", 0, "localhost", 22)
        with pytest.raises(asyncssh.ChannelListenError):
            await ann.connection.forward_remote_path("/tmp/x", "/tmp/y")
        with pytest.raises(asyncssh.ChannelOpenError, match="the proxy has no sockets"):
            await ann.connection.open_unix_connection("/run/docker.sock")

        await ann.session(agent)


async def test_an_agent_that_never_comes_is_told_to_the_client() -> None:
    async with edge(role("dev"), user(), setting("cluster_networking_config", ssh_dial_timeout="200ms")) as made:
        ann, _ = await arranged(made)

        assert "did not connect back in time" in await ann.refused()
        assert tuple(made.gate.live) == ()


async def test_without_a_record_there_is_no_way() -> None:
    async with edge() as made:
        ann, agent = await arranged(made)
        made.events.full = True
        refused = asyncio.create_task(ann.refused())

        host = await agent.take()

        assert await refused == "the audit log is full"
        await asyncio.wait_for(host.lost, 2)


async def test_a_stale_policy_lets_nobody_in() -> None:
    async with edge(staleness=-1.0) as made:
        with pytest.raises(asyncssh.PermissionDenied) as caught:
            await jump(made, made.authorities.user())

        assert "the policy here is" in caught.value.__notes__[0]


async def test_an_open_connection_leads_nowhere_once_its_certificate_has_expired() -> None:
    clock = Clock()
    async with edge(clock=clock) as made:
        agent = await made.agent()
        ann = await jump(made, made.authorities.user(expires_in=60))
        client, host = await ann.session(agent)

        clock.ahead = 61

        assert await ann.refused() == "the certificate has expired; log in again: tsh login"
        client.write(b"what runs goes on")
        await host.reads(b"what runs goes on")


async def test_ways_on_one_connection_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_MAX_WAYS", 2)
    async with edge() as made:
        ann, agent = await arranged(made)
        first, _ = await ann.session(agent)
        await ann.session(agent)

        assert await ann.refused() == "2 hosts are reached by this connection already"

        first.channel.close()
        await wait_until(lambda: len(tuple(made.gate.live)) == 1)
        await ann.session(agent)


async def test_a_way_that_fails_inside_the_proxy_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with edge() as made:
        ann, agent = await arranged(made)
        client, host = await ann.session(agent)
        monkeypatch.setattr(made.relay, "_route", lambda *_: 1 / 0)

        assert await ann.refused() == "an internal error"

        client.write(b"still here")
        await host.reads(b"still here")


# -- clients and hosts that go missing


async def test_a_client_that_leaves_during_the_dial_back_is_not_waited_for() -> None:
    async with edge() as made:
        ann, agent = await arranged(made)
        opening = asyncio.create_task(ann.channel())
        ticket = (await agent.asked())["ticket"]

        ann.connection.abort()
        await wait_until(lambda: not tuple(made.gate.live))

        _, answer = await agent.dial_back(ticket)
        assert "error" in answer
        await asyncio.wait([opening])
        assert opening.exception() is not None


@pytest.mark.parametrize("leaving", ["client", "channel", "host"])
async def test_when_one_end_goes_the_other_goes_too_and_the_session_is_over(leaving: str) -> None:
    async with edge() as made:
        ann, agent = await arranged(made)
        client, host = await ann.session(agent)

        if leaving == "host":
            host.transport.abort()
        elif leaving == "channel":
            client.channel.close()
        else:
            ann.connection.abort()

        await (client if leaving == "host" else host).cut()
        await wait_until(lambda: not tuple(made.gate.live))


async def test_the_last_bytes_of_a_host_arrive_before_its_end() -> None:
    async with edge() as made:
        ann, agent = await arranged(made)
        client, host = await ann.session(agent)

        host.write(b"x" * 1_000_000)
        host.transport.close()

        await client.cut(within=10)
        assert len(client.received) == 1_000_000


async def test_a_client_that_reads_nothing_stops_the_host_and_memory_stays_bounded() -> None:
    async with edge() as made:
        ann, agent = await arranged(made)
        client, host = await ann.session(agent)
        client.channel.pause_reading()
        host.transport.set_write_buffer_limits(0)
        sent = 0
        while host.transport.get_write_buffer_size() == 0 and sent < 100_000_000:
            host.write(b"x" * 100_000)
            sent += 100_000
            await asyncio.sleep(0)

        assert sent < 50_000_000
        client.channel.resume_reading()
        await wait_until(lambda: len(client.received) == sent, within=20)


async def test_a_host_that_reads_nothing_stops_the_client_and_memory_stays_bounded() -> None:
    async with edge() as made:
        ann, agent = await arranged(made)
        client, host = await ann.session(agent)
        host.transport.pause_reading()
        sent = 0
        while sent < 100_000_000:
            client.write(b"x" * 100_000)
            sent += 100_000
            await asyncio.sleep(0)
            if client.paused:
                await asyncio.sleep(0.3)
                if client.paused:
                    break

        assert client.paused
        assert sent < 50_000_000
        host.transport.resume_reading()
        await wait_until(lambda: len(host.received) == sent, within=20)


async def test_one_slow_channel_does_not_slow_another_of_the_same_connection() -> None:
    async with edge() as made:
        ann, agent = await arranged(made)
        slow, flooding = await ann.session(agent)
        quick, answering = await ann.session(agent)
        slow.channel.pause_reading()
        flooding.write(b"x" * 30_000_000)

        started = time.monotonic()
        for _ in range(20):
            quick.write(b"ping")
            await answering.reads(b"ping")
            answering.write(b"pong")
            await quick.reads(b"pong")

        assert time.monotonic() - started < 5


# -- withdrawal


async def test_a_withdrawn_right_cuts_the_channel_within_a_second_and_leaves_the_connection() -> None:
    async with edge(role("dev", labels={"env": "*"}), user()) as made:
        ann, agent = await arranged(made, env="prod")
        other = await made.agent("db-2", env="test")
        client, host = await ann.session(agent)
        started = time.monotonic()

        await made.live.write(role("dev", labels={"env": "test"}))

        await client.cut()
        await host.cut()
        assert time.monotonic() - started < 1.0
        assert await ann.refused() == "node db-1 not found"
        await ann.session(other)


@pytest.mark.parametrize("change", ["locked", "removed", "created again"])
async def test_who_is_locked_or_deleted_is_hung_up_on_and_told_why_and_nobody_else_is(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_LAST_WORDS_SECONDS", 0.02)
    async with edge() as made:
        ann, agent = await arranged(made)
        bob = await jump(made, made.authorities.user("bob"))
        client, host = await ann.session(agent)
        kept, _ = await bob.session(agent)

        if change == "locked":
            await made.live.write(lock(user="ann", message="gone fishing"))
        elif change == "removed":
            await made.live.remove(user())
        else:
            await made.live.write(user(uid="u-again"))

        reason = await ann.ended()
        await client.cut()
        await host.cut()
        assert reason.startswith("access withdrawn: ")
        expected = {"locked": "gone fishing", "removed": "does not exist", "created again": "created again"}
        assert expected[change] in reason
        assert not kept.lost.done()


async def test_the_hosts_last_words_reach_the_client_before_it_is_hung_up_on() -> None:
    async with edge() as made:
        ann, agent = await arranged(made)
        client, host = await ann.session(agent)

        await made.live.write(lock(user="ann"))
        host.write(b"access withdrawn: lock/freeze")
        host.transport.close()

        await client.reads(b"access withdrawn: lock/freeze")
        await ann.ended()


async def test_who_is_locked_is_refused_with_the_reason_and_it_is_written_down_once() -> None:
    async with edge(role("dev"), user(), lock(user="ann", message="gone fishing")) as made:
        with pytest.raises(asyncssh.PermissionDenied) as caught:
            await jump(made, made.authorities.user())

        assert "gone fishing" in caught.value.__notes__[0]
        (event,) = made.events.of(AuthFailed)
        assert (event.user, event.addr__remote) == ("ann", "127.0.0.1")


async def test_connections_to_the_proxy_do_not_count_among_those_to_hosts() -> None:
    async with edge(role("dev", options={"max_connections": 1}), user()) as made:
        ann, agent = await arranged(made)
        await jump(made, made.authorities.user())

        await ann.session(agent)

        assert "1 connections already" in await ann.refused()


async def test_one_user_is_not_connected_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_MAX_CONNECTIONS", 2)
    async with edge() as made:
        for _ in range(2):
            await jump(made, made.authorities.user())

        with pytest.raises(asyncssh.PermissionDenied) as caught:
            await jump(made, made.authorities.user())

        assert "ann is connected to this proxy 2 times already" in caught.value.__notes__[0]
        await jump(made, made.authorities.user("bob"))


async def test_at_the_end_of_the_service_everybody_is_told_and_no_stranger_is_waited_for() -> None:
    async with edge() as made:
        ann, _ = await arranged(made)
        stranger = Peer(await connected_socket("127.0.0.1", made.port))
        await stranger.send(b"SSH-2.0-x\r\n")
        assert (await stranger.receive(4)) == b"SSH-"
        started = time.monotonic()

        await made.jumps.drain("the service is stopping", timeout=5)

        assert time.monotonic() - started < 4
        stranger.close()
        assert await ann.ended() == "the service is stopping"
        assert tuple(made.jump_gate.live) == ()


# -- the port


async def test_who_has_logged_in_is_no_stranger_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Edge, "limits", Limits(strangers_per_address=2))
    async with edge() as made:
        ann = await jump(made, made.authorities.user())
        peers = []
        for _ in range(4):
            peers.append(Peer(await connected_socket("127.0.0.1", made.port)))
            await peers[-1].send(b"SSH-2.0-x\r\n")
        await peers[0].wait_end()

        agent = await made.agent()

        await ann.session(agent)
        for peer in peers:
            peer.close()


async def test_a_host_key_that_is_replaced_is_shown_from_then_on() -> None:
    async with edge() as made:
        before = await jump(made, made.authorities.user())
        made.jumps.use_certificate(*made.authorities.ssh_host(made.badge, "ssh+proxy.example.com"))

        after = await jump(made, made.authorities.user())

        keys = [one.connection.get_server_host_key() for one in (before, after)]
        assert None not in keys
        assert keys[0] != keys[1]


async def test_a_keep_alive_is_answered() -> None:
    async with edge() as made:
        ann, _ = await arranged(made)

        kind, _ = await asyncio.wait_for(ann.connection._make_global_request(b"keepalive@openssh.com"), 2)

        assert kind == 81
