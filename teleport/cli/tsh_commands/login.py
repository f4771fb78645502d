"""`tsh login`: prove password and code, keep the certificates."""

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teleport.cli import freshness, ssh_agent
from teleport.cli import profile as p
from teleport.core.errors import BadInput, NotFound
from teleport.core.output import printable

if TYPE_CHECKING:
    from teleport.api import models as m

__all__ = ["check_names", "forget_earlier", "keep", "login"]


@click.command()
@click.argument("cluster", required=False, metavar="[CLUSTER]")
@click.option("--proxy", metavar="HOST:PORT", help="The proxy of the cluster (the one used last).")
@click.option("--user", metavar="NAME", help="Your name in the cluster (the local user's).")
@click.option("--ttl", metavar="DURATION", default="", help="How long, such as 8h; the cluster has its own limits.")
@click.option("--request-roles", "roles", metavar="LIST", default="", help="Only these of your roles, comma-separated.")
@click.option("--mfa-code", metavar="CODE", default="", help="The code, for scripts.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input, for scripts.")
@click.option("--ca-pin", "pins", multiple=True, metavar="PIN", help="The cluster's pin, as `tctl status` prints it.")
@click.option("--insecure", is_flag=True, help="Trust whoever answers; only for a loopback address.")
@click.option("--identity", type=click.Path(path_type=Path), help="A file of `tctl auth sign`, instead of a person.")
def login(
    proxy: str | None, user: str | None, ttl: str, roles: str, mfa_code: str, password_stdin: bool,
    pins: tuple[str, ...], insecure: bool, identity: Path | None, cluster: str | None,
) -> None:  # fmt: skip
    """Log in with password and code; certificates go to ~/.tsh and into a running ssh-agent.

    With the name of a cluster, from now on that one is meant where none is named: one that trusts yours, or yours
    again. Who is logged in already proves nothing again for it.

    Example: tsh login --proxy proxy.example.com:3080 --user ann
    """
    from teleport.cli.connect import run
    from teleport.cli.tsh_commands.session import show
    from teleport.resources.values import parse_duration

    if identity is not None:
        from teleport.cli.tsh_commands.identity import adopt

        if user or ttl or roles:
            raise BadInput("an identity file says whose it is, and until when", hint="tsh login --identity FILE")
        show(adopt(identity, proxy))
        return
    before = _before(proxy)
    if cluster and before is not None and not before.expired and user in (None, before.user):
        _choose(before, cluster)
        return
    proxy = proxy or (before.proxy if before else None)
    if proxy is None:
        raise BadInput("which proxy?", hint="tsh login --proxy HOST:PORT --user NAME")
    user = user or (before.user if before else getpass.getuser())
    try:
        seconds = parse_duration(ttl) if ttl else 0.0
    except ValueError as error:
        raise BadInput(str(error), hint="write for example 8h or 30m") from None
    wanted = tuple(name.strip() for name in roles.split(",") if name.strip()) or None
    profile, motd = run(
        _login(proxy, user, seconds, wanted, mfa_code=mfa_code, script=password_stdin, pins=pins, insecure=insecure)
    )
    ssh_agent.add(profile)
    if motd:
        click.echo(printable(motd, multiline=True))
    show(profile)
    if cluster:
        _choose(profile, cluster)


def _choose(profile: p.Profile, cluster: str) -> None:
    """Raises NotFound for a cluster that cannot be reached."""
    from teleport.cli.clusters import meant

    p.choose(profile, meant(profile, cluster))
    click.echo(f"Commands mean the cluster {cluster} from now on.")


def _before(proxy: str | None) -> p.Profile | None:
    try:
        return p.current(proxy)
    except NotFound:
        return None


async def _login(
    proxy: str, user: str, ttl: float, roles: tuple[str, ...] | None, *, mfa_code: str, script: bool,
    pins: tuple[str, ...], insecure: bool,
) -> tuple[p.Profile, str]:  # fmt: skip
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.connect import anonymous_client, recognise_proxy
    from teleport.pki.keys import new_ssh_key, new_tls_key, private_pem, public_pem, ssh_line, ssh_private

    trust = await recognise_proxy(proxy, pins=pins, insecure=insecure)
    password = sys.stdin.readline().rstrip("\r\n") if script else _ask(f"Password of {user}")
    code = mfa_code or _ask("Code from the authenticator app", hide=False)
    ssh, tls = new_ssh_key(), new_tls_key()
    request = m.LoginRequest(
        user=user, password=password, code=code, ssh_public_key=ssh_line(ssh.public_key()),
        tls_public_key=public_pem(tls.public_key()), ttl=ttl, roles=roles, user_agent="tsh",
    )  # fmt: skip
    async with anonymous_client(proxy, trust) as client:
        answer = await client.call(r.LOGIN, request)
    with freshness.alone(proxy, patience=freshness.LIMIT + 1):
        forget_earlier(proxy)
        return keep(proxy, answer, ssh_private(ssh), private_pem(tls)), answer.message_of_the_day


def forget_earlier(proxy: str) -> None:
    """The login that is replaced: once its files are gone, nothing could take its key out of the ssh-agent."""
    earlier = _before(proxy)
    if earlier is not None:
        ssh_agent.remove(earlier)
        p.forget(earlier)


def _ask(what: str, *, hide: bool = True) -> str:
    answer: str = click.prompt(what, hide_input=hide, err=True)
    return answer


def keep(proxy: str, answer: "m.Certificates", ssh_key: str, tls_key: str, *, current: bool = True) -> p.Profile:
    """Write keys and certificates of a login; the profile is written last, so that it is never without them.

    `current` makes it the one that commands use. Raises BadInput for names that would be paths or lines of their own
    in what is written.
    """
    from teleport.pki.authority import TrustedAuthority

    hosts = [one for one in map(TrustedAuthority.decode, answer.authorities) if one.kind == "host"]
    keys = [key.ssh_public for one in hosts for key in one.keys]
    check_names(answer.user, answer.cluster, keys)
    profile = p.Profile(
        proxy=proxy, user=answer.user, cluster=answer.cluster, expires=answer.expires, logins=answer.logins,
        roles=answer.roles, traits=dict(answer.traits),
    )  # fmt: skip
    p.write_private(profile.ssh_key, ssh_key)
    p.write_private(profile.ssh_certificate, answer.ssh_certificate + "\n")
    p.write_private(profile.tls_key, tls_key)
    p.write_private(profile.tls_certificate, answer.tls_certificate)
    _remember_authority(profile, "".join(one.certificates for one in hosts))
    _remember_hosts(profile, keys)
    freshness.stamp(profile)
    p.save(profile, current=current)
    return profile


def check_names(user: str, cluster: str, keys: list[str]) -> None:
    """User and cluster become names of files and words in `known_hosts`, keys lines; a hostile cluster chooses them."""
    from teleport.resources.node import host_name_faults

    if not user.isprintable() or not user or "/" in user or user.startswith((".", "-")):
        raise BadInput("the cluster answered with a user name that cannot be kept in a file", hint="do not trust it")
    if not cluster or host_name_faults(cluster, ()):
        raise BadInput("the cluster gives itself a name that cannot be one", hint="do not trust it")
    if not keys or not all(key.isprintable() for key in keys):
        raise BadInput("the cluster names no keys by which its hosts are known", hint="do not trust it")


def _remember_authority(profile: p.Profile, certificates: str) -> None:
    """The authority as it is now; its later keys are trusted at the next login too, where the first ones were."""
    p.write_private(profile.host_authorities, certificates)
    trust = p.load_trust(profile.proxy)
    if trust is not None and trust.authority is not None and trust.cluster == profile.cluster:
        p.save_trust(profile.proxy, p.Trust(profile.cluster, certificates))


def _remember_hosts(profile: p.Profile, keys: list[str]) -> None:
    """Replace this cluster's lines among the known hosts, and the keys in those that `tsh config` wrote."""
    pattern = f"*.{profile.cluster}"
    others = [line for line in _lines(profile.known_hosts) if line.split(" ")[1:2] != [pattern]]
    lines = [*others, *(f"{profile.host_pattern}{key}" for key in keys)]
    p.write_private(profile.known_hosts, "\n".join(lines) + "\n")
    names = dict.fromkeys(line.split(" ")[1] for line in _lines(profile.configured_hosts))
    if names:
        p.write_private(
            profile.configured_hosts, "".join(f"@cert-authority {one} {key}\n" for one in names for key in keys)
        )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
