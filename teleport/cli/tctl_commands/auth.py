"""`tctl auth`: certificates without a login, and the public keys of the certificate authorities."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teleport.cli.options import seconds
from teleport.cli.tctl import Target
from teleport.core.aio import utc
from teleport.core.errors import BadInput, Conflict, NotFound
from teleport.core.output import printable, write
from teleport.core.program import Group

if TYPE_CHECKING:
    from teleport.api import models as m
    from teleport.pki.authority import TrustedAuthority

__all__ = ["auth"]


@click.group(cls=Group)
def auth() -> None:
    """Sign identity files, and export the certificate authorities."""


@auth.command()
@click.option("--user", required=True, metavar="NAME", help="In whose name; the user must be declared.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write.")
@click.option("--ttl", default="12h", show_default=True, metavar="DURATION", help="How long; the roles may allow less.")
@click.option(
    "--format", "form", type=click.Choice(["file", "openssh"]), default="file", show_default=True,
    help="One file for tctl -i, or a key and a certificate for ssh.",
)  # fmt: skip
@click.option("--proxy", default="", metavar="HOST:PORT", help="The proxy to put into the file, if not the cluster's.")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
@click.pass_obj
def sign(target: Target, /, user: str, out: Path, ttl: str, form: str, proxy: str, overwrite: bool) -> None:
    """Make certificates in a user's name without a login, for automation. Only on the auth host.

    The file is as good as the user's password and code for as long as it lasts; a lock on the user ends it. It can do
    what the user's roles allow at that time, no more.

    Example: tctl auth sign --user ci --out ci.identity --ttl 8h
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask
    from teleport.pki.keys import new_ssh_key, new_tls_key, private_pem, public_pem, ssh_line, ssh_private

    paths = [out] if form == "file" else [out, _certificate_path(out)]
    _check_free(paths, overwrite=overwrite)
    ssh, tls = new_ssh_key(), new_tls_key()
    request = m.IdentityRequest(
        user=user, ssh_public_key=ssh_line(ssh.public_key()), tls_public_key=public_pem(tls.public_key()),
        ttl=seconds(ttl),
    )  # fmt: skip
    made = ask(target, r.SIGN, request)
    if form == "file":
        address = proxy or ask(target, r.PING, m.Empty()).proxy_address
        _write(out, _identity(made, ssh_private(ssh), private_pem(tls), address))
    else:
        _write(out, ssh_private(ssh))
        _write(_certificate_path(out), made.ssh_certificate + "\n")
    write(f"{', '.join(printable(str(path)) for path in paths)}: {made.user}, until {utc(made.expires)}")


@auth.command()
@click.option(
    "--type", "what", type=click.Choice(["user", "host", "openssh", "tls-user", "tls-host"]), required=True,
    help="SSH keys that vouch for users or hosts, or the X.509 certificates that do.",
)  # fmt: skip
@click.option(
    "--fingerprint", is_flag=False, flag_value="", default=None, metavar="[FINGERPRINT]",
    help="Print fingerprints instead; with a value, only the key that has it.",
)  # fmt: skip
@click.pass_obj
def export(target: Target, /, what: str, fingerprint: str | None) -> None:
    """Print public keys of the certificate authorities.

    openssh: lines for the TrustedUserCAKeys of an sshd without an agent. user: the same of those who vouch for users.
    host: lines for known_hosts. tls-user, tls-host: PEM.

    Example: tctl auth export --type user > /etc/ssh/teleport_user_ca.pub
    """
    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.admin import ask
    from teleport.pki.authority import TrustedAuthority

    kind = what.removeprefix("tls-")
    authorities = [TrustedAuthority.decode(text) for text in ask(target, r.AUTHORITIES, m.Empty()).authorities]
    found = [
        (mark, text)
        for authority in authorities
        if authority.kind == kind
        for mark, text in (_tls_keys(authority) if what.startswith("tls-") else _ssh_keys(authority))
        if not fingerprint or mark == fingerprint
    ]
    if not found:
        raise NotFound("no key of this authority has that fingerprint")
    write("\n".join(mark if fingerprint == "" else text.rstrip("\n") for mark, text in found))


def _ssh_keys(authority: "TrustedAuthority") -> Iterator[tuple[str, str]]:
    from teleport.pki.keys import fingerprint

    for key in authority.keys:
        comment = f"type={authority.kind}&clustername={authority.cluster}"
        line = f"{key.ssh_public} {comment}"
        if authority.kind == "host":
            line = f"@cert-authority *.{authority.cluster} {line}"
        yield fingerprint(key.ssh_public), line


def _tls_keys(authority: "TrustedAuthority") -> Iterator[tuple[str, str]]:
    for key in authority.keys:
        yield key.pin, key.certificate


def _identity(made: "m.Certificates", ssh_key: str, tls_key: str, proxy: str) -> str:
    """The identity file: everything to reach the cluster's API and, with ssh, its hosts."""
    from teleport.pki.authority import TrustedAuthority

    hosts = [one for one in map(TrustedAuthority.decode, made.authorities) if one.kind == "host"]
    body = {
        "user": made.user,
        "cluster": made.cluster,
        "proxy": proxy,
        "expires": utc(made.expires),
        "tls_certificate": made.tls_certificate,
        "tls_key": tls_key,
        "ssh_certificate": made.ssh_certificate,
        "ssh_key": ssh_key,
        "host_authorities": "".join(one.certificates for one in hosts),
        "known_hosts": [line for one in hosts for _, line in _ssh_keys(one)],
    }
    return json.dumps(body, indent=1) + "\n"


def _certificate_path(key: Path) -> Path:
    """Where ssh looks for the certificate of a key."""
    return key.with_name(f"{key.name}-cert.pub")


def _check_free(paths: Sequence[Path], *, overwrite: bool) -> None:
    for path in paths:
        if path.exists() and not overwrite:
            raise Conflict(f"{path} exists already", hint="name another file, or use --overwrite")
        if not path.parent.is_dir():
            raise BadInput(f"the directory of {path} does not exist")


def _write(path: Path, text: str) -> None:
    """Whole or not at all, readable by its owner alone."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        temporary.replace(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror or error}") from None
