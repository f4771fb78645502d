"""`tsh sessions`: what is going on at this moment, as far as the caller may see it."""

import click

from teleport.api import models as m
from teleport.cli.clusters import check_cluster, cluster_option
from teleport.cli.options import listed, output_option
from teleport.cli.profile import Profile, current
from teleport.core.errors import BadInput, NotFound
from teleport.core.output import table, to_json, write
from teleport.core.program import Group

__all__ = ["find", "sessions"]


@click.group(cls=Group)
def sessions() -> None:
    """See which sessions are live."""


@sessions.command()
@click.option("--node", metavar="HOST", default="", help="Only those on this host, by name or id.")
@cluster_option
@output_option()
def ls(node: str, cluster: str, form: str) -> None:
    """List the live sessions on terminals that you may see: your own, and those you may join or list.

    Example: tsh sessions ls --node db-1
    """
    profile = current()
    check_cluster(profile, cluster)
    host = node.removesuffix(f".{profile.cluster}")
    rows = [row for row in live(profile) if host in ("", row.server_hostname, row.server_id)]
    if form == "json":
        write(to_json([row.model_dump() for row in rows]))
        return
    shown = [
        (row.sid, row.user, row.login, row.server_hostname, row.started, listed(row.participants), _joined_as(row))
        for row in rows
    ]
    write(table(("ID", "User", "Login", "Host", "Started", "Participants", "You may join as"), shown))


def live(profile: Profile) -> tuple[m.LiveRow, ...]:
    """The sessions that the cluster shows."""
    from teleport.api import routes as r
    from teleport.cli.connect import api_client, run

    async def ask() -> m.LiveSessions:
        async with api_client(profile) as client:
            return await client.call(r.LIVE_SESSIONS, m.Empty())

    return run(ask()).sessions


def find(profile: Profile, beginning: str) -> m.LiveRow:
    """The one session whose id begins so. Raises NotFound, BadInput."""
    found = [row for row in live(profile) if row.sid.startswith(beginning.lower())] if beginning else []
    if not found:
        raise NotFound(f"session {beginning} not found", hint="`tsh sessions ls` lists those you may see")
    if len(found) > 1:
        ids = ", ".join(row.sid for row in found[:5])
        raise BadInput(f"{len(found)} sessions begin with {beginning}", hint=f"write more of one of them: {ids}")
    return found[0]


def _joined_as(row: m.LiveRow) -> str:
    if row.needs:
        return "observer, with a second factor" if row.needs.get("mfa") == "required" else "-"
    return listed(row.modes)
