"""A device that can only dial out, on networks as they are: hidden, slow, lossy, cut, and changing under it.

Everything here takes minutes; `make test` runs the part that is quick, `make test-networks` all of it.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.services import hosts, join_token
from tests.e2e.world import LOGIN, ROLE, Person, make_login, remove_login, user, wait_until
from tests.networks.edge import PORT, Edge, LabWorld, connect_proxy, edge_agent
from tests.networks.lab import CLUSTER_4, CLUSTER_6, ROUTER_4, Lab, lab, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable())
slow = pytest.mark.skipif("TELEPORT_NETWORKS" not in os.environ, reason="takes long: make test-networks")


@dataclass
class Field:
    """The cluster, somebody who works with it, and the edge device's network."""

    world: LabWorld
    lab: Lab
    ann: Person
    agent: Edge
    token: str

    def is_listed(self, name: str = "edge-1") -> bool:
        return name in hosts(self.world.data)


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    root = tmp_path_factory.mktemp("networks")
    own_login = subprocess.run(["id", LOGIN], capture_output=True, check=False).returncode != 0
    make_login()
    with lab() as machines:
        world = LabWorld(root / "world").on(machines.cluster)
        world.write("dev.yaml", ROLE)
        world.write("ann.yaml", user("ann"))
        try:
            world.start(listen=f"[::]:{PORT}")
            world.proxy = f"{CLUSTER_4}:{PORT}"
            token = join_token(world.data, "node")
            agent = edge_agent(world, machines, root / "edge", token)
            agent.start()
            ann = world.person("ann").enrol().login()
            yield Field(world, machines, ann, agent, token)
            agent.kill()  # what it still has to tell nobody takes: it was removed
        finally:
            world.stop()
            if own_login:
                remove_login()


def test_a_device_behind_nat_is_reached_over_a_path_that_is_slow_and_loses_packets(field: Field) -> None:
    field.lab.wan.loss, field.lab.wan.delay = 0.02, 0.02
    try:
        result = field.ann.ssh(f"{LOGIN}@edge-1", "head -c 300000 /dev/zero | wc -c; hostname -I")
    finally:
        field.lab.wan.loss = field.lab.wan.delay = 0.0

    assert result.status == 0, result.errors
    assert result.output.split()[:2] == ["300000", "192.168.7.2"]


def test_the_client_is_known_by_its_own_address_and_not_by_that_of_a_proxy(field: Field) -> None:
    field.ann.ssh(f"{LOGIN}@edge-1", "true")

    started = field.world.wait_event("session.start", server_hostname="edge-1")

    assert started["addr.remote"] == CLUSTER_4
    joined = field.world.wait_event("instance.join", node_name="edge-1")
    assert joined["addr.remote"] == ROUTER_4


def test_a_session_outlives_a_path_that_is_cut_for_a_while(field: Field) -> None:
    with field.ann.terminal("tsh", "ssh", f"{LOGIN}@edge-1") as terminal:
        terminal.expect(r"[$#] ")
        terminal.type("echo befo''re\n")
        terminal.expect("before")

        field.lab.wan.cut = True
        terminal.type("echo af''ter\n")
        time.sleep(1.0)
        field.lab.wan.cut = False

        terminal.expect("after")
        terminal.type("exit\n")


@slow
def test_a_device_that_gets_another_address_is_back_long_before_silence_would_tell(field: Field) -> None:
    began, edge = time.monotonic(), field.lab.edge
    edge.run("ip", "addr", "del", "192.168.7.2/24", "dev", "lan")
    edge.run("ip", "addr", "add", "192.168.7.3/24", "dev", "lan")
    edge.run("ip", "route", "replace", "default", "via", "192.168.7.1")

    result = wait_until(
        lambda: (found := field.ann.ssh(f"{LOGIN}@edge-1", "hostname -I", timeout=40)).status == 0 and found, timeout=40
    )

    assert result.output.split()[0] == "192.168.7.3"
    assert time.monotonic() - began < 20


@slow
def test_a_session_outlives_its_control_connection_and_ends_with_its_right_all_the_same(field: Field) -> None:
    connected = field.agent.log.count("connected to the proxy")
    with field.ann.terminal("tsh", "ssh", f"{LOGIN}@edge-1") as terminal:
        terminal.expect(r"[$#] ")
        field.lab.wan.cut = True
        time.sleep(30)  # both ends have given the control connection up
        field.lab.wan.cut = False
        wait_until(lambda: field.agent.log.count("connected to the proxy") > connected, timeout=40)

        terminal.type("echo st''ill\n")
        terminal.expect("still", timeout=40)
        field.world.write("dev.yaml", ROLE.replace('"*": "*"', "env: none"))
        terminal.expect("access withdrawn", timeout=10)
        field.world.write("dev.yaml", ROLE)
        terminal.wait()
    wait_until(lambda: field.ann.ssh(f"{LOGIN}@edge-1", "true").status == 0)


@slow
def test_a_lost_device_is_off_the_list_within_half_a_minute_and_back_on_it_at_once(field: Field) -> None:
    wait_until(field.is_listed)
    field.lab.lan.cut = True
    began = time.monotonic()
    wait_until(lambda: not field.is_listed(), timeout=45)
    gone = time.monotonic() - began

    field.lab.lan.cut = False
    wait_until(lambda: "connected" in field.agent.log.rpartition("not reached")[2], timeout=40)
    back = time.monotonic()
    wait_until(field.is_listed)

    assert gone <= 31
    assert time.monotonic() - back < 2
    assert field.ann.ssh(f"{LOGIN}@edge-1", "true").status == 0


@slow
def test_a_half_open_connection_is_noticed_on_both_sides(field: Field) -> None:
    before = field.agent.log.count("connected to the proxy")
    field.lab.router.run("nft", "flush", "ruleset")  # the router forgets: what comes from the edge is nobody's
    field.lab.router.run(
        "nft", "add table ip f; add chain ip f x { type filter hook forward priority 0; policy drop; }"
    )
    time.sleep(35)
    field.lab.router.run("nft", "flush", "ruleset")
    field.lab.router.masquerade("wan")

    wait_until(lambda: field.agent.log.count("connected to the proxy") > before, timeout=40)

    assert field.ann.ssh(f"{LOGIN}@edge-1", "true", timeout=40).status == 0


@slow
def test_a_device_that_slept_asks_at_once_whether_its_connection_lives(field: Field) -> None:
    assert field.agent.process is not None
    pid = field.agent.process.pid
    os.kill(pid, 19)
    time.sleep(40)
    os.kill(pid, 18)

    result = wait_until(lambda: field.ann.ssh(f"{LOGIN}@edge-1", "true", timeout=40).status == 0, timeout=20)

    assert result


@slow
def test_an_agent_reaches_the_proxy_by_ipv6(field: Field, tmp_path: Path) -> None:
    agent = edge_agent(field.world, field.lab, tmp_path / "six", field.token, at=f"[{CLUSTER_6}]:{PORT}", name="edge-6")
    agent.start()

    result = field.ann.ssh(f"{LOGIN}@edge-6", "true")

    assert result.status == 0, result.errors
    assert field.world.wait_event("instance.join", node_name="edge-6")["addr.remote"] == "2001:db8:7::2"
    agent.stop()


@slow
def test_an_agent_that_may_only_reach_a_web_proxy_goes_through_it(field: Field, tmp_path: Path) -> None:
    proxy = connect_proxy(field.lab.router, 8080)
    assert proxy.stdout is not None
    assert proxy.stdout.readline() == "ready\n"
    agent = edge_agent(
        field.world, field.lab, tmp_path / "web", field.token, name="edge-web",
        HTTPS_PROXY="http://edge:secret@192.168.7.1:8080", NO_PROXY="example.com",
    )  # fmt: skip
    try:
        agent.start()
        assert proxy.stdout.readline() == f"{CLUSTER_4}:{PORT}\n"

        result = field.ann.ssh(f"{LOGIN}@edge-web", "echo th''ere")

        assert result.output == "there\n", result.errors
        joined = field.world.wait_event("instance.join", node_name="edge-web")
        assert joined["addr.remote"] == ROUTER_4
        assert "secret" not in agent.log
        agent.stop()
    finally:
        proxy.kill()
        proxy.communicate()


@slow
def test_a_restarted_cluster_has_its_devices_back(field: Field) -> None:
    field.world.kill()
    field.world.start()

    wait_until(lambda: field.is_listed() and field.ann.ssh(f"{LOGIN}@edge-1", "true").status == 0, timeout=40)


def test_a_device_that_is_removed_is_cut_off_at_once_with_its_live_sessions_and_does_not_come_back(
    field: Field,
) -> None:
    uid = hosts(field.world.data)["edge-1"].uuid
    with field.ann.terminal("tsh", "ssh", f"{LOGIN}@edge-1") as terminal:
        terminal.expect(r"[$#] ")

        removed = field.world.tctl("rm", f"node/{uid}")
        began = time.monotonic()
        terminal.wait()
        took = time.monotonic() - began

    assert removed.status == 0, removed.errors
    assert took < 3
    assert not field.is_listed()
    wait_until(lambda: "is in force on this host" in field.agent.log)
    lock = json.loads(field.world.tctl("get", "lock", "-o", "json").output)[0]
    assert lock["spec"]["target"] == {"server_id": uid}
    assert lock["spec"]["created_by"].startswith("root")
