"""A cluster over several processes, and how a process starts, reloads and stops."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from teleport.api import models as m
from teleport.api import routes as r
from tests.e2e.services import Service, administer, agent, hosts, join_token
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


def test_a_second_process_is_refused_the_data_directory_of_the_first(world: World, web: Service) -> None:
    auth = Service(world.root, ("--roles", "auth,proxy", "--listen", "127.0.0.1:0")).fail()
    node = agent(world, web.root).fail()

    assert [auth.status, node.status] == [1, 1]
    assert f"error: {world.data} is in use by process {world.process.pid if world.process else ''}" in auth.errors
    assert f"error: {web.data} is in use by process {web.process.pid if web.process else ''}" in node.errors
    assert "hint: one process per data directory" in node.errors


def test_an_agent_that_is_killed_leaves_no_session_without_its_end(world: World, web: Service, ann: Person) -> None:
    with ann.terminal("tsh", "ssh", f"{LOGIN}@web-1") as terminal:
        terminal.expect(r"[#$] ")
        terminal.type("echo before-$((1+1))\n")
        terminal.expect("before-2")
        sid = world.wait_event("session.start", interactive=True)["sid"]
        spooled = web.data / "spool" / "node" / "recordings" / sid / "output"
        wait_until(lambda: b"before-2" in spooled.read_bytes())

        web.kill()

        assert terminal.wait() == 255
    web.start()
    end = world.wait_event("session.end", sid=sid)
    assert (end["reason"], end["user"]) == ("the agent stopped", "ann")
    wait_until(lambda: (world.data / "recordings" / sid / "meta.json").exists())
    assert b"before-2" in (world.data / "recordings" / sid / "output").read_bytes()
    wait_until(lambda: ann.ssh(f"{LOGIN}@web-1", "true").status == 0)


class Spread:
    """A cluster whose auth, proxy and agent are a process each."""

    def __init__(self, world: World, root: Path) -> None:
        self.world, self.auth = world, world.proxy
        pin, token = ("--ca-pin", world.pin), ("--token", join_token(world.data, "proxy", "node"))
        front = ("--roles", "proxy", "--nodename", "gate", "--auth-server", self.auth, "--listen", "127.0.0.1:0")
        self.proxy = Service(root / "proxy", (*front, *pin, *token)).start()
        world.proxy = self.proxy.address
        self.web = agent(world, root / "web", *pin, *token).start()
        self.ann = world.person("ann").enrol().login()
        wait_until(lambda: self.ann.ssh(f"{LOGIN}@web-1", "true").status == 0)

    def restart_auth(self) -> None:
        """Where it was before."""
        self.world.proxy = self.auth
        self.world.start()
        self.world.proxy = self.proxy.address


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spread]:
    world = World(tmp_path_factory.mktemp("spread"), arguments=("--roles", "auth"))
    world.write("roles/dev.yaml", ROLE)
    world.write("users/ann.yaml", user("ann"))
    spread = Spread(world.start(), world.root)
    yield spread
    for service in (spread.web, spread.proxy, world):
        service.stop()


def test_auth_proxy_and_agent_each_in_a_process_of_their_own_serve_sessions(spread: Spread) -> None:
    world = spread.world
    world.write("users/bob.yaml", user("bob"))
    world.wait_event("user.create", name="bob")

    result = spread.ann.ssh(f"{LOGIN}@web-1", "id -un")

    assert result.output == f"{LOGIN}\n"
    assert world.wait_event("session.end", initial_command=["id -un"])["server_hostname"] == "web-1"
    invitation = world.tctl_json("users", "invite", "bob", "-o", "json")
    assert invitation["url"].startswith(f"https://{spread.proxy.address}/web/invite/")


def test_a_proxy_in_a_process_of_its_own_is_jumped_over_with_plain_ssh(spread: Spread) -> None:
    config = spread.ann.home / "ssh_config"
    config.write_text(spread.ann.tsh("config").output)

    result = spread.ann.run("ssh", "-F", str(config), "-J", spread.proxy.address, f"{LOGIN}@web-1", "id -un")

    assert (result.output, result.errors) == (f"{LOGIN}\n", "")


def test_sessions_go_on_and_begin_while_auth_is_killed_and_started_again_and_nothing_is_lost(spread: Spread) -> None:
    world, ann = spread.world, spread.ann
    with ann.terminal("tsh", "ssh", f"{LOGIN}@web-1") as terminal:
        terminal.expect(r"[#$] ")

        world.kill()

        terminal.type("echo still-$((1+1))\n")
        terminal.expect("still-2")
        assert ann.ssh(f"{LOGIN}@web-1", "echo without auth").output == "without auth\n"
        spread.restart_auth()
        terminal.type("echo again-$((1+1)); exit\n")
        terminal.expect("again-2")
        assert terminal.wait() == 0
    world.wait_event("session.end", interactive=True)
    world.wait_event("session.end", initial_command=["echo without auth"])
    assert administer(world.data, r.VERIFY, m.AuditCheck()).faults == ()
