"""Sockets behave differently on the two event loops: the program runs on uvloop, the standard one is the reference."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

_SOCKETS = ("test_listener.py", "test_handshake.py")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.name in _SOCKETS:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}
