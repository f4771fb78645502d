"""The command `tsh`: log in, find hosts, open sessions, watch recordings."""

import click

from teleport.cli.lazy import LazyGroup
from teleport.core.program import run_program

__all__ = ["main"]

_C = "teleport.cli.tsh_commands"


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    table={
        "enrol": (f"{_C}.enrol", "enrol", "Redeem an invitation: set a password and a second factor."),
        "login": (f"{_C}.login", "login", "Log in and get certificates."),
        "logout": (f"{_C}.session", "logout", "Remove certificates and keys."),
        "refresh": (
            f"{_C}.refresh",
            "refresh",
            "Get the certificates of the login again, as the cluster gives them now.",
        ),
        "status": (f"{_C}.session", "status", "Who you are, until when, with which logins."),
        "clusters": (f"{_C}.clusters", "clusters", "List the clusters you can go to."),
        "ls": (f"{_C}.ls", "ls", "List the hosts you can reach."),
        "ssh": (f"{_C}.ssh", "ssh", "Open a shell on a host, or run a command there."),
        "scp": (f"{_C}.scp", "scp", "Copy files to, from and between hosts."),
        "sessions": (f"{_C}.sessions", "sessions", "See which sessions are live."),
        "join": (f"{_C}.join", "join", "Look on at a live session."),
        "host-key": (f"{_C}.host_key", "host_key", "Print a host's key for clients that know no certificates."),
        "config": (f"{_C}.config", "config", "Print a block for ~/.ssh/config."),
        "proxy": (f"{_C}.proxy", "proxy", "Connections for other programs, such as ssh."),
        "recordings": (f"{_C}.recordings", "recordings", "List recorded sessions."),
        "play": (f"{_C}.recordings", "play", "Replay a recorded session."),
        "completion": ("teleport.cli.completion", "tsh", "Print the completion script for a shell."),
    },
)
@click.version_option(package_name="teleport-py", prog_name="tsh")
def cli() -> None:
    """Reach the hosts of a cluster.

    Example: tsh login --proxy proxy.example.com:3080 --user ann && tsh ssh root@db-1
    """


def main() -> None:
    """Entry point."""
    run_program("tsh", cli)
