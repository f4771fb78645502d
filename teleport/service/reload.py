"""Reading the configuration again while everything runs: what can change takes effect, the rest waits for a restart.

A configuration that is wrong in any way changes nothing at all.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from teleport.core.errors import TeleportError
from teleport.service.config import Config
from teleport.service.policies import Policies
from teleport.service.sections import Section
from teleport.service.site import Site

__all__ = ["LIVE", "Reload", "changed", "merged"]

log = logging.getLogger(__name__)

_CLUSTER_SETTINGS: Final = (
    "tokens", "authentication", "session_recording", "proxy_checks_host_keys", "disconnect_expired_cert",
    "message_of_the_day", "client_idle_timeout", "client_idle_timeout_message", "web_idle_timeout",
    "keep_alive_interval", "keep_alive_count_max", "session_control_timeout", "proxy_ping_interval",
    "ssh_dial_timeout", "routing_strategy", "case_insensitive_routing", "proxy_listener_mode", "tunnel_strategy",
)  # fmt: skip

LIVE: Final[Mapping[str, Sequence[str]]] = {
    "teleport": ("log", "shutdown_timeout", "staleness_limit"),
    "auth_service": _CLUSTER_SETTINGS,
    "proxy_service": ("https_keypairs", "trusted_balancers"),
    "ssh_service": ("labels", "commands"),
    "policies": ("interval", "sources.interval", "sources.ceiling", "guards", "people", "break_glass", "notify"),
}
"""By section, the fields that take effect when the file is read again; and `admins` as a whole."""


class Reload:
    """Does it, one at a time. `read` gives the configuration as it is written now; both may raise TeleportError."""

    def __init__(self, site: Site, read: Callable[[], Config]) -> None:
        self._site, self._read = site, read
        self._one = asyncio.Lock()

    async def run(self) -> None:
        """Read, get everything ready, and only then make it take effect. What is wrong goes to the log."""
        async with self._one:
            try:
                await self._run()
            except TeleportError as error:
                for line in error.message.splitlines():
                    log.error("the configuration is not taken: %s", line)
                log.error("nothing was changed%s", f"; {error.hint}" if error.hint else "")

    async def _run(self) -> None:
        site = self._site
        wanted = await asyncio.to_thread(self._read)
        fresh = merged(site.config, wanted)
        commits = [prepare(fresh) for prepare in site.prepares]
        if site.auth is not None:
            from teleport.service.settings import declare_settings

            await declare_settings(site.auth, fresh, site.health)
        taken = list(changed(site.config, fresh))
        site.config = fresh
        for commit in commits:
            commit()
        log.info("the configuration was read again: %s", f"changed {', '.join(taken)}" if taken else "nothing changed")
        for place in changed(fresh, wanted):
            log.warning("%s has changed, which takes a restart", place)


def merged(current: Config, wanted: Config) -> Config:
    """The configuration in force with those fields of the wanted one that can change while the process runs."""
    sections: dict[str, Any] = {"admins": wanted.admins}
    for name, fields in LIVE.items():
        before, after = getattr(current, name), getattr(wanted, name)
        if before is not None and after is not None:
            simple = [field for field in fields if "." not in field]
            sections[name] = before.taking(after) if isinstance(before, Policies) else _with(before, after, simple)
    return current.model_copy(update=sections)


def _with(before: Section, after: Section, fields: Sequence[str]) -> Section:
    return before.model_copy(update={field: getattr(after, field) for field in fields})


def changed(before: BaseModel, after: BaseModel, place: str = "") -> Iterator[str]:
    """The places at which two configurations differ, as deep as both have sections there."""
    for name in type(before).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if old == new:
            continue
        here = f"{place}{name}"
        if isinstance(old, Section) and isinstance(new, Section):
            yield from changed(old, new, f"{here}.")
        else:
            yield here
