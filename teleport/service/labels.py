"""The labels a host reports: those its join token suggested, those of teleport.yaml, and what commands print."""

import asyncio
from collections.abc import Callable, Mapping

from teleport.agents.ssh.labels import CommandLabels
from teleport.core.aio import Clock, cancel_and_wait
from teleport.service.sections import SshSection

__all__ = ["HostLabels"]


class HostLabels:
    """Keeps them current, also when teleport.yaml is read again. `changed` is told all of them."""

    def __init__(
        self, suggested: Mapping[str, str], section: SshSection, *, clock: Clock,
        changed: Callable[[dict[str, str]], None],
    ) -> None:  # fmt: skip
        self._suggested, self._clock, self._changed = dict(suggested), clock, changed
        self._replaced = asyncio.Event()
        self._section = section
        self._dynamic = self._commands()

    async def refresh(self) -> None:
        """Run every command once and tell."""
        await self._dynamic.refresh_all()
        self._tell()

    def use(self, section: SshSection) -> None:
        """Go by another section from now on."""
        if (section.labels, section.commands) != (self._section.labels, self._section.commands):
            self._section = section
            self._replaced.set()

    async def run(self) -> None:
        """Run commands at their periods until cancelled."""
        while True:
            running = asyncio.create_task(self._dynamic.run())
            try:
                await self._replaced.wait()
            finally:
                await cancel_and_wait(running)
            self._replaced.clear()
            self._dynamic = self._commands()
            await self.refresh()

    def _commands(self) -> CommandLabels:
        return CommandLabels(self._section.command_labels(), clock=self._clock, changed=self._tell)

    def _tell(self) -> None:
        self._changed({**self._suggested, **self._section.labels, **self._dynamic.values})
