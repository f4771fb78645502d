"""Noticing that the network or the time has changed under a process: another address, a route, a machine that slept."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

from teleport.core.aio import Clock

__all__ = ["notice_addresses", "notice_jumps"]

_GROUPS: Final = 0x10 | 0x40 | 0x100 | 0x400
"""Addresses and routes of IPv4 and IPv6; see linux/rtnetlink.h."""
_SETTLE_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 2.0
_JUMP_SECONDS: Final = 5.0


async def notice_addresses(changed: Callable[[], None]) -> None:
    """Call back when this host has other addresses or routes, until cancelled; never where that cannot be known."""
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    except (AttributeError, OSError):
        return await _for_ever()
    with sock:
        sock.setblocking(False)
        try:
            sock.bind((0, _GROUPS))
        except OSError:
            return await _for_ever()
        while True:
            await _readable(sock)
            await asyncio.sleep(_SETTLE_SECONDS)  # changes come in groups
            with contextlib.suppress(OSError):  # also that so many came that the kernel dropped some
                while sock.recv(65536):
                    pass
            changed()


async def notice_jumps(clock: Clock, jumped: Callable[[], None]) -> None:
    """Call back when wall time alone went on: the machine slept, or its clock was set. Until cancelled."""
    apart = clock.time() - clock.monotonic()
    while True:
        await clock.sleep(_LOOK_SECONDS)
        now = clock.time() - clock.monotonic()
        if abs(now - apart) > _JUMP_SECONDS:
            jumped()
        apart = now


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock)


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()
