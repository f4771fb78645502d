"""What the client says of a network that fails."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.core.errors import Unavailable
from teleport.net.tls import pinless_context
from tests.api.conftest import Served


async def test_a_port_where_nobody_listens_is_told_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]

    async with ApiClient(f"https://127.0.0.1:{port}", tls=pinless_context()) as client:
        with pytest.raises(Unavailable) as refusal:
            await client.call(r.PING, m.Empty())

    assert refusal.value.message == f"the auth service cannot be reached: 127.0.0.1:{port}: Connection refused"


async def test_a_socket_that_is_missing_is_told_in_words(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    async with ApiClient("http://local", unix=path) as client:
        with pytest.raises(Unavailable) as refusal:
            await client.call(r.PING, m.Empty())

    assert refusal.value.message == f"the auth service cannot be reached: {path}: No such file or directory"


async def test_whoever_follows_a_stream_learns_at_once_that_the_connections_were_given_up(served: Served) -> None:
    served.local = served.cluster.host().known
    async with ApiClient("http://local", unix=served.socket) as client:
        stream = client.lines(r.WATCH, m.WatchQuery(after=0))
        assert "listing" in await anext(stream)

        await client.reconnect()

        with pytest.raises(Unavailable):
            await _last(stream)
        assert (await client.call(r.PING, m.Empty())).cluster == "acme"


async def _last(stream: AsyncGenerator[dict[str, Any]]) -> None:
    async with asyncio.timeout(2):
        async for _ in stream:
            pass
