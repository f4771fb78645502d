"""A command group that knows its commands by name and one line, and imports one only when it is used."""

import importlib
from collections.abc import Mapping
from typing import Any

import click

from teleport.core.program import Group

__all__ = ["LazyGroup"]


class LazyGroup(Group):
    """`table` maps a command to its module, the name in it, and one line of help."""

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self._table, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._table.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(importlib.import_module(entry[0]), entry[1])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, self._table[name][2]) for name in sorted(self._table)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
