"""Tunnels of other clusters, and whoever comes or goes by them."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from teleport.access.target import AccessRequest, Target
from teleport.api import models as m
from teleport.api.dialback import Dial, Wants
from teleport.audit.events import AuthFailed, TunnelRefused
from teleport.auth import keys
from teleport.core.errors import AccessDenied, Unavailable
from teleport.core.identity import Identity, Passage
from teleport.net.lines import LineConnection
from teleport.pki.authority import new_authority
from teleport.pki.foreign import Foreign
from teleport.proxy.entrance import Entrance
from teleport.proxy.leaves import Journey, LeafTunnels
from teleport.proxy.relay import Relay
from teleport.sessions.gate import Session
from tests.auth.cluster import Cluster, role, user
from tests.auth.foreign import ROUTE, SID, TRUST, passage, trusting
from tests.builders import FakeClock
from tests.proxy.edge import Events

UID = "5a3c9d6e-0000-4000-8000-00000000000a"


class Wire:
    """Both ends of a connection of lines: what a peer says is put in, what it is told can be taken."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self._said: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        for message in messages:
            self._said.put_nowait(message)
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.hung_up = False

    async def receive(self, *, timeout: float | None = None) -> dict[str, Any]:
        message = await self._said.get()
        if message is None:
            raise Unavailable("the peer closed the connection")
        return message

    async def send(self, message: dict[str, Any]) -> None:
        self.told.put_nowait(json.loads(json.dumps(message)))

    async def hand_over(self, message: dict[str, Any]) -> None:
        await self.send(message)

    def abort(self) -> None:
        self.hung_up = True
        self._said.put_nowait(None)

    close = abort

    @property
    def line(self) -> LineConnection:
        return cast(LineConnection, self)


def proxy_of(cluster: str, *, role: str = "Proxy", uid: str = UID) -> Identity:
    return Identity("host", "edge", uid, cluster, system_roles=(role,), expires=2e9)


class Root:
    """The tunnels of a root's proxy, and leaves that keep theirs."""

    def __init__(self) -> None:
        self.events = Events()
        self.tunnels = LeafTunnels("proxy-1", self.events, clock=FakeClock())
        self.tasks: list[asyncio.Task[None]] = []

    async def comes(self, identity: Identity) -> Wire:
        wire = Wire({"hello": "agent", "version": "1"})
        self.tasks.append(
            asyncio.create_task(self.tunnels.serve_control(wire.line, identity, "192.0.2.7"), name=identity.cluster)
        )
        assert "welcome" in await asyncio.wait_for(wire.told.get(), 2)
        await asyncio.sleep(0)
        return wire

    def dial(self, leaf: str) -> "asyncio.Task[Any]":
        ann = Identity("user", "ann", "uid-ann", "root", expires=2e9)
        session = Session(AccessRequest(ann, Target("cluster", leaf), "root"), cast(Any, None), "192.0.2.1", 0.0)
        return asyncio.create_task(self.tunnels.dial(session, ("192.0.2.1", 1), timeout=2))


@pytest.fixture
async def root() -> AsyncIterator[Root]:
    root = Root()
    yield root
    for task in root.tasks:
        task.cancel()
    await asyncio.gather(*root.tasks, return_exceptions=True)


async def test_a_host_of_a_leaf_that_is_no_proxy_keeps_no_tunnel_and_is_told_of(root: Root) -> None:
    with pytest.raises(AccessDenied, match="is no proxy"):
        await root.tunnels.serve_control(Wire().line, proxy_of("leaf", role="Node"), "192.0.2.7")

    (event,) = root.events.of(TunnelRefused)
    assert (event.name, event.addr__remote) == ("leaf", "192.0.2.7")
    assert root.tunnels.online == ()


async def test_a_leaf_that_claims_the_id_of_anothers_proxy_does_not_take_its_place(root: Root) -> None:
    honest, squatter = await root.comes(proxy_of("leaf")), await root.comes(proxy_of("other"))

    dialling = root.dial("leaf")

    assert (await asyncio.wait_for(honest.told.get(), 2))["target"] == "leaf"
    assert squatter.told.empty()
    assert not honest.hung_up
    dialling.cancel()


async def test_another_leafs_ticket_is_good_for_nothing(root: Root) -> None:
    honest, _ = await root.comes(proxy_of("leaf")), await root.comes(proxy_of("other"))
    dialling = root.dial("leaf")
    ticket = (await asyncio.wait_for(honest.told.get(), 2))["ticket"]
    stolen = Wire({"ticket": ticket})

    await root.tunnels.serve_dialback(stolen.line, proxy_of("other"))

    assert "error" in stolen.told.get_nowait()
    assert not dialling.done()
    dialling.cancel()


async def test_a_leaf_that_is_removed_is_hung_up_on(root: Root) -> None:
    kept, removed = await root.comes(proxy_of("leaf")), await root.comes(proxy_of("other"))

    root.tunnels.keep({"leaf": ["sha256:1"]})

    assert (kept.hung_up, removed.hung_up) == (False, True)
    with pytest.raises(Unavailable, match="is not connected"):
        await root.dial("other")


async def test_who_has_taken_the_place_of_a_leaf_does_not_inherit_its_tunnel(root: Root) -> None:
    root.tunnels.keep({"leaf": ["sha256:1"], "other": ["sha256:2"]})
    replaced, kept = await root.comes(proxy_of("leaf")), await root.comes(proxy_of("other"))

    root.tunnels.keep({"leaf": ["sha256:3"], "other": ["sha256:2", "sha256:4"]})

    assert (replaced.hung_up, kept.hung_up) == (True, False)


async def test_a_leaf_that_makes_up_proxies_is_not_kept_without_end(root: Root) -> None:
    for number in range(64):
        await root.comes(proxy_of("leaf", uid=f"proxy-{number}"))

    with pytest.raises(Unavailable, match="more than a cluster has"):
        await root.tunnels.serve_control(Wire().line, proxy_of("leaf", uid="proxy-64"), "192.0.2.7")

    await root.comes(proxy_of("leaf", uid="proxy-3"))
    await root.comes(proxy_of("other"))


@pytest.mark.parametrize(
    ("declared", "because"),
    [
        ((role(), user(roles="dev, more")), "roles or traits of ann have changed"),
        ((role(), user(traits="team: [db]")), "roles or traits of ann have changed"),
        ((role(),), "does not exist"),
        ((role(deny="cluster_labels: {'*': '*'}"), user()), "denies"),
    ],
    ids=["more roles", "other traits", "deleted", "denied"],
)
async def test_who_is_on_the_way_goes_on_only_with_what_the_passage_says(
    tmp_path: Path, declared: tuple[str, ...], because: str
) -> None:
    async with Cluster.open(tmp_path) as cluster:
        await cluster.declare(role(), role("more"), user())
        foreign = Foreign("leaf", (new_authority("host", "leaf", now=cluster.clock.time()).public,))
        await cluster.auth.policy.wait_for(await cluster.service.store.put(keys.leaf("leaf"), foreign.encode()))
        journey, now = Journey(cluster.auth.policy, "leaf"), cluster.clock.time()
        journey.passage = Passage("ann", "leaf", "db-1", "root", SID, "proxy-1", ("dev",))
        request = AccessRequest(cluster.user("ann").known, Target("cluster", "leaf"), "root")
        before = journey.judge(cluster.auth.policy.current, request, now)

        await cluster.declare(*declared, role("more"))

        after = journey.judge(cluster.auth.policy.current, request, now)
        assert before.allowed
        assert not after.allowed
        assert because in after.because


async def test_nobody_goes_on_to_a_leaf_that_was_removed(tmp_path: Path) -> None:
    async with Cluster.open(tmp_path) as cluster:
        await cluster.declare(role(), user())
        request = AccessRequest(cluster.user("ann").known, Target("cluster", "leaf"), "root")

        decision = Journey(cluster.auth.policy, "leaf").judge(cluster.auth.policy.current, request, 0.0)

    assert not decision.allowed
    assert decision.hidden


# -- the leaf's side


def announced(**more: Any) -> Dial:
    fields = {
        "ticket": "t", "session": SID, "proxy_id": "proxy-1", "host_id": UID, "client_address": "192.0.2.1",
        "user": "ann", "user_uid": "uid-ann", "cluster": "root", "target": "acme", **more,
    }  # fmt: skip
    return Dial(**fields)


async def enter(cluster: Cluster, text: str, assignment: Dial, wants: Wants = "hosts") -> tuple[dict[str, Any], Events]:
    """What the leaf's proxy answers to whoever comes to see its hosts, and what it writes down."""
    events, wire = Events(), Wire({"passage": text, "wants": wants})
    auth = cluster.auth
    entrance = Entrance("root", "acme", auth.policy, auth.fleet, cast(Relay, None), events, clock=cluster.clock)
    await entrance.serve(wire.line, assignment)
    return wire.told.get_nowait(), events


async def test_a_visitor_sees_hosts_by_the_role_map(tmp_path: Path) -> None:
    async with Cluster.open(tmp_path) as cluster:
        await trusting(cluster)

        answer, _ = await enter(cluster, passage(cluster), announced())

    assert answer == {"hosts": [], "more": False}


async def test_a_visitor_is_told_what_a_host_would_want(tmp_path: Path) -> None:
    async with Cluster.open(tmp_path) as cluster:
        await trusting(cluster)
        await cluster.declare(role(options="require_session_mfa: yes"), TRUST)
        body: dict[str, Any] = {"hostname": "db-1", "version": "1", "revision": 1, "labels": {}, "ttl": 60}
        await cluster.call("heartbeat", m.Heartbeat(**body), cluster.host())

        answer, _ = await enter(cluster, passage(cluster), announced(), "verdict")
        missing, _ = await enter(cluster, passage(cluster, route=replace(ROUTE, host="db-9")), announced(), "verdict")

    assert (answer["allowed"], answer["needs"]) == (False, {"mfa": "required"})
    assert missing["error"]["message"] == "node db-9 not found"


@pytest.mark.parametrize(
    "more",
    [
        {"session": "0a3c9d6e-0000-4000-8000-000000000002"}, {"proxy_id": "proxy-2"}, {"user": "bob"},
        {"user_uid": "uid-of-another-ann"}, {"scope": ("dev",)}, {"cluster": "third"},
    ],
)  # fmt: skip
async def test_a_passage_is_good_for_its_connection_alone(tmp_path: Path, more: dict[str, Any]) -> None:
    async with Cluster.open(tmp_path) as cluster:
        await trusting(cluster)

        answer, events = await enter(cluster, passage(cluster), announced(**more))

    assert answer["error"]["code"] == "access_denied"
    assert events.of(AuthFailed)
