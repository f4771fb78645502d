"""`tsh status` and `tsh logout`."""

import datetime
import time

import click

from teleport.cli import profile as p
from teleport.cli.options import output_option
from teleport.core.errors import NotFound
from teleport.core.output import printable, to_json

__all__ = ["logout", "show", "status"]


@click.command()
@output_option()
def status(form: str) -> int:
    """Show the present login: who, where, until when, with which logins.

    Exits with 1 when nobody is logged in or the login has expired.

    Example: tsh status -o json
    """
    profile = p.current()
    if form == "json":
        click.echo(
            to_json(
                {
                    "proxy": profile.proxy,
                    "user": profile.user,
                    "cluster": profile.cluster,
                    "roles": list(profile.roles),
                    "logins": list(profile.logins),
                    "traits": {key: list(values) for key, values in profile.traits.items()},
                    "valid_until": _moment(profile.expires).isoformat(),
                    "expired": profile.expired,
                }
            )
        )
    else:
        show(profile)
    return 1 if profile.expired else 0


def show(profile: p.Profile) -> None:
    """A login for people."""
    left = profile.expires - time.time()
    until = _moment(profile.expires).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    rows = (
        ("Proxy", profile.proxy),
        ("User", profile.user),
        ("Cluster", profile.cluster),
        ("Roles", ", ".join(profile.roles) or "none"),
        ("Logins", ", ".join(profile.logins) or "none"),
        ("Valid until", f"{until} ({_left(left)})"),
    )
    for name, value in rows:
        click.echo(f"{name + ':':<13}{printable(value)}")


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)


def _left(seconds: float) -> str:
    if seconds <= 0:
        return "expired"
    hours, rest = divmod(int(seconds), 3600)
    if hours:
        return f"{hours}h{rest // 60:02d}m left"
    return f"{rest // 60}m left" if rest >= 60 else f"{rest}s left"


@click.command()
def logout() -> None:
    """Remove certificates and keys, from ~/.tsh and from a running ssh-agent.

    Example: tsh logout
    """
    from teleport.cli import freshness, ssh_agent

    try:
        profile = p.current()
    except NotFound:
        click.echo("Nobody is logged in.")
        return
    if not ssh_agent.remove(profile):
        ssh_agent.tell_what_stays(profile)
    with freshness.alone(profile.proxy, patience=freshness.LIMIT + 1):
        p.forget(profile)
    click.echo(f"{profile.user} is logged out of {profile.cluster}.")
