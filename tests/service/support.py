"""A process in the test's own loop, and the configuration it needs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from teleport.api.client import ApiClient
from teleport.service.api import ADMIN_SOCKET
from teleport.service.config import Config
from teleport.service.process import Process
from tests.builders import CHEAP

ROLE = """\
kind: role
version: v7
metadata: {name: dev}
spec: {allow: {logins: [root], node_labels: {"*": "*"}}}
"""


def config(data_dir: Path, *, roles: str = "auth,proxy,node", **sections: Any) -> Config:
    """A configuration on a free port; sections are merged over that."""
    chosen = roles.split(",")
    body: dict[str, Any] = {
        "teleport": {"data_dir": str(data_dir), "nodename": "db-1"},
        "auth_service": {"enabled": "auth" in chosen, "cluster_name": "acme"},
        "proxy_service": {"enabled": "proxy" in chosen, "web_listen_addr": "127.0.0.1:0"},
        "ssh_service": {"enabled": "node" in chosen},
        "demo": True,
    }
    for name, section in sections.items():
        body[name] = {**body.get(name, {}), **section} if isinstance(section, dict) else section
    return Config.model_validate(body)


def unstarted(configuration: Config, *, announce: Callable[[str], None] = lambda _: None, **options: Any) -> Process:
    """A process that nobody but the test tells anything, where passwords are cheap."""
    return Process(configuration, signals=False, announce=announce, environment={}, hasher=CHEAP, **options)


@contextlib.asynccontextmanager
async def running(configuration: Config, **options: Any) -> AsyncIterator[Process]:
    """A process that is ready, and stopped at the end. What keeps it from getting up is raised."""
    process = unstarted(configuration, **options)
    run, ready = asyncio.create_task(process.run()), asyncio.create_task(process.ready.wait())
    try:
        async with asyncio.timeout(20):
            await asyncio.wait([run, ready], return_when=asyncio.FIRST_COMPLETED)
        if run.done():
            run.result()
        yield process
    finally:
        ready.cancel()
        process.stop()
        process.stop()
        async with asyncio.timeout(20):
            await asyncio.gather(run, return_exceptions=True)


async def failure_of(configuration: Config) -> BaseException:
    """Why a process does not get up."""
    try:
        async with running(configuration):
            raise AssertionError("it got up")
    except Exception as error:
        return error


def administration(configuration: Config) -> ApiClient:
    """The administration socket of a running auth service."""
    return ApiClient.at_socket(configuration.data_dir / ADMIN_SOCKET)
