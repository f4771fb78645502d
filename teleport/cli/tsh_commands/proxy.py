"""`tsh proxy`: connections for other programs. What ssh runs as its ProxyCommand is `teleport.cli.way`."""

from pathlib import Path

import click

from teleport.cli import profile as p
from teleport.cli.clusters import cluster_option
from teleport.cli.options import output_option
from teleport.cli.way import lead, split
from teleport.core.errors import BadInput
from teleport.core.program import Group

__all__ = ["proxy"]


@click.group(cls=Group)
def proxy() -> None:
    """Connections for other programs."""


@proxy.command(name="ssh")
@click.argument("destination", metavar="LOGIN@HOST[:PORT]")
@click.option("--proxy", "address", metavar="HOST:PORT", help="The proxy (the one logged in to last).")
@cluster_option
@click.option("--credentials", type=click.Path(path_type=Path), help="A folder with tls.crt and tls.key.")
@click.option("--fdpass", is_flag=True, help="Pass the connection on and end: for `ssh -o ProxyUseFdpass=yes`.")
@click.option("--local", is_flag=True, help="Listen for any SSH client on this machine, and authenticate for it.")
@click.option("--end-to-end", is_flag=True, help="With --local: the client has the certificate and authenticates.")
@click.option("--listen", metavar="ADDRESS:PORT", help="With --local: where, on the loopback (127.0.0.1, a free port).")
@output_option()
def ssh(
    destination: str, address: str | None, cluster: str, credentials: Path | None, fdpass: bool, local: bool,
    end_to_end: bool, listen: str | None, form: str,
) -> None:  # fmt: skip
    """Carry standard input and output to a host's SSH server, for `ssh -o ProxyCommand`.

    With --fdpass nothing is carried: ssh gets the connection itself, and this program ends.

    With --local it goes on until it is interrupted, for clients that know neither certificates nor a ProxyCommand:
    they connect to the address it prints, with the password that it wrote to a file only you can read.

    Example: ssh -o ProxyCommand="tsh proxy ssh %r@%h:%p" root@db-1
    """
    profile = p.current(address)
    cluster = "" if cluster == profile.cluster else cluster
    if not local:
        if end_to_end or listen:
            raise BadInput("--end-to-end and --listen go with --local")
        lead(profile, destination, cluster=cluster, credentials=credentials, fdpass=fdpass)
        return
    from teleport.cli.tsh_commands import local as listener

    login, host = split(destination)
    profile.check()
    there = listener.Destination(profile.proxy, profile.user, login, host, cluster)
    listener.run(there, listen or "127.0.0.1:0", end_to_end=end_to_end, form=form)
