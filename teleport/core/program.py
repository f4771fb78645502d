"""How a command line of ours ends: what click says about it, and errors of ours, in one voice and with an exit status.

Also the group of commands that every program uses: it lists whole sentences and suggests the likely right word.
"""

import difflib
import sys
from typing import Final

import click

from teleport.core.errors import BadInput, TeleportError
from teleport.core.output import complain, write

__all__ = ["Group", "run_program"]

_SENTENCE: Final = 200
"""Characters of a first sentence, more than any has."""


class Group(click.Group):
    """A group whose list of commands has the whole first sentence of each, and that knows what was meant."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(_SENTENCE)) for name, one in commands if one is not None])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0].startswith("-") or self.get_command(ctx, args[0]) is not None:
            return super().resolve_command(ctx, args)
        likely = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
        meant = f" Did you mean {likely[0]}?" if likely else ""
        raise click.UsageError(f"no such command '{args[0]}'.{meant}", ctx)


def run_program(program: str, group: click.Command) -> None:
    """Run a command line; errors of ours become a message, a hint and an exit status."""
    try:
        status = group.main(prog_name=program, standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        write(error.format_message(), stream=sys.stderr)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        sys.exit(complain(program, _as_ours(error, program)))
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("\n")
        sys.exit(130)
    except TeleportError as error:
        sys.exit(complain(program, error))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def _as_ours(error: click.ClickException, program: str) -> BadInput:
    """What click says about a command line, in our voice."""
    message = error.format_message().strip()
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path if context is not None else program} --help shows how"
    return BadInput(f"{message[:1].lower()}{message[1:].rstrip('.')}", hint=hint)
