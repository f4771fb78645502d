"""`tsh ls`: the hosts somebody can reach."""

import click

from teleport.cli.clusters import cluster_option, meant
from teleport.cli.options import output_option
from teleport.core.errors import BadInput
from teleport.core.output import table, to_json, write

__all__ = ["ls"]


@click.command()
@click.argument("labels", nargs=-1, metavar="[LABEL=VALUE]...")
@cluster_option
@output_option("text", "json", "names")
def ls(labels: tuple[str, ...], cluster: str, form: str) -> None:
    """List the hosts you can reach, with the logins that are open to you; all given labels must match.

    Example: tsh ls env=prod team=web
    """
    from teleport.cli.hosts import reachable
    from teleport.cli.profile import current

    wanted, profile = _pairs(labels), current()
    hosts = reachable(profile, wanted, meant(profile, cluster))
    if form == "json":
        rows = [
            {"hostname": host.hostname, "uuid": host.uuid, "labels": dict(host.labels), "logins": list(host.logins)}
            for host in hosts
        ]
        write(to_json(rows))
    elif form == "names":
        write("".join(f"{host.hostname}\n" for host in hosts) or "")
    else:
        names = [host.hostname for host in hosts]
        shown = [
            (
                host.hostname if names.count(host.hostname) == 1 else f"{host.hostname} ({host.uuid})",
                ", ".join(f"{key}={value}" for key, value in sorted(host.labels.items())),
                ", ".join(host.logins),
            )
            for host in hosts
        ]
        write(table(("Host", "Labels", "Logins"), shown))


def _pairs(labels: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for label in labels:
        key, equals, value = label.partition("=")
        if not equals or not key:
            raise BadInput(f"{label!r} is not LABEL=VALUE", hint="for example env=prod")
        pairs[key] = value
    return pairs
