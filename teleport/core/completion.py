"""`completion SHELL`, the same for every program: prints what makes a shell complete its commands and options."""

import click
from click.shell_completion import get_completion_class

__all__ = ["completion_command"]

_WHERE = {
    "bash": 'eval "$({} completion bash)" in ~/.bashrc',
    "zsh": 'eval "$({} completion zsh)" in ~/.zshrc, after compinit',
    "fish": "{} completion fish > ~/.config/fish/completions/{}.fish",
}


def completion_command(program: str) -> click.Command:
    """The command `completion` of a program."""

    @click.command("completion", help=_help(program), short_help="Print the completion script for a shell.")
    @click.argument("shell", type=click.Choice(sorted(_WHERE)))
    @click.pass_context
    def completion(ctx: click.Context, /, shell: str) -> None:
        cls = get_completion_class(shell)
        assert cls is not None
        click.echo(cls(ctx.find_root().command, {}, program, f"_{program.upper()}_COMPLETE").source())

    return completion


def _help(program: str) -> str:
    lines = "\n".join(f"  {shell}: {text.replace('{}', program)}" for shell, text in _WHERE.items())
    return (
        "Print the script that makes a shell complete commands and options.\n\n"
        f"\b\nWhere it goes:\n{lines}\n\n"
        f"Example: {program} completion bash"
    )
