"""Which cluster a command is about: one's own, which is the only one so far, or an error that says so."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from teleport.cli.profile import Profile
from teleport.core.errors import NotFound

__all__ = ["check_cluster", "cluster_option"]

F = TypeVar("F", bound=Callable[..., Any])


def cluster_option(command: F) -> F:
    """`--cluster NAME`, passed as `cluster`; empty for one's own."""
    return click.option("--cluster", metavar="NAME", default="", help="The cluster that is meant, if not your own.")(
        command
    )


def check_cluster(profile: Profile, name: str) -> None:
    """Raises NotFound for a cluster that cannot be reached with this login."""
    if name not in ("", profile.cluster):
        raise NotFound(
            f"cluster {name} is not known to {profile.cluster}",
            hint=f"you are logged in to {profile.cluster}, which trusts no other cluster",
        )
