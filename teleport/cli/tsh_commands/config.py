"""`tsh config`: blocks for ~/.ssh/config with which plain ssh, scp, rsync and Ansible reach the hosts."""

import os
import shlex
from collections.abc import Mapping

import click

from teleport.cli import freshness
from teleport.cli import profile as p
from teleport.cli.clusters import cluster_option, known_hosts_of, meant
from teleport.core.errors import BadInput
from teleport.core.identity import ssh_name_of_proxies

__all__ = ["config"]


@click.command()
@click.option("--names/--no-names", default=True, help="Also list the hosts you reach now by their short names.")
@cluster_option
def config(names: bool, cluster: str) -> None:
    """Print an OpenSSH configuration for the cluster's hosts.

    Every host is reachable as HOST.CLUSTER; those that you reach at the moment also by their short name. Host keys
    are verified by the cluster's authority, so ssh never asks; so is the proxy's own, for `ssh -J PROXY LOGIN@HOST`.
    Certificates are refreshed as long as the login lasts.
    Run it again when hosts were added.

    Example: tsh config >> ~/.ssh/config && ssh root@db-1
    """
    from teleport.cli.tsh_commands.ssh import options_for, proxy_command

    profile = p.current()
    elsewhere = meant(profile, cluster)
    if elsewhere:
        _print_elsewhere(profile, elsewhere, names=names)
        return
    short = _short_names() if names else []
    known_hosts = _known_hosts(profile, short)
    options = options_for(
        profile, key=profile.ssh_key, certificate=profile.ssh_certificate, command=proxy_command(profile)
    )
    options["UserKnownHostsFile"] = known_hosts
    refresh = _refresh_command(profile)
    click.echo(f"# Hosts of the cluster {profile.cluster}, by way of {profile.proxy}; written by `tsh config`.")
    click.echo(f'Match originalhost {",".join([f"*.{profile.cluster}", *short])} exec "{refresh}"')
    _echo_block(_proxy_itself(profile), _jump_options(profile, options))
    _echo_block(f"Host {' '.join([f'*.{profile.cluster}', *short])}", options)


def _print_elsewhere(profile: p.Profile, cluster: str, *, names: bool) -> None:
    """The block for another cluster's hosts. Its authority is trusted in a file of its own, for its own names."""
    from teleport.cli.hosts import reachable
    from teleport.cli.tsh_commands.ssh import options_for, proxy_command, quoted

    found = [host.hostname for host in reachable(profile, {}, cluster)] if names else []
    full = sorted({f"{name}.{cluster}" for name in found})
    options = options_for(
        profile, key=profile.ssh_key, certificate=profile.ssh_certificate,
        command=proxy_command(profile, cluster=cluster),
    )  # fmt: skip
    options["UserKnownHostsFile"] = quoted(str(known_hosts_of(profile, cluster)))
    click.echo(f"# Hosts of the cluster {cluster}, by way of {profile.proxy}; written by `tsh config --cluster`.")
    if full:
        click.echo(f"# You reach {', '.join(full)}")
    click.echo(f'Match originalhost *.{cluster} exec "{_refresh_command(profile)}"')
    _echo_block(f"Host *.{cluster}", options)


def _echo_block(head: str, options: Mapping[str, str]) -> None:
    click.echo(head)
    for key, value in options.items():
        click.echo(f"    {key} {value}")


def _refresh_command(profile: p.Profile) -> str:
    """What ssh runs before it reads the certificate. `find` knows in no time whether anything is due, and fails where
    there is nothing to look at; `tsh` takes longer.

    ssh knows no way to write a quotation mark inside of quotation marks that all its versions read alike.
    """
    words = [freshness.program(), "refresh", "--if-due", "--proxy", profile.proxy]
    if "TELEPORT_HOME" in os.environ:
        words[:0] = ["/usr/bin/env", f"TELEPORT_HOME={p.home()}"]
    minutes = f"-{freshness.INTERVAL / 60:g}"
    due = shlex.join(["find", str(profile.refreshed), "!", "-mmin", minutes, "-exec", *words, ";"])
    command = f"{due} || {shlex.join(words)}".replace("%", "%%")
    if '"' in command or "\\" in command:
        raise BadInput(
            f"ssh's configuration cannot hold the path of {p.home()} or {freshness.program()}",
            hint="set TELEPORT_HOME to a folder without quotation marks in its name, and log in again",
        )
    return command


def _proxy_itself(profile: p.Profile) -> str:
    """The proxy's port alone, for `ssh -J`: the machine may have an SSH server of its own on another one."""
    host, port = profile.address
    return f'Match host {host} exec "test %p = {port}"'


def _jump_options(profile: p.Profile, options: Mapping[str, str]) -> dict[str, str]:
    """First in the file, because the proxy's name may look like a host's. It is verified by a name of the cluster, so
    that the authority is trusted for nothing else."""
    return {
        **options,
        "ProxyCommand": "none",
        "ProxyUseFdpass": "no",
        "HostKeyAlias": ssh_name_of_proxies(profile.cluster),
    }


def _short_names() -> list[str]:
    """Hosts that can be reached now and whose name is theirs alone, and nothing but a name: it becomes ssh's."""
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.connect import api_client, run
    from teleport.resources.node import host_name_faults

    async def ask() -> m.Hosts:
        async with api_client(p.current()) as client:
            return await client.call(r.HOSTS, m.Empty())

    found = [host.hostname for host in run(ask()).hosts]
    return sorted({name for name in found if found.count(name) == 1 and name and not host_name_faults(name, ())})


def _known_hosts(profile: p.Profile, short: list[str]) -> str:
    """A file that trusts the cluster's authority for exactly these names."""
    pattern = f"*.{profile.cluster}"
    keys = [
        line.split(" ", 2)[2]
        for line in profile.known_hosts.read_text().splitlines()
        if line.startswith(profile.host_pattern)
    ]
    path = profile.configured_hosts
    names = ",".join([pattern, *short])
    p.write_private(path, "".join(f"@cert-authority {names} {key}\n" for key in keys))
    return f'"{path}"' if " " in str(path) else str(path)
