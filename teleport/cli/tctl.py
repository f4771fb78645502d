"""The command `tctl`: administer a cluster, and work on its policy without one."""

from dataclasses import dataclass
from pathlib import Path

import click

from teleport.cli.lazy import LazyGroup
from teleport.core.program import run_program

__all__ = ["Target", "main"]

_C = "teleport.cli.tctl_commands"


@dataclass(frozen=True)
class Target:
    """Which cluster is meant, as the global options say."""

    data_dir: Path | None
    config: Path | None
    identity: Path | None
    auth_server: str | None


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    table={
        "access": (f"{_C}.access", "access", "Who reaches what, why, since which commit."),
        "audit": (f"{_C}.audit", "audit", "Search and verify the audit log."),
        "auth": (f"{_C}.auth", "auth", "Sign identity files, export authorities."),
        "backup": (f"{_C}.cluster", "backup", "Copy the store to a file."),
        "completion": ("teleport.cli.completion", "tctl", "Print the completion script for a shell."),
        "create": (f"{_C}.create", "create", "Create resources from files."),
        "edit": (f"{_C}.edit", "edit", "Change a resource in an editor."),
        "explain": (f"{_C}.explain", "explain", "What a field of a policy file means."),
        "get": (f"{_C}.get", "get", "Show resources."),
        "nodes": (f"{_C}.cluster", "nodes", "List the hosts of the cluster."),
        "policy": (
            f"{_C}.policy",
            "policy",
            "Validate policy, show what a change would do, and what governs the cluster.",
        ),
        "recordings": (f"{_C}.recordings", "recordings", "List recorded sessions."),
        "rm": (f"{_C}.rm", "rm", "Delete resources."),
        "status": (f"{_C}.cluster", "status", "The state of the cluster."),
        "tokens": (f"{_C}.tokens", "tokens", "Make, list and remove join tokens."),
        "users": (f"{_C}.users", "users", "Invite, list, reset, lock and unlock users."),
    },
)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Data directory of the auth service on this host.")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="teleport.yaml of the auth service on this host.")
@click.option("-i", "--identity", type=click.Path(path_type=Path), help="Identity file, from `tctl auth sign`.")
@click.option("--auth-server", metavar="HOST:PORT", help="The proxy to use with an identity file.")
@click.version_option(package_name="teleport-py", prog_name="tctl")
@click.pass_context
def cli(ctx: click.Context, /, **options: object) -> None:
    """Administer a cluster: on the auth host through its socket, elsewhere with an identity file or your tsh login.

    Example: tctl users invite ann
    """
    ctx.obj = Target(**options)  # type: ignore[arg-type]


def main() -> None:
    """Entry point."""
    run_program("tctl", cli)
