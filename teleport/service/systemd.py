"""Tells systemd how we are, where it started us: sd_notify(3)."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Mapping

__all__ = ["Supervisor"]

log = logging.getLogger(__name__)


class Supervisor:
    """The service manager at the socket that the environment names; without one nothing is said."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._path = environment.get("NOTIFY_SOCKET", "")
        self._watchdog = _seconds(environment)

    def ready(self, status: str) -> None:
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, *, within: float) -> None:
        """Say so, and ask for the seconds that live sessions are given."""
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(within * 1e6)}", "STATUS=waiting for sessions to end")

    @property
    def watches(self) -> bool:
        """Whether signs of life are asked for."""
        return self._watchdog > 0

    async def keep_alive(self) -> None:
        """Give signs of life as long as the loop turns."""
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog / 2)

    def _send(self, *lines: str) -> None:
        if not self._path:
            return
        address = f"\0{self._path[1:]}" if self._path.startswith("@") else self._path
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.sendto("\n".join(lines).encode(), address)
            except OSError as error:
                log.warning("systemd could not be told %s: %s", lines[0], error)


def _seconds(environment: Mapping[str, str]) -> float:
    """The watchdog's limit, 0 where none is meant for this process."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return int(environment.get("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        return 0.0
