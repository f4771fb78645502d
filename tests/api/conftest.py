"""An auth service whose routes are served at a Unix socket."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from teleport.api.routes import ROUTES
from teleport.api.server import ApiServer
from teleport.core.identity import Identity
from teleport.net.addresses import ClientAddresses
from tests.auth.cluster import Cluster


class Served:
    """A cluster and its socket; `local` is whom the socket takes the tests' own process for."""

    def __init__(self, cluster: Cluster, socket: Path) -> None:
        self.cluster, self.socket = cluster, socket
        self.local: Identity | None = cluster.admin.known

    def identity(self, uid: int) -> Identity | None:
        assert uid == os.getuid()
        return self.local


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster.open(tmp_path / "data") as cluster:
        yield cluster


@pytest.fixture
async def served(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Served]:
    served = Served(cluster, tmp_path / "socket")
    server = ApiServer(
        cluster.auth.handlers(), ROUTES, cluster.auth.policy, clock=cluster.clock, local=served.identity,
        addresses=ClientAddresses(),
    )  # fmt: skip
    runner = web.AppRunner(server.application())
    await runner.setup()
    await web.UnixSite(runner, str(served.socket)).start()
    yield served
    await runner.cleanup()
