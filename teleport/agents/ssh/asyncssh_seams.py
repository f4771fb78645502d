"""Every touch of asyncssh's internals, in one place; `pyproject.toml` pins the versions it was checked against.

- The raw certificate: asyncssh's decoder drops extensions it does not know and compares `source-address` with the
  peer of the socket, which here is the proxy. So the whole validation of a certificate is ours.
- Requests that concern the whole connection: keep-alives are answered, all others refused. asyncssh would end the
  connection, with every session on it, over some of them.
- Bounds on what a client may pile up: requests and variables on a channel, attempts and bytes before it has logged in.
- Fairness: what comes in is worked off in portions, so that a flood of tiny packets (each costs a copy of all that
  waits) leaves time for other connections; what goes out waits when the transport is full, whatever window a client
  offers, and packets are not cut into crumbs for it.
- Starting a server connection on a transport that exists already (TLS inside, or a plain socket).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncssh
from asyncssh.channel import SSHServerChannel
from asyncssh.connection import SSHServerConnection, SSHServerConnectionOptions
from asyncssh.constants import MSG_CHANNEL_REQUEST, MSG_GLOBAL_REQUEST, MSG_REQUEST_FAILURE, MSG_REQUEST_SUCCESS
from asyncssh.kex import get_kex_algs
from asyncssh.packet import SSHPacket, String

__all__ = ["Channel", "Connection", "CredentialCheck", "new_connection", "server_options"]

CredentialCheck = Callable[[str, bytes, bool], Awaitable[str | None]]
"""`(login, certificate line, proved) -> the OpenSSH line of the key that must sign`, None to refuse.

Called first when a key is offered, then once its signature is proved."""

_KEEP_ALIVE: Final = b"keepalive@openssh.com"
_MAX_ENVIRONMENT: Final = 64
_MAX_VARIABLE: Final = 4096
_MAX_REQUESTS: Final = 64
_MIN_PACKET: Final = 256
"""Bytes that a client must be willing to take in one packet; RFC 4254 suggests 32,768."""
_MAX_ATTEMPTS: Final = 20
"""Certificates, good or bad, that a client may offer or prove on one connection."""
_MAX_BEFORE_LOGIN: Final = 256 * 1024
"""Bytes from a client who has not logged in: key exchange and every permitted attempt need less."""
_PORTION: Final = 32 * 1024
_FULL: Final = 512 * 1024
"""Bytes waiting to be sent at which programs are made to wait."""

_ALGORITHMS: Final[dict[str, Any]] = {
    "kex_algs": [
        "mlkem768x25519-sha256", "sntrup761x25519-sha512@openssh.com", "curve25519-sha256",
        "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256",
    ],
    "encryption_algs": ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com",
                        "aes256-ctr", "aes128-ctr"],
    "mac_algs": ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256"],
    "compression_algs": None,
    "signature_algs": ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
                       "rsa-sha2-512", "rsa-sha2-256", "sk-ssh-ed25519@openssh.com",
                       "sk-ecdsa-sha2-nistp256@openssh.com"],
}  # fmt: skip
"""What is offered, where the installation has it: no SHA-1, no CBC, encrypt-then-MAC first."""


_SIGNATURES: Final = frozenset(name.encode() for name in _ALGORITHMS["signature_algs"])


def server_options(host_key: str, host_certificate: str, **more: Any) -> SSHServerConnectionOptions:
    """Options shared by all connections of a host. Everything but public keys and sessions is off."""
    key = asyncssh.import_private_key(host_key)
    certificate = asyncssh.import_certificate(host_certificate)
    exchanges = {name.decode() for name in get_kex_algs()}
    algorithms = {**_ALGORITHMS, "kex_algs": [name for name in _ALGORITHMS["kex_algs"] if name in exchanges]}
    return SSHServerConnectionOptions(
        server_factory=asyncssh.SSHServer,
        server_host_keys=[(key, certificate)],
        password_auth=False, kbdint_auth=False, host_based_auth=False, gss_host=None, public_key_auth=True,
        agent_forwarding=False, x11_forwarding=False, allow_pty=True, allow_scp=False, sftp_factory=None,
        line_editor=False, encoding=None, config=[], server_version="Teleport", tcp_keepalive=True,
        **algorithms, **more,
    )  # fmt: skip


class Channel(SSHServerChannel[bytes]):
    """A session channel with bounds on what a client may request before anything starts."""

    def _process_env_request(self, packet: SSHPacket) -> bool:
        if len(self._env) >= _MAX_ENVIRONMENT:
            return False
        known = dict(self._env)
        accepted = super()._process_env_request(packet)
        added = {key: value for key, value in self._env.items() if known.get(key) != value}
        if any(len(key) + len(value) > _MAX_VARIABLE for key, value in added.items()):
            self._env = known
            return False
        return accepted

    def _process_exec_request(self, packet: SSHPacket) -> bool:
        """As asyncssh has it, but a command is bytes: names of files in it need be no UTF-8."""
        command = packet.get_string()
        packet.check_end()
        return self._start_session(command=command.decode("utf-8", "surrogateescape"))

    def process_open(self, send_chan: int, send_window: int, send_pktsize: int, session: Any) -> None:
        if send_pktsize < _MIN_PACKET:
            channel: Any = self._recv_chan  # None for a channel of our own alone; this one is the client's
            self._conn.remove_channel(channel)
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "packets as small as that are not sent")
        super().process_open(send_chan, send_window, send_pktsize, session)

    def _flush_send_buf(self) -> None:
        connection: Any = self._conn
        if connection is not None and connection.full:
            self._pause_resume_writing()
        else:
            super()._flush_send_buf()

    def _process_request(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        if len(self._request_queue) >= _MAX_REQUESTS:
            raise asyncssh.ProtocolError("too many requests are waiting on a channel")
        super()._process_request(pkttype, pktid, packet)

    _packet_handlers = {**SSHServerChannel._packet_handlers, MSG_CHANNEL_REQUEST: _process_request}  # noqa: RUF012


class Connection(SSHServerConnection):
    """A server connection whose certificates we judge ourselves."""

    check: CredentialCheck
    client: tuple[str, int]
    """Address and port of the client, from the dial-back ticket: the socket's peer is the proxy."""
    full = False
    """Whether the transport takes no more for now."""
    _attempts = 0
    _before_login = 0
    _unread = b""

    # -- what comes in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(_FULL)  # type: ignore[attr-defined]

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        working = bool(self._unread)
        self._unread += data
        if not working:
            self._work_off()

    def eof_received(self) -> None:
        while self._unread:
            self._work_off(later=False)
        super().eof_received()

    def _work_off(self, *, later: bool = True) -> None:
        """Take one portion of what came; the rest after others had their turn."""
        portion, self._unread = self._unread[:_PORTION], self._unread[_PORTION:]
        if not self._may_say(len(portion)):
            self._unread = b""
            return
        super().data_received(portion)
        transport = self._transport
        if transport is None or transport.is_closing():
            self._unread = b""
        elif not self._unread:
            transport.resume_reading()
        elif later:
            transport.pause_reading()
            self._loop.call_soon(self._work_off)

    def _may_say(self, count: int) -> bool:
        if self._auth_complete:
            return True
        self._before_login += count
        if self._before_login > _MAX_BEFORE_LOGIN:
            self._force_close(asyncssh.ProtocolError("too much was said before the login"))
        return self._before_login <= _MAX_BEFORE_LOGIN

    def _process_global_request(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        name, answer = packet.get_string(), packet.get_boolean()
        if answer:
            self.send_packet(MSG_REQUEST_SUCCESS if name == _KEEP_ALIVE else MSG_REQUEST_FAILURE)

    _packet_handlers = {  # noqa: RUF012
        **SSHServerConnection._packet_handlers,
        MSG_GLOBAL_REQUEST: _process_global_request,
    }

    async def validate_public_key(self, username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
        """First asked without a signature whether a key would do, then with it. Errors refuse; they cut no one else."""
        self._attempts += 1
        if self._attempts > _MAX_ATTEMPTS:
            raise asyncssh.DisconnectError(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many attempts to log in")
        try:
            line = _as_line(key_data)
            expected = await self.check(username, line, False)
            if expected is None:
                return False
            if not msg:
                return True
            key = asyncssh.import_public_key(expected)
            if _algorithm(signature) not in _SIGNATURES:
                return False
            if not key.verify(String(self._session_id) + msg, signature):
                return False
            return await self.check(username, line, True) is not None
        except (ValueError, asyncssh.Error):
            return False

    # -- what goes out

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        for channel in tuple(self._channels.values()):
            channel._flush_send_buf()

    def open_channel(self) -> Channel:
        """The channel for a session request."""
        return Channel(
            self, self._loop, self._allow_pty, self._line_editor, self._line_echo, self._line_history,
            self._max_line_length, self._encoding, self._errors, self._window, self._max_pktsize,
        )  # fmt: skip

    async def wait_heard(self) -> None:
        """Until the client has taken in what was sent so far: it answers a keep-alive, whatever it thinks of it."""
        await self._make_global_request(_KEEP_ALIVE)

    def say_disconnect(self, code: int, reason: str) -> None:
        """Send the last message without cutting off what is still on its way, as `disconnect` would."""
        self._send_disconnect(code, reason, "en")

    @property
    def channel_count(self) -> int:
        return len(self._channels)


def _algorithm(signature: bytes) -> bytes:
    size = int.from_bytes(signature[:4], "big")
    return signature[4 : 4 + size]


def _as_line(key_data: bytes) -> bytes:
    """A key blob as OpenSSH writes it in a file. Raises ValueError."""
    import base64

    size = int.from_bytes(key_data[:4], "big")
    kind = key_data[4 : 4 + size]
    if len(key_data) < 4 or len(kind) != size or not 0 < size < 128 or not kind.isascii() or b" " in kind:
        raise ValueError("not a key")
    return kind + b" " + base64.b64encode(key_data)


def new_connection(
    options: SSHServerConnectionOptions, owner: asyncssh.SSHServer, *,
    check: CredentialCheck, client: tuple[str, int],
) -> Connection:  # fmt: skip
    """An SSH server connection, to be given to a transport as its protocol."""
    connection = Connection(asyncio.get_running_loop(), options, wait=None)
    connection._protocol_factory = lambda: owner
    connection.check, connection.client = check, client
    return connection
