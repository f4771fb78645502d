"""`tsh host-key`: a host's key, as programs know it that cannot read the certificate of one."""

import asyncio

import asyncssh
import click

from teleport.cli import profile as p
from teleport.cli.freshness import keep_fresh
from teleport.cli.tsh_commands.builtin_ssh import connected
from teleport.cli.tsh_commands.ssh import Call, default_login
from teleport.core.errors import BadInput, Unavailable
from teleport.core.output import write

__all__ = ["host_key"]


@click.command(name="host-key")
@click.argument("destination", metavar="[LOGIN@]HOST")
def host_key(destination: str) -> None:
    """Print a host's key as a line for known_hosts, for clients that do not know certificates of hosts.

    The host is asked for it, and its certificate is verified. It needs somebody who may log in there.

    Example: tsh host-key root@db-1 >> ~/.ssh/known_hosts
    """
    profile = keep_fresh(p.current())
    profile.check()
    login, _, host = destination.rpartition("@")
    if not host:
        raise BadInput(f"{destination!r} names no host", hint="tsh host-key LOGIN@HOST")
    call = Call(profile, login or default_login(profile), host, (), ())
    try:
        key = asyncio.run(_key_of(call))
    except (asyncssh.Error, OSError) as error:
        raise Unavailable(f"{host} does not let you in: {error}") from None
    write(f"{profile.name_of(host)} {key}")


async def _key_of(call: Call) -> str:
    async with connected(call) as connection:
        key = connection.get_server_host_key()
        assert key is not None
        kind, blob = key.export_public_key().decode().split()[:2]
    return f"{kind} {blob}"
