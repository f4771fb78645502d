"""The hosts that somebody reaches, and those among them that labels select."""

from collections.abc import Mapping, Sequence

from teleport.api import models as m
from teleport.api import routes as r
from teleport.cli.connect import api_client, run
from teleport.cli.profile import Profile

__all__ = ["display_names", "reachable"]


def reachable(profile: Profile, labels: Mapping[str, str], cluster: str = "") -> list[m.HostRow]:
    """The hosts with all of these labels, of one's own cluster or another."""

    async def ask() -> m.Hosts:
        async with api_client(profile) as client:
            return await client.call(r.HOSTS, m.Empty())

    hosts = _elsewhere(profile, cluster) if cluster else run(ask()).hosts
    return [host for host in hosts if all(host.labels.get(key) == value for key, value in labels.items())]


def _elsewhere(profile: Profile, cluster: str) -> tuple[m.HostRow, ...]:
    from teleport.cli.way import listing

    hosts = m.Hosts.model_validate({"hosts": listing(profile, cluster)}).hosts
    return tuple(host for host in hosts if not _is_odd(host.hostname))


def _is_odd(name: str) -> bool:
    """Whether something is no host's name, but lines, options or escapes that another cluster would have people run."""
    from teleport.resources.node import host_name_faults

    return not name or bool(host_name_faults(name, ()))


def display_names(hosts: Sequence[m.HostRow]) -> list[str]:
    """What each is called here: its name, or its id where several have the same name."""
    names = [host.hostname for host in hosts]
    return [host.hostname if names.count(host.hostname) == 1 else host.uuid for host in hosts]
