"""Clusters for end-to-end tests: one shared by the tests of a module, and fresh ones for tests that break things."""

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.e2e.plain import plain_host
from tests.e2e.world import LOGIN, ROLE, World, make_login, missing, remove_login, user

pytestmark = pytest.mark.e2e
PLAIN = bool(os.environ.get("TELEPORT_TEST_PLAIN_HOST"))
"""Whether the host of the shared cluster has no agent, but Debian's sshd: see `make plain-hosts`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in Path(item.fspath).parts:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session", autouse=True)
def login() -> Iterator[str]:
    """The operating system's user that sessions run as."""
    make_login()
    yield LOGIN
    remove_login()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A running cluster with the role dev and the users ann and bob, who may log in as LOGIN."""
    if reason := missing("ssh"):
        pytest.skip(reason)
    world = World(tmp_path_factory.mktemp("world"), host="gate-1" if PLAIN else "db-1")
    world.write("roles/dev.yaml", ROLE)
    for name in ("ann", "bob"):
        world.write(f"users/{name}.yaml", user(name))
    world.start()
    with plain_host(world, tmp_path_factory.mktemp("host"), "db-1") if PLAIN else nullcontext():
        yield world
    world.stop()


@pytest.fixture
def new_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes clusters that only this test uses; they are stopped at its end."""
    if reason := missing("ssh"):
        pytest.skip(reason)
    made: list[World] = []

    def make(*arguments: str, start: bool = True, files: dict[str, str] | None = None) -> World:
        world = World(tmp_path / f"world{len(made)}", arguments=arguments or ("--demo",))
        defaults = {"roles/dev.yaml": ROLE, "users/ann.yaml": user("ann"), "users/bob.yaml": user("bob")}
        for name, text in (defaults if files is None else files).items():
            world.write(name, text)
        made.append(world)
        return world.start() if start else world

    yield make
    for world in made:
        if world.process is not None and world.process.poll() is None:
            world.stop()
