"""How an SSH client logs in, on hosts and at proxies alike: it offers a certificate, proves its key, hears a verdict.

Decides whether a certificate is good here; whether its holder may enter is the caller's verdict.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from teleport.core.errors import TeleportError, Unauthenticated
from teleport.pki.authority import TrustedAuthority
from teleport.pki.credentials import SSHUser, read_ssh_user

__all__ = ["SSHLogin", "read_ssh_login", "refusal_text"]

_CERTIFICATE: Final = b"-cert-v01@openssh.com "
_LONGEST_KIND: Final = 64


class SSHLogin:
    """One client's way in. `check` is what the connection asks for each key that the client offers or proves.

    `read` verifies a certificate and raises Unauthenticated; `refused` hears of each that it did not take; `tell`
    shows the client a verdict against it.
    """

    def __init__(
        self, read: Callable[[bytes], SSHUser], *, refused: Callable[[str, Unauthenticated], Awaitable[None]],
        tell: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._read, self._refused, self._tell = read, refused, tell
        self._offered: tuple[bytes, SSHUser] | None = None
        loop = asyncio.get_running_loop()
        self.proved: asyncio.Future[tuple[SSHUser, str]] = loop.create_future()
        """Who has proved to hold a certificate, and the login that was asked for."""
        self.verdict: asyncio.Future[str] = loop.create_future()
        """To be set by the caller: why the client may not enter, or nothing."""

    async def check(self, login: str, line: bytes, proved: bool) -> str | None:
        """The key that has to sign, if a certificate is good, and once it is proved, if its holder may enter."""
        if _CERTIFICATE not in line[:_LONGEST_KIND]:
            return None  # clients offer bare keys too, before or after their certificate
        if not proved and self._offered is not None and self._offered[0] == line:
            return self._offered[1].public_key  # which has to sign; whether it is still good is asked after that
        try:
            user = self._read(line)
        except Unauthenticated as error:
            await self._refused(login, error)
            return None
        self._offered = line, user
        if not proved:
            return user.public_key
        if self.proved.done():
            return None
        self.proved.set_result((user, login))
        refusal = await asyncio.shield(self.verdict)  # who leaves now takes no verdict from whoever gives it
        if refusal:
            self._tell(refusal)
            return None
        return user.public_key

    def decide(self, refusal: str) -> None:
        """Give the verdict, unless it was given."""
        if not self.verdict.done():
            self.verdict.set_result(refusal)


def read_ssh_login(
    line: bytes, authorities: Iterable[TrustedAuthority], *, cluster: str, address: str, now: float
) -> SSHUser:
    """A user certificate of this cluster, shown from an address that it may be shown from. Raises Unauthenticated."""
    user = read_ssh_user(line, authorities, now=now)
    if user.identity.cluster != cluster:
        raise Unauthenticated("the certificate is another cluster's")
    pin = user.identity.pinned_ip
    pinned = (*user.source_addresses, pin) if pin else user.source_addresses
    if pinned and not all(_contains(network, address) for network in pinned):
        raise Unauthenticated("the certificate is pinned to another address")
    return user


def refusal_text(error: TeleportError) -> str:
    """A refusal as people read it before anybody lets them in."""
    lines = [f"error: {error.message}"]
    if error.hint:
        lines.append(f"hint: {error.hint}")
    return "\r\n".join(lines)


def _contains(network: str, address: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
