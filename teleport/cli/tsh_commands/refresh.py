"""`tsh refresh`: the certificates of the present login anew, for the same keys. Never longer, never wider."""

import os
import threading
from typing import TYPE_CHECKING, Final

import click

from teleport.cli import freshness
from teleport.cli import profile as p
from teleport.core.errors import BadInput, TeleportError, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from teleport.api import models as m
    from teleport.pki.keys import PrivateKey

__all__ = ["refresh", "refresh_if_due", "renew"]

_PATIENCE: Final = 20.0
"""Seconds for somebody who asks for it to get an answer."""


@click.command()
@click.option("--proxy", metavar="HOST:PORT", help="The proxy (the one logged in to last).")
@click.option("--if-due", is_flag=True, help="Only after some minutes, or if files are damaged; without a word.")
def refresh(proxy: str | None, if_due: bool) -> int:
    """Get the certificates of the present login again, as the cluster gives them now.

    They end when the login does, and hold no more than it. What the roles changed since, new keys of the cluster and
    files that were lost come with them. `tsh ssh`, `tsh scp` and ssh set up by `tsh config` do this by themselves.

    Example: tsh refresh && tsh status
    """
    profile = p.current(proxy)
    if if_due:
        return _quietly(profile)
    profile.check()
    with freshness.alone(profile.proxy) as mine:
        if not mine:
            raise Unavailable("another tsh changes this login at the moment", hint="try again")
        renew(profile)
    return 0


def _quietly(profile: p.Profile) -> int:
    """As ssh runs it before each connection. It ends in time, whatever hangs: looking up a name cannot be given up."""
    watchdog = threading.Timer(freshness.LIMIT, _give_up, (profile,))
    watchdog.daemon = True
    watchdog.start()
    try:
        refresh_if_due(profile.proxy)
    except (TeleportError, OSError):
        return 1
    finally:
        watchdog.cancel()
    return 1 if profile.expired else 0


def _give_up(profile: p.Profile) -> None:
    freshness.postpone(profile)
    os._exit(1)


def refresh_if_due(proxy: str, *, patience: float = freshness.PATIENCE) -> None:
    """Refresh unless that was done a moment ago, by whichever of many programs comes first.

    Raises TeleportError and OSError, after at most `patience` seconds of waiting for others and as many of asking.
    """
    if not _waits(p.current(proxy)):
        return
    with freshness.alone(proxy, patience=patience) as mine:
        profile = p.current(proxy)
        if not mine or not _waits(profile):
            return
        try:
            renew(profile, patience=patience)
        except (TeleportError, OSError):
            freshness.postpone(profile)
            raise


def _waits(profile: p.Profile) -> bool:
    return not profile.expired and freshness.is_due(profile)


def renew(profile: p.Profile, *, patience: float = _PATIENCE) -> None:
    """Ask, and keep the answer, unless the login has become another one meanwhile.

    Raises TeleportError for what the cluster refuses, and where the files of the login prove nothing.
    """
    import asyncio

    from teleport.cli.tsh_commands.login import keep
    from teleport.pki.keys import load_private, ssh_private

    _restore_trust(profile)
    try:
        proof, tls_key = profile.tls_certificate.read_text(), profile.tls_key.read_text()
        ssh_key = _ssh_key(profile)
        answer = asyncio.run(_ask(profile, ssh_key, load_private(tls_key), patience))
    except (OSError, ValueError) as error:
        raise Unauthenticated(f"the login's files cannot be read: {error}", hint="log in again: tsh login") from None
    if (answer.user, answer.cluster) != (profile.user, profile.cluster):
        raise BadInput("the cluster answered with certificates of somebody else", hint="log in again: tsh login")
    if _is_still(profile, proof):
        keep(profile.proxy, answer, ssh_private(ssh_key), tls_key, current=False)


def _is_still(profile: p.Profile, proof: str) -> bool:
    """Whether nobody logged in or out since that certificate was read."""
    try:
        return profile.tls_certificate.read_text() == proof
    except OSError:
        return False


async def _ask(profile: p.Profile, ssh_key: "PrivateKey", tls_key: "PrivateKey", patience: float) -> "m.Certificates":
    import asyncio

    from teleport.api import models as m
    from teleport.api import routes as r
    from teleport.cli.connect import api_client
    from teleport.pki.keys import public_pem, ssh_line

    request = m.RenewRequest(
        ssh_public_key=ssh_line(ssh_key.public_key()), tls_public_key=public_pem(tls_key.public_key())
    )
    try:
        async with asyncio.timeout(patience), api_client(profile) as client:
            return await client.call(r.RENEW, request)
    except TimeoutError:
        raise Unavailable(f"the cluster did not answer within {patience:g} seconds") from None


def _ssh_key(profile: p.Profile) -> "PrivateKey":
    """The key of the login, or a new one where that is lost: it is the other key that proves who asks."""
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    from teleport.pki.keys import new_ssh_key

    try:
        key = load_ssh_private_key(profile.ssh_key.read_bytes(), None)
    except (OSError, ValueError):
        return new_ssh_key()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return key if isinstance(key, Ed25519PrivateKey) else new_ssh_key()


def _restore_trust(profile: p.Profile) -> None:
    """The cluster's authority, if its file is lost, from what was learned of the proxy at the login."""
    trust = p.load_trust(profile.proxy)
    if trust is not None and trust.authority is not None and not _holds_certificates(profile):
        p.write_private(profile.host_authorities, trust.authority)


def _holds_certificates(profile: p.Profile) -> bool:
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(profile.host_authorities)
    except OSError:
        return False
    return True
