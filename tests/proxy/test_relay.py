"""Clients on their way to hosts: who is routed where, and that the proxy cuts what it joined whatever agents do."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from teleport.audit.events import SessionConnected, SessionRejected
from teleport.net import alpn
from teleport.proxy import relay
from teleport.resources.kinds import AnyResource
from teleport.resources.model import Origin
from tests.net.sockets import wait_until
from tests.proxy.edge import Edge, Wire, edge
from tests.sessions.policies import lock, node, role, setting, user

DENIED, NOT_FOUND = "access_denied", "not_found"


@pytest.fixture(params=["TLS throughout", "leaving TLS"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything holds on both ways through a proxy."""
    monkeypatch.setattr(Edge, "leaving", request.param == "leaving TLS")
    return str(request.param)


# -- asking


async def test_a_client_and_its_host_are_joined_and_it_is_written_down() -> None:
    async with edge() as made:
        ann, agent = made.authorities.user(), await made.agent()

        client, host = await made.session(ann, agent)
        client.write(b"SSH-2.0-client\r\n")
        await host.reads(b"SSH-2.0-client\r\n")
        host.write(b"SSH-2.0-agent\r\n")
        await client.reads(b"SSH-2.0-agent\r\n")

        (event,) = made.events.of(SessionConnected)
        assert (event.user, event.server_id, event.login) == ("ann", agent.badge.identity.uid, "root")
        assert len(tuple(made.gate.live)) == 1


async def test_bytes_sent_before_the_answer_are_not_lost(way: str) -> None:
    if way == "leaving TLS":
        pytest.skip("nothing may be said between the question and the end of TLS")
    async with edge() as made:
        agent = await made.agent()
        client = await made.ask(made.authorities.user())
        client.transport.write(b"SSH-2.0-early\r\n")

        host = Wire.over(await agent.take())

        await host.reads(b"SSH-2.0-early\r\n")


@pytest.mark.parametrize("asked", ["db-1", "h-db-1", "db-1.example.com"])
async def test_a_host_is_found_by_its_name_and_by_its_id(asked: str) -> None:
    async with edge() as made:
        agent = await made.agent()
        client = await made.ask(made.authorities.user(), asked)

        (await agent.take()).abort()

        assert (await client.receive(timeout=2))["ok"] is True


async def test_another_cluster_is_not_found_and_its_host_not_looked_for_here() -> None:
    async with edge() as made:
        await made.agent()

        error = await made.refused(made.authorities.user(), cluster="leaf.example.com")

        assert error == {"code": NOT_FOUND, "message": "cluster leaf.example.com not found"}


@pytest.mark.parametrize("asked", ["db-1", "h-db-1"])
async def test_a_host_that_no_role_could_mean_looks_like_one_that_does_not_exist(asked: str) -> None:
    deny = role("freeze", labels={}, deny={"node_labels": {"env": "prod"}})
    for policy in ([role("dev", labels={"env": "test"}), user()],
                   [role("dev", labels={"env": "test"}), deny, user(roles="dev freeze")],
                   [role("dev", labels={"env": "test"}), user(), lock(server_id="h-db-1")]):  # fmt: skip
        async with edge(*policy) as made:
            await made.agent(env="prod")
            ann = made.authorities.user()

            hidden = await made.refused(ann, asked)
            absent = await made.refused(ann, "nowhere")

            assert hidden == {"code": NOT_FOUND, "message": f"node {asked} not found"}
            assert absent == {"code": NOT_FOUND, "message": "node nowhere not found"}


async def test_a_host_that_is_denied_though_a_role_means_it_says_why_and_the_log_by_which_rule() -> None:
    deny = role("freeze", labels={}, deny={"node_labels": {"env": "prod"}}).with_origin(
        Origin("git", "freeze.yaml", 1, {"spec.deny.node_labels": (7, 5)}, "c0ffee")
    )
    async with edge(role("dev"), deny, user(roles="dev freeze")) as made:
        await made.agent(env="prod")

        error = await made.refused(made.authorities.user())

        assert error["code"] == DENIED
        assert "role/freeze denies env=prod" in error["message"]
        (event,) = made.events.of(SessionRejected)
        assert (event.user, event.server_hostname, event.login) == ("ann", "db-1", "root")
        assert (event.role, event.source, event.commit) == ("freeze", "git", "c0ffee")
        assert (event.file, event.line, event.column) == ("freeze.yaml", 7, 5)


async def test_the_rule_that_denies_what_must_not_be_known_is_in_the_log_and_not_in_the_answer() -> None:
    deny = role("freeze", labels={}, deny={"node_labels": {"env": "prod"}})
    async with edge(role("dev", labels={"env": "dev"}), deny, user(roles="dev freeze")) as made:
        agent = await made.agent(env="prod")

        error = await made.refused(made.authorities.user(), agent.badge.identity.uid)

        assert error == {"code": NOT_FOUND, "message": f"node {agent.badge.identity.uid} not found"}
        (event,) = made.events.of(SessionRejected)
        assert (event.role, event.file) == ("freeze", "roles/freeze.yaml")


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ([role("dev"), user(uid="u-other")], "deleted and created again"),
        ([role("dev")], "user ann does not exist"),
        ([role("dev"), user(), lock(user="ann")], "lock/freeze is in force"),
        ([role("dev"), user(), lock(node="db-1")], "lock/freeze is in force"),
        ([role("dev"), user(), lock(server_id="h-db-1")], "lock/freeze is in force"),
        ([role("dev"), user(expires="2020-01-01T00:00:00Z")], "expired"),
    ],
)
async def test_who_has_no_standing_is_refused_before_any_agent_is_asked(policy: list[AnyResource], reason: str) -> None:
    async with edge(*policy) as made:
        agent = await made.agent()

        error = await made.refused(made.authorities.user())

        assert error["code"] == DENIED
        assert reason in error["message"]
        assert agent.dials.empty()


async def test_a_certificate_pinned_to_another_address_goes_nowhere() -> None:
    async with edge() as made:
        agent = await made.agent()

        error = await made.refused(made.authorities.user(pinned_ip="192.0.2.7"))

        assert error["code"] == DENIED
        assert "pinned to another address" in error["message"]
        assert agent.dials.empty()


async def test_a_certificate_pinned_to_this_address_goes_through() -> None:
    async with edge() as made:
        agent = await made.agent()

        await made.session(made.authorities.user(pinned_ip="127.0.0.1"), agent)


async def test_a_certificate_for_one_host_reaches_no_other() -> None:
    async with edge() as made:
        await made.agent("db-1")
        other = await made.agent("db-2")
        badge = made.authorities.user(allowed_resources=("h-db-1",))

        assert (await made.refused(badge, "db-2"))["code"] == NOT_FOUND
        assert other.dials.empty()


async def test_a_certificate_restricted_to_a_role_allows_by_that_role_alone() -> None:
    policy = [role("test", labels={"env": "test"}), role("prod", labels={"env": "prod"}), user(roles="test prod")]
    async with edge(*policy) as made:
        await made.agent(env="prod")

        assert (await made.refused(made.authorities.user(requested_roles=("test",))))["code"] == NOT_FOUND
        assert (await made.refused(made.authorities.user(requested_roles=())))["code"] == NOT_FOUND


async def test_where_a_name_is_not_enough_the_ids_are_named() -> None:
    async with edge() as made:
        for uid in ("h-1", "h-2"):
            await made.live.report(node("twin", uid=uid))

        error = await made.refused(made.authorities.user(), "twin")

        assert error["code"] == "bad_input"
        assert "h-1, h-2" in error["hint"]


async def test_without_a_record_there_is_no_session() -> None:
    async with edge() as made:
        agent = await made.agent()
        made.events.full = True
        client = await made.ask(made.authorities.user())
        host = await agent.take()

        answer = await client.receive(timeout=2)

        assert answer["error"]["message"] == "the audit log is full"
        await asyncio.wait_for(host.lost, 2)
        assert tuple(made.gate.live) == ()


async def test_a_stale_policy_lets_nobody_through() -> None:
    async with edge(staleness=-1.0) as made:
        agent = await made.agent()

        error = await made.refused(made.authorities.user())

        assert error["code"] == "unavailable"
        assert agent.dials.empty()


async def test_an_error_in_the_decision_is_a_denial(monkeypatch: pytest.MonkeyPatch) -> None:
    async with edge() as made:
        agent = await made.agent()
        client, _ = await made.session(made.authorities.user(), agent)
        monkeypatch.setattr(relay, "lock_on", lambda *_, **__: 1 / 0)

        error = await made.refused(made.authorities.user("bob"), "h-db-1")
        assert error["code"] == DENIED
        assert "could not be evaluated" in error["message"]

        made.gate.rejudge()
        await client.cut()


# -- clients and agents that go missing


async def test_a_client_that_leaves_during_the_dial_back_is_not_waited_for() -> None:
    async with edge() as made:
        agent = await made.agent()
        client = await made.ask(made.authorities.user())
        ticket = (await agent.asked())["ticket"]
        assert len(tuple(made.gate.live)) == 1

        client.abort()
        await wait_until(lambda: not tuple(made.gate.live))

        _, answer = await agent.dial_back(ticket)
        assert "error" in answer


async def test_an_agent_that_never_comes_is_told_to_the_client() -> None:
    async with edge(role("dev"), user(), setting("cluster_networking_config", ssh_dial_timeout="200ms")) as made:
        await made.agent()

        error = await made.refused(made.authorities.user())

        assert error["code"] == "unavailable"
        assert "did not connect back in time" in error["message"]
        assert tuple(made.gate.live) == ()


async def test_a_client_that_asks_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_QUESTION_SECONDS", 0.1)
    async with edge() as made:
        client = await made.connect(made.authorities.user(), alpn.PROXY_SSH)

        answer = await client.receive(timeout=2)

        assert answer["error"]["code"] == "unavailable"
        await asyncio.wait_for(client.lost, 2)


@pytest.mark.parametrize("leaving", ["client", "host"])
async def test_when_one_end_goes_the_other_goes_too_and_the_session_is_over(leaving: str) -> None:
    async with edge() as made:
        agent = await made.agent()
        client, host = await made.session(made.authorities.user(), agent)
        gone, left = (client, host) if leaving == "client" else (host, client)

        gone.transport.abort()

        await left.cut()
        await wait_until(lambda: not tuple(made.gate.live))


async def test_sessions_outlive_the_control_connection_of_their_agent() -> None:
    async with edge() as made:
        agent = await made.agent()
        client, host = await made.session(made.authorities.user(), agent)

        agent.control.abort()
        await wait_until(lambda: not made.tunnels.connected(agent.badge.identity.uid))
        client.write(b"still here")

        await host.reads(b"still here")


async def test_a_client_that_reads_nothing_stops_the_host_and_memory_stays_bounded() -> None:
    async with edge() as made:
        agent = await made.agent()
        client, host = await made.session(made.authorities.user(), agent)
        client.transport.pause_reading()
        host.transport.set_write_buffer_limits(0)
        sent = 0
        while host.transport.get_write_buffer_size() == 0 and sent < 100_000_000:
            host.write(b"x" * 100_000)
            sent += 100_000
            await asyncio.sleep(0)

        assert sent < 50_000_000
        client.transport.resume_reading()
        await wait_until(lambda: len(client.received) == sent, within=10)


async def test_one_slow_client_does_not_slow_another() -> None:
    async with edge() as made:
        agent = await made.agent()
        slow, flooding = await made.session(made.authorities.user(), agent)
        quick, answering = await made.session(made.authorities.user("bob"), agent)
        slow.transport.pause_reading()
        flooding.write(b"x" * 30_000_000)

        started = time.monotonic()
        for _ in range(20):
            quick.write(b"ping")
            await answering.reads(b"ping")
            answering.write(b"pong")
            await quick.reads(b"pong")

        assert time.monotonic() - started < 2


# -- cutting


async def test_a_withdrawn_right_is_cut_within_a_second_though_the_agent_does_nothing() -> None:
    async with edge() as made:
        agent = await made.agent()
        client, host = await made.session(made.authorities.user(), agent)
        started = time.monotonic()

        await made.live.write(lock(user="ann"))

        await client.cut()
        await host.cut()
        assert time.monotonic() - started < 1.0


Change = Callable[[Edge], Awaitable[None]]


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent's last words are not what a test is about."""
    monkeypatch.setattr(relay, "_LAST_WORDS_SECONDS", 0.02)


@pytest.mark.parametrize(
    ("change", "whom"),
    [
        (lambda made: made.live.remove(user()), "ann"),
        (lambda made: made.live.write(user(uid="u-again")), "ann"),
        (lambda made: made.live.write(user(roles="")), "ann"),
        (lambda made: made.live.write(lock(user="ann")), "ann"),
        (lambda made: made.live.remove(role("dev")), "everybody"),
        (lambda made: made.live.write(role("dev", labels={"env": "test"})), "everybody"),
        (lambda made: made.live.write(role("dev", deny={"node_labels": {"env": "prod"}})), "everybody"),
        (lambda made: made.live.write(role("dev", logins="")), "everybody"),
        (lambda made: made.live.write(role("dev", deny={"logins": ["*"]})), "everybody"),
        (lambda made: made.live.write(lock(role="dev")), "everybody"),
        (lambda made: made.live.write(lock(node="db-1")), "everybody"),
        (lambda made: made.live.write(lock(server_id="h-db-1")), "everybody"),
    ],
    ids=["user removed", "user created again", "role taken", "user locked", "role removed", "role relabelled", "denied",
         "no login", "every login denied", "role locked", "host locked", "host locked by id"],
)  # fmt: skip
@pytest.mark.usefixtures("brief")
async def test_every_way_to_withdraw_a_right_cuts_whom_it_concerns_and_nobody_else(change: Change, whom: str) -> None:
    async with edge() as made:
        agent = await made.agent(env="prod")
        client, host = await made.session(made.authorities.user(), agent)
        other, _ = await made.session(made.authorities.user("bob"), agent)

        await change(made)

        await client.cut()
        await host.cut()
        if whom == "everybody":
            await other.cut()
        assert other.lost.done() == (whom == "everybody")


@pytest.mark.usefixtures("brief")
async def test_edited_labels_of_a_host_are_judged_though_only_the_fleet_changed() -> None:
    async with edge(role("dev", labels={"env": "test"}), user()) as made:
        agent = await made.agent(env="test")
        client, host = await made.session(made.authorities.user(), agent)

        await made.live.write(node("db-1", env="prod"))

        await client.cut()
        await host.cut()


@pytest.mark.usefixtures("brief")
async def test_labels_that_the_host_reports_are_judged_too() -> None:
    async with edge(role("dev", labels={"env": "test"}), user()) as made:
        agent = await made.agent(env="test")
        client, _ = await made.session(made.authorities.user(), agent)

        await made.live.report(node("db-1", uid="h-db-1", env="prod"))

        await client.cut()


async def test_the_agents_last_words_reach_the_client_before_the_cut() -> None:
    async with edge() as made:
        agent = await made.agent()
        client, host = await made.session(made.authorities.user(), agent)

        await made.live.write(lock(user="ann"))
        host.write(b"access withdrawn: lock/freeze")
        host.transport.close()

        await client.reads(b"access withdrawn: lock/freeze")
        await client.cut(within=0.5)


async def test_who_floods_and_reads_nothing_is_cut_all_the_same() -> None:
    async with edge() as made:
        agent = await made.agent()
        client, host = await made.session(made.authorities.user(), agent)
        host.transport.pause_reading()
        client.transport.pause_reading()
        client.write(b"x" * 30_000_000)
        host.write(b"x" * 30_000_000)
        await asyncio.sleep(0.05)
        started = time.monotonic()

        await made.live.write(lock(user="ann"))
        await wait_until(lambda: not tuple(made.gate.live))

        assert time.monotonic() - started < 1.0
        client.transport.resume_reading()
        host.transport.resume_reading()
        await client.cut()
        await host.cut()


async def test_who_is_withdrawn_during_the_dial_back_is_told_why() -> None:
    async with edge() as made:
        agent = await made.agent()
        client = await made.ask(made.authorities.user())
        await agent.asked()

        await made.live.write(lock(user="ann", message="gone fishing"))

        answer = await client.receive(timeout=2)
        assert answer["error"]["code"] == DENIED
        assert "gone fishing" in answer["error"]["message"]


async def test_many_sessions_are_cut_within_a_second() -> None:
    async with edge() as made:
        agent = await made.agent()
        ann, bob = made.authorities.user(), made.authorities.user("bob")
        pairs = [await made.session(ann, agent) for _ in range(30)]
        kept, _ = await made.session(bob, agent)
        started = time.monotonic()

        await made.live.write(lock(user="ann"))

        for client, host in pairs:
            await client.cut()
            await host.cut()
        assert time.monotonic() - started < 1.0
        assert not kept.lost.done()
