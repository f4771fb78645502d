"""`tsh enrol`: redeem an invitation in the terminal."""

import sys

import click

from teleport.core.errors import BadInput, TeleportError, Unauthenticated

__all__ = ["enrol"]


@click.command()
@click.option("--proxy", required=True, metavar="HOST:PORT", help="The proxy of the cluster.")
@click.option("--token", required=True, metavar="TOKEN", help="The token of the invitation.")
@click.option("--ca-pin", "pins", multiple=True, metavar="PIN", help="The cluster's pin, as the invitation prints it.")
@click.option("--insecure", is_flag=True, help="Trust whoever answers; only for a loopback address.")
@click.option("--password-stdin", is_flag=True, help="For scripts: password and code are lines of standard input.")
def enrol(proxy: str, token: str, pins: tuple[str, ...], insecure: bool, password_stdin: bool) -> None:
    """Set a password and register an authenticator app, by invitation.

    With --password-stdin the password is the first line of standard input; the otpauth:// URI alone is printed on
    standard output, and one code is read from the next line.

    Example: tsh enrol --proxy proxy.example.com:3080 --token X --ca-pin sha256:…
    """
    from teleport.cli.connect import run

    run(_enrol(proxy, token, pins, insecure=insecure, script=password_stdin))


async def _enrol(proxy: str, token: str, pins: tuple[str, ...], *, insecure: bool, script: bool) -> None:
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.connect import anonymous_client, recognise_proxy

    trust = await recognise_proxy(proxy, pins=pins, insecure=insecure)
    async with anonymous_client(proxy, trust) as client:
        who = await client.call(r.INVITEE, m.Invitee(token=token))
        if script:
            offer = await client.call(r.ENROL, m.EnrolmentRequest(token=token, password=_line("the password")))
            click.echo(offer.otpauth)
            await client.call(r.CONFIRM, m.Confirmation(token=token, code=_line("the code")))
            return
        click.echo(f"Welcome to the cluster {trust.cluster}, {who.user}.")
        while True:
            password = click.prompt("New password", hide_input=True)
            try:
                if click.prompt("Once more", hide_input=True) != password:
                    raise BadInput("the two passwords are not the same")
                offer = await client.call(r.ENROL, m.EnrolmentRequest(token=token, password=password))
                break
            except BadInput as error:
                _complain(error)
        _show(offer.otpauth)
        while True:
            code = click.prompt("Code from the app")
            try:
                await client.call(r.CONFIRM, m.Confirmation(token=token, code=code))
                break
            except Unauthenticated as error:
                _complain(error)
        click.echo(f"Done. Log in with: tsh login --proxy {proxy} --user {who.user}")


def _line(what: str) -> str:
    line = sys.stdin.readline()
    if not line:
        raise BadInput(f"{what} is missing on standard input")
    return line.rstrip("\r\n")


def _show(uri: str) -> None:
    import segno

    click.echo("\nScan this with an authenticator app:\n")
    segno.make(uri, error="l").terminal(out=sys.stdout, compact=True, border=2)
    click.echo(f"\nor copy this into it:\n{uri}\n")


def _complain(error: TeleportError) -> None:
    from teleport.core.output import complain

    complain("tsh", error)
