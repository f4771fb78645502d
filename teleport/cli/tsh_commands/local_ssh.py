"""The SSH server of `tsh proxy ssh --local`: it knows one password, and has a connection to the host for each client.

What the host says while it lets somebody in or not, the local client reads as if the host were here.
"""

import hmac
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Self

import asyncssh

from teleport.cli import profile as p
from teleport.cli.tsh_commands.builtin_ssh import options_of
from teleport.cli.tsh_commands.local import Destination, in_background
from teleport.cli.tsh_commands.local_channels import NearSession
from teleport.cli.tsh_commands.ssh import Call
from teleport.core.errors import TeleportError
from teleport.core.output import printable

__all__ = ["Terminated"]

_LOGIN_SECONDS: Final = 90.0
_ATTEMPTS: Final = 3
_BY_APPLICATION: Final = 11
_KEX: Final = (
    "curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "diffie-hellman-group16-sha512",
    "diffie-hellman-group14-sha256",
)  # fmt: skip
"""Dropbear guesses the first, and takes a right guess for a wrong one where ours is another (RFC 4253, section 7)."""


@dataclass(frozen=True)
class Terminated:
    """A way to a host that ends SSH here and begins it again."""

    there: Destination
    password: str
    host_key: asyncssh.SSHKey
    about: Mapping[str, str]
    """What a client has to know."""

    @classmethod
    @contextmanager
    def opened(cls, there: Destination, port: int) -> Iterator[Self]:
        """With a password of its own, in a file that goes with it."""
        password, path = secrets.token_urlsafe(24), p.home() / "local" / f"{port}.password"
        key = _host_key()
        about = {
            "password_file": str(path),
            "host_key": key.export_public_key().decode().strip(),
            "fingerprint": key.get_fingerprint(),
        }
        p.write_private(path, password + "\n")
        try:
            yield cls(there, password, key, about)
        finally:
            path.unlink(missing_ok=True)

    async def serve(self, connection: socket.socket) -> None:
        """One connection of a local client."""
        with suppress(asyncssh.Error, OSError):
            near = await asyncssh.run_server(
                connection, server_factory=lambda: _Near(self), server_host_keys=[self.host_key], encoding=None,
                line_editor=False, agent_forwarding=False, x11_forwarding=False, public_key_auth=False,
                kbdint_auth=False, login_timeout=_LOGIN_SECONDS, kex_algs=_KEX, compression_algs=["none"],
                server_version="tsh", config=[],
            )  # fmt: skip
            await near.wait_closed()


def _host_key() -> asyncssh.SSHKey:
    """The same at every start, so that clients that remember hosts know it again."""
    path = p.home() / "local" / "host_key"
    with suppress(OSError, asyncssh.KeyImportError):
        return asyncssh.read_private_key(path)
    key = asyncssh.generate_private_key("ssh-ed25519", comment="tsh proxy ssh --local")
    p.write_private(path, key.export_private_key().decode())
    return key


class _Near(asyncssh.SSHServer):
    """A local client. It is let in once the host has let us in."""

    def __init__(self, way: Terminated) -> None:
        self._way = way
        self._near: asyncssh.SSHServerConnection
        self._host: asyncssh.SSHClientConnection | None = None
        self._attempts = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._near = conn

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        there = self._way.there
        self._attempts += 1
        if not hmac.compare_digest(password.encode(), self._way.password.encode()):
            if self._attempts >= _ATTEMPTS:
                self._near.abort()
            return False
        if there.login and username != there.login:
            self._refuse(f"this leads to {there}, and you are logging in as {username}")
            return False
        try:
            self._host = await self._connect(username)
        except TeleportError as error:
            self._refuse(error.message, error.hint)
        except (asyncssh.Error, OSError) as error:
            self._refuse(f"{there.host} does not let you in: {error}")
        return self._host is not None

    def _refuse(self, message: str, hint: str = "") -> None:
        """No other password would help. Without a farewell: on one of those dbclient would exit with 0."""
        self.tell(f"tsh: error: {message}" + (f"\ntsh: hint: {hint}" if hint else ""))
        self._near.abort()

    async def _connect(self, login: str) -> asyncssh.SSHClientConnection:
        there = self._way.there
        sock = await in_background(lambda: there.connect(login))
        profile = await in_background(there.present)
        call = Call(profile, login, there.host, (), ())
        return await asyncssh.connect(
            profile.name_of(there.host), sock=sock, client_factory=lambda: _Far(self), **options_of(call)
        )

    def tell(self, text: str) -> None:
        """Before the client is in; afterwards there is no place for it."""
        with suppress(OSError):
            self._near.send_auth_banner(printable(text.replace("\r", ""), multiline=True).rstrip("\n") + "\r\n")

    def host_is_gone(self, error: Exception | None) -> None:
        if self._host is None:  # it let nobody in, and who asked is told why
            return
        reason = error.reason if isinstance(error, asyncssh.DisconnectError) else "the host has closed the connection"
        self._near.disconnect(_BY_APPLICATION, reason)

    def session_requested(self) -> Any:
        assert self._host is not None
        return self._near.create_server_channel(encoding=None), NearSession(self._host)

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        return self._host  # the host connects from there, if its roles permit

    def connection_lost(self, exc: Exception | None) -> None:
        if self._host is not None:
            self._host.close()


class _Far(asyncssh.SSHClient):
    """Our connection to the host."""

    def __init__(self, near: _Near) -> None:
        self._near = near

    def auth_banner_received(self, msg: str, lang: str) -> None:
        self._near.tell(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        self._near.host_is_gone(exc)
