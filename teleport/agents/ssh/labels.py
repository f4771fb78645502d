"""Dynamic labels: what commands print, run now and then with a time limit and without a shell."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

from teleport.core.aio import Clock
from teleport.resources.node import CommandLabel

__all__ = ["CommandLabels"]

log = logging.getLogger(__name__)

_TIMEOUT = 10.0
_MAX_VALUE = 1024


class CommandLabels:
    """Keeps the labels of some commands current. `changed` is called when one has another value."""

    def __init__(self, commands: Mapping[str, CommandLabel], *, clock: Clock, changed: Callable[[], None]) -> None:
        self._commands, self._clock, self._changed = commands, clock, changed
        self.values: dict[str, str] = {}

    async def refresh_all(self) -> None:
        """Run every command once."""
        await asyncio.gather(*(self._refresh(name, command) for name, command in self._commands.items()))

    async def run(self) -> None:
        """Run each command at its period until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, command in self._commands.items():
                tasks.create_task(self._keep(name, command))

    async def _keep(self, name: str, command: CommandLabel) -> None:
        while True:
            await self._clock.sleep(max(1.0, command.period))
            if await self._refresh(name, command):
                self._changed()

    async def _refresh(self, name: str, command: CommandLabel) -> bool:
        """Run one command; whether its label changed. A failing command leaves the label as its error."""
        value = await _output(command)
        changed = self.values.get(name) != value
        self.values[name] = value
        return changed


async def _output(command: CommandLabel) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *command.command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as error:
        return f"error: {error.strerror or error}"
    try:
        async with asyncio.timeout(_TIMEOUT):
            output, _ = await process.communicate()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        return "error: the command took too long"
    if process.returncode:
        return f"error: exit status {process.returncode}"
    text = output[:_MAX_VALUE].decode(errors="replace").strip()
    return "".join(char for char in text if char.isprintable() or char == " ")
