"""Options of ssh that `tsh ssh` takes and hands on as they are, because nothing of ours depends on them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import click

__all__ = ["as_for_ssh", "handed_on"]

_SWITCHES: Final = {
    "-4": "IPv4 only.",
    "-6": "IPv6 only.",
    "-a": "Forward no agent.",
    "-C": "Compress.",
    "-G": "Show the configuration, without connecting.",
    "-g": "Let other machines use what is forwarded.",
    "-k": "Forward no GSSAPI credentials.",
    "-M": "Share this connection.",
    "-s": "The command is a subsystem.",
    "-x": "Forward no display.",
}
_VALUES: Final = {
    "-E": ("FILE", "Write what ssh has to say there."),
    "-e": ("CHAR", "Escape character, or none."),
    "-F": ("FILE", "Another configuration than ~/.ssh/config."),
    "-O": ("COMMAND", "Tell a shared connection: check, forward, cancel, stop or exit."),
    "-S": ("PATH", "The socket of a shared connection."),
}


def as_for_ssh(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options."""
    for flag, (what, text) in reversed(_VALUES.items()):
        command = click.option(flag, _name(flag), metavar=what, help=text)(command)
    for flag, text in reversed(_SWITCHES.items()):
        command = click.option(flag, _name(flag), is_flag=True, help=text)(command)
    return command


def handed_on(given: Mapping[str, object]) -> Iterator[str]:
    """Those that were given, as ssh takes them."""
    yield from (flag for flag in _SWITCHES if given[_name(flag)])
    for flag in _VALUES:
        value = given[_name(flag)]
        if value is not None:
            yield from (flag, str(value))


def _name(flag: str) -> str:
    return f"ssh_{flag[1:]}" if flag[1:].islower() else f"ssh_big_{flag[1:].lower()}"
