"""A command group that knows its commands by name and one line, and imports one only when it is used."""

import importlib
import sys
from collections.abc import Mapping
from typing import Any, Final

import click

from teleport.core.errors import BadInput, TeleportError
from teleport.core.output import complain

__all__ = ["Group", "LazyGroup", "run_program"]


_SENTENCE: Final = 200
"""Characters of a first sentence, more than any has."""


class Group(click.Group):
    """A group whose list of commands has the whole first sentence of each."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(_SENTENCE)) for name, one in commands if one is not None])


class LazyGroup(click.Group):
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            likely = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if likely:
                raise click.UsageError(f"{error.message} Did you mean {likely[0]}?", ctx) from None
            raise


def _as_ours(error: click.ClickException) -> BadInput:
    """What click says about a command line, in our voice."""
    message = error.format_message().strip()
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path} --help shows how" if context is not None else ""
    return BadInput(f"{message[:1].lower()}{message[1:].rstrip('.')}", hint=hint)


def run_program(program: str, group: click.Command) -> None:
    """Run a command line; errors of ours become a message, a hint and an exit status."""
    try:
        status = group.main(prog_name=program, standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.ClickException as error:
        sys.exit(complain(program, _as_ours(error)))
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("\n")
        sys.exit(130)
    except TeleportError as error:
        sys.exit(complain(program, error))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
