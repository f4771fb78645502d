"""`tctl users`: invitations, and the state of accounts. Users themselves are declared as resources."""

import shlex

import click

from teleport.cli.options import output_option
from teleport.cli.tctl import Target
from teleport.core.errors import BadInput, NotFound
from teleport.core.output import table, to_json, write
from teleport.core.program import Group

__all__ = ["users"]


@click.group(cls=Group)
def users() -> None:
    """Invite, list, reset, lock and unlock users."""


@users.command()
@click.argument("name")
@click.option("--ttl", default="1h", metavar="DURATION", help="How long the invitation is good (at most 48h).")
@output_option()
@click.pass_obj
def invite(target: Target, /, name: str, ttl: str, form: str) -> None:
    """Print a link and a token with which a declared user sets a password and a second factor.

    Example: tctl users invite ann --ttl 8h
    """
    _invite(target, name, ttl, form, reset=False)


@users.command()
@click.argument("name")
@click.option("--ttl", default="8h", metavar="DURATION", help="How long the invitation is good (at most 48h).")
@output_option()
@click.pass_obj
def reset(target: Target, /, name: str, ttl: str, form: str) -> None:
    """Take away a user's password and second factor, and print an invitation to set new ones.

    Example: tctl users reset ann
    """
    _invite(target, name, ttl, form, reset=True)


def _invite(target: Target, name: str, ttl: str, form: str, *, reset: bool) -> None:
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import administer
    from teleport.cli.connect import run
    from teleport.resources.values import parse_duration

    try:
        seconds = parse_duration(ttl)
    except ValueError as error:
        raise BadInput(str(error), hint="write for example 1h or 30m") from None
    if not 0 < seconds <= 48 * 3600:
        raise BadInput("an invitation is good for at most 48h")

    async def ask() -> m.Invitation:
        async with administer(target) as client:
            return await client.call(r.INVITE, m.InvitationRequest(user=name, ttl=seconds, reset=reset))

    found = run(ask())
    if form == "json":
        write(to_json(found.model_dump(mode="json")))
        return
    pins = " ".join(f"--ca-pin {pin}" for pin in found.ca_pins)
    write(
        f"{name} can set a password and a second factor within {ttl}, in a browser:\n\n"
        f"  {found.url}\n\n"
        f"or in a terminal:\n\n"
        f"  tsh enrol --proxy {shlex.quote(found.proxy_address)} --token {found.token} {pins}\n"
    )


@users.command()
@output_option()
@click.pass_obj
def ls(target: Target, /, form: str) -> None:
    """List users, their roles, where they are declared, and whether they can log in.

    Example: tctl users ls
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import administer
    from teleport.cli.connect import run

    async def ask() -> m.Users:
        async with administer(target) as client:
            return await client.call(r.USERS, m.Empty())

    found = run(ask()).users
    if form == "json":
        write(to_json([row.model_dump(mode="json") for row in found]))
        return
    rows = [
        (
            row.name,
            ", ".join(row.roles),
            row.source,
            "locked" if row.locked else "enrolled" if row.enrolled else "not enrolled",
        )
        for row in found
    ]
    write(table(("User", "Roles", "Declared in", "State"), rows))


@users.command()
@click.argument("name")
@click.option("--message", default="", help="Shown to the user.")
@click.option("--ttl", default="", metavar="DURATION", help="How long; without it until unlocked.")
@click.pass_obj
def lock(target: Target, /, name: str, message: str, ttl: str) -> None:
    """Shut a user out at once; live sessions end.

    Example: tctl users lock ann --message "lost laptop" --ttl 24h
    """
    import time

    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import administer
    from teleport.cli.connect import run
    from teleport.core.aio import utc
    from teleport.resources.values import parse_duration

    spec: dict[str, object] = {"target": {"user": name}}
    if message:
        spec["message"] = message
    if ttl:
        try:
            spec["expires"] = utc(time.time() + parse_duration(ttl))
        except ValueError as error:
            raise BadInput(str(error), hint="write for example 24h") from None
    body = {"kind": "lock", "version": "v2", "metadata": {"name": _lock_name(name)}, "spec": spec}

    async def ask() -> None:
        async with administer(target) as client:
            known = {row.name for row in (await client.call(r.USERS, m.Empty())).users}
            if name not in known:
                raise NotFound(f"user {name} does not exist")
            await client.call(r.UPDATE, m.ResourceWrite(kind="lock", resource=body))

    run(ask())
    write(f"{name} is locked out. Undo it with: tctl users unlock {name}")


@users.command()
@click.argument("name")
@click.pass_obj
def unlock(target: Target, /, name: str) -> None:
    """Remove every lock that is on this user alone and was not made by a policy source.

    Example: tctl users unlock ann
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import administer
    from teleport.cli.connect import run

    async def ask() -> int:
        async with administer(target) as client:
            locks = (await client.call(r.RESOURCES, m.ResourceQuery(kind="lock"))).resources
            own = [lock for lock in locks if lock.resource["spec"]["target"] == {"user": name}]
            for lock in own:
                await client.call(r.DELETE, m.ResourceName(kind="lock", name=lock.resource["metadata"]["name"]))
            return len(own)

    if not run(ask()):
        raise NotFound(f"no lock is on {name}")
    write(f"{name} is unlocked.")


def _lock_name(user: str) -> str:
    return f"user-{user}"
