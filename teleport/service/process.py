"""One process from its first breath to its last: builds what the configuration asks for, and winds it up.

Auth, proxy and agent know each other by the API alone, also here; splitting them over machines changes this package
and no other.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Mapping
from functools import partial
from typing import IO, TYPE_CHECKING

from teleport.core.aio import Clock, SystemClock, cancel_and_wait
from teleport.service.address import Address
from teleport.service.config import Config
from teleport.service.connections import Connections, bind
from teleport.service.diagnostics import start_diagnostics
from teleport.service.disk import Writable, watch_disk
from teleport.service.drain import END_SECONDS, drain
from teleport.service.reload import Reload
from teleport.service.site import Prepare, Site
from teleport.service.systemd import Supervisor
from teleport.store.lock import lock_directory

if TYPE_CHECKING:
    from argon2 import PasswordHasher

__all__ = ["Process"]

log = logging.getLogger(__name__)

_DEMO = "DEMO: sessions of the service's own user can read the certificate authority"


def _print(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(line, flush=True)  # noqa: T201 - the one line that whoever started us waits for


class Process:
    """One running program. `run()` returns when it was told to stop and everything is wound up.

    `reread` gives the configuration anew on SIGHUP; `prepares` are told of it. Without `signals` the signals of the
    operating system are left to whoever runs the loop.
    """

    def __init__(
        self, config: Config, *, clock: Clock | None = None, announce: Callable[[str], None] = _print,
        signals: bool = True, reread: Callable[[], Config] | None = None, prepares: tuple[Prepare, ...] = (),
        environment: Mapping[str, str] = os.environ, hasher: "PasswordHasher | None" = None,
    ) -> None:  # fmt: skip
        self._site = Site(
            config, clock or SystemClock(), prepares=list(prepares), hasher=hasher, environment=environment
        )
        self._announce, self._signals = announce, signals
        self._reload = Reload(self._site, reread or (lambda: config))
        self._supervisor = Supervisor(environment)
        self._reloading: set[asyncio.Task[None]] = set()
        self.diagnostics: Address | None = None
        """Where the diagnostic port really is."""
        self.ready = asyncio.Event()

    @property
    def bound(self) -> Address:
        """Where the port really is."""
        return self._site.port.bound

    def stop(self) -> None:
        """Wind up; called again, at once."""
        self._site.life.stop()

    def reload(self) -> None:
        """Read the configuration again."""
        task = asyncio.ensure_future(self._do_reload())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def run(self) -> None:
        """Start, announce readiness, and run until stopped. Errors at start are TeleportErrors with a hint."""
        self._watch_signals()
        life = self._site.life
        async with life.stack:
            starting = asyncio.create_task(self._start())
            stopping = asyncio.create_task(life.stopping.wait())
            try:
                await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    starting.result()
                    self._is_ready()
                    await stopping
            finally:
                await cancel_and_wait(starting, stopping, *self._reloading)
            if life.failure is not None:
                raise life.failure
            log.info("stopping")
            self._supervisor.stopping(within=self._site.config.teleport.shutdown_timeout + END_SECONDS)
            await drain(self._site)

    # -- starting

    async def _start(self) -> None:
        site, config = self._site, self._site.config
        site.health.require(self._phase)
        for place, reason in config.without_effect():
            log.warning("%s in teleport.yaml has no effect: %s", place, reason)
        if config.listen is not None:
            site.connections = Connections(*bind(config.listen), full=partial(site.health.warn, "connections"))
            site.connections.listen(site.life)
        if config.teleport.diag_addr:
            self.diagnostics = await start_diagnostics(site, config.teleport.diag_addr)
        if self._supervisor.watches:
            site.life.background(self._supervisor.keep_alive(), "watchdog")
        await self._find_cluster()
        site.life.background(watch_disk(site.data_dir, site.health, self._records, clock=site.clock), "disk")
        if "proxy" in config.roles:
            from teleport.service.proxy import start_proxy

            await start_proxy(site)
        if "node" in config.roles:
            from teleport.service.node import start_node

            await start_node(site)
        if site.auth is not None and config.policies is not None:
            from teleport.service.notifier import start_notifier
            from teleport.service.source import start_sources

            start_notifier(site, site.auth, config.policies)
            start_sources(site, site.auth, config.policies)
        for wait in site.ready_when:
            await wait()

    async def _find_cluster(self) -> None:
        from teleport.service.join import LocalCluster, RemoteCluster

        site = self._site
        if "auth" in site.config.roles:
            from teleport.service.api import start_auth

            site.cluster = LocalCluster(site, await start_auth(site))
        else:
            lock: IO[str] = lock_directory(site.data_dir)
            site.life.stack.callback(lock.close)
            site.cluster = await RemoteCluster.find(site)

    def _records(self) -> list[Writable]:
        site = self._site
        spools = [member.spool for member in site.members]
        return [site.auth.auth.audit, *spools] if site.auth is not None else list(spools)

    # -- running

    def _phase(self) -> str:
        if self._site.life.stopping.is_set():
            return "the process is stopping"
        return "" if self.ready.is_set() else "the process is starting"

    def _is_ready(self) -> None:
        """Say so: to whoever reads standard output, to systemd, and to those who wait in this process."""
        line = self._ready_line()
        self.ready.set()
        self._announce(line)
        self._supervisor.ready(line)

    def _ready_line(self) -> str:
        site = self._site
        cluster = site.home
        where = site.public_address if site.connections is not None else cluster.proxy
        demo = f" {_DEMO}" if site.config.demo and site.auth is not None else ""
        return f"ready: https://{where} cluster {cluster.name} ca-pin {' '.join(cluster.pins)}{demo}"

    def _watch_signals(self) -> None:
        if not self._signals:
            return
        loop = asyncio.get_running_loop()
        for number, act in ((signal.SIGTERM, self.stop), (signal.SIGINT, self.stop), (signal.SIGHUP, self.reload)):
            loop.add_signal_handler(number, act)
            self._site.life.stack.callback(partial(loop.remove_signal_handler, number))

    async def _do_reload(self) -> None:
        if not self.ready.is_set():
            log.warning("the process is starting; the configuration is not read again yet")
            return
        self._supervisor.reloading()
        await self._reload.run()
        self._supervisor.ready(self._ready_line())
