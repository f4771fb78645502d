"""Which cluster a command is about: one's own, one that was chosen with `tsh login CLUSTER`, or one that is named."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from teleport.cli import profile as p
from teleport.cli.profile import Profile
from teleport.core.errors import BadInput, NotFound

if TYPE_CHECKING:
    from teleport.api import models as m

__all__ = ["check_cluster", "cluster_option", "known_clusters", "known_hosts_of", "meant"]

F = TypeVar("F", bound=Callable[..., Any])


def cluster_option(command: F) -> F:
    """`--cluster NAME`, passed as `cluster`; empty for one's own."""
    return click.option("--cluster", metavar="NAME", default="", help="The cluster that is meant, if not your own.")(
        command
    )


def check_cluster(profile: Profile, name: str) -> None:
    """For what is done in one's own cluster alone. Raises BadInput where another is named or was chosen."""
    name = name or p.chosen(profile)
    if name not in ("", profile.cluster):
        raise BadInput(
            f"this command is about {profile.cluster} alone, not about {name}",
            hint=f"tsh ssh, scp, ls and config go to other clusters; for your own, add --cluster {profile.cluster}",
        )


def meant(profile: Profile, name: str) -> str:
    """The other cluster that is meant, empty for one's own. Raises NotFound for one that cannot be reached.

    What vouches for its hosts is written down anew, for names below its own and no others.
    """
    name = name or p.chosen(profile)
    if name in ("", profile.cluster):
        return ""
    for row in known_clusters(profile):
        if row.name == name and row.kind == "leaf":
            _remember(profile, row)
            return name
    raise NotFound(f"cluster {name} is not known to {profile.cluster}", hint="tsh clusters lists those you can go to")


def known_clusters(profile: Profile) -> "tuple[m.ClusterRow, ...]":
    """The clusters that the user can go to, the own one first."""
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.connect import api_client, run

    async def ask() -> m.Clusters:
        async with api_client(profile) as client:
            return await client.call(r.CLUSTERS, m.Empty())

    return run(ask()).clusters


def known_hosts_of(profile: Profile, cluster: str) -> Path:
    """The file that trusts another cluster's authority for its hosts, by way of this profile's proxy and no other's."""
    return profile.folder / f".known_hosts.{cluster}"


def _remember(profile: Profile, row: "m.ClusterRow") -> None:
    """Raises BadInput for what would be another name, or a line of its own, in the file."""
    from teleport.resources.node import host_name_faults

    covers_ours = f".{profile.cluster}".endswith(f".{row.name}")
    if host_name_faults(row.name, ()) or covers_ours or not all(key.isprintable() for key in row.ssh_authorities):
        raise BadInput(f"the cluster {row.name} claims names or keys that it cannot have", hint="do not trust it")
    lines = [f"@cert-authority *.{row.name} {key}\n" for key in row.ssh_authorities]
    p.write_private(known_hosts_of(profile, row.name), "".join(lines))
