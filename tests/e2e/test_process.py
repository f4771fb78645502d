"""A cluster over several processes, and how a process starts, reloads and stops."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.services import Service, agent, hosts, join_token
from tests.e2e.world import LOGIN, ROLE, Person, World, missing, user, wait_until


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Auth and proxy in one process."""
    if reason := missing("ssh"):
        pytest.skip(reason)
    world = World(tmp_path_factory.mktemp("world"), arguments=("--roles", "auth,proxy"))
    world.write("roles/dev.yaml", ROLE)
    world.write("users/ann.yaml", user("ann"))
    world.start()
    yield world
    world.stop()


@pytest.fixture(scope="module")
def web(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An agent in a process of its own."""
    token = join_token(world.data, "node")
    service = agent(world, tmp_path_factory.mktemp("web"), "--ca-pin", world.pin, "--token", token).start()
    wait_until(lambda: "web-1" in hosts(world.data))
    yield service
    service.stop()


@pytest.fixture(scope="module")
def ann(world: World) -> Person:
    return world.person("ann").enrol().login()


def test_an_agent_in_its_own_process_serves_sessions(web: Service, ann: Person) -> None:
    result = ann.ssh(f"{LOGIN}@web-1", "id -un; exit 7")

    assert (result.status, result.output) == (7, f"{LOGIN}\n")


def test_an_agent_stays_the_same_host_when_it_is_started_again_without_token_and_pin(
    world: World, web: Service, ann: Person
) -> None:
    before = hosts(world.data)["web-1"].uuid
    assert web.stop() == 0

    web.arguments = agent(world, web.root).arguments
    web.start()

    assert hosts(world.data)["web-1"].uuid == before
    assert ann.ssh(f"{LOGIN}@web-1", "true").status == 0


def test_an_agent_comes_back_when_auth_and_proxy_were_away(world: World, web: Service, ann: Person) -> None:
    assert world.stop() == 0

    world.start()

    wait_until(lambda: ann.ssh(f"{LOGIN}@web-1", "true").status == 0)


def test_without_a_pin_nothing_is_told_to_the_cluster(world: World, tmp_path: Path) -> None:
    result = agent(world, tmp_path, "--token", join_token(world.data, "node")).fail()

    assert result.status == 2
    assert f"error: without a pin the cluster at {world.proxy} cannot be recognised" in result.errors
    assert "hint: `tctl status` on the auth host prints it" in result.errors


def test_a_cluster_with_another_key_than_the_pinned_one_is_not_joined(world: World, tmp_path: Path) -> None:
    token, pin = join_token(world.data, "node"), f"sha256:{'0' * 64}"

    result = agent(world, tmp_path, "--token", token, "--ca-pin", pin).fail()

    assert result.status == 2
    assert "does not have the pinned key, so nothing was told it" in result.errors


def test_without_a_token_a_new_host_is_told_how_to_get_one(world: World, tmp_path: Path) -> None:
    result = agent(world, tmp_path, "--ca-pin", world.pin).fail()

    assert result.status == 2
    assert "this host has not joined the cluster yet and has no join token" in result.errors
    assert "tctl tokens add --type node" in result.errors


def test_a_token_for_another_service_does_not_let_an_agent_in(world: World, tmp_path: Path) -> None:
    result = agent(world, tmp_path, "--ca-pin", world.pin, "--token", join_token(world.data, "proxy")).fail()

    assert result.status == 3
    assert "acme does not take this host in: the join token does not permit the role Node" in result.errors
    assert world.wait_event("instance.join", success=False)["node_name"] == "web-1"


def test_auth_proxy_and_agent_each_in_a_process_of_their_own(tmp_path: Path, new_world: Callable[..., World]) -> None:
    world = new_world("--roles", "auth")
    auth = world.proxy
    pin, token = ("--ca-pin", world.pin), ("--token", join_token(world.data, "proxy", "node"))
    proxy = Service(
        tmp_path / "proxy",
        ("--roles", "proxy", "--nodename", "gate", "--auth-server", auth, "--listen", "127.0.0.1:0", *pin, *token),
    ).start()
    world.proxy = proxy.address
    web = agent(world, tmp_path / "web", *pin, *token).start()
    try:
        ann = world.person("ann").enrol().login()
        wait_until(lambda: ann.ssh(f"{LOGIN}@web-1", "true").status == 0)

        result = ann.ssh(f"{LOGIN}@web-1", "id -un")

        assert result.output == f"{LOGIN}\n"
        invitation = world.tctl_json("users", "invite", "bob", "-o", "json")
        assert invitation["url"].startswith(f"https://{proxy.address}/web/invite/")
        assert {event["server_hostname"] for event in world.events("session.start")} == {"web-1"}
    finally:
        assert web.stop() == 0
        assert proxy.stop() == 0
