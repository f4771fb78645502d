"""What X11 forwarding needs beside a port: the client's request (RFC 4254, section 6.3), and the cookie in place.

The cookie that clients send is made up; they put the true one in its place. Ours is to hand it to the user's xauth.
"""

import asyncio
import contextlib
import os
import re
import shutil
from dataclasses import dataclass
from typing import Final

from teleport.agents.ssh.process import Account, Leash, start

__all__ = ["FIRST_PORT", "PORTS", "Cookie", "authorise", "cookie"]

FIRST_PORT: Final = 6010
"""Of display 10; lower ones are left to displays that are really there."""
PORTS: Final = 200
_X11_PORT: Final = 6000
_XAUTH_SECONDS: Final = 10.0
_PROTOCOL: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_HEX: Final = re.compile(r"([0-9a-fA-F]{2}){1,256}")
_SEARCHED: Final = "/usr/bin:/usr/X11R6/bin:/usr/local/bin:/bin"


@dataclass(frozen=True)
class Cookie:
    """What programs must show to the client's display."""

    protocol: str
    value: str
    screen: int

    def display(self, port: int) -> str:
        return f"{port - _X11_PORT}.{self.screen}"


def cookie(body: bytes) -> Cookie:
    """Read a request. Raises ValueError, also for the request that one connection be forwarded and no other."""
    if body[:1] != b"\0":
        raise ValueError("a display for a single connection is not forwarded")
    rest, texts = body[1:], []
    for _ in range(2):
        size = int.from_bytes(rest[:4], "big")
        texts.append(rest[4 : 4 + size].decode("ascii", "replace"))
        rest = rest[4 + size :]
    screen = int.from_bytes(rest, "big")
    if len(rest) != 4 or screen > 255 or not _PROTOCOL.fullmatch(texts[0]) or not _HEX.fullmatch(texts[1]):
        raise ValueError("the request names no display")
    return Cookie(texts[0], texts[1], screen)


async def authorise(who: Account, one: Cookie, port: int) -> None:
    """Give the cookie to the user's programs. Raises OSError, and Unavailable where nothing can be started."""
    program = shutil.which("xauth", path=_SEARCHED)
    if program is None:
        raise OSError("there is no xauth on this host")
    display = f"unix:{one.display(port)}"
    orders = f"remove {display}\nadd {display} {one.protocol} {one.value}\n"
    environment = who.environment()
    running = await asyncio.to_thread(
        start, who, ["xauth", "-q", "-"], environment, program=program, terminal=None, leash=Leash()
    )
    try:
        with contextlib.suppress(BrokenPipeError):
            os.write(running.input, orders.encode())
    finally:
        os.close(running.input)
    try:
        async with asyncio.timeout(_XAUTH_SECONDS):
            status = await running.wait()
    except TimeoutError:
        status = -1
    finally:
        if running.process.returncode is None:
            await running.stop()
        os.close(running.output)
        os.close(running.errors)
    if status:
        raise OSError("xauth did not take the cookie")
